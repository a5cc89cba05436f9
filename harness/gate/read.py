"""The way from a rules file (TOML) to rules: everything is validated before anything is judged, all errors at once.

A rule is of the kind that its key says: ``max_worse``, ``require``, ``guarantee`` or ``max_lossy``. Numbers are written with their units
and refused in the same words as in scenarios.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.analysis.slo import RECOVERY
from harness.errors import UsageError, one_line
from harness.gate import remedies
from harness.gate.absolute import RELATIONS
from harness.gate.lines import Lines
from harness.gate.phrases import LOSS, is_of_the_run
from harness.gate.rules import AbsoluteRule, BudgetRule, GuaranteeRule, RelativeRule, Rule
from harness.metrics import METRICS
from harness.model import FaultKind
from harness.scenario.entries import bound_shape
from harness.scenario.problems import Place, Report, did_you_mean, one_of
from harness.scenario.shapes import BAD
from harness.scenario.source import Node
from harness.units import parse_ratio

MAX_BYTES = 1 << 20
LONGEST = 100
KINDS = {"max_worse": ("min_abs",), "require": (), "guarantee": ("fault",), "max_lossy": ("max_lost_per_fault",)}
"""Key that tells the kind → the further keys of that kind."""

KEYS = ("id", "metric", "window", "case", *(key for kind, more in KINDS.items() for key in (kind, *more)))
GUARANTEE = "guarantee"
_WINDOW = re.compile(r"steady|whole|(fault|recovery)\[[0-9]{1,3}\]")
_WINDOWS = "steady, whole, fault[0], recovery[0] …"
_RELATION = re.compile(r"\s*(==|<=|>=|<|>)(?![=<>])\s*(.*)", re.DOTALL)
_REQUIRE = f"a relation ({', '.join(RELATIONS)}) and a bound, such as '== 0', '>= 0.99' or '<= 50 ms'"
_MOST = 100.0


def read_rules(path: Path) -> tuple[Rule, ...]:
    """Returns the rules of a file, in the order written; at least one.

    Raises:
        UsageError: it cannot be read, is no TOML, or holds no rule; ScenarioError with everything that is wrong with its rules.
    """
    text = _text(path)
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(path, f"is not TOML: {one_line(error)}") from None
    except RecursionError:
        raise _unreadable(path, "is nested too deeply") from None
    report = Report()
    rules = _rules(told, Lines.of(text, path), report)
    report.raise_if_any()
    return tuple(rule for rule in rules if rule is not None)


def margin(text: str) -> float:
    """Returns the tolerated ratio of a margin as written: ``25%`` → 1.25.

    Raises:
        ValueError: no share above 0 with its unit.
    """
    share = _share(text)
    if not 0 < share <= _MOST:
        raise ValueError(f"{text!r} is no margin; expected {_margin_words()}")
    return 1 + share


def _share(text: str) -> float:
    if not text.strip().endswith("%"):
        raise ValueError(f"{text!r} has no unit; expected {_margin_words()}")
    return parse_ratio(text)


def _margin_words() -> str:
    return "a share above 0 % with its unit, such as '25%'"


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes() if path.stat().st_size <= MAX_BYTES else None
    except OSError as error:
        raise _unreadable(path, f"cannot be read: {error.strerror or error}") from None
    if raw is None:
        raise _unreadable(path, f"is larger than {MAX_BYTES:,} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise _unreadable(path, "is not text in UTF-8") from None


def _unreadable(path: Path, what: str) -> UsageError:
    return UsageError(
        f"the rules file {path} {what}",
        expected="TOML with a [[rule]] table for each rule, with id, metric, and one of max_worse, require, guarantee, max_lossy",
        remedy='write e.g. [[rule]], id = "no-loss", metric = "loss.confirmed", require = "== 0", each on a line of its own',
    )


def _rules(told: Mapping[str, Any], lines: Lines, report: Report) -> list[Rule | None]:
    whole = Place(file=lines.file)
    for name in told:
        if name != "rule":
            remedy = did_you_mean(name, ("rule",)) or "remove it"
            report.add(whole, "", f"unknown key {name!r}", expected="[[rule]] tables and nothing else", remedy=remedy)
    tables = told.get("rule")
    if tables is None or tables == []:
        if set(told) <= {"rule"}:
            report.add(
                whole,
                "",
                "holds no rule",
                expected="one [[rule]] or more",
                remedy="a gate without a rule would pass whatever it meets",
            )
        return []
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        report.add(
            whole,
            "rule",
            "is not a list of tables",
            expected="[[rule]] before each rule",
            remedy="write [[rule]], with two brackets",
        )
        return []
    _refuse_twins(tables, lines, report)
    return [_Reader(table, index, lines, report).rule() for index, table in enumerate(tables)]


def _refuse_twins(tables: list[dict[str, Any]], lines: Lines, report: Report) -> None:
    first: dict[str, int] = {}
    for index, table in enumerate(tables):
        name = table.get("id")
        if not isinstance(name, str):
            continue
        if name in first:
            place = lines.place(first[name], "id")
            text = f"{name!r} is the id of another rule too ({place})"
            report.add(
                lines.place(index, "id"),
                f"rule {name!r}: id",
                text,
                expected="an id of its own",
                remedy="name it otherwise",
            )
        first.setdefault(name, index)


class _Reader:
    """Reads one table; what is wrong goes into the report, and the rule is then None."""

    def __init__(self, table: dict[str, Any], index: int, lines: Lines, report: Report) -> None:
        self._table = table
        self._index = index
        self._lines = lines
        self._report = report
        self._sound = True
        name = table.get("id")
        self._name = f"rule {name!r}" if isinstance(name, str) and name else f"rule {index + 1}"

    def rule(self) -> Rule | None:
        """Returns the rule, None where something is wrong with it."""
        for key in self._table:
            if key not in KEYS:
                remedy = did_you_mean(key.replace("-", "_"), KEYS) or "remove it"
                self._refuse(key, f"unknown key {key!r}", one_of(KEYS), remedy)
        kind = self._kind()
        common = {"id": self._id(), "case": self._words("case", default="*"), "metric": self._metric(kind)}
        read = {
            "max_worse": self._relative,
            "require": self._absolute,
            "guarantee": self._guarantee,
            "max_lossy": self._budget,
        }
        window = self._window(common["metric"])
        found = read[kind](**common, window=window) if kind else None
        return found if self._sound else None

    def _refuse(self, key: str, text: str, expected: str, remedy: str = "") -> None:
        self._sound = False
        path = f"{self._name}: {key}" if key in self._table else self._name
        self._report.add(self._lines.place(self._index, key), path, text, expected=expected, remedy=remedy)

    def _kind(self) -> str:
        written = [kind for kind in KINDS if kind in self._table]
        expected = f"exactly one of {', '.join(KINDS)}"
        if not written:
            remedy = "max_worse = '25%' compares with the other side, require = '== 0' asks the same of every trial"
            self._refuse("", "asks nothing", expected, remedy)
            return ""
        for other in written[1:]:
            self._refuse(other, f"stands beside {written[0]!r}", expected, "write two rules")
        for kind, keys in KINDS.items():
            for key in keys:
                if key in self._table and kind not in written:
                    self._refuse(
                        key,
                        f"belongs to {kind!r}, which is not written",
                        f"{key} beside {kind}",
                        f"add {kind}, or remove {key}",
                    )
        return written[0]

    def _words(self, key: str, *, default: str) -> str:
        """Returns a text on one line."""
        value = self._table.get(key, default)
        if isinstance(value, str) and value.strip() and value.isprintable() and len(value) <= LONGEST:
            return value
        self._refuse(key, f"{value!r} is not what belongs here", f"words on one line, at most {LONGEST} characters")
        return default

    def _id(self) -> str:
        if "id" in self._table:
            return self._words("id", default="?")
        self._refuse("", "the key 'id' is missing", "a name that verdicts are printed with", "add id = '…'")
        return "?"

    def _metric(self, kind: str) -> str:
        """Returns the metric; BudgetRule and GuaranteeRule have theirs by their kind."""
        fixed = {"guarantee": GUARANTEE, "max_lossy": LOSS}.get(kind)
        name = self._table.get("metric")
        if fixed is not None and name in (None, fixed):
            return fixed
        if fixed is not None:
            self._refuse("metric", f"{name!r} stands beside {kind!r}", f"no metric, or {fixed!r}", "remove it")
            return fixed
        if name is None:
            self._refuse(
                "",
                "the key 'metric' is missing",
                "the name of a metric",
                "add metric = 'latency.end_to_end.p99' or the like",
            )
        elif not isinstance(name, str) or name not in METRICS:
            self._refuse("metric", f"there is no metric {name!r}", "the name of a metric", remedies.metric(str(name)))
        elif name == "loss.confirmed_upper_95" or (kind == "max_worse" and name == "loss.ratio"):
            why = "rests on messages, which are lost in batches: a bound of 5 % is then wrong in a third of all cases"
            self._refuse(
                "metric",
                f"{name!r} {why}",
                "a rule on deployments",
                f"write {LOSS!r} with require, max_lossy or max_worse",
            )
        else:
            return name
        return ""

    def _window(self, metric: str) -> str:
        value = self._table.get("window", "")
        if value == "" and "window" not in self._table:
            return ""
        if not isinstance(value, str) or not _WINDOW.fullmatch(value):
            remedy = did_you_mean(str(value), ("steady", "whole", "fault[0]", "recovery[0]"))
            self._refuse("window", f"there is no window {value!r}", _WINDOWS, remedy)
            return ""
        wrong = ""
        if metric.startswith(RECOVERY) and value in ("steady", "whole"):
            wrong = "of a fault: fault[0], recovery[0] …"
        elif is_of_the_run(metric) and value != "whole":
            wrong = "whole"
        elif metric == GUARANTEE:
            wrong = "no window: a claim is about the whole run"
        if wrong:
            self._refuse("window", f"{metric} has no figure in the window {value!r}", wrong, "remove the window")
        return value

    def _relative(self, *, id: str, metric: str, case: str, window: str) -> Rule:
        most = 1.0 if metric == LOSS else _MOST
        share = self._percent("max_worse", most=most, below=metric == LOSS)
        least = self._size(metric) if "min_abs" in self._table else 0.0
        if metric == LOSS and "min_abs" in self._table:
            self._refuse(
                "min_abs",
                "means nothing for losses",
                "max_worse alone: the share of pairs in which only B loses",
                "remove it",
            )
        elif metric and metric != LOSS and least == 0 and (METRICS[metric].can_be_zero or "min_abs" in self._table):
            text = (
                f"{metric} can be 0, and 0 has no ratio"
                if "min_abs" not in self._table
                else "is 0, so that it says nothing"
            )
            add = "add" if METRICS[metric].can_be_zero else "remove it, or write"
            remedy = f"{add} e.g. min_abs = '{remedies.example(metric)}'"
            self._refuse("min_abs", text, "min_abs: the size below which figures do not differ", remedy)
        return RelativeRule(id=id, metric=metric, case=case, window=window, max_ratio=1 + share, min_abs=least or 0.0)

    def _percent(self, key: str, *, most: float, below: bool = False, zero: bool = False) -> float:
        """Returns a share of 1, written with its unit."""
        value = self._table[key]
        expected = f"a share {'from' if zero else 'above'} 0 % {'and below' if below else 'to'} {most * 100:.0f} % with its unit, such as '25%'"
        number = isinstance(value, int | float) and not isinstance(value, bool)
        try:
            share = _share(value) if isinstance(value, str) else None
        except ValueError as error:
            self._refuse(
                key,
                str(error).partition("; expected")[0],
                expected,
                remedies.margin(value) if _bare(value) else "",
            )
            return 0.0
        if share is None:
            self._refuse(
                key,
                f"{value!r} has no unit" if number else f"{value!r} is not what belongs here",
                expected,
                remedies.margin(value) if number else "",
            )
        elif not (0 <= share <= most) or (share == 0 and not zero) or (share == most and below):
            self._refuse(key, f"{value!r} is out of bounds", expected)
        else:
            return share
        return 0.0

    def _size(self, metric: str) -> float | None:
        value = self._table["min_abs"]
        return 0.0 if value == 0 and not isinstance(value, bool) else self._quantity("min_abs", str(value), metric)

    def _quantity(self, key: str, text: str, metric: str) -> float | None:
        """Returns a figure in the metric's base unit, None where it cannot be read."""
        value = self._table[key]
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            self._refuse(key, f"{value!r} is not what belongs here", "a figure with its unit, such as '2 ms'")
            return None
        if not metric:
            return None  # its unit is not known
        path = f"{self._name}: {key}"
        node = Node(path=path, place=self._lines.place(self._index, key), kind="text", text=text)
        read = bound_shape(METRICS[metric]).read(node, self._report)
        self._sound &= read is not BAD
        return None if read is BAD else float(read)

    def _absolute(self, *, id: str, metric: str, case: str, window: str) -> Rule | None:
        text = self._table["require"]
        parts = _RELATION.fullmatch(text) if isinstance(text, str) else None
        if parts is None or not parts[2].strip():
            remedy = (
                f"write '== {text}', '<= {text}' or the like"
                if isinstance(text, int | str) and str(text).strip()
                else ""
            )
            self._refuse("require", f"{text!r} is no relation with a bound", _REQUIRE, remedy)
            return None
        limit = self._quantity("require", parts[2].strip(), metric)
        if limit is None:
            return None
        if parts[1] == "==" and limit and METRICS[metric].unit != "count":
            self._refuse(
                "require",
                f"{text!r}: no measured figure is exactly that",
                "<= or >= and a bound",
                f"write '<= {parts[2].strip()}'",
            )
        if limit == 0 and parts[1] in ("<", ">="):
            never = "can never" if parts[1] == "<" else "can only"
            self._refuse("require", f"{text!r} {never} hold: no figure is below 0", _REQUIRE)
        if metric == "loss.ratio" and limit == 1 and parts[1] in ("<=", ">"):
            never = "can never" if parts[1] == ">" else "can only"
            self._refuse("require", f"{text!r} {never} hold: no more can be lost than all", _REQUIRE)
        return AbsoluteRule(
            id=id, metric=metric, case=case, window=window, relation=parts[1], limit=limit, text=" ".join(text.split())
        )

    def _guarantee(self, *, id: str, metric: str, case: str, window: str) -> Rule:
        if self._table["guarantee"] != "held":
            self._refuse(
                "guarantee", f"{self._table['guarantee']!r} is not what belongs here", "'held'", "write 'held'"
            )
        fault = self._table.get("fault", "")
        kinds = [kind.value for kind in FaultKind]
        if "fault" in self._table and fault not in kinds:
            self._refuse("fault", f"there is no fault {fault!r}", one_of(kinds), remedies.fault(str(fault), kinds))
        return GuaranteeRule(id=id, metric=metric, case=case, window=window, fault=str(fault))

    def _budget(self, *, id: str, metric: str, case: str, window: str) -> Rule:
        share = self._percent("max_lossy", most=1.0, below=True)
        single = self._table.get("max_lost_per_fault")
        if single is not None and (isinstance(single, bool) or not isinstance(single, int) or single < 0):
            self._refuse(
                "max_lost_per_fault", f"{single!r} is not what belongs here", "a whole number of messages, such as 100"
            )
            single = None
        return BudgetRule(id=id, metric=metric, case=case, window=window, max_lossy=share, max_lost_per_fault=single)


def _bare(text: str) -> bool:
    return re.fullmatch(r"\s*[0-9]+(\.[0-9]+)?\s*", text) is not None
