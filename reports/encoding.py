"""Text for terminals that cannot write every sign: a stand-in for each sign of ours, question marks for any other."""

from __future__ import annotations

from rich.cells import cell_len

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
