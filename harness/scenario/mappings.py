"""Shapes of mappings: tables of known keys, and mappings that are told apart by one of their keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.scenario.problems import Place, Report, did_you_mean, one_of
from harness.scenario.shapes import BAD, Schema, Shape, Words, refuse
from harness.scenario.source import Node


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key of a table.

    Args:
        name: as written.
        shape: of its value.
        meaning: one line for the reference.
        default: as it would be written; None = there is none (the value is then None, or the key is required).
        required: whether it must be there.
        filled: a table that is read as empty, so with its own defaults, where it is not written.
    """

    name: str
    shape: Shape
    meaning: str
    default: str | None = None
    required: bool = False
    filled: bool = False

    def default_value(self) -> Any:
        """Returns the default in base units, None where there is none."""
        if self.default is None and not self.filled:
            return None
        node = Node(path=self.name, place=Place(), kind="map" if self.filled else "text", text=self.default or "")
        value = self.shape.read(node, report := Report())
        report.raise_if_any()
        return value

    def schema(self) -> Schema:
        """Returns the schema of its value, described."""
        schema = {"description": self.meaning, **self.shape.schema()}
        return schema if self.default is None else {**schema, "default": self.default}


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A mapping with known keys.

    Args:
        name: e.g. ``load``, for messages.
        keys: in the order of the reference.
        exactly_one: names of which exactly one must be written.
    """

    name: str
    keys: tuple[Key, ...]
    exactly_one: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """Returns the names of the keys."""
        return f"a mapping with the keys {', '.join(k.name for k in self.keys)}"

    def read(self, node: Node, report: Report) -> Any:
        """Returns a dict with every key, defaults filled in; a value that could not be read is BAD."""
        if node.kind != "map":
            text = "" if node.kind == "nothing" else f"{node} is no mapping"
            return refuse(node, report, self, text)
        self._refuse_unknown(node, report)
        self._refuse_not_exactly_one(node, report)
        return {key.name: self._read_key(key, node, report) for key in self.keys}

    def _read_key(self, key: Key, node: Node, report: Report) -> Any:
        if key.name in node.entries:
            return key.shape.read(node.entries[key.name], report)
        if key.required:
            text, remedy = f"the key {key.name!r} is missing", f"add '{key.name}: …'"
            report.add(node.place, node.path, text, expected=key.shape.expected, remedy=remedy)
            return BAD
        return key.default_value()

    def _refuse_unknown(self, node: Node, report: Report) -> None:
        served = [key.name for key in self.keys]
        for name, entry in node.entries.items():
            if name not in served:
                remedy = did_you_mean(name, served) or "remove it"
                report.add(entry.place, entry.path, f"unknown key {name!r}", expected=one_of(served), remedy=remedy)

    def _refuse_not_exactly_one(self, node: Node, report: Report) -> None:
        if not self.exactly_one:
            return
        written = [node.entries[name] for name in self.exactly_one if name in node.entries]
        expected = f"exactly one of {', '.join(self.exactly_one)}"
        if not written:
            report.add(node.place, node.path, f"none of {', '.join(self.exactly_one)} is written", expected=expected)
        for entry in written[1:]:
            first = written[0].path.rpartition(".")[2]
            report.add(
                entry.place,
                entry.path,
                f"stands beside {first!r}",
                expected=expected,
                remedy=f"remove one of the two (on the command line: --set {written[0].path}=null)",
            )

    def schema(self) -> Schema:
        """Returns an object that allows nothing else."""
        schema: Schema = {
            "type": "object",
            "properties": {key.name: key.schema() for key in self.keys},
            "additionalProperties": False,
        }
        if required := [key.name for key in self.keys if key.required]:
            schema["required"] = required
        if self.exactly_one:
            schema["oneOf"] = [{"required": [name]} for name in self.exactly_one]
        return schema


@dataclass(frozen=True, kw_only=True, slots=True)
class Either:
    """A word, or a table."""

    words: Words
    table: Table

    @property
    def expected(self) -> str:
        """Returns both."""
        return f"{self.words.expected}, or {self.table.expected}"

    def read(self, node: Node, report: Report) -> Any:
        """Returns the word, or the table's dict."""
        if node.kind == "map":
            return self.table.read(node, report)
        if node.kind == "text" and node.text in self.words.words:
            return node.text
        return refuse(node, report, self, "" if node.kind == "nothing" else f"{node} is none of them")

    def schema(self) -> Schema:
        """Returns either."""
        return {"anyOf": [self.words.schema(), self.table.schema()]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Variants:
    """A mapping that is told apart by the one key of several that stands in it; read as (that key, dict)."""

    what: str
    tables: Mapping[str, Table]

    @property
    def expected(self) -> str:
        """Returns the keys."""
        return f"{self.what} with one of the keys {', '.join(self.tables)}"

    def read(self, node: Node, report: Report) -> Any:
        """Returns the key and the table's dict."""
        if node.kind != "map":
            return refuse(node, report, self, "" if node.kind == "nothing" else f"{node} is no mapping")
        found = [name for name in self.tables if name in node.entries]
        if not found:
            close = next(filter(None, (did_you_mean(name, self.tables) for name in node.entries)), "")
            return refuse(node, report, self, "none of its keys says what it is", close)
        if len(found) > 1:
            return refuse(node, report, self, f"{' and '.join(found)} stand in one", "write one item for each")
        return found[0], self.tables[found[0]].read(node, report)

    def schema(self) -> Schema:
        """Returns any of the tables."""
        return {"anyOf": [table.schema() for table in self.tables.values()]}
