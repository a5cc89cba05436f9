"""What the Redis setups may be set to, and what they claim (``guarantees.md``, Redis)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.model import (
    AS_FOUND,
    Claim,
    DurabilityClass,
    FaultKind,
    MayLose,
    MayRepeat,
    Parameter,
    Parameters,
)
from harness.units import parse_size_bytes

SETTINGS = {
    "aof-everysec": {"save": "", "appendonly": "yes", "appendfsync": "everysec"},
    "none": {"save": "", "appendonly": "no"},
    "rdb": {"save": "900 1 300 10 60 10000", "appendonly": "no"},
    "aof-no": {"save": "", "appendonly": "yes", "appendfsync": "no"},
    "aof-always": {"save": "", "appendonly": "yes", "appendfsync": "always"},
}
"""Value of ``persistence`` → Redis's own words, as ``CONFIG GET`` answers them."""

PARAMETERS = (
    Parameter(
        name="persistence",
        values=tuple(SETTINGS),
        meaning="what Redis writes to disk, and when it fsyncs",
        of_broker=True,
    ),
    Parameter(
        name="maxmemory",
        check=parse_size_bytes,
        of_broker=True,
        meaning="memory limit, e.g. 64 MB; beyond it Redis rejects (noeviction); not set = no limit",
    ),
)

CLIENT_RETRIES = Parameter(
    name="client_retries",
    values=("off", "on"),
    meaning="on: publish by redis.Redis(host=…) with its default retries, which may store a message twice; off: no retries",
)

_PERSISTENCE_DOC = "redis.io/docs/latest/operate/oss_and_stack/management/persistence"
EVERYSEC_WINDOW_S = 2.0


DURABILITY = ("save", "appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory", "maxmemory-policy")
"""Settings from which :func:`meaning` tells."""

SCHEMES = ("redis", "rediss", "unix")


def library_retries(parameters: Parameters) -> bool:
    """Returns whether redis-py may publish again on its own."""
    return parameters.get(CLIENT_RETRIES.name) == "on"


def asked(parameters: Parameters) -> dict[str, str]:
    """Returns what the parameters mean in Redis's own words; nothing of those that are as found."""
    words = dict(SETTINGS.get(parameters["persistence"], {}))
    limit = parameters.get("maxmemory")
    if limit != AS_FOUND:
        words |= {"maxmemory": str(parse_size_bytes(limit)) if limit else "0", "maxmemory-policy": "noeviction"}
    return words


def meaning(settings: Mapping[str, str]) -> dict[str, str]:
    """Returns the parameters that settings of a live Redis stand for, by what they keep; one that is missing is unknown.

    With the AOF on, snapshots besides change nothing about what a confirm survives: a restart loads the AOF. With
    ``no-appendfsync-on-rewrite`` there are times without an fsync, so ``always`` is not always.
    """
    found = {}
    sync = settings.get("appendfsync", "")
    match settings.get("appendonly"), settings.get("save"):
        case "yes", _ if f"aof-{sync}" in SETTINGS:
            if sync != "always" or settings.get("no-appendfsync-on-rewrite") == "no":
                found["persistence"] = f"aof-{sync}"
        case "no", "":
            found["persistence"] = "none"
        case "no", str():
            found["persistence"] = "rdb"
    if "maxmemory" in settings:
        found["maxmemory"] = "" if settings["maxmemory"] == "0" else f"{settings['maxmemory']} B"
    return found


def notes(settings: Mapping[str, str]) -> Iterator[str]:
    """Yields what a reader should know of a Redis that is not set as ours are."""
    policy = settings.get("maxmemory-policy", "")
    if policy.startswith("allkeys") and settings.get("maxmemory") != "0":
        yield f"this Redis evicts any key when it is full (maxmemory-policy {policy}): it may drop a queue without a word"
    if settings.get("appendonly") == "yes" and settings.get("save"):
        yield f"this Redis also writes snapshots (save {settings['save']}): its forks are in the figures"


def durability(parameters: Parameters) -> DurabilityClass:
    """Returns what a confirm survives. A snapshot does not cover the messages since the last one: ``memory``."""
    persistence = parameters["persistence"]
    if persistence == "aof-always":
        return DurabilityClass.FSYNCED
    if persistence in ("aof-no", "aof-everysec"):
        return DurabilityClass.PROCESS_CRASH_SAFE
    return DurabilityClass.MEMORY


_BREAKS_PRODUCERS = (FaultKind.REPLY_CUT, FaultKind.BROKER_PAUSE, FaultKind.BROKER_RESTART, FaultKind.BROKER_KILL)
_RETRIES_SOURCE = (
    "redis-py, Redis.__init__ and Pipeline.execute: retry=Retry(ExponentialWithJitterBackoff, 10) sends the block again"
)

