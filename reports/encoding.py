"""Text for terminals. Some cannot write every sign: a stand-in for each sign of ours, question marks for any other. And what others
wrote may hold control characters, with which it could write over what we say: none of them reaches a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment

from reports.escape import printable

_STAND_INS = {
    "−": "-",
    "±": "+-",
    "≈": "~",
    "✓": "+",
    "✗": "x",
    "▼": "v",
    "○": "o",
    "≥": ">=",
    "≤": "<=",
    "—": "-",
    "–": "-",
    "…": "...",
    "→": "->",
    "×": "x",
    "·": ".",
    "°": " deg",
    "µ": "u",
    "⨯": "x",
    "≠": "#",
    "σ": "s",
    "▶": ">",
    "━": "=",
    "─": "-",
    **dict(zip("▁▂▃▄▅▆▇█", "_-~=+*%#", strict=True)),  # of sparklines: by how much ink they take
}


def writable(text: str, encoding: str) -> str:
    """Returns ``text`` with a stand-in for every sign that ``encoding`` has not; as it is where it can be written whole.

    A ``≥`` takes the space after it, so that tables keep their columns.
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        if not _has("≥", encoding):
            text = text.replace("≥ ", ">=")
        return "".join(sign if _has(sign, encoding) else _STAND_INS.get(sign, "?" * cell_len(sign)) for sign in text)
    return text


def _has(sign: str, encoding: str) -> bool:
    try:
        sign.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


@contextmanager
def writably(console: Console) -> Iterator[None]:
    """Lets text of others be printed, and signs that the console cannot write, in others."""
    with printably(console):
        if console.encoding.startswith("utf"):
            yield
            return
        with console.capture() as captured:  # rich itself would raise UnicodeEncodeError
            yield
        console.out(writable(captured.get(), console.encoding), end="", highlight=False)


class Printable(RenderHook):
    """Takes from all that rich prints what is no text: control characters, and those that turn the direction of what follows."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Returns what is printed instead."""
        return [_Printable(each) for each in renderables]


class _Printable:
    def __init__(self, what: ConsoleRenderable) -> None:
        self._what = what

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self._what, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)


@contextmanager
def printably(console: Console) -> Iterator[None]:
    """Lets nothing but text be printed."""
    console.push_render_hook(Printable())
    try:
        yield
    finally:
        console.pop_render_hook()
