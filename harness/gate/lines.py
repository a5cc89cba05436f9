"""Where rules stand in their file, for messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.scenario.problems import Place


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """Where tables and keys stand in a file: tomllib does not tell. Only messages depend on it."""

    file: str
    tables: tuple[int, ...]
    keys: tuple[Mapping[str, int], ...]

    @classmethod
    def of(cls, text: str, path: Path) -> Lines:
        """Returns those of a file."""
        tables: list[int] = []
        keys: list[dict[str, int]] = []
        for number, line in enumerate(text.splitlines(), start=1):
            if re.match(r"\s*\[\[\s*rule\s*\]\]", line):
                tables.append(number)
                keys.append({})
            elif keys and (key := re.match(r"\s*[\"']?([\w.-]+)[\"']?\s*=", line)):
                keys[-1].setdefault(key[1], number)
        return cls(file=str(path), tables=tuple(tables), keys=tuple(keys))

    def place(self, index: int, key: str = "") -> Place:
        """Returns where a key of the n-th rule stands, else where the rule begins."""
        if index >= len(self.tables):  # written in another form
            return Place(file=self.file)
        return Place(file=self.file, line=self.keys[index].get(key, self.tables[index]))
