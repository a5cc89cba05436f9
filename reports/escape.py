"""Text of others on our pages: in Markdown nothing of it may become markup, a table's border, or HTML (in HTML jinja2 sees to that)."""

from __future__ import annotations

import re

_SPECIAL = re.compile(r"([\\`*\[\]{}|~#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")  # an underscore inside a word is none
_MENTION = re.compile(r"(?<![A-Za-z0-9])@(?=[A-Za-z0-9])")  # of a person, where the page is a comment on a pull request
_CASE_ID = re.compile(
    r"((?<![\w.-])[\w.-]+\[[^\[\]`]*\]@[\w-]+(?:\.[\w-]+|,client=\w+)*)"
)  # that a mention would be seen in
_UNPRINTABLE = dict.fromkeys(
    [
        *({*range(0x20), 0x7F, *range(0x80, 0xA0)} - {*map(ord, "\n\t")}),
        *(0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
    ]
)


def printable(value: str) -> str:
    """Returns a text without the characters that have no picture of their own, or turn the direction of what follows."""
    return value.translate(_UNPRINTABLE)


def text(value: object) -> str:
    """Returns ``value`` as plain words for running text and table cells: one line, no markup, no HTML.

    An id like ``redis-stream[persistence=none]@embedded`` is a code span: it can be copied as it stands, and mentions nobody.
    """
    line = " ".join(printable(str(value)).split())
    return "".join(code(part) if at % 2 else _words(part) for at, part in enumerate(_CASE_ID.split(line)))


def _words(line: str) -> str:
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MENTION.sub("@\u2060", _SPECIAL.sub(r"\\\1", line))


def code(value: object) -> str:
    """Returns ``value`` as a code span on one line that is safe in a table too."""
    line = " ".join(printable(str(value)).split())
    if not line:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}".replace("|", "\\|")  # GitHub reads \| as | inside a table's code


def block(value: str) -> str:
    """Returns ``value`` as a fenced block, whatever fences it holds."""
    value = printable(value)
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", value)), default=0) + 1)
    return f"{fence}\n{value.rstrip()}\n{fence}"


def table(headings: list[str], rows: list[list[str]], *, right: int | None = None) -> str:
    """Returns a table of cells that are escaped already; columns from number ``right`` on stand to the right."""
    marks = ["---:" if right is not None and index >= right else "---" for index in range(len(headings))]
    lines = [headings, marks, *rows]
    return "\n".join("| " + " | ".join(cell or " " for cell in line) + " |" for line in lines)
