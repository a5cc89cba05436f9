"""A YAML file as a tree in which every value is the text that was written and knows its line; ``--set`` on top of it.

Only the syntax of YAML 1.2 is used, not its types: ``on``, ``off``, ``no``, ``1.10`` stay the words that they are, and
what they mean is decided by the key that they belong to (``shapes``).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLStreamError

from harness.errors import UsageError
from harness.redaction import hide
from harness.scenario.problems import Place, Problem, Report, ScenarioError, did_you_mean, one_of

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_NODES = 50_000  # aliases are written out: without a limit a few lines could stand for billions of values
_CORE_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {"str", "int", "float", "bool", "null", "timestamp", "merge", "value", "map", "seq"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One value of the tree.

    Args:
        path: dotted, e.g. ``faults.0.at``; "" for the whole file.
        place: where its key (or list item) stands.
        kind: ``text``, ``map``, ``list`` or ``nothing`` (a key without a value, ``null``, ``~``).
        text: what was written. entries: of a map. items: of a list.
    """

    path: str
    place: Place
    kind: str
    text: str = ""
    entries: Mapping[str, Node] = field(default_factory=dict)
    items: tuple[Node, ...] = ()

    def __str__(self) -> str:
        """Returns the value as messages show it."""
        words = {"map": "a mapping", "list": "a list", "nothing": "nothing"}
        text = hide(self.text)  # a URL that stands in the wrong place
        shown = text if len(text) <= 80 else text[:77] + "…"
        return words.get(self.kind, repr(shown))

    def nearest(self, path: str) -> Node:
        """Returns the node at the dotted ``path``, or the deepest one on the way to it that was written."""
        node = self
        for part in path.split("."):
            if part in node.entries:
                node = node.entries[part]
            elif part.isdigit() and int(part) < len(node.items):
                node = node.items[int(part)]
            else:
                break
        return node


def load_file(path: Path) -> tuple[str, Node]:
    """Returns the text of a scenario file and its tree.

    Raises:
        UsageError: no such file, a directory, not readable, not text, empty, or not YAML.
    """
    text = _read_text(path)
    report = Report()
    node = _compose(text, Place(file=str(path), line=1), report)
    if node is None or node.kind != "map":
        what = "holds nothing" if node is None or node.kind == "nothing" else f"is {node}"
        report.add(
            Place(file=str(path)),
            "",
            f"the scenario {what}",
            expected="a mapping with at least question, setups and load",
            remedy="copy one that ships: brokerbench list",
        )
    report.raise_if_any()
    assert node is not None
    return text, node


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"the scenario {path} cannot be read: {error.strerror}",
            expected="a YAML file",
            remedy="brokerbench list names the scenarios that ship",
        ) from error
    if len(raw) > MAX_BYTES:
        raise UsageError(f"{path} is larger than {MAX_BYTES >> 20} MiB", expected="a scenario of a few lines of YAML")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not text: byte {raw[error.start]:#04x} at offset {error.start}",
            expected="YAML in UTF-8",
        ) from error


