"""Whether two cases may be compared: what differs between them, and what that means (``gate.md``, Comparable or not).

Two cases of one run share machine, scenario and hour; what differs between them is what the scenario varies. Cases of two runs share
only what their fingerprints say. A field that is not known counts as different: what nobody wrote down may have been anything.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from harness.errors import BrokenRunFolderError, ExitCode
from harness.record import CaseRecord, RunRecord


class Kind(Enum):
    """What a difference means: not comparable; flagged; what is being compared; the noise of the hour."""

    IDENTITY = "identity"
    DRIFT = "drift"
    SUBJECT = "subject"
    LIVE = "live"


class Verdict(Enum):
    """What may be done with the ratio of two cases."""

    COMPARABLE = "comparable"
    FLAGGED = "flagged"
    REFUSED = "not comparable"

    @property
    def exit_code(self) -> ExitCode:
        """How a command ends that was asked for this comparison."""
        return ExitCode.NOT_COMPARABLE if self is Verdict.REFUSED else ExitCode.PASS


@dataclass(frozen=True, kw_only=True, slots=True)
class Side:
    """One case of one run.

    Args:
        settings: ``settings.json`` of each trial that counts; None where one cannot be read. Empty: no trial counts, so that there is
            nothing to compare, and nothing to refuse.
    """

    run: RunRecord
    case: CaseRecord
    settings: Sequence[Mapping[str, Any] | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One field that is not the same on both sides, or of which that is not known.

    Args:
        kind: what it means. name: of the field, for people.
        a, b: its values, for people; "" = unknown.
        one_sided: only one side has such a thing at all.
    """

    kind: Kind
    name: str
    a: str
    b: str
    one_sided: bool = False

    def __str__(self) -> str:
        if not self.a and not self.b:
            return f"{self.name}: unknown on both sides"
        return f"{self.name}: {self.a or 'unknown'} / {self.b or 'unknown'}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparability:
    """All that differs between two sides, in the order of the table, and the verdict."""

    differences: tuple[Difference, ...]

    @property
    def verdict(self) -> Verdict:
        """REFUSED by any identity, else FLAGGED by any drift; subject and live differences do not change it."""
        if self.of(Kind.IDENTITY):
            return Verdict.REFUSED
        return Verdict.FLAGGED if self.of(Kind.DRIFT) else Verdict.COMPARABLE

    def of(self, kind: Kind) -> tuple[Difference, ...]:
        """Returns the differences of one kind."""
        return tuple(difference for difference in self.differences if difference.kind is kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One row of the table.

    Args:
        kind, name: as in :class:`Difference`.
        read: returns the value of a side; None = unknown.
        needed: unknown on both sides counts as different; False where a machine may have no such thing (a CPU without governor).
        applies: to which sides; where it applies to neither it is not compared.
    """

    kind: Kind
    name: str
    read: Callable[[Side], Any]
    needed: bool = True
    applies: Callable[[Side], bool] = field(default=lambda side: True)


def _told(*path: str) -> Callable[[Side], Any]:
    """Returns a reader of one value of the fingerprint."""

    def read(side: Side) -> Any:
        found: Any = side.run.fingerprint
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found

    return read


def _on_docker(side: Side) -> bool:
    return side.run.deployment == "docker"


def _embedded(side: Side) -> bool:
    return side.run.deployment == "embedded"


def _external(side: Side) -> bool:
    return side.run.deployment == "external"


def _remote(side: Side) -> bool:
    return bool(_agents(side)["remote"])


def _agents(side: Side) -> dict[str, int]:
    told = side.run.scenario_expanded.get("agents", 1)
    if isinstance(told, int):
        return {"local": told, "remote": 0}  # the first records had a number
    if isinstance(told, Mapping) and all(isinstance(told.get(where), int) for where in ("local", "remote")):
        return dict(told)
    raise BrokenRunFolderError(
        f"the record of run {side.run.run_id} does not say how many agents made the load: {told!r}",
        expected="local and remote agents, e.g. {'local': 1, 'remote': 0}, under scenario_expanded: agents",
        remedy="the record was edited or cut: run the scenario again",
    )


MACHINE = (
    Field(kind=Kind.IDENTITY, name="measurement version", read=_told("identity", "measurement_version")),
    Field(kind=Kind.IDENTITY, name="CPU model", read=_told("identity", "cpu_model")),
    Field(kind=Kind.IDENTITY, name="CPUs", read=_told("identity", "cpus")),
    Field(kind=Kind.IDENTITY, name="CPUs usable", read=_told("identity", "cpus_usable")),
    Field(kind=Kind.IDENTITY, name="CPU quota of the control group", read=_told("identity", "cgroup_cpu_quota")),
    Field(kind=Kind.IDENTITY, name="architecture", read=_told("identity", "architecture")),
    Field(kind=Kind.IDENTITY, name="system", read=_told("identity", "system")),
    Field(kind=Kind.IDENTITY, name="deployment", read=lambda side: side.run.deployment),
    Field(
        kind=Kind.IDENTITY,
        name="filesystem of the broker's data",
        read=_told("identity", "filesystem_data"),
        applies=_embedded,
    ),
    Field(
        kind=Kind.IDENTITY, name="Docker's storage driver", read=_told("drift", "docker", "storage"), applies=_on_docker
    ),
    Field(
        kind=Kind.IDENTITY,
        name="filesystem of Docker's storage",
        read=_told("drift", "docker", "storage_filesystem"),
        applies=_on_docker,
    ),
    Field(kind=Kind.IDENTITY, name="filesystem of the load's slots", read=_told("identity", "filesystem_slots")),
    Field(
        kind=Kind.IDENTITY,
        name="address of the broker",
        read=lambda side: side.run.scenario_expanded.get("address"),
        applies=_external,
    ),
    Field(kind=Kind.DRIFT, name="the broker's own machine", read=lambda side: None, applies=_external),
    Field(kind=Kind.DRIFT, name="the agents' machines", read=lambda side: None, applies=_remote),
    Field(kind=Kind.DRIFT, name="kernel", read=_told("drift", "kernel")),
    Field(kind=Kind.DRIFT, name="Docker engine", read=_told("drift", "docker", "engine"), applies=_on_docker),
    Field(kind=Kind.DRIFT, name="Docker's control groups", read=_told("drift", "docker", "cgroup"), applies=_on_docker),
    Field(kind=Kind.DRIFT, name="Docker's system", read=_told("drift", "docker", "system"), applies=_on_docker),
    Field(kind=Kind.DRIFT, name="Python", read=_told("drift", "python")),
    Field(kind=Kind.DRIFT, name="client libraries", read=_told("drift", "libraries")),
    Field(kind=Kind.DRIFT, name="C library", read=_told("drift", "libc"), needed=False),
    Field(kind=Kind.DRIFT, name="clock source", read=_told("drift", "clock_source"), needed=False),
    Field(kind=Kind.DRIFT, name="CPU governor", read=_told("drift", "cpu_governor"), needed=False),
    Field(kind=Kind.DRIFT, name="in a virtual machine", read=_told("drift", "hypervisor"), needed=False),
    Field(kind=Kind.DRIFT, name="real-time scheduling", read=_told("drift", "realtime_permitted"), needed=False),
    Field(kind=Kind.DRIFT, name="memory", read=_told("drift", "memory_bytes"), needed=False),
    Field(
        kind=Kind.DRIFT,
        name="memory limit of the control group",
        read=_told("drift", "cgroup_memory_limit_bytes"),
        needed=False,
    ),
    Field(kind=Kind.DRIFT, name="swap", read=_told("drift", "swap_bytes"), needed=False),
    Field(kind=Kind.DRIFT, name="filesystem of the run folder", read=_told("identity", "filesystem_run"), needed=False),
    Field(kind=Kind.DRIFT, name="seed", read=lambda side: side.run.scenario_expanded.get("seed")),
    Field(kind=Kind.SUBJECT, name="brokerbench", read=_told("subject", "brokerbench")),
    Field(kind=Kind.SUBJECT, name="commit of brokerbench", read=_told("subject", "commit"), needed=False),
    Field(kind=Kind.SUBJECT, name="image of the load", read=_told("subject", "load_image"), applies=_on_docker),
    Field(kind=Kind.LIVE, name="boot", read=_told("live", "boot_id"), needed=False),
    Field(kind=Kind.LIVE, name="load average at the start", read=_told("live", "load_average_1_min"), needed=False),
    Field(kind=Kind.LIVE, name="pressure at the start (%)", read=_told("live", "pressure_avg10_percent"), needed=False),
)
"""Of two runs: where they were made. Cases of one run have all of it in common."""

CASE = (
    Field(kind=Kind.SUBJECT, name="setup", read=lambda side: side.case.setup),
    Field(kind=Kind.SUBJECT, name="durability class", read=lambda side: side.case.durability_class.value),
    Field(kind=Kind.SUBJECT, name="parameters", read=lambda side: side.case.parameters),
    Field(kind=Kind.SUBJECT, name="network", read=lambda side: side.case.network),
    Field(kind=Kind.SUBJECT, name="where the load ran", read=lambda side: side.case.client, needed=False),
    Field(kind=Kind.SUBJECT, name="server", read=lambda side: side.case.server or None),
    Field(
        kind=Kind.SUBJECT,
        name="image of the broker",
        read=lambda side: side.case.image.digest if side.case.image else None,
        applies=_on_docker,
    ),
)
"""Of two cases: what is being compared."""

NONE = "none"

ASKED = ("load", "workers", "phases", "faults", "agents")
"""The parts of a scenario that are asked of every case; its words, its setups, its bounds and its trials are not."""

NEW_KEYS = "keys that only one version knows"
"""Declared where both sides were asked by the same file: what only one of two brokerbenches knows of it has its default there."""

OF_A_PYTHON = ("brokerbench", "commit of brokerbench", "image of the load", "Python", "client libraries", NEW_KEYS)
"""What another Python declares to be the subject of a comparison. How figures are measured is not among it."""

OF_AN_IMAGE = ("image of the broker", "server")
"""What another image of the broker declares."""

OF_A_LATER_RUN = ("brokerbench", "commit of brokerbench", "image of the load", *OF_AN_IMAGE)
"""What may have changed since a baseline was made: what a gate is there to judge."""

_OF_SETUPS = ("setup", "parameters", "durability class", "read back", *OF_AN_IMAGE)
_OF_A_PLACE = ("network", "where the load ran")
_OF_A_KEY = {
    "setups": _OF_SETUPS,
    **dict.fromkeys(("network", "client"), _OF_A_PLACE),
    "deployment": ("deployment", *_OF_A_PLACE, *OF_AN_IMAGE, "image of the load", "filesystem of the broker's data"),
    "address": ("address of the broker", *_OF_SETUPS),
    "load": ("scenario: load", "scenario: ceiling"),
    **{part: (f"scenario: {part}",) for part in ("workers", "phases", "faults")},
    "agents": ("scenario: agents", "the agents' machines"),
    "seed": ("seed",),
}


def declared_by(overrides: Iterable[str]) -> frozenset[str]:
    """Returns which differences ``key=value`` overrides of one side or the other declare to be what is compared."""
    return frozenset(name for each in overrides for name in _of_a_key(each.partition("=")[0].strip().split(".")))


def _of_a_key(path: Sequence[str]) -> Sequence[str]:
    match path:
        case ["setups", setup, parameter] if not setup.isdigit():  # which would be an item of a list
            return (f"parameters: {parameter}", "durability class", "read back")  # no other one is what is compared
    return _OF_A_KEY.get(path[0], ())


def comparability(a: Side, b: Side, *, declared: Collection[str] | None = None) -> Comparability:
    """Returns what differs between two cases and whether they may be compared.

    Args:
        declared: names of what is compared, each with all below it (``parameters`` too says ``parameters: persistence``): a difference
            in it is one of the subject, and one of the subject that is not in it is refused, as it would be taken for what was asked.
            None = nobody says, so that whatever the table calls subject is what is compared.
    """
    found = _differences(a, b)
    return Comparability(
        differences=tuple(found if declared is None else (_as_declared(each, declared) for each in found))
    )


def _as_declared(difference: Difference, declared: Collection[str]) -> Difference:
    if difference.kind is Kind.LIVE:
        return difference
    if any(f"{difference.name}:".startswith(f"{name}:") for name in declared) or _is_of_a_version(difference, declared):
        return replace(difference, kind=Kind.SUBJECT)
    return replace(difference, kind=Kind.IDENTITY) if difference.kind is Kind.SUBJECT else difference


def _is_of_a_version(difference: Difference, declared: Collection[str]) -> bool:
    """Returns whether one of two brokerbenches does not know such a key. A parameter has its default then, or the case another id."""
    parts = ("parameters: ", "read back: ", *(["scenario: "] if NEW_KEYS in declared else []))
    return difference.one_sided and "brokerbench" in declared and difference.name.startswith(parts)


def scenario_hash(side: Side) -> str:
    """Returns 16 hex digits of what is asked of a case: two of the same are the same question put to two brokers."""
    told = json.dumps(_asked(side), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _differences(a: Side, b: Side) -> Iterator[Difference]:
    if a.run.run_id != b.run.run_id:
        for row in MACHINE:
            yield from _compared(row, a, b)
    yield from _questions(a, b)
    yield from _settings(a, b)
    for row in CASE:
        yield from _compared(row, a, b)


def _compared(row: Field, a: Side, b: Side) -> Iterator[Difference]:
    if row.applies(a) or row.applies(b):
        yield from _flat(row, row.name, row.read(a), row.read(b))


def _flat(row: Field, name: str, a: Any, b: Any, *, one_sided: bool = False) -> Iterator[Difference]:
    """Yields a difference for each part of two values that is not the same."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for part in {**a, **b}:  # of a known whole a part that is missing is none: a library that is not installed
            one, other = (NONE if side.get(part) is None else side[part] for side in (a, b))
            yield from _flat(row, f"{name}: {part}", one, other, one_sided=(part in a) != (part in b))
    elif a != b or (a is None and row.needed):
        yield Difference(kind=row.kind, name=name, a=_text(a), b=_text(b), one_sided=one_sided)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return (value or "empty") if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _asked(side: Side) -> dict[str, Any]:
    """Returns what is asked of a case, as plain JSON values."""
    asked = {name: side.run.scenario_expanded.get(name) for name in ASKED}
    workers = dict(asked["workers"] or {}) | _varied(side)
    return asked | {"workers": workers or None, "agents": _agents(side), "ceiling": side.case.ceiling}


def _varied(side: Side) -> dict[str, Any]:
    """Returns what of the workers the scenario varies from case to case."""
    cases = side.run.scenario_expanded.get("cases", [])
    return next((dict(case.get("workers", {})) for case in cases if case.get("id") == side.case.id), {})


def _questions(a: Side, b: Side) -> Iterator[Difference]:
    """Yields what is not asked of both; what both scenarios vary by themselves is what they compare."""
    varied = {f"workers: {name}" for name in _varied(a).keys() & _varied(b).keys()}
    row = Field(kind=Kind.IDENTITY, name="scenario", read=_asked, needed=a.run.run_id != b.run.run_id)
    one, other = _asked(a), _asked(b)
    for part in one:
        for difference in _flat(row, part, one[part], other[part]):
            kind = Kind.SUBJECT if difference.name in varied else row.kind
            yield replace(difference, kind=kind, name=f"scenario: {difference.name}")


def _settings(a: Side, b: Side) -> Iterator[Difference]:
    """Yields what of the durability settings, as read back, is not the same; between cases that were asked for the same, or of one."""
    if not a.settings or not b.settings:
        return
    one, other = read_back(a), read_back(b)
    kind = Kind.IDENTITY if _declared(a) == _declared(b) else Kind.SUBJECT
    if kind is Kind.SUBJECT and a.case.setup != b.case.setup:
        return  # two brokers have no setting in common
    row = Field(kind=kind, name="read back", read=read_back)
    if not one or not other:
        yield from _flat(row, row.name, "known" if one else None, "known" if other else None)
        return
    yield from _flat(row, row.name, one, other)


def _declared(side: Side) -> tuple[str, dict[str, str]]:
    """Returns setup and parameters as far as they were asked for; what was left as found is only known from reading back."""
    case = side.case
    return case.setup, {name: value for name, value in case.parameters.items() if name not in case.as_found}


_OWN_NAME = re.compile(r"\bbb_[0-9a-f]{16}_\d+")
"""Queues and tables carry run and trial in their names, settings that point to them too."""


def read_back(side: Side) -> dict[str, str] | None:
    """Returns the settings that the broker answered in every trial; None where that is not known of one."""
    found: dict[str, set[str]] = {}
    for settings in side.settings:
        if settings is None or not isinstance(settings.get("found"), Mapping):
            return None
        for name, value in settings["found"].items():
            found.setdefault(name, set()).add(_OWN_NAME.sub("bb_…", str(value)))
    return {name: " or ".join(sorted(values)) for name, values in found.items()}