_Promise = tuple[MayLose, float, MayRepeat, str]
_NOTHING: _Promise = (MayLose.NONE, 0.0, MayRepeat.NONE, "definition of the design")
_HOLDS: _Promise = (MayLose.NONE, 0.0, MayRepeat.EXPIRED, "definition of the design")
_REPEATS: _Promise = (MayLose.NONE, 0.0, MayRepeat.UNACKED, "definition of the design")


def at_most_once(parameters: Parameters) -> tuple[Claim, ...]:
    """Returns the claims of a plain list: a pop whose reply is cut off is lost, nothing comes twice."""
    in_flight = (MayLose.IN_FLIGHT, 0.0, MayRepeat.NONE, "redis.io/docs/latest/commands/lmove, Pattern: Reliable queue")
    return _claims(
        {
            FaultKind.NONE: _NOTHING,
            FaultKind.WORKER_KILL: in_flight,
            FaultKind.PRODUCER_KILL: _NOTHING,
            FaultKind.REPLY_CUT: _NOTHING,
            FaultKind.BROKER_PAUSE: _NOTHING,
            FaultKind.BROKER_RESTART: _list_restart(parameters),
            FaultKind.BROKER_KILL: _list_kill(parameters),
        },
        retries=library_retries(parameters),
    )


def at_least_once(parameters: Parameters) -> tuple[Claim, ...]:
    """Returns the claims of a design with acks and reclaim: only persistence loses, what was not acked may come again."""
    return _claims(
        {
            FaultKind.NONE: _HOLDS,
            FaultKind.WORKER_KILL: _REPEATS,
            FaultKind.PRODUCER_KILL: _HOLDS,
            FaultKind.REPLY_CUT: _HOLDS,
            FaultKind.BROKER_PAUSE: _REPEATS,
            FaultKind.BROKER_RESTART: _restart(parameters),
            FaultKind.BROKER_KILL: _kill(parameters),
        },
        retries=library_retries(parameters),
    )


def _claims(promises: Mapping[FaultKind, _Promise], *, retries: bool) -> tuple[Claim, ...]:
    """Returns the claims; with ``retries`` of the client's own a fault that may break its connection may make second copies."""
    return tuple(
        Claim(
            fault=fault,
            may_lose=may_lose,
            window_s=window_s,
            may_repeat=may_repeat,
            may_duplicate=retries and fault in _BREAKS_PRODUCERS,
            source=f"{source}; {_RETRIES_SOURCE}" if retries and fault in _BREAKS_PRODUCERS else source,
        )
        for fault, (may_lose, window_s, may_repeat, source) in promises.items()
    )


def _restart(parameters: Parameters) -> _Promise:
    if parameters["persistence"] == "none":
        return MayLose.ALL, 0.0, MayRepeat.UNACKED, "nothing is written: a restart begins empty"
    return (
        MayLose.NONE,
        0.0,
        MayRepeat.UNACKED,
        f"{_PERSISTENCE_DOC}: SIGTERM writes a last snapshot or flushes the AOF",
    )


def _kill(parameters: Parameters) -> _Promise:
    match parameters["persistence"]:
        case "none":
            return MayLose.ALL, 0.0, MayRepeat.UNACKED, "nothing is written"
        case "rdb":  # a snapshot brings back what was acked since
            return MayLose.ALL, 0.0, MayRepeat.ACKED, f"{_PERSISTENCE_DOC}: all since the last snapshot"
        case "aof-everysec":
            return (
                MayLose.WINDOW,
                EVERYSEC_WINDOW_S,
                MayRepeat.ACKED,
                "redis.conf, appendfsync everysec: while an fsync runs, the write itself is put off for up to 2 s",
            )
    # `no` and `always`: write(2) comes before the reply, and the page cache survives the death of the process
    return MayLose.NONE, 0.0, MayRepeat.UNACKED, f"{_PERSISTENCE_DOC}: written before the reply"


def _list_restart(parameters: Parameters) -> _Promise:
    may_lose, window_s, _, source = _restart(parameters)
    return _with_cut_pops(may_lose), window_s, MayRepeat.NONE, source


def _list_kill(parameters: Parameters) -> _Promise:
    may_lose, window_s, may_repeat, source = _kill(parameters)
    lost_pops = may_repeat is MayRepeat.ACKED  # a pop that was not kept gives its message again
    return _with_cut_pops(may_lose), window_s, MayRepeat.ACKED if lost_pops else MayRepeat.NONE, source


def _with_cut_pops(may_lose: MayLose) -> MayLose:
    """Returns what may be lost where the pops whose replies were cut off are lost too."""
    with_pops = {MayLose.NONE: MayLose.IN_FLIGHT, MayLose.WINDOW: MayLose.WINDOW_OR_IN_FLIGHT}
    return with_pops.get(may_lose, may_lose)
