"""The view of a run while it runs, on stderr: a panel on a terminal, plain lines elsewhere.

Both are listeners (``harness.run.progress``) and context managers. A second without a delivery is shown as such: the rate is 0, the
p99 ``—``, and the age of the last delivery stands beside it; never a line that is missing. Neighbours: ``picture`` knows what holds,
``panel`` lays it out, ``phrases`` has the words.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Protocol

from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from harness import clock
from harness.cli.panel import Line, panel
from harness.cli.phrases import happened, line
from harness.cli.picture import Picture
from harness.model import TrialStatus
from harness.run.progress import CaseFinished, Event, Listener, Tick, Warned
from reports.encoding import writable
from reports.escape import printable

DRAW_EVERY_S = 0.25
"""The counts of shards come four times a second."""
LINE_EVERY_NS = clock.NS_PER_S
SHOW_CURSOR = b"\x1b[?25h"


class View(Listener, Protocol):
    """A listener that shows what it is told from its ``__enter__`` to its ``__exit__``."""

    def __enter__(self) -> View: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_view(console: Console) -> View:
    """Returns the view that suits the console (stderr's); use it as a context manager."""
    return LiveView(console) if console.is_terminal and not console.is_dumb_terminal else PlainView(console)


class Frame:
    """Lines for rich, cut at the width of the terminal; cheaper than its tables, which measure and wrap."""

    def __init__(self, lines: Sequence[Line], encoding: str) -> None:
        self._lines = lines
        self._encoding = encoding

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for at, pieces in enumerate(self._lines):
            if at:
                yield Segment.line()
            segments = [Segment(writable(printable(text), self._encoding), _style(style)) for text, style in pieces]
            yield from Segment.adjust_line_length(segments, options.max_width, pad=False)


def _style(name: str) -> Style:
    return Style.parse(name)  # which keeps what it has parsed


class LiveView:
    """The panel: redrawn four times a second by a thread of its own, so that it moves also while nothing happens."""

    def __init__(
        self,
        console: Console,
        now: Callable[[], int] = clock.now_ns,
        above: Callable[[int, int], Sequence[Line]] | None = None,
    ) -> None:
        """Shows nothing yet.

        Args:
            above: width and height of the terminal → lines that stand above the run's own.
        """
        self._above = above
        self._console = console
        self._picture = Picture()
        self._now = now
        self._drawing = threading.RLock()
        self._lengths: list[int] = []
        self._width = console.width
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-view", daemon=True)
        self.ending = False
        self._live = Live(
            console=console, get_renderable=self._frame, auto_refresh=False, transient=True, redirect_stdout=False
        )

    def __enter__(self) -> LiveView:
        global _shown  # noqa: PLW0603 - signals know no other way to it
        self._live.start()
        _shown = self
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _shown  # noqa: PLW0603
        try:
            self._ended.set()
            self._thread.join()
        finally:  # also where a Ctrl-C comes just now
            with contextlib.suppress(OSError, SystemExit):  # rich answers a closed pipe with SystemExit
                self._live.stop()
                self._console.show_cursor(True)
            _shown = None

    def notice(self, event: Event) -> None:
        """Takes an event; what should stay is printed above the panel."""
        self._picture.notice(event)
        if isinstance(event, Warned) or (isinstance(event, CaseFinished) and event.status is not TrialStatus.VALID):
            with self._drawing, contextlib.suppress(OSError, SystemExit):
                self._console.print(Text(writable(printable(happened(event)), self._console.encoding)))

    def draw(self) -> None:
        """Draws the panel anew; where the terminal has become narrower, the old one first goes as it stands there now."""
        with self._drawing, contextlib.suppress(OSError, SystemExit):
            width = self._console.width
            if width < self._width:
                self._remove_wrapped(width)
            self._width = width
            self._live.refresh()

    def _remove_wrapped(self, width: int) -> None:
        """Goes up by as many rows as the lines of the last panel take more than when they were drawn, and clears from there."""
        further = sum(math.ceil(max(length, 1) / width) - 1 for length in self._lengths)
        if further:
            self._console.file.write(f"\x1b[{further}A\x1b[J")

    def _run(self) -> None:
        while not self._ended.wait(DRAW_EVERY_S):
            self.draw()

    def _frame(self) -> Frame:
        width, height = self._console.size
        first = [*self._above(width, height)] if self._above else []
        lines = [
            *first,
            *panel(self._picture.at(self._now()), width, max(1, height - 1 - len(first)), ending=self.ending),
        ]
        self._lengths = [min(width, sum(len(text) for text, _ in pieces)) for pieces in lines]
        return Frame(lines, self._console.encoding)


_shown: LiveView | None = None


def say_ending() -> bool:
    """Lets the panel say that the run is ending; returns whether there is one. For a signal handler: takes no lock, writes nothing."""
    if _shown is None:
        return False
    _shown.ending = True
    return True


class PlainView:
    """Lines: one when something changes, and one a second while messages flow."""

    def __init__(self, console: Console) -> None:
        self._file = console.file
        self._encoding = console.encoding
        self._picture = Picture()
        self._lock = threading.Lock()
        self._next_ns = 0

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def notice(self, event: Event) -> None:
        """Takes an event and prints its line, if it has one."""
        with self._lock, contextlib.suppress(OSError, ValueError):  # a closed stderr must not end the run
            self._picture.notice(event)
            if not isinstance(event, Tick):
                self._print(happened(event))
            elif event.t_ns >= self._next_ns:
                # On from when it was due, so that ticks which come a little late do not add up to a missing line.
                late_ns = event.t_ns - self._next_ns
                self._next_ns = (event.t_ns if late_ns > LINE_EVERY_NS // 2 else self._next_ns) + LINE_EVERY_NS
                self._print(f"  {line(self._picture.at(event.t_ns))}")

    def _print(self, text: str) -> None:
        if text:
            self._file.write(writable(f"{printable(text)}\n", self._encoding))
            self._file.flush()
