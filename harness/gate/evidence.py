"""What there is to judge a case by: trials of B, and of A where there is something to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.analysis.comparable import Comparability
from harness.analysis.signed_rank import Look
from harness.model import TrialStatus
from harness.record import RunRecord, TrialRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One trial.

    Args:
        record: as its run has it. place: run folder and trial, as shown.
        disturbed: what from outside took the machine, so that it enters no ratio (of pairs the pair is discarded); "" = nothing did.
        unfinished: its pair was not: the other trial is missing.
    """

    record: TrialRecord
    place: str
    disturbed: str = ""
    unfinished: bool = False


def contradiction(run: RunRecord, trial: TrialRecord) -> str:
    """Returns why a record of a valid trial cannot be what was written, "" where nothing speaks against it: a trial is only valid when
    every fault of its scenario struck."""
    if trial.status is not TrialStatus.VALID:
        return ""
    asked = run.scenario_expanded.get("faults")
    if isinstance(asked, list) and len(trial.faults) < len(asked):
        return (
            f"its record contradicts itself: {len(trial.faults)} of the {len(asked)} faults of its scenario are in it"
        )
    idle = next((fault.label for fault in trial.faults if not fault.hit), "")
    return f"its record contradicts itself: valid, and nothing shows that '{idle}' struck" if idle else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """A trial of A and one of B, run one after the other.

    Args:
        number: from 1. first: ``a`` or ``b``, by a coin. discarded: why it does not count, "" = it does.
    """

    number: int
    a: Judged
    b: Judged
    first: str
    discarded: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """All that there is of one case.

    Args:
        case: the id that is shown (B's). ids: those that a rule's pattern may match.
        pairs: of an ``ab``, in the order of time, discarded ones too; () otherwise.
        alone: number of its pair and trial of B, of pairs that were not finished: it enters no ratio, and hides no loss.
        a, b: trials that were not run as pairs: of a baseline and of a run.
        no_a: why there is nothing to compare with, where there is not.
        looks: planned in advance, of an ``ab``. more: further pairs may come.
        comparability: of A and B; None = there is no A.
        unsound: why nothing of it proves anything; "" = it may.
        cut: why fewer pairs came than were planned (interrupted, too many discards), so that only what a look has decided holds.
        sigma_d: metric → noise from a calibration of this very environment, scenario and case; empty = not calibrated.
    """

    case: str
    ids: tuple[str, ...]
    pairs: tuple[Pair, ...] = ()
    alone: tuple[tuple[int, Judged], ...] = ()
    a: tuple[Judged, ...] = ()
    b: tuple[Judged, ...] = ()
    no_a: str = ""
    looks: tuple[Look, ...] = ()
    more: bool = False
    comparability: Comparability | None = None
    unsound: str = ""
    cut: str = ""
    sigma_d: dict[str, float] = field(default_factory=dict)

    @property
    def counted(self) -> Sequence[Pair]:
        """Returns the pairs that were not discarded."""
        return [pair for pair in self.pairs if not pair.discarded]
