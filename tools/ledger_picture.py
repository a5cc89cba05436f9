"""Draws ``docs/ledger.svg``: five messages, what producer, broker and worker saw of each, and what the ledger says of it.

No external font, no address; readable on a light and on a dark screen. ``tools/docs.py`` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from harness.model import Class, Mark

WIDTH, TOP, ROW, BOTTOM = 1000, 76, 96, 62
LEFT, RIGHT, RESULT = 150, 700, 736
TRACKS = {"producer": 25, "broker": 48, "worker": 71}
KILL, BACK, SEARCH = 46.0, 58.0, 94.0

STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 13px; fill: #1f2328 }
.soft { fill: #59636e; font-size: 12px } .name { font-size: 15px; font-weight: 600 } .small { font-size: 11px }
.page { fill: #ffffff; stroke: #d1d9e0 } .rule { stroke: #d1d9e0 } .axis { stroke: #59636e }
.band { fill: #d55e00; opacity: .13 } .edge { stroke: #c25500; stroke-dasharray: 4 3 } .told { fill: #a84900; font-weight: 600 }
.producer { fill: #0072b2; stroke: #0072b2 } .hollow { fill: #ffffff; stroke: #0072b2; stroke-width: 1.8 }
.stay { fill: #8c959f; stroke: none } .asleep { fill: none; stroke: #8c959f; stroke-width: 1.6; stroke-dasharray: 3 3 }
.worker { fill: #00845f; stroke: #00845f } .bad { stroke: #c83c00; stroke-width: 2.6; fill: none; stroke-linecap: round }
.good-text { fill: #00734f } .bad-text { fill: #b93600 } .ring { fill: none; stroke: #1f2328; stroke-width: 2; stroke-linecap: round }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .soft { fill: #9aa4ae } .page { fill: #10151b; stroke: #3d444d } .rule { stroke: #2b323b } .axis { stroke: #9aa4ae }
.band { fill: #ff8c3a; opacity: .17 } .edge { stroke: #ff9c57 } .told { fill: #ffab70 }
.producer { fill: #56b4e9; stroke: #56b4e9 } .hollow { fill: #10151b; stroke: #56b4e9 }
.stay { fill: #848d97 } .asleep { stroke: #848d97 } .worker { fill: #2fc08f; stroke: #2fc08f } .bad { stroke: #ff7b50 }
.good-text { fill: #43cf9e } .bad-text { fill: #ff8f66 } .ring { stroke: #e6edf3 }
}
"""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """One delivery on the time axis (0 to 100); ``settled`` None = its ack cannot be sent."""

    received: float
    finished: float
    settled: float | None


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message: when it was due, sent and answered, from when to when the broker had it, its deliveries, what it is called."""

    due: float
    answered: float
    refused: bool = False
    kept: tuple[float, float]
    deliveries: tuple[Delivery, ...] = ()
    name: str
    good: bool
    says: tuple[str, ...]

    @property
    def sent(self) -> float:
        """Returns when its first byte left."""
        return self.due + (self.answered - self.due) * 0.4


MESSAGES = (
    Message(
        due=2,
        answered=17,
        kept=(11, 37),
        deliveries=(Delivery(received=21, finished=30.5, settled=39),),
        name=Class.PROCESSED,
        good=True,
        says=("confirmed, and its work finished",),
    ),
    Message(
        due=20,
        answered=28,
        kept=(24.5, 83),
        deliveries=(
            Delivery(received=33, finished=42.5, settled=None),
            Delivery(received=66, finished=76, settled=84),
        ),
        name=f"{Class.PROCESSED}, with the mark",
        good=True,
        says=(Mark.REDELIVERED_UNACKED, "its ack could not be sent any more,", "so the broker gave it again"),
    ),
    Message(
        due=31,
        answered=41,
        kept=(36, KILL),
        name=Class.LOST,
        good=False,
        says=("confirmed, never worked off, and", "nowhere in the broker afterwards"),
    ),
    Message(
        due=25,
        answered=34,
        kept=(29.5, 100),
        name=Class.STRANDED,
        good=False,
        says=("kept: the search finds it; but no", "worker was ever given it"),
    ),
    Message(
        due=61,
        answered=70,
        refused=True,
        kept=(66, 86),
        deliveries=(Delivery(received=73, finished=81, settled=88),),
        name=Class.PHANTOM,
        good=False,
        says=("the broker refused it, and", "delivered it all the same"),
    ),
)


def picture() -> str:
    """Returns the SVG."""
    height = TOP + ROW * len(MESSAGES) + BOTTOM
    title = "What the ledger says of five messages"
    told = "; ".join(f"{n}: {m.name} {' '.join(m.says)}".replace("_", " ") for n, m in enumerate(MESSAGES, 1))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
            ' role="img" aria-labelledby="title told">',
            f'<title id="title">{title}</title>',
            f'<desc id="told">Time runs from left to right; the broker is killed in the middle and started again. {escape(told)}.</desc>',
            f"<style>{STYLE}</style>",
            f'<rect class="page" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
            *_frame(height - BOTTOM),
            *(line for number, message in enumerate(MESSAGES) for line in _row(number, message)),
            *_moments(),
            *_legend(height - BOTTOM + 36),
            "</svg>",
            "",
        ]
    )


def _x(time: float) -> float:
    return round(LEFT + (RIGHT - LEFT) * time / 100, 1)


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words.replace("_", " "))}</text>'


def _frame(end: float) -> Iterator[str]:
    """Yields the time axis, the band of the kill, the line of the search."""
    yield f'<rect class="band" x="{_x(KILL)}" y="{TOP - 16}" width="{_x(BACK) - _x(KILL):g}" height="{end - TOP + 16}"/>'
    for time in (KILL, BACK):
        yield f'<line class="edge" x1="{_x(time)}" x2="{_x(time)}" y1="{TOP - 16}" y2="{end}"/>'
    yield f'<line class="axis" stroke-dasharray="1 4" stroke-width="2" x1="{_x(SEARCH)}" x2="{_x(SEARCH)}" y1="{TOP - 16}" y2="{end}"/>'
    yield _text(_x((KILL + BACK) / 2), 34, "broker killed (SIGKILL)", "told", "middle")
    yield _text(_x((KILL + BACK) / 2), 51, "and started again", "told small", "middle")
    yield _text(_x(SEARCH), 34, "load over,", "soft", "middle")
    yield _text(_x(SEARCH), 51, "broker searched", "soft", "middle")
    yield _text(24, 34, "message", "soft")
    yield _text(LEFT, 34, "time", "soft")
    yield f'<path class="axis" fill="none" d="M {LEFT + 34} 30 h 60 m -6 -4 l 6 4 l -6 4"/>'
    yield _text(RESULT, 34, "what the ledger says", "soft")
    for number in range(len(MESSAGES) + 1):
        y = TOP + ROW * number
        yield f'<line class="rule" x1="16" x2="{WIDTH - 16}" y1="{y}" y2="{y}"/>'


def _row(number: int, message: Message) -> Iterator[str]:
    """Yields the tracks of one message, and its name."""
    y = {track: TOP + ROW * number + offset for track, offset in TRACKS.items()}
    yield _text(24, y["broker"] + 5, f"{number + 1}", "name")
    for track in TRACKS:
        yield _text(LEFT - 12, y[track] + 4, track, "soft small", "end")
    yield from _attempt(message, y["producer"])
    yield from _stay(message, y["broker"])
    for delivery in message.deliveries:
        yield from _work(delivery, y["worker"])
    yield _text(RESULT, y["producer"] + 4, message.name, f"name {'good' if message.good else 'bad'}-text")
    for line, words in enumerate(message.says):
        yield _text(RESULT, y["producer"] + 24 + 17 * line, words, "good-text" if words in tuple(Mark) else "soft")


def _attempt(message: Message, y: float) -> Iterator[str]:
    due, sent, answered = _x(message.due), _x(message.sent), _x(message.answered)
    yield f'<line class="producer" stroke-width="1.6" x1="{due}" x2="{answered}" y1="{y}" y2="{y}"/>'
    yield f'<circle class="hollow" cx="{due}" cy="{y}" r="4.5"/><circle class="producer" cx="{sent}" cy="{y}" r="4.5"/>'
    yield _cross(answered, y) if message.refused else _diamond(answered, y, "producer")


def _stay(message: Message, y: float) -> Iterator[str]:
    begin, end = message.kept
    for start, stop in ((begin, min(end, KILL)), (max(begin, BACK), end)):
        if start < stop:
            yield f'<rect class="stay" x="{_x(start)}" y="{y - 6}" width="{_x(stop) - _x(start):g}" height="12" rx="2"/>'
    if begin < KILL and end > BACK:  # on disk only
        yield f'<rect class="asleep" x="{_x(KILL)}" y="{y - 5}" width="{_x(BACK) - _x(KILL):g}" height="10"/>'
    if end == KILL:
        yield _cross(_x(KILL), y)
    if end > SEARCH:
        yield f'<circle class="ring" cx="{_x(SEARCH)}" cy="{y}" r="11"/><path class="ring" d="M {_x(SEARCH) + 8} {y + 8} l 8 8"/>'


def _work(delivery: Delivery, y: float) -> Iterator[str]:
    received, finished = _x(delivery.received), _x(delivery.finished)
    yield f'<path class="worker" d="M {received - 4} {y - 5.5} l 9 5.5 l -9 5.5 z"/>'
    yield f'<rect class="worker" stroke="none" x="{received + 9}" y="{y - 4}" width="{finished - received - 9:g}" height="8" rx="2"/>'
    end = _x(delivery.settled) if delivery.settled is not None else _x(KILL) + 9
    yield f'<line class="worker" stroke-width="1.6" x1="{finished}" x2="{end}" y1="{y}" y2="{y}"/>'
    yield _cross(end, y) if delivery.settled is None else _diamond(end, y, "worker")


def _moments() -> Iterator[str]:
    """Yields the names of the moments, beside the first message."""
    first, work = MESSAGES[0], MESSAGES[0].deliveries[0]
    above, below = TOP + TRACKS["producer"] - 9, TOP + TRACKS["worker"] + 17
    yield _text(_x(first.due), above, "due", "soft small", "middle")
    yield _text(_x(first.sent), above, "sent", "soft small", "middle")
    yield _text(_x(first.answered), above, "confirmed", "soft small", "middle")
    yield _text(_x(work.received), below, "received", "soft small", "middle")
    yield _text(_x(work.finished), below, "finished", "soft small", "middle")
    yield _text(_x(work.settled or 0), below, "acked", "soft small", "middle")


def _legend(y: float) -> Iterator[str]:
    """Yields what the signs mean."""
    drawn = (
        (f'<circle class="hollow" cx="40" cy="{y}" r="4.5"/>', 52, "due"),
        (f'<circle class="producer" cx="104" cy="{y}" r="4.5"/>', 116, "sent"),
        (_diamond(174, y, "producer"), 186, "the broker's answer"),
        (_cross(330, y), 344, "refused, gone, not possible"),
        (f'<rect class="stay" x="528" y="{y - 6}" width="26" height="12" rx="2"/>', 562, "in the broker"),
        (f'<rect class="asleep" x="662" y="{y - 5}" width="26" height="10"/>', 696, "on its disk only"),
        (f'<rect class="worker" stroke="none" x="814" y="{y - 4}" width="26" height="8" rx="2"/>', 848, "work"),
    )
    for sign, x, words in drawn:
        yield sign
        yield _text(x, y + 4, words, "soft")


def _diamond(x: float, y: float, kind: str) -> str:
    return f'<path class="{kind}" d="M {x} {y - 6} l 6 6 l -6 6 l -6 -6 z"/>'


def _cross(x: float, y: float) -> str:
    return f'<path class="bad" d="M {x - 5} {y - 5} l 10 10 m 0 -10 l -10 10"/>'
