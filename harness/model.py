"""The vocabulary: what a setup is and claims, what can become of an attempt, a delivery, a message, a guarantee.

Every value that reaches a file has its name here once. Integer enumerations are stored in slots (one byte) and
written to Parquet by name; the numbers never leave a run's slot folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from itertools import product


class Outcome(IntEnum):
    """What became of one attempt to publish (``measurement.md`` section 3); ordered from weakest to strongest."""

    NOT_SENT = 0
    REJECTED = 1
    UNKNOWN = 2
    CONFIRMED = 3


class Held(IntEnum):
    """Why a due message could not be sent at once; stored as null when it was not held."""

    NO = 0
    DISCONNECTED = 1
    BLOCKED = 2
    WINDOW = 3


class Settlement(IntEnum):
    """What a worker tells the broker about a delivery."""

    NONE = 0
    ACK = 1
    RELEASE = 2
    RETRY = 3
    DEAD = 4
    AUTO = 5


class SettleOutcome(IntEnum):
    """What became of a settlement; OPEN with a settlement sent is read as UNKNOWN."""

    OPEN = 0
    OK = 1
    STALE = 2
    UNKNOWN = 3


class Skipped(IntEnum):
    """Why a worker's idempotency wrapper let a delivery have no effect; stored as null where it did not."""

    NO = 0
    TAKEN = 1  # its key was there: somebody had begun it
    DONE = 2  # its marker was there: the effect is, too


class Place(StrEnum):
    """Where the residue search can find a message."""

    READY = "ready"
    DELAYED = "delayed"
    IN_FLIGHT = "in_flight"  # unacked, in a pending entries list, locked by a lease, in a worker's processing list
    RUNNING = "running"  # taken by nobody who is known, and nothing brings it back
    DEAD_LETTER = "dead_letter"


class Class(StrEnum):
    """What became of one identity: exactly one, the first that matches (``measurement.md`` section 3)."""

    PHANTOM = "phantom"
    UNSENT = "unsent"
    REJECTED = "rejected"
    PROCESSED = "processed"
    RECOVERED = "recovered"
    DEAD_LETTERED = "dead_lettered"
    STRANDED = "stranded"
    UNDECIDED = "undecided"
    VANISHED = "vanished"
    LOST_IN_SETTLING = "lost_in_settling"
    INTERRUPTED = "interrupted"
    LOST = "lost"


LOSS_CLASSES = (Class.LOST_IN_SETTLING, Class.INTERRUPTED, Class.LOST)


class Mark(StrEnum):
    """What happened to an identity besides its class; counted, and several may hold at once."""

    # Cause of each delivery after the first: exactly one per delivery, first match.
    ATTEMPT_DUPLICATE = "attempt_duplicate"
    ASKED_AGAIN = "asked_again"
    PRODUCER_DUPLICATE = "producer_duplicate"
    DUPLICATE_OF_UNKNOWN_ORIGIN = "duplicate_of_unknown_origin"
    REDELIVERED_AFTER_ACK = "redelivered_after_ack"
    REDELIVERED_AFTER_UNKNOWN_ACK = "redelivered_after_unknown_ack"
    REDELIVERED_UNACKED = "redelivered_unacked"
    GIVEN_TWICE = "given_twice"
    # Further marks.
    OVERLAPPING_EXECUTION = "overlapping_execution"
    DUPLICATE_EFFECT = "duplicate_effect"
    CORRUPT = "corrupt"
    LEFT_BEHIND = "left_behind"
    PHANTOM_ATTEMPT = "phantom_attempt"
    REORDERED = "reordered"
    SKIPPED = "skipped"  # acknowledged without an effect of its own: the workers' idempotency wrapper said so


CAUSES = tuple(Mark)[:8]


class Verdict(StrEnum):
    """What a trial says about one guarantee."""

    HELD = "HELD"
    VIOLATED = "VIOLATED"
    NOT_EXERCISED = "NOT EXERCISED"
    UNKNOWN = "UNKNOWN"
    NO_CLAIM = "NO CLAIM"


class TrialStatus(StrEnum):
    """Whether the evidence of a trial can be used."""

    VALID = "valid"
    INVALID = "invalid"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"  # its broker did not come up: there is no evidence


class DurabilityClass(StrEnum):
    """What a setup's confirm survives; setups of different classes are never ranked against each other."""

    MEMORY = "memory"
    PROCESS_CRASH_SAFE = "process-crash-safe"
    FSYNCED = "fsynced"
    REPLICATED = "replicated"
    UNKNOWN = "unknown"  # a broker that is not ours does not tell


class FaultKind(StrEnum):
    """The faults that claims are made about; NONE is the run itself, without any."""

    NONE = "none"
    BROKER_KILL = "broker kill"
    BROKER_RESTART = "broker restart"
    BROKER_PAUSE = "broker pause"
    BROKER_RECREATE = "broker recreate"  # its container is removed and made again
    WORKER_KILL = "worker kill"
    PRODUCER_KILL = "producer kill"
    REPLY_CUT = "reply cut"  # a producer's request is executed, the reply is swallowed, the connection is reset


