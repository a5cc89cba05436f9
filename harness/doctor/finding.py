"""One line of the diagnosis, and the diagnosis: the shape of ``brokerbench doctor --json``.

History of the format:

- 1: the first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from harness.errors import ExitCode

SCHEMA_VERSION = 1


class Rating(StrEnum):
    """How good a thing is for brokerbench."""

    OK = "ok"
    WORSE = "worse"  # it works, and results suffer
    MISSING = "missing"
    UNKNOWN = "unknown"  # it could not be found out


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What a check found.

    Args:
        value: what is. meaning: what that means for the user. remedy: what the user can do, "" where nothing need be done.
    """

    value: str
    rating: Rating
    meaning: str
    remedy: str = ""


def ok(value: str, meaning: str) -> Seen:
    """Returns a finding that is as it should be."""
    return Seen(value=value, rating=Rating.OK, meaning=meaning)


def worse(value: str, meaning: str, remedy: str) -> Seen:
    """Returns a finding with which brokerbench works, and its results suffer."""
    return Seen(value=value, rating=Rating.WORSE, meaning=meaning, remedy=remedy)


def missing(value: str, meaning: str, remedy: str) -> Seen:
    """Returns a finding without which something cannot be done here."""
    return Seen(value=value, rating=Rating.MISSING, meaning=meaning, remedy=remedy)


def unknown(value: str, meaning: str, remedy: str) -> Seen:
    """Returns what could not be found out."""
    return Seen(value=value, rating=Rating.UNKNOWN, meaning=meaning, remedy=remedy)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing to look at.

    Args:
        id: stable name for programs. group, what: for people.
        required: the quickstart cannot run without it.
        look: finds out; may raise.
    """

    id: str
    group: str
    what: str
    look: Callable[[], Seen]
    required: bool = False

    def finding(self, seen: Seen) -> Finding:
        """Returns the line for what was seen."""
        return Finding(
            id=self.id,
            group=self.group,
            what=self.what,
            value=seen.value,
            verdict=seen.rating,
            meaning=seen.meaning,
            remedy=seen.remedy,
            required=self.required,
        )


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Finding(_Part):
    """One line of the diagnosis."""

    id: str = Field(description="stable, e.g. `cores` or `broker.redis`")
    group: str
    what: str
    value: str = Field(description="what was found, in words")
    verdict: Rating
    meaning: str = Field(description="what that means for the user")
    remedy: str = Field(description="what can be done, empty where nothing need be done")
    required: bool = Field(description="the quickstart cannot run without it")


class Diagnosis(_Part):
    """All that was found."""

    schema_version: int = SCHEMA_VERSION
    tool_version: str
    quickstart: bool | None = Field(description="whether the quickstart can run here; null = it cannot be told")
    exit_code: int
    findings: list[Finding]


def diagnosis_schema() -> dict[str, Any]:
    """Returns the JSON schema (draft 2020-12) of what ``doctor --json`` prints."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Diagnosis.model_json_schema(mode="serialization"),
    }


def diagnosed(tool_version: str, findings: list[Finding]) -> Diagnosis:
    """Returns the diagnosis: 0 where the quickstart can run, 2 where this machine lacks something for it, 70 where that cannot be told."""
    needed = {finding.verdict for finding in findings if finding.required}
    quickstart = False if Rating.MISSING in needed else None if Rating.UNKNOWN in needed else True
    codes = {True: ExitCode.PASS, False: ExitCode.USAGE, None: ExitCode.NO_VERDICT}
    return Diagnosis(
        tool_version=tool_version, quickstart=quickstart, exit_code=int(codes[quickstart]), findings=findings
    )
