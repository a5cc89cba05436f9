"""``ab.json``: the record of trials of A and B that were run in pairs, and the evidence that there is in it.

History of the format:

- 1: the first.

The record names runs, each a run folder below its own; a reader (``harness.pairs_folder``) brings their records. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.analysis.comparable import (
    OF_A_PYTHON,
    OF_AN_IMAGE,
    Comparability,
    Difference,
    Kind,
    Side,
    comparability,
    declared_by,
)
from harness.analysis.signed_rank import FULL_LOOKS, QUICK_LOOKS, Look
from harness.gate.evidence import Evidence, Judged, Pair, contradiction
from harness.gate.outcome import Outcome, Part, Ran
from harness.record import RunRecord, TrialRecord

SCHEMA_VERSION = 1
LOOKS = {"full": FULL_LOOKS, "quick": QUICK_LOOKS}
"""What stopping is planned; ``fixed`` = no look before the last pair."""

Letter = Literal["a", "b"]


class SideRecord(Part):
    """How the trials of one side were run."""

    overrides: list[str] = Field(default=[], description="`key=value`, on top of those of both sides")
    python: str = Field(
        default="", description="the Python whose brokerbench ran them; empty = the one that ran the pairs"
    )
    images: dict[str, str] = Field(default={}, description="broker → image that was asked for")

    @property
    def what(self) -> str:
        """Returns what this side is, in words."""
        images = [f"image {image}" for image in self.images.values()]
        return ", ".join([*self.overrides, *([self.python] if self.python else []), *images]) or "as written"


class PairRecord(Part):
    """A trial of A and one of B, run one after the other to the end of both."""

    number: int = Field(description="from 1, over discarded ones too; the coin and the seed come from it")
    first: Letter = Field(description="which was run first, by a coin")
    a: str = Field(description="run folder of A's trial, relative to the folder of the pairs")
    b: str
    disturbed: dict[Letter, str] = Field(
        default={}, description="side → what from outside befell its trial; then the pair does not count"
    )

    @property
    def discarded(self) -> str:
        """Returns why it does not count, "" = it does."""
        return "; ".join(f"{letter.upper()}: {why}" for letter, why in sorted(self.disturbed.items()))


class CasePairs(Part):
    """All pairs of one case."""

    a: str = Field(description="the case's id on side A")
    b: str = Field(description="the case's id on side B, as it is shown")
    slug: str = Field(description="names its folder")
    pairs: list[PairRecord] = Field(default=[])
    most: int = Field(
        default=0,
        description="pairs that count, at most, where no rule on it waits for pairs; 0 = as many as of the comparison",
    )
    over: str = Field(
        default="", description="why no more pairs are to come: `decided`, `all pairs`, `discards`; empty = more are"
    )

    @property
    def counted(self) -> list[PairRecord]:
        """Returns the pairs that were not discarded."""
        return [pair for pair in self.pairs if not pair.disturbed]


class Begun(Part):
    """A pair of which the first trial is over and the second is not."""

    case: int = Field(description="index of the case")
    number: int
    run: str = Field(description="run folder of the first trial")


class PairsRecord(Part):
    """Everything that an ``ab`` or a calibration says about itself."""

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA_VERSION
    tool_version: str
    status: Literal["running", "finished", "interrupted", "failed"]
    started_wall_ns: int
    ended_wall_ns: int | None = None
    scenario: str = Field(description="its name")
    scenario_path: str = Field(description="where it was read")
    scenario_text: str = Field(description="as written")
    question: str
    deployment: str = Field(description="where brokers ran, on both sides unless a side says otherwise")
    overrides: list[str] = Field(default=[], description="`key=value` of both sides")
    cases_asked: list[str] = Field(default=[], description="patterns of `--case`; empty = all cases")
    command: str
    seed: int = Field(description="of the coins")
    stopping: Literal["full", "quick", "fixed"]
    most: int = Field(description="pairs of a case that count, at most")
    others_share: float = Field(description="share of the machine's CPUs that others may use during a trial")
    max_discarded: int = Field(description="discarded pairs of a case, at most")
    rules_file: str = Field(
        default="", description="where the rules were read, of which `rules.toml` is a copy; empty = the default rules"
    )
    max_worse: float | None = Field(default=None, description="tolerated ratio of the default rules, e.g. 1.25")
    a: SideRecord
    b: SideRecord
    cases: list[CasePairs]
    begun: Begun | None = None
    trials: list[Ran] = Field(default=[], description="every trial in the order of time, those too that were run again")
    outcome: Outcome | None = Field(
        default=None, description="the verdicts; null = none were asked for, or not yet given"
    )
    details: dict[str, Any] = Field(default={})

    @property
    def looks(self) -> tuple[Look, ...]:
        """Returns the looks that were planned in advance, () of a fixed number of pairs."""
        return LOOKS.get(self.stopping, ())

    def planned(self, case: CasePairs) -> list[int]:
        """Returns after how many pairs of a case there is a look; the last of them is how many count at most."""
        most = case.most or self.most
        return [look.pairs for look in self.looks if look.pairs <= most] or [most]

    @property
    def unpaired(self) -> list[Ran]:
        """Returns the trials of pairs that were not finished: their other one was not run to its end."""
        paired = {run for case in self.cases for pair in case.pairs for run in (pair.a, pair.b)}
        return [ran for ran in self.trials if ran.run not in paired]


def pairs_schema() -> dict[str, Any]:
    """Returns the JSON schema (draft 2020-12) of ``ab.json``."""
    schema = PairsRecord.model_json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One trial that is a run of its own, as read from its folder.

    Args:
        run: its record. settings: ``settings.json``; None = it cannot be read. path: of the run folder, as the record of pairs has it.
    """

    run: RunRecord
    settings: Mapping[str, Any] | None
    path: str

    @property
    def record(self) -> TrialRecord:
        """Returns the record of the one trial."""
        return self.run.cases[0].trials[0]

    @property
    def judged(self) -> Judged:
        """Returns it as a rule sees it."""
        return Judged(record=self.record, place=self.path)

    @property
    def side(self) -> Side:
        """Returns it as a comparison sees it."""
        return Side(run=self.run, case=self.run.cases[0], settings=[self.settings])