def _compose(text: str, place: Place, report: Report) -> Node | None:
    """Returns the tree of a YAML text, None where there is none; syntax errors raise ScenarioError at once."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an anchor used again
            root = YAML(typ="rt", pure=True).compose(text)
    except (YAMLError, YAMLStreamError, RecursionError, ValueError) as error:
        raise ScenarioError([_syntax_problem(error, place)]) from error
    return None if root is None else _Builder(place, report).node(root, "", place, 0)


def _syntax_problem(error: Exception, place: Place) -> Problem:
    text, line = str(error).splitlines()[0] if str(error) else type(error).__name__, 0
    if isinstance(error, MarkedYAMLError):
        text = error.problem or text
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
    if isinstance(error, RecursionError):
        text = "nested too deeply"
    return Problem(
        place=place if place.option else replace(place, line=line),
        key="",
        text=f"not YAML: {text}",
        expected="YAML 1.2: 'key: value' lines indented by spaces; quote a text that holds ': ' or ' #'",
    )


class _Builder:
    """Turns ruamel's node graph into our tree, within limits."""

    def __init__(self, place: Place, report: Report) -> None:
        self._top = place
        self._report = report
        self._count = 0

    def node(self, raw: Any, path: str, place: Place, depth: int) -> Node:
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_NODES:
            text = "nested too deeply or too large (an alias that holds itself?)"
            raise ScenarioError([Problem(place=place, key=path, text=text)])
        tag = str(raw.tag)
        if tag.removeprefix(_CORE_TAG) not in _PLAIN_TAGS:
            self._report.add(place, path, f"the tag {tag!r} means nothing here", remedy="leave the tag away")
        if isinstance(raw.value, str):
            kind = "nothing" if tag == _CORE_TAG + "null" else "text"
            # ruamel marks with a bell where it folded.
            folded = raw.value.replace("\a", "") if raw.style == ">" else raw.value
            return Node(path=path, place=place, kind=kind, text=folded)
        if tag.endswith(":map") or (raw.value and isinstance(raw.value[0], tuple)):
            return Node(path=path, place=place, kind="map", entries=self._entries(raw, path, depth))
        items = (
            self.node(item, _join(path, str(index)), self._at(item, place), depth + 1)
            for index, item in enumerate(raw.value)
        )
        return Node(path=path, place=place, kind="list", items=tuple(items))

    def _entries(self, raw: Any, path: str, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for key, value in raw.value:
            place = self._at(key, self._top)
            if not isinstance(key.value, str):
                self._report.add(place, path, "a list or mapping stands where a key must be", expected="a word")
                continue
            name = key.value
            if name in entries:
                first = entries[name].place
                text = "the key is written twice" + (f", first in line {first.line}" if first.line else "")
                self._report.add(place, _join(path, name), text, remedy="remove one of the two")
                continue
            entries[name] = self.node(value, _join(path, name), place, depth + 1)
        return entries

    def _at(self, raw: Any, otherwise: Place) -> Place:
        if self._top.option:
            return self._top
        return replace(self._top, line=raw.start_mark.line + 1) if raw.start_mark else otherwise


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def override(root: Node, assignments: Sequence[str], report: Report, *, option: str = "--set") -> Node:
    """Returns the tree with ``key=value`` assignments applied, in order; ``null`` takes a key away.

    Paths are dotted; items of a list go by number (``faults.0.at``), setups also by name
    (``setups.redis-stream.persistence``: every entry of that name).
    """
    for order, assignment in enumerate(assignments):
        place = Place(option=f"{option} {_without_address(assignment)}", order=order)
        path, equals, text = assignment.partition("=")
        parts = _parts(path.strip())
        if not equals or not all(parts):
            report.add(place, "", "not an override", expected="key=value, such as load.rate=5000/s")
            continue
        try:
            value = _compose(text, place, report)
        except ScenarioError as error:
            for problem in error.problems:
                report.add(
                    problem.place, path, problem.text, expected="a value as in the file, such as 5000/s or [a, b]"
                )
            continue
        root = _assign(root, parts, value or Node(path="", place=place, kind="nothing"), place, report)
    return _renamed(root, "")


def _without_address(assignment: str) -> str:
    """Returns an assignment as messages show it: of an address only the key."""
    path, equals, _ = assignment.partition("=")
    is_address = path.strip().partition(".")[0] == "address"
    return f"{path}{equals}…" if is_address else hide(assignment)


def trials_override(root: Node, trials: int | None) -> Node:
    """Returns the tree with ``--trials N`` applied."""
    if trials is None:
        return root
    place = Place(option=f"--trials {trials}", order=1 << 20)
    node = Node(path="trials", place=place, kind="text", text=str(trials))
    return replace(root, entries={**root.entries, "trials": node})


def _parts(path: str) -> list[str]:
    head, dot, rest = path.partition(".")
    return [head, rest] if head == "slo" and dot else path.split(".")  # metric names hold dots themselves


def _assign(node: Node, parts: Sequence[str], value: Node, place: Place, report: Report) -> Node:
    if not parts:
        return replace(value, path=node.path)
    name, rest = parts[0], parts[1:]
    if node.path == "setups" and node.kind == "list" and not name.isdigit():
        return _assign_setup(node, parts, value, place, report)
    if node.kind == "list":
        if not name.isdigit() or int(name) >= len(node.items):
            expected = f"a number from 0 to {len(node.items) - 1}" if node.items else "a list that is not empty"
            report.add(place, f"{node.path}.{name}", f"{name!r} is no item of the list", expected=expected)
            return node
        items = list(node.items)
        items[int(name)] = _assign(items[int(name)], rest, value, place, report)
        return replace(node, items=tuple(items))
    entries = dict(node.entries)  # a text or nothing becomes a mapping: its own key says whether that may be
    if not rest and value.kind == "nothing":
        entries.pop(name, None)
    else:
        blank = Node(path=_join(node.path, name), place=place, kind="map")
        entries[name] = _assign(entries.get(name, blank), rest, value, place, report)
    return replace(node, kind="map", text="", entries=entries)


def _assign_setup(node: Node, parts: Sequence[str], value: Node, place: Place, report: Report) -> Node:
    """Sets something of every entry of the list of setups that has the name ``parts[0]``."""
    name = parts[0]
    listed = [next(iter(item.entries), "") if item.kind == "map" else item.text for item in node.items]
    if name not in listed:
        report.add(
            place,
            f"setups.{name}",
            f"the scenario has no setup {name!r}",
            expected=one_of(dict.fromkeys(listed)) if listed else "a setup of the scenario",
            remedy=did_you_mean(name, listed),
        )
        return node
    items = []
    for item, its_name in zip(node.items, listed, strict=True):
        if its_name != name:
            items.append(item)
            continue
        entry = item.entries.get(name) or Node(path=_join(item.path, name), place=item.place, kind="nothing")
        changed = _assign(entry, parts[1:], value, place, report)
        items.append(replace(item, kind="map", text="", entries={**item.entries, name: changed}))
    return replace(node, items=tuple(items))


def _renamed(node: Node, path: str) -> Node:
    """Returns the tree with every path written anew: assigned values were read on their own."""
    entries = {name: _renamed(entry, _join(path, name)) for name, entry in node.entries.items()}
    items = tuple(_renamed(item, _join(path, str(index))) for index, item in enumerate(node.items))
    return replace(node, path=path, entries=entries, items=items)
