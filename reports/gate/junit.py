"""JUnit XML: a test case per rule and case, as every CI server reads it.

It keeps to what both common schemas allow: that of Jenkins' xUnit plugin and the older one of Ant. A FAIL is a ``failure``; INVALID and
NOT COMPARABLE are an ``error``, since nothing was tested; INCONCLUSIVE is ``skipped``, or a ``failure`` where the gate ends by it.
The time of a case's trials is shared among its rules, so that a CI server may add up what tests took; it is 0 where it is not known.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal
from xml.etree import ElementTree as ET

from harness.gate.outcome import Outcome, Row, Verdict
from reports.escape import printable
from reports.gate import told
from reports.gate.terminal import plain

_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""All but the production ``Char`` of XML 1.0."""

_ELEMENTS = {Verdict.FAIL: "failure", Verdict.INVALID: "error", Verdict.NOT_COMPARABLE: "error"}


def junit(outcome: Outcome, *, inconclusive: Literal["fail", "warn"] = "fail") -> str:
    """Returns the document.

    Args:
        inconclusive: ``fail``: INCONCLUSIVE is a failure, as the gate ends by it; ``warn``: it is skipped.
    """
    elements = {**_ELEMENTS, Verdict.INCONCLUSIVE: "failure" if inconclusive == "fail" else "skipped"}
    found = [elements.get(row.verdict, "") for row in outcome.rows] or ["error"]
    counts = {"tests": str(len(found)), "failures": str(found.count("failure")), "errors": str(found.count("error"))}
    took = f"{sum(_took_s(outcome).values()):.3f}"
    document = ET.Element("testsuites", {"name": "brokerbench gate", **counts, "time": took})
    suite = _suite(document, outcome, {**counts, "skipped": str(found.count("skipped"))})
    if not outcome.rows:
        test = ET.SubElement(suite, "testcase", {"name": "rules", "classname": _name(outcome.scenario), "time": "0"})
        ET.SubElement(test, "error", {"type": str(Verdict.INVALID), "message": told.NO_ROWS})
    for row, element in zip(outcome.rows, found, strict=False):
        _test(suite, row, element, outcome)
    ET.SubElement(suite, "system-out").text = _text(plain(outcome))
    ET.SubElement(suite, "system-err").text = _text("\n".join(outcome.warnings))
    ET.indent(document)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(document, encoding="unicode")}\n'


def _suite(document: ET.Element, outcome: Outcome, counts: dict[str, str]) -> ET.Element:
    first = min((ran.started_wall_ns for ran in outcome.runs), default=None)
    started = datetime.now(UTC) if first is None else datetime.fromtimestamp(first / 1e9, UTC)
    suite = ET.SubElement(
        document,
        "testsuite",
        {
            "name": _name(outcome.scenario),
            "package": "brokerbench",
            "id": "0",
            **counts,
            "time": document.get("time", "0"),
            "timestamp": f"{started:%Y-%m-%dT%H:%M:%S}",
            "hostname": "localhost",
        },
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(outcome):
        ET.SubElement(properties, "property", {"name": _name(name), "value": _text(value)})
    return suite


def _took_s(outcome: Outcome) -> dict[str, float]:
    """Returns case → how long its trials took, of those of which it is known."""
    took: dict[str, float] = {}
    for ran in outcome.runs:
        if ran.ended_wall_ns is not None:
            took[ran.case] = took.get(ran.case, 0.0) + max(0, ran.ended_wall_ns - ran.started_wall_ns) / 1e9
    return took


def _properties(outcome: Outcome) -> Sequence[tuple[str, str]]:
    return [
        ("brokerbench", outcome.tool_version),
        ("kind", outcome.kind),
        ("exit code", str(outcome.exit_code)),
        ("exit reason", outcome.exit_reason),
        *told.sides(outcome),
    ]


def _test(suite: ET.Element, row: Row, element: str, outcome: Outcome) -> None:
    where = f"{outcome.scenario}.{row.case}" if row.case else outcome.scenario
    names = told.names(outcome)
    share_s = _took_s(outcome).get(row.case, 0.0) / sum(each.case == row.case for each in outcome.rows)
    told_of = {"name": _name(row.rule), "classname": _name(where), "time": f"{share_s:.3f}"}
    test = ET.SubElement(suite, "testcase", told_of)
    if element:
        said = ET.SubElement(test, element, {"message": _text(row.words)})
        if element != "skipped":  # by Ant's schema that has nothing but a message
            said.set("type", str(row.verdict))
            said.text = _text("\n".join([row.asks, *told.figures(row, names), *row.notes, *told.values(row)]))


def _name(value: str) -> str:
    """Returns a name on one line that is never empty, as schemas ask for it."""
    return " ".join(_text(value).split()) or "unnamed"


def _text(value: str) -> str:
    return _FORBIDDEN.sub("", printable(value))
