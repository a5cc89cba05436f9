"""Shapes of numbers with written units: lengths of time, sizes, rates, shares."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.scenario.problems import Report
from harness.scenario.shapes import Schema, refuse
from harness.scenario.source import Node
from harness.units import SIZE_BYTES, parse_duration_s, parse_rate_per_s, parse_ratio, parse_size_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Quantity:
    """A number with its unit.

    Args:
        parse: text to base units; raises ValueError.
        units: allowed units, the first being proposed where none is written.
        example: as messages show it.
        what: e.g. ``a duration``.
        least, most: bounds in base units, as written for people: (text, value).
        bare: whether a number without a unit is right too.
    """

    parse: Callable[[object], float]
    units: tuple[str, ...]
    example: str
    what: str
    least: tuple[str, float]
    most: tuple[str, float]
    bare: bool = False

    @property
    def expected(self) -> str:
        """Returns e.g. ``a duration such as '5 s', from 1 ms to 24 h``."""
        return f"{self.what} such as {self.example!r}, from {self.least[0]} to {self.most[0]}"

    def read(self, node: Node, report: Report) -> Any:
        """Returns the quantity in base units."""
        if node.kind != "text":
            return refuse(node, report, self)
        try:
            value = self.parse(node.text)
        except (ValueError, OverflowError) as error:
            text = str(error).partition("; expected")[0]
            return refuse(node, report, self, text if text.startswith("'") else "", self._unit_remedy(node.text))
        if not (math.isfinite(value) and self.least[1] <= value <= self.most[1]):
            low = value < self.least[1]
            remedy = f"write {self.least[0]} or more" if low else f"write {self.most[0]} or less"
            return refuse(node, report, self, f"{node} is out of bounds", remedy)
        return value

    def _unit_remedy(self, text: str) -> str:
        number = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)", text.strip())
        if number is None:
            return ""
        units = [unit for unit in self.units if unit.lower() == number[2].lower()]  # 64mb
        units = units or [unit for unit in self.units if unit.lower().startswith(number[2].lower())][:2]  # 64, 64M
        if not units:
            return ""
        space = "" if self.units[0].startswith("/") else " "
        written = [f"'{number[1]}{space}{unit}'" for unit in units]
        return f"write {' or '.join(written)}"

    def schema(self) -> Schema:
        """Returns a string pattern with the units."""
        units = "|".join(re.escape(unit) for unit in self.units)
        pattern = rf"^\s*[0-9]+([._][0-9]+)*(e[+-]?[0-9]+)?\s*({units}){'?' if self.bare else ''}\s*$"
        schema: Schema = {"type": "string", "pattern": pattern, "examples": [self.example]}
        return {"anyOf": [schema, {"type": "number", "minimum": 0}]} if self.bare else schema


def duration(least: str = "1 ms", most: str = "24 h") -> Quantity:
    """Returns the shape of a length of time, in seconds."""
    return Quantity(
        parse=parse_duration_s,
        units=("s", "ms", "min", "h", "us", "µs", "ns"),
        example="5 s",
        what="a duration",
        least=(least, parse_duration_s(least)),
        most=(most, parse_duration_s(most)),
    )


def size(least: str, most: str) -> Quantity:
    """Returns the shape of a number of bytes."""
    return Quantity(
        parse=parse_size_bytes,
        units=tuple(SIZE_BYTES),
        example="256 B",
        what="a size",
        least=(least, parse_size_bytes(least)),
        most=(most, parse_size_bytes(most)),
    )


def rate(least: str = "0.01/s", most: str = "100000000/s") -> Quantity:
    """Returns the shape of events per second."""
    return Quantity(
        parse=parse_rate_per_s,
        units=("/s",),
        example="2000/s",
        what="a rate",
        least=(least, parse_rate_per_s(least)),
        most=(most, parse_rate_per_s(most)),
    )


def ratio() -> Quantity:
    """Returns the shape of a share of 1."""
    return Quantity(
        parse=parse_ratio, units=("%",), example="5 %", what="a share", least=("0", 0.0), most=("100 %", 1.0), bare=True
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Number:
    """A number without a unit.

    Args:
        what, example: as messages show it. least, most: bounds, as written for people: (text, value).
    """

    what: str
    example: str
    least: tuple[str, float]
    most: tuple[str, float]

    @property
    def expected(self) -> str:
        """Returns e.g. ``a number of CPUs such as 0.5, from 0.01 to 1024``."""
        return f"{self.what} such as {self.example}, from {self.least[0]} to {self.most[0]}"

    def read(self, node: Node, report: Report) -> Any:
        """Returns the number."""
        number = re.fullmatch(r"(-?[0-9]{1,12}(?:\.[0-9]{1,12})?)(\s*%)?", node.text.strip())
        if node.kind != "text" or number is None:
            return refuse(node, report, self)
        if number[2]:
            share = float(number[1]) / 100
            possible = self.least[1] <= share <= self.most[1]
            return refuse(node, report, self, f"{node} has a unit", f"write {share:.12g}" if possible else "")
        value = float(node.text)
        if not self.least[1] <= value <= self.most[1]:
            low = value < self.least[1]
            remedy = f"write {self.least[0]} or more" if low else f"write {self.most[0]} or less"
            return refuse(node, report, self, f"{node} is out of bounds", remedy)
        return value

    def schema(self) -> Schema:
        """Returns a number with its bounds."""
        return {"type": "number", "minimum": self.least[1], "maximum": self.most[1]}


@dataclass(frozen=True, kw_only=True, slots=True)
class OrWord:
    """A number, or a word that stands for none (read as None)."""

    number: Quantity | Number
    word: str

    @property
    def expected(self) -> str:
        """Returns the number's words and the word."""
        return f"{self.number.expected}, or {self.word}"

    def read(self, node: Node, report: Report) -> Any:
        """Returns the number, None for the word."""
        if node.kind == "text" and node.text.strip() == self.word:
            return None
        return self.number.read(node, report)

    def schema(self) -> Schema:
        """Returns either."""
        return {"anyOf": [self.number.schema(), {"const": self.word}]}
