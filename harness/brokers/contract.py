"""What a driver must do: one connection, synchronous, blocks of arrays in and out, never an object per message of ours.

Both directions are asynchronous in the same way, because brokers are: :meth:`Driver.publish` hands messages over and
:meth:`Driver.poll_confirms` brings their outcomes; :meth:`Driver.settle` hands settlements over and
:meth:`Driver.poll_settled` brings theirs. A *token* is the caller's own number of a message or delivery (its slot); drivers
hand tokens back and never look into them.

Connections break. The rule is the same everywhere: the operation that notices raises :class:`ConnectionLost` after it has
turned all that was outstanding into outcomes (UNKNOWN where a byte may have left, NOT_SENT where none did); the next
``poll_confirms(0)`` and ``poll_settled(0)`` hand them out without raising. ``publish`` and ``settle`` accept nothing
when they raise before the first byte left: then the tokens come back as NOT_SENT / UNKNOWN by the same polls.
:meth:`Driver.connect` makes a new connection. The client library's own retries and reconnects are always off.

Delivered envelopes are raw: drivers return payload bytes, and callers parse them (``harness.envelope``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from harness.model import Parameters, Place, Settlement

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverOptions:
    """What a driver is made from.

    Args:
        setup: name of the setup.
        address: URL, e.g. ``redis://127.0.0.1:6400/0``; may hold a password, so it is never printed.
        queue: name of the queue, table, or stream and prefix of all that belongs to it, e.g. ``bb_00c0ffee_1``;
            letters, digits and underscores, carrying the run id: ``purge`` touches nothing else.
        parameters: the setup's parameters, complete; on a broker that is not ours its own settings may be ``AS_FOUND``: leave
            them as they are, and say in :class:`Effective` what they turned out to be.
        client: who speaks, unique in the trial, e.g. ``w3.1`` (a consumer, lease owner or processing list).
        prefetch: most deliveries held; where the broker pushes, those included that nobody has consumed yet.
        visibility_s: how long a hold lasts before ``reclaim`` gives it to others.
        payload_bytes: size of a payload.
        connect_timeout_s: limit on connecting. answer_timeout_s: limit on a broker's answer, beyond which the
            connection counts as lost; longer than any pause that a scenario makes.
        auto_ack: settle by receiving, where the setup can (``workers.ack: auto``).
    """

    setup: str
    address: str = field(repr=False)
    queue: str
    parameters: Parameters
    client: str
    prefetch: int = 100
    visibility_s: float = 5.0
    payload_bytes: int = 256
    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 60.0
    auto_ack: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Effective:
    """Settings read back from the live broker.

    Args:
        version: e.g. ``Redis 6.2.14``.
        asked: what the setup's parameters mean in the broker's own words, e.g. ``{"appendfsync": "everysec"}``.
        found: the same keys as the broker answers them now; a difference makes the trial invalid.
        also: further settings worth recording.
        parameters: of each parameter that was asked for ``AS_FOUND`` the value that the broker's settings mean; one that is missing
            is unknown: the broker does not tell, or has what no value stands for.
        encrypted: whether this connection is; None = the driver does not know.
        notes: what a reader of the figures should know of this broker, a sentence each.
    """

    version: str
    asked: Mapping[str, str]
    found: Mapping[str, str]
    also: Mapping[str, str] = field(default_factory=dict)
    parameters: Parameters = field(default_factory=dict)
    encrypted: bool | None = None
    notes: tuple[str, ...] = ()

    def differences(self) -> tuple[str, ...]:
        """Returns a sentence for each setting that is not as asked."""
        return tuple(
            f"{name}: asked {value!r}, found {self.found.get(name)!r}"
            for name, value in self.asked.items()
            if self.found.get(name) != value
        )


@dataclass(frozen=True, slots=True)
class Block:
    """Messages to publish, in order.

    Args:
        tokens: shape (n,), the caller's numbers.
        payloads: shape (n, payload_bytes), uint8, C-contiguous; valid only during the call.
    """

    tokens: Ints
    payloads: npt.NDArray[np.uint8]

    def as_bytes(self) -> list[bytes]:
        """Returns the payloads as the objects that client libraries want, made in one call."""
        n, width = self.payloads.shape
        listed: list[bytes] = self.payloads.view(f"V{width}").reshape(n).tolist()
        return listed


@dataclass(frozen=True, slots=True)
class Confirms:
    """Outcomes of published messages: shape (n,) each; ``t_ns`` is when the driver saw the answer."""

    tokens: Ints
    outcomes: Flags  # harness.model.Outcome
    t_ns: Ints


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Messages received, in the broker's order; all of one length.

    Args:
        payloads: raw bytes.
        handles: what ``settle`` wants back, opaque; sliceable (a list or an array).
        entries: the broker's id of its own copy as a number ≠ 0, or None where it has none.
        redelivered: 1 or 0 as the broker says, or None.
        counts: how often delivered as the broker says (from 1), or None.
        asked_ns: when the fetch that brought them was sent; where messages are pushed, None (= received).
    """

    payloads: list[bytes]
    handles: Sequence[Any]
    entries: Ints | None = None
    redelivered: Flags | None = None
    counts: npt.NDArray[np.uint16] | None = None
    asked_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """Outcomes of settlements: shape (n,) each."""

    tokens: Ints
    outcomes: Flags  # harness.model.SettleOutcome: OK, STALE or UNKNOWN
    t_ns: Ints


