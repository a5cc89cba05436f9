"""The validating wrapper: a driver whose every answer is held against the contract, and which names what is wrong.

For tests and for ``BROKERBENCH_CHECK=1``; never in a measurement, since it keeps a Python object per message. Neighbours:
``contract`` has the rules, ``tests/contract`` runs every driver through this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from harness.brokers.contract import (
    Block,
    Confirms,
    Deliveries,
    Depth,
    Driver,
    Effective,
    GivesSigns,
    Ints,
    Residue,
    Settled,
)
from harness.clock import now_ns
from harness.errors import BrokerbenchError, ConnectionLost, ExitCode, Unreachable
from harness.model import Outcome, Place, Settlement, SettleOutcome

T = TypeVar("T")
_LOSSES: tuple[type[Exception], ...] = (ConnectionLost, Unreachable)


class ContractBroken(BrokerbenchError):
    """A driver did what its contract forbids: a fault of the driver, whatever the broker did."""

    exit_code = ExitCode.NO_VERDICT


class CheckedDriver:
    """Wraps a driver; raises :class:`ContractBroken` at the first answer that cannot be."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._publishing: dict[int, int] = {}  # token → ns at which it was handed over
        self._settling: dict[int, int] = {}
        self._lost = True
        if isinstance(driver, GivesSigns):
            self.give_sign = driver.give_sign

    def connect(self) -> None:
        """Connects; all that was outstanding must have been answered, or come with the next polls."""
        self._run("connect", self.driver.connect, (Unreachable,))
        self._lost = False

    def prepare(self) -> Effective:
        """Declares, reads settings back."""
        effective = self._run("prepare", self.driver.prepare)
        for name, value in {**effective.asked, **effective.found, **effective.also}.items():
            _require(
                isinstance(name, str) and isinstance(value, str), f"prepare: setting {name!r}: {value!r} is no text"
            )
        _require(bool(effective.version), "prepare: no version")
        _require(set(effective.found) <= set(effective.asked), "prepare: `found` has settings that were not asked for")
        return effective

    def blocked(self) -> str:
        """Returns why the broker refuses to read."""
        reason = self._run("blocked", self.driver.blocked)
        _require(isinstance(reason, str), f"blocked: {reason!r} is no text")
        return reason

    def publish(self, block: Block) -> None:
        """Publishes; a token may be handed over again only once it was answered."""
        now = now_ns()
        for token in block.tokens.tolist():
            _require(token not in self._publishing, f"publish: token {token} is still unanswered")
            self._publishing[token] = now
        self._run("publish", lambda: self.driver.publish(block))

    def poll_confirms(self, wait_s: float) -> Confirms:
        """Returns outcomes: each of a message that was published and not answered yet."""
        lost = self._lost
        confirms = self._poll("poll_confirms", lambda: self.driver.poll_confirms(wait_s), lost)
        self._check_answers("poll_confirms", confirms, self._publishing, {int(outcome) for outcome in Outcome})
        self._check_none_forgotten("poll_confirms", lost, confirms.tokens, self._publishing)
        return confirms

    def consume(self, max_n: int, wait_s: float) -> Deliveries:
        """Returns messages."""
        deliveries = self._run("consume", lambda: self.driver.consume(max_n, wait_s))
        n = len(deliveries.payloads)
        _require(n <= max_n, f"consume: {n} messages, asked for {max_n}")
        _check_deliveries("consume", deliveries)
        return deliveries

    def cancel(self) -> Deliveries:
        """Returns what had been pushed."""
        deliveries = self._run("cancel", self.driver.cancel)
        _check_deliveries("cancel", deliveries)
        return deliveries

    def settle(self, tokens: Ints, handles: Sequence[Any], what: Settlement) -> None:
        """Settles; a token may be settled again only once it was answered."""
        _require(len(tokens) == len(handles), f"settle: {len(tokens)} tokens, {len(handles)} handles")
        now = now_ns()
        for token in tokens.tolist():
            _require(token not in self._settling, f"settle: token {token} is still unanswered")
            self._settling[token] = now
        self._run("settle", lambda: self.driver.settle(tokens, handles, what))

    def poll_settled(self, wait_s: float) -> Settled:
        """Returns the settlements' outcomes: each of one that was sent and not answered yet."""
        lost = self._lost
        settled = self._poll("poll_settled", lambda: self.driver.poll_settled(wait_s), lost)
        legal = {int(SettleOutcome.OK), int(SettleOutcome.STALE), int(SettleOutcome.UNKNOWN)}
        self._check_answers("poll_settled", settled, self._settling, legal)
        self._check_none_forgotten("poll_settled", lost, settled.tokens, self._settling)
        return settled

    def reclaim(self, min_idle_s: float) -> int:
        """Returns how many messages are available again."""
        count = self._run("reclaim", lambda: self.driver.reclaim(min_idle_s))
        _require(type(count) is int and count >= 0, f"reclaim: {count!r} is no count")
        return count

    def depth(self) -> Depth:
        """Returns what the broker holds."""
        depth = self._run("depth", self.driver.depth)
        for place, count in {**depth.by_place(), "consumers": depth.consumers}.items():
            _require(count is None or (type(count) is int and count >= 0), f"depth: {place} is {count!r}, no count")
        return depth

    def connections(self) -> list[str] | None:
        """Returns the names of other connections."""
        found = self._run("connections", self.driver.connections)
        _require(found is None or all(type(name) is str for name in found), f"connections: {found!r} are no names")
        return found

    def residue(self) -> Iterator[Residue]:
        """Yields what the broker holds; read to its end at once."""
        for part in self._run("residue", lambda: list(self.driver.residue())):
            n = len(part.payloads)
            _require(isinstance(part.place, Place), f"residue: {part.place!r} is no place")
            _require(all(type(p) is bytes for p in part.payloads), "residue: a payload is not bytes")
            _check_column("residue: entries", part.entries, n, np.int64, None)
            _check_entries("residue", part.entries)
            _check_column("residue: hold_over", part.hold_over, n, np.uint8, 0)
            yield part

    def purge(self) -> None:
        """Removes the queue."""
        self._run("purge", self.driver.purge)

    def close(self, abort: bool = False) -> None:
        """Closes; whatever this raises is wrong."""
        try:
            self.driver.close(abort)
        except Exception as error:
            raise ContractBroken(
                f"close: raised {type(error).__name__}: {error}", expected="nothing is raised"
            ) from error
        self._lost = True

    def _run(self, name: str, operation: Callable[[], T], allowed: tuple[type[Exception], ...] = _LOSSES) -> T:
        """Returns what an operation returns; lets only the errors of the contract through."""
        try:
            return operation()
        except allowed as error:
            if isinstance(error, ConnectionLost):
                self._lost = True
            _require(bool(str(error).strip()), f"{name}: an error without a word")
            raise
        except ContractBroken:
            raise
        except Exception as error:
            raise ContractBroken(
                f"{name}: raised {type(error).__name__}: {error}",
                expected=" or ".join(kind.__name__ for kind in allowed),
            ) from error

    def _poll(self, name: str, operation: Callable[[], T], lost: bool) -> T:
        try:
            return self._run(name, operation)
        except (ConnectionLost, Unreachable) as error:
            if lost:
                raise ContractBroken(f"{name}: raised though the loss was told before: {error}") from error
            raise

    def _check_answers(self, name: str, answers: Confirms | Settled, open_: dict[int, int], legal: set[int]) -> None:
        n = len(answers.tokens)
        for column, dtype in (("tokens", np.int64), ("outcomes", np.uint8), ("t_ns", np.int64)):
            _check_column(f"{name}: {column}", getattr(answers, column), n, dtype, None)
        now = now_ns()
        for token, outcome, t_ns in zip(
            answers.tokens.tolist(), answers.outcomes.tolist(), answers.t_ns.tolist(), strict=True
        ):
            _require(token in open_, f"{name}: token {token} was answered twice, or never handed over")
            _require(outcome in legal, f"{name}: outcome {outcome} of token {token}; expected one of {sorted(legal)}")
            handed_over = open_.pop(token)
            _require(
                handed_over <= t_ns <= now, f"{name}: token {token} of {handed_over} answered at {t_ns}, now {now}"
            )

    def _check_none_forgotten(self, name: str, lost: bool, tokens: Ints, open_: dict[int, int]) -> None:
        forgotten = lost and not len(tokens) and bool(open_)
        _require(not forgotten, f"{name}: {len(open_)} tokens were never answered after the connection was lost")


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise ContractBroken(problem, expected="what harness.brokers.contract says")


