"""The product's relay, with what tests need besides: it cuts, swallows or delays on command, without looking at what passes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from harness.clock import NS_PER_S, now_ns
from harness.proxy.relay import Pair, Relay

LIMIT_S = 5.0


class TcpProxy(Relay):
    """Passes bytes on in both directions; orders count the bytes that the broker answers from the order on.

    Args:
        host, port: where the broker listens.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self._pass: int | None = None  # answered bytes still passed on; None = all
        self._then = ""
        self._delay_s = 0.0
        self._mute: set[Pair] = set()
        self._thread = threading.Thread(target=self.run, daemon=True)
        self._thread.start()

    def cut_after(self, answered_bytes: int) -> None:
        """Passes so many bytes of answers on, then cuts the connection."""
        self._order(answered_bytes, "cut")

    def swallow_after(self, answered_bytes: int) -> None:
        """Passes so many bytes of answers on, then swallows all others; requests go through."""
        self._order(answered_bytes, "swallow")

    def delay(self, delay_s: float) -> None:
        """Holds every piece of an answer back for so long."""
        self._now(lambda: setattr(self, "_delay_s", delay_s))

    def cut(self) -> None:
        """Resets every connection now."""

        def reset_all() -> None:
            for pair in list(self.pairs):
                self.reset(pair, pair.client)
                self.leave(pair, pair.broker)

        self._now(reset_all)

    def heal(self) -> None:
        """Passes everything on again; connections that were swallowed from stay mute."""
        self._order(None, "")
        self.delay(0.0)

    def shut_down(self) -> None:
        """Ends every connection and the thread."""
        self.end()
        self._thread.join(LIMIT_S)

    def __enter__(self) -> TcpProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shut_down()

    def from_broker(self, pair: Pair, data: bytes) -> None:
        """Passes on what the order lets through."""
        if self._delay_s:
            self.at(now_ns() + int(self._delay_s * NS_PER_S), lambda: self._answer(pair, data))
        else:
            self._answer(pair, data)

    def _answer(self, pair: Pair, data: bytes) -> None:
        passed, then = self._portion(data)
        if pair not in self._mute:
            self.send(pair, pair.client, passed)
        if then == "swallow":
            self._mute.add(pair)
        if then == "cut":
            self.close(pair)

    def _portion(self, data: bytes) -> tuple[bytes, str]:
        """Returns what of an answer goes through, and what happens after it."""
        if self._pass is None:
            return data, ""
        if len(data) < self._pass:
            self._pass -= len(data)
            return data, ""
        passed, self._pass = data[: self._pass], 0
        return passed, self._then

    def _order(self, answered_bytes: int | None, then: str) -> None:
        def give() -> None:
            self._pass, self._then = answered_bytes, then

        self._now(give)

    def _now(self, what: Callable[[], None]) -> None:
        """Has something done by the loop, and waits for it."""
        done = threading.Event()
        self.call(what)
        self.call(done.set)
        assert done.wait(LIMIT_S)