@dataclass(frozen=True, kw_only=True, slots=True)
class Depth:
    """How many messages the broker says it holds, and how many consumers it pushes to; None = it does not tell."""

    ready: int | None = None
    in_flight: int | None = None
    delayed: int | None = None
    dead: int | None = None
    consumers: int | None = None

    def by_place(self) -> dict[str, int | None]:
        """Returns the counts by the names of the places of the residue search."""
        return {"ready": self.ready, "in_flight": self.in_flight, "delayed": self.delayed, "dead_letter": self.dead}


@dataclass(frozen=True, slots=True)
class Residue:
    """Messages found in one place of the broker.

    Args:
        place: where.
        payloads: raw bytes.
        entries: as in :class:`Deliveries`.
        hold_over: per message 1 if its delay or hold had run out, 0 if not; None = the place has no holds.
    """

    place: Place
    payloads: list[bytes]
    entries: Ints | None = None
    hold_over: Flags | None = None


NO_CONFIRMS = Confirms(np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.int64))
NO_SETTLED = Settled(np.zeros(0, np.int64), np.zeros(0, np.uint8), np.zeros(0, np.int64))
NO_DELIVERIES = Deliveries([], [])


@runtime_checkable
class GivesSigns(Protocol):
    """Optional: a driver that keeps what it holds as long as it gives signs of life, also while a job lasts."""

    def give_sign(self) -> None:
        """Gives a sign where one is due; a worker calls it many times in a visibility time. Raises ConnectionLost."""


class Driver(Protocol):
    """One connection to one queue of one setup; see the module's text for the rules that all methods share."""

    def __init__(self, options: DriverOptions) -> None:
        """Keeps the options; connects nothing."""

    def connect(self) -> None:
        """Connects, or connects again after a loss; raises Unreachable when the broker does not take it (yet)."""

    def prepare(self) -> Effective:
        """Declares the queue or tables and reads the live settings back; idempotent; any client may call it."""

    def blocked(self) -> str:
        """Returns why the broker refuses to read now (a memory or disk alarm), "" when it does not."""

    def publish(self, block: Block) -> None:
        """Hands a block over without waiting for its answers, as far as the protocol allows."""

    def poll_confirms(self, wait_s: float) -> Confirms:
        """Returns the outcomes that have arrived, waiting up to ``wait_s`` for the first; may return none."""

    def consume(self, max_n: int, wait_s: float) -> Deliveries:
        """Returns up to ``max_n`` messages as soon as there is one, none after ``wait_s``; never leaves a fetch open.

        Where the broker pushes, it pushes from the first call on, up to the prefetch, whatever ``max_n`` is."""

    def cancel(self) -> Deliveries:
        """Stops what the broker pushes, and returns what it had pushed and nobody has consumed; the next ``consume`` begins anew.
        Does nothing where messages are fetched. After a loss it raises nothing, and returns what had been pushed and auto-acked:
        the broker will not push that again, so the driver keeps it for as long as nobody takes it."""

    def settle(self, tokens: Ints, handles: Sequence[Any], what: Settlement) -> None:
        """Sends ACK, RELEASE, RETRY or DEAD for deliveries of this connection."""

    def poll_settled(self, wait_s: float) -> Settled:
        """Returns the settlements' outcomes that have arrived, waiting up to ``wait_s`` for the first; may return none."""

    def reclaim(self, min_idle_s: float) -> int:
        """Makes messages whose holder has been idle for ``min_idle_s`` available again; returns how many. 0 where the
        setup has no such thing. Also refreshes this client's own sign of life where the setup has one."""

    def depth(self) -> Depth:
        """Returns what the broker holds, without disturbing it."""

    def connections(self) -> list[str] | None:
        """Returns the names of other connections of this run that the broker still has; None = it cannot tell. Then ``depth``
        tells the consumers, or no search of the queue is sound."""

    def residue(self) -> Iterator[Residue]:
        """Yields all that the broker still holds of this queue, and where; raises when a place cannot be read. What somebody
        else holds unsettled may be missing while they are connected, where ``depth`` does not tell what is in flight."""

    def purge(self) -> None:
        """Removes all that belongs to this queue, and nothing else."""

    def close(self, abort: bool = False) -> None:
        """Closes the connection; with ``abort`` without a goodbye. Idempotent, never raises."""