def _check_column(name: str, column: Any, n: int, dtype: type[np.generic], low: int | None) -> None:
    if column is None:
        return
    _require(isinstance(column, np.ndarray), f"{name}: {type(column).__name__} is no array")
    _require(
        column.shape == (n,) and column.dtype == dtype,
        f"{name}: {column.dtype}{column.shape}, expected {dtype.__name__}({n},)",
    )
    _require(low is None or bool((column >= low).all()), f"{name}: a value below {low}")


def _check_deliveries(name: str, deliveries: Deliveries) -> None:
    n = len(deliveries.payloads)
    _require(len(deliveries.handles) == n, f"{name}: {len(deliveries.handles)} handles for {n} messages")
    _require(all(type(p) is bytes for p in deliveries.payloads), f"{name}: a payload is not bytes")
    for column, dtype, low in (("entries", np.int64, None), ("redelivered", np.uint8, 0), ("counts", np.uint16, 1)):
        _check_column(f"{name}: {column}", getattr(deliveries, column), n, dtype, low)
    _check_entries(name, deliveries.entries)
    if deliveries.redelivered is not None:
        _require(bool((deliveries.redelivered <= 1).all()), f"{name}: redelivered is neither 0 nor 1")
    if n and deliveries.asked_ns is not None:
        now = now_ns()
        _require(0 < deliveries.asked_ns <= now, f"{name}: asked at {deliveries.asked_ns}, now {now}")


def _check_entries(name: str, entries: Ints | None) -> None:
    if entries is not None:
        _require(bool((entries != 0).all()), f"{name}: entry number 0, which means none")