ENDS_BROKER = (FaultKind.BROKER_KILL, FaultKind.BROKER_RESTART, FaultKind.BROKER_RECREATE)
"""Faults after which the broker's processes are others than before."""


class MayLose(StrEnum):
    """How much a claim allows to be lost."""

    NONE = "none"
    IN_FLIGHT = "in_flight"  # at most the open deliveries of killed or cut workers + what their fetch asked for
    WINDOW = "window"  # only what was confirmed within `window_s` before the injection
    WINDOW_OR_IN_FLIGHT = "window_or_in_flight"  # either: a design that pops, on a broker that loses a window
    ALL = "all"  # any that was exposed


class MayRepeat(StrEnum):
    """How much a claim allows to be delivered again; each value includes those before it."""

    NONE = "none"
    EXPIRED = "expired"  # what a worker held for longer than the visibility time
    UNACKED = "unacked"
    ACKED = "acked"


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What a setup promises under one fault.

    Args:
        fault: the fault that the promise is about.
        may_lose: how much CONFIRMED work may be lost.
        window_s: the bound in seconds that belongs to a window.
        may_repeat: which messages may come again.
        may_duplicate: whether the client library may have stored a message twice.
        may_strand: whether a message may stay in the broker without being brought back.
        source: where the promise is made (documentation, measurement, definition of the design).
    """

    fault: FaultKind
    may_lose: MayLose
    window_s: float = 0.0
    may_repeat: MayRepeat = MayRepeat.UNACKED
    may_duplicate: bool = False
    may_strand: bool = False
    source: str = ""


Parameters = Mapping[str, str]
"""Parameter name to its value as the scenario writes it; defaults filled in."""

AS_FOUND = "as found"
"""Value of a parameter that belongs to a broker which is not ours and that the scenario does not write: it is left as it is and read
back, and where that tells nothing it stays unknown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """Limits and storage of a broker's container; written in scenarios as parameters of a setup.

    Args:
        cpus: most CPUs that it may use; None = no limit. memory_bytes: most memory; None = no limit.
        volume: where its data lie: ``named``, ``bind``, ``anonymous``, ``tmpfs``.
        written: name → value of those that were written, for ids and records.
    """

    cpus: float | None = None
    memory_bytes: int | None = None
    volume: str = "named"
    written: Parameters = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Where in a deployment a case runs.

    Args:
        network: ``bridge``, ``host``, ``overlay``; "" where the deployment has no networks to choose from.
        client: where the load runs: ``container`` or ``host``.
        container: limits and storage of the broker's container; None where it has none.
    """

    network: str = ""
    client: str = "host"
    container: Container | None = None


NO_CHOICE = Site()
"""Where a deployment leaves nothing to choose: the machine itself, or wherever the broker runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One durability setting or misbehaviour that a scenario may set.

    Args:
        name: key in the scenario.
        values: allowed words, the first being the default; empty = free text checked by ``check``.
        default: default where ``values`` is empty ("" = not set).
        check: raises ValueError with "…; expected …" for a bad value; used where ``values`` is empty.
        meaning: one line for the reference.
        of_broker: it is a setting of the broker, not of what the driver declares or sends: on ``external``, where it is not written,
            it is ``AS_FOUND``.
    """

    name: str
    values: tuple[str, ...] = ()
    default: str = ""
    check: Callable[[str], object] | None = None
    meaning: str = ""
    of_broker: bool = False

    @property
    def default_value(self) -> str:
        """Returns the value that holds where the scenario says nothing."""
        return self.values[0] if self.values else self.default


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What the reconciliation must know of a setup to tell the causes of a repeat apart.

    Args:
        entry_ids: deliveries carry an id of the broker's own copy (stream entry, row), so a second copy is told from a repeat.
        redelivered_flag: the broker says "not redelivered" truthfully.
        reclaims: an expired hold is given to another worker (after visibility + sweep); False where the holder's death releases it at once, or nothing does.
        at_most_once: a delivery is settled by being delivered (no ack exists): loss after receipt is within the claim, and cannot be seen.
        settle_detects_stale: a settlement by a former holder is answered STALE.
        library_retries: the client library may publish again on its own; where a parameter decides, ``Setup.traits_of`` knows.
        pushes: the broker sends up to the prefetch without being asked for each, so a fetch is outstanding as long as a worker consumes.
    """

    entry_ids: bool = False
    redelivered_flag: bool = False
    reclaims: bool = False
    at_most_once: bool = False
    settle_detects_stale: bool = False
    library_retries: bool = False
    pushes: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """Broker + queue design + durability settings + what they claim; declared as ``SETUP`` in the driver's module.

    Args:
        name: as scenarios write it, e.g. ``redis-stream``.
        broker: which broker a deployment starts for it: ``redis``, ``postgres``, ``null``.
        summary: one line, e.g. the commands that it uses.
        traits: see :class:`Traits`; those that a parameter changes: :meth:`traits_of`.
        parameters: what a scenario may set.
        durability: parameters to durability class; callers that may have unknown ones ask :meth:`durability_of`.
        claims: parameters to the claims made (a fault without one: NO CLAIM); as above, :meth:`claims_of`.
        schemes: of URLs at which ``deployment: external`` finds such a broker, e.g. ``("redis", "rediss")``; () = it cannot.
        blocks_in_flight: most blocks published and not yet confirmed (0 = only the window counts); a synchronous
            commit per block wants few and large blocks.
        requires: one line on what the driver needs beyond the package (install hint), or "".
        auto_ack_loses: how much a fault that ends a worker's connection may lose with ``ack: auto``, beyond the claim: what its fetch asked
            for, or all where the broker pushes without a limit.
        settles_in_s: how long after ``prepare`` no fault may strike the broker, since its queue is not safely made before.
        library_retries: parameters to whether the client library may publish again on its own.
        own_health: its queue may be down while others of the same broker serve: after a fault, healthy means a consume on the queue itself.
    """

    name: str
    broker: str
    summary: str
    traits: Traits
    parameters: tuple[Parameter, ...] = ()
    durability: Callable[[Parameters], DurabilityClass]
    claims: Callable[[Parameters], tuple[Claim, ...]]
    blocks_in_flight: int = 0
    requires: str = ""
    auto_ack_loses: MayLose = MayLose.IN_FLIGHT
    settles_in_s: float = 0.0
    own_health: bool = False
    schemes: tuple[str, ...] = ()
    library_retries: Callable[[Parameters], bool] | None = None

    def complete(self, given: Parameters, *, as_found: bool = False) -> dict[str, str]:
        """Returns all parameters in declared order, defaults filled in; unknown names are the caller's to refuse.

        Args:
            as_found: the broker is not ours: its own settings are ``AS_FOUND`` where they are not given.
        """
        return {
            p.name: given.get(p.name, AS_FOUND if as_found and p.of_broker else p.default_value)
            for p in self.parameters
        }

    def label(
        self, parameters: Parameters, also: Mapping[str, int | str] | None = None, *, as_found: bool = False
    ) -> str:
        """Returns ``name[parameter=value,…]`` with only what differs from the default (of ``as_found``), and ``also`` behind it."""
        defaults = self.complete({}, as_found=as_found)
        changed = [
            f"{name}={parameters[name]}" for name, value in defaults.items() if parameters.get(name, value) != value
        ]
        changed += [f"{name}={value}" for name, value in (also or {}).items()]
        return f"{self.name}[{','.join(changed)}]" if changed else self.name

    def traits_of(self, parameters: Parameters) -> Traits:
        """Returns the traits with these parameters."""
        if self.library_retries is None:
            return self.traits
        return replace(self.traits, library_retries=self.library_retries(parameters))

    def durability_of(self, parameters: Parameters) -> DurabilityClass:
        """Returns the class that holds whatever the unknown parameters are, UNKNOWN where there is no such one; MEMORY on tmpfs."""
        if parameters.get("volume") == "tmpfs":
            return DurabilityClass.MEMORY
        found = {self.durability(each) for each in self._possible(parameters)}
        return found.pop() if len(found) == 1 else DurabilityClass.UNKNOWN

    def claims_of(self, parameters: Parameters) -> tuple[Claim, ...]:
        """Returns the claims that are made whatever the unknown parameters are, as far as the container's volume lets them.

        A ``volume`` that is named or bound outlives the container: what is claimed of a restart is claimed of a new container.
        On tmpfs nothing is claimed of whatever ends the broker.
        """
        first, *others = (self.claims(each) for each in self._possible(parameters))
        claims = [claim for claim in first if all(claim in each for each in others)]
        volume = parameters.get("volume")
        if volume == "tmpfs":
            claims = [claim for claim in claims if claim.fault not in ENDS_BROKER]
        if volume in ("named", "bind"):
            restarts = [claim for claim in claims if claim.fault is FaultKind.BROKER_RESTART]
            claims += [replace(claim, fault=FaultKind.BROKER_RECREATE) for claim in restarts]
        return tuple(claims)

    def _possible(self, parameters: Parameters) -> Iterator[Parameters]:
        """Yields the parameters with every value that an unknown one may have; one of free text as if it were not set."""
        unknown = [p for p in self.parameters if parameters.get(p.name) == AS_FOUND]
        for values in product(*(p.values or (p.default,) for p in unknown)):
            yield {**parameters, **dict(zip((p.name for p in unknown), values, strict=True))}