def evidences(
    record: PairsRecord,
    trials: Mapping[str, Trial],
    *,
    live: bool = False,
    sigma_d: Mapping[str, Mapping[str, float]] | None = None,
) -> list[Evidence]:
    """Returns what there is to judge each case by.

    Args:
        trials: run folder, as the record names it, → trial.
        live: the pairs are being run now; else a record that says so was cut short.
        sigma_d: case id → metric → noise of a calibration.
    """
    return [
        _evidence(record, case, trials, live=live, sigma_d=(sigma_d or {}).get(case.b, {})) for case in record.cases
    ]


def _evidence(
    record: PairsRecord, case: CasePairs, trials: Mapping[str, Trial], *, live: bool, sigma_d: Mapping[str, float]
) -> Evidence:
    counted = case.counted
    return Evidence(
        case=case.b,
        ids=tuple(dict.fromkeys((case.b, case.a))),
        pairs=tuple(
            Pair(
                number=pair.number,
                a=trials[pair.a].judged,
                b=trials[pair.b].judged,
                first=pair.first,
                discarded=pair.discarded,
            )
            for pair in case.pairs
        ),
        alone=tuple(_alone(record, case, trials)),
        looks=record.looks,
        more=not case.over,
        comparability=_of_pairs(record, [(trials[pair.a], trials[pair.b]) for pair in counted]) if counted else None,
        unsound=_contradiction(counted, trials),
        cut=_cut(record, case, live=live),
        sigma_d=dict(sigma_d),
    )


def _alone(record: PairsRecord, case: CasePairs, trials: Mapping[str, Trial]) -> Iterator[tuple[int, Judged]]:
    """Yields B's trials of pairs that were not finished, of those that can be read."""
    for ran in record.unpaired:
        if ran.case == case.b and ran.side == "b" and ran.run in trials:
            yield ran.pair, replace(trials[ran.run].judged, unfinished=True)


def _cut(record: PairsRecord, case: CasePairs, *, live: bool) -> str:
    discarded = len(case.pairs) - len(case.counted)
    if case.over == "discards":
        return (
            f"{discarded} pairs were disturbed from outside, more than the {record.max_discarded} that may be discarded"
        )
    if not live and not case.over:
        what = "was interrupted" if record.status == "interrupted" else "did not come to its end"
        return f"the comparison {what} after {len(case.counted)} of at most {record.planned(case)[-1]} pairs"
    return "" if case.counted or not case.over else "there is no pair that counts"


def _contradiction(counted: Sequence[PairRecord], trials: Mapping[str, Trial]) -> str:
    """Returns why a record of a trial that counts cannot be what was written, "" where none does."""
    named = [(pair.number, letter, trials[run]) for pair in counted for letter, run in (("A", pair.a), ("B", pair.b))]
    found = ((f"{letter} of pair {number}", contradiction(trial.run, trial.record)) for number, letter, trial in named)
    return next((f"{name}: {why}" for name, why in found if why), "")


# What differs between the sides.


def _of_pairs(record: PairsRecord, pairs: Sequence[tuple[Trial, Trial]]) -> Comparability:
    """Returns what differs between A and B in any pair, and what changed on one side on the way; each difference once."""
    found: dict[tuple[str, str, str], Difference] = {}
    (first_a, first_b), compared = pairs[0], declared(record.a, record.b)
    for a, b in pairs:
        between = comparability(a.side, b.side, declared=compared).differences
        told = [*between, *_on_the_way("A", first_a, a), *_on_the_way("B", first_b, b)]
        for each in told:
            if each.kind is Kind.LIVE:  # it differs from pair to pair: once is enough
                found.setdefault((each.name, "", ""), each)
            else:
                found.setdefault((each.name, each.a, each.b), each)
    return Comparability(differences=tuple(found.values()))


def declared(a: SideRecord, b: SideRecord) -> frozenset[str]:
    """Returns the names of the differences that two sides are there to compare."""
    found = declared_by(set(a.overrides) ^ set(b.overrides))
    if a.python != b.python:
        found |= {*OF_A_PYTHON, "C library"}
    if a.images != b.images:
        found |= {*OF_AN_IMAGE, "read back"}
    return found


def _on_the_way(letter: str, first: Trial, now: Trial) -> Iterator[Difference]:
    """Yields what changed on one side since its first trial; each pair has a seed of its own."""
    if first is not now:
        for each in comparability(first.side, now.side, declared=()).differences:
            if each.kind is not Kind.LIVE and each.name != "seed":
                yield replace(each, name=f"{letter} changed on the way: {each.name}")
