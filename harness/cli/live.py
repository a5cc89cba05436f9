"""The view of a run while it runs, on stderr: a panel on a terminal, plain lines elsewhere.

Both are listeners (``harness.run.progress``) and context managers. A second without a delivery is shown as such: the rate is 0, the
p99 ``—``, and the age of the last delivery stands beside it; never a line that is missing.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness import clock
from harness.cli.picture import ActiveFault, LiveSnapshot, Picture, Rates
from harness.model import TrialStatus
from harness.run.progress import (
    CaseFinished,
    CaseStarted,
    Event,
    FaultHealed,
    FaultInjected,
    PhaseChanged,
    Tick,
    Warned,
)
from harness.units import format_count, format_duration, format_rate
from reports.encoding import writable

REFRESH_PER_S = 5
LINE_EVERY_NS = clock.NS_PER_S
BAR_WIDTH = 30
NONE = "—"


def open_view(console: Console) -> LiveView | PlainView:
    """Returns the view that suits the console (stderr's); use it as a context manager."""
    rich_enough = console.is_terminal and not console.is_dumb_terminal and console.encoding.startswith("utf")
    return LiveView(console) if rich_enough else PlainView(console)


class LiveView:
    """The panel: redrawn five times a second by rich's own thread, so that it moves also while nothing happens."""

    def __init__(self, console: Console, now: Callable[[], int] = clock.now_ns) -> None:
        self._picture = Picture()
        self._now = now
        self._live = Live(
            console=console,
            get_renderable=self._draw,
            refresh_per_second=REFRESH_PER_S,
            transient=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError, SystemExit):  # rich answers a closed pipe with SystemExit
            self._live.stop()

    def notice(self, event: Event) -> None:
        """Takes an event; what should stay is printed above the panel."""
        self._picture.notice(event)
        if isinstance(event, CaseFinished | Warned):
            with contextlib.suppress(OSError, SystemExit):
                self._live.console.print(Text(happened(event)))

    def _draw(self) -> RenderableType:
        return panel(self._picture.at(self._now()))


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
        self._file.write(writable(f"{text}\n", self._encoding))
        self._file.flush()


def happened(event: Event) -> str:
    """Returns the line that says what an event was; a tick has none."""
    told = ""
    match event:
        case CaseStarted():
            told = _case(event)
        case PhaseChanged():
            told = f"  {event.phase}{_length(event)}"
        case FaultInjected():
            heals = "" if event.hold_s is None else f", to be healed in {format_duration(event.hold_s)}"
            told = f"  ! fault: {event.label}{heals}"
        case FaultHealed():
            told = f"  ! healed: {event.label}"
        case Warned():
            told = f"  warning: {event.text}"
        case CaseFinished():
            sign = "✓" if event.status is TrialStatus.VALID else "!"
            words = f" — {event.words}" if event.words else ""
            told = f"{sign} {event.case_id}, trial {event.trial}: {event.status.value}{words}"
    return told


def line(now: LiveSnapshot) -> str:
    """Returns a moment as one line."""
    parts = [_phase(now)]
    if now.rates:
        parts += [_flow(now.rates), _tail(now.rates), _counts(now.rates)]
    parts += [_fault(fault) for fault in now.faults]
    return " | ".join(parts)


def panel(now: LiveSnapshot) -> RenderableType:
    """Returns a moment as a panel of few lines, which never wrap."""
    if now.case is None:
        return Text("starting")
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(no_wrap=True, overflow="ellipsis")
    if now.silent_s is not None and now.rates is not None:
        if now.phase is not None and now.phase.length_s is not None:  # a phase in which news should come
            rows.add_row("load", Text(f"no news for {format_duration(round(now.silent_s, 1))}", style="bold yellow"))
        rows.add_row("so far", _counts(now.rates))
    elif now.rates is not None:
        quiet = not now.rates.delivered_per_s
        rows.add_row("rates", _flow(now.rates))
        rows.add_row("latency", Text(_tail(now.rates), style="bold yellow" if quiet else ""))
        rows.add_row("so far", _counts(now.rates))
    for fault in now.faults:
        rows.add_row("fault", Text(_fault(fault), style="bold red"))
    return Group(Text(_case(now.case), style="bold", no_wrap=True, overflow="ellipsis"), _progress(now), rows)


def _progress(now: LiveSnapshot) -> RenderableType:
    text = Text(_phase(now), no_wrap=True, overflow="ellipsis")
    if now.phase is None or not now.phase.length_s or now.phase.limit:
        return text
    bar = ProgressBar(total=now.phase.length_s, completed=min(now.elapsed_s, now.phase.length_s), width=BAR_WIDTH)
    both = Table.grid(padding=(0, 2))
    both.add_row(bar, text)
    return both


def _case(case: CaseStarted) -> str:
    trial = f", trial {case.trial} of {case.trials}" if case.trials > 1 else ""
    return f"case {case.number} of {case.of}: {case.case_id}{trial}"


def _length(phase: PhaseChanged) -> str:
    if phase.length_s is None:
        return ""
    return f", {'at most ' if phase.limit else ''}{format_duration(phase.length_s)}"


def _phase(now: LiveSnapshot) -> str:
    phase = now.phase
    if phase is None:
        return "starting"
    done = f"{int(now.elapsed_s)} s"
    if phase.length_s is None:
        return f"{phase.phase} {done}"
    if phase.limit:
        return f"{phase.phase} {done}, at most {format_duration(phase.length_s)}"
    left_s = max(0.0, phase.length_s - now.elapsed_s)
    return f"{phase.phase} {done} of {format_duration(phase.length_s)}, {math.ceil(left_s)} s left"


def _flow(rates: Rates) -> str:
    parts = {"offered": rates.offered_per_s, "confirmed": rates.confirmed_per_s, "delivered": rates.delivered_per_s}
    return "  ".join(f"{name} {NONE if rate is None else format_rate(rate)}" for name, rate in parts.items())


def _tail(rates: Rates) -> str:
    if rates.tail_s is not None:
        beyond = math.isinf(rates.tail_s)
        return f"{rates.tail_name} {'beyond 1 h' if beyond else format_duration(rates.tail_s)} end to end"
    if rates.quiet_s is None:
        return f"p99 {NONE}  nothing delivered yet"
    return f"p99 {NONE}  nothing delivered for {format_duration(round(rates.quiet_s, 1))}"


def _counts(rates: Rates) -> str:
    broker = "" if rates.backlog_broker is None else f" (broker: {format_count(rates.backlog_broker)})"
    told = {"rejected": rates.rejected, "unknown": rates.unknown, "redelivered": rates.redelivered}
    counts = "  ".join(f"{name} {format_count(number)}" for name, number in told.items())
    return f"backlog {format_count(rates.backlog)}{broker}  {counts}"


def _fault(fault: ActiveFault) -> str:
    since = f"{fault.label}, for {fault.since_s:.1f} s"
    if fault.left_s is None:
        return f"{since}, until the load ends"
    if fault.left_s > 0:
        return f"{since}, heals in {fault.left_s:.1f} s"
    return f"{since}, healing"
