"""The shapes that values of a scenario can have: each reads a node, says what it expects, and makes its JSON schema.

A shape's ``read`` never raises for what a file holds: it notes the problem and returns :data:`BAD`. Numbers with units are in
``quantities``, mappings in ``mappings``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from harness.scenario.problems import Report, did_you_mean, one_of
from harness.scenario.source import Node

Schema = dict[str, Any]

UNBOUNDED = 1 << 48  # a count that has no bound but that of files


class Bad:
    """The value of what could not be read; checks that need it are left out."""

    def __repr__(self) -> str:
        return "BAD"


BAD = Bad()


class Shape(Protocol):
    """What a value may look like."""

    @property
    def expected(self) -> str:
        """Returns the words for messages, e.g. ``a duration such as '5 s'``."""

    def read(self, node: Node, report: Report) -> Any:
        """Returns the value in base units, or BAD after noting why."""

    def schema(self) -> Schema:
        """Returns the JSON schema of the value as YAML gives it."""


def refuse(node: Node, report: Report, shape: Shape, text: str = "", remedy: str = "") -> Bad:
    """Notes that ``node`` does not have the shape; returns BAD."""
    if not text:
        text = "has no value" if node.kind == "nothing" else f"{node} is not what belongs here"
    if node.kind == "nothing":
        remedy = remedy or "write a value, or remove the key"
    report.add(node.place, node.path, text, expected=shape.expected, remedy=remedy)
    return BAD


def not_yet(node: Node, report: Report, what: str, serves: str = "") -> Bad:
    """Notes that ``what`` belongs to a later version; returns BAD."""
    report.add(
        node.place,
        node.path,
        f"{what} is not served yet by this version",
        expected=serves,
        remedy="remove it until then",
    )
    return BAD


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """Any words."""

    expected: str = "a sentence"

    def read(self, node: Node, report: Report) -> Any:
        """Returns the words, their white space made single."""
        if node.kind != "text" or not node.text.strip():
            return refuse(node, report, self)
        return " ".join(node.text.split())

    def schema(self) -> Schema:
        """Returns a string that is not empty."""
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True, kw_only=True, slots=True)
class Whole:
    """A whole number within bounds."""

    least: int
    most: int

    @property
    def expected(self) -> str:
        """Returns the bounds in words."""
        return f"a whole number from {self.least} to {self.most}" if self.most < UNBOUNDED else "a whole number"

    def read(self, node: Node, report: Report) -> Any:
        """Returns the number."""
        if node.kind != "text" or not re.fullmatch(r"[+-]?[0-9]{1,30}", node.text):
            return refuse(node, report, self)
        if not self.least <= int(node.text) <= self.most:
            low = int(node.text) < self.least
            remedy = f"write {self.least} or more" if low else f"write {self.most} or less"
            return refuse(node, report, self, f"{node.text} is out of bounds", remedy)
        return int(node.text)

    def schema(self) -> Schema:
        """Returns an integer with its bounds."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """One of some words; ``later`` are words that a later version serves."""

    words: tuple[str, ...]
    later: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """Returns all words."""
        return one_of(self.words)

    def read(self, node: Node, report: Report) -> Any:
        """Returns the word."""
        if node.kind == "text" and node.text in self.words:
            return node.text
        if node.kind == "text" and node.text in self.later:
            return not_yet(node, report, repr(node.text), self.expected)
        if node.kind == "text":
            return refuse(node, report, self, f"{node} is none of them", did_you_mean(node.text, self.words))
        return refuse(node, report, self)

    def schema(self) -> Schema:
        """Returns an enumeration; a word that YAML reads as something else stands in it as both."""
        return {"enum": [typed for word in self.words for typed in as_yaml_reads(word)]}


def as_yaml_reads(word: str) -> list[Any]:
    """Returns the word and, where YAML 1.2 reads it as something else, that too: editors validate what YAML reads."""
    typed: list[Any] = [word]
    if word == "null":
        typed.append(None)
    if word in ("true", "false"):
        typed.append(word == "true")
    elif re.fullmatch(r"[0-9]+", word):
        typed.append(int(word))
    elif re.fullmatch(r"[0-9]+\.[0-9]+", word):
        typed.append(float(word))
    return typed


@dataclass(frozen=True, kw_only=True, slots=True)
class OneOrMore:
    """A value, or a list of values that expands to cases: read as the value, or as a tuple."""

    item: Shape

    @property
    def expected(self) -> str:
        """Returns the words of one value."""
        return f"{self.item.expected}, or a list of such"

    def read(self, node: Node, report: Report) -> Any:
        """Returns the value, or the tuple; an empty list is refused."""
        if node.kind != "list":
            return self.item.read(node, report)
        return ListOf(item=self.item, most=100).read(node, report)

    def schema(self) -> Schema:
        """Returns either."""
        return {"anyOf": [self.item.schema(), ListOf(item=self.item, most=100).schema()]}


@dataclass(frozen=True, kw_only=True, slots=True)
class ListOf:
    """A list of one shape."""

    item: Shape
    least: int = 1
    most: int = 1000
    what: str = "a list"

    @property
    def expected(self) -> str:
        """Returns how many of what."""
        if self.least == self.most:
            return f"{self.what}: [{', '.join(['…'] * self.least)}], each {self.item.expected}"
        return f"{self.what} of {self.least} to {self.most}, each {self.item.expected}"

    def read(self, node: Node, report: Report) -> Any:
        """Returns a tuple, BAD when any item is."""
        if node.kind != "list":
            remedy = f"write [{node.text}]" if node.kind == "text" else ""
            return refuse(node, report, self, "" if node.kind == "nothing" else f"{node} is no list", remedy)
        if not self.least <= len(node.items) <= self.most:
            return refuse(node, report, self, f"a list of {len(node.items)}")
        values = tuple(self.item.read(item, report) for item in node.items)
        return BAD if BAD in values else values

    def schema(self) -> Schema:
        """Returns an array with its bounds."""
        return {"type": "array", "items": self.item.schema(), "minItems": self.least, "maxItems": self.most}
