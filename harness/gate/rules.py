"""Rules: what a gate asks (``gate.md``, Rules file). The reader of rules files is ``harness.gate.read``.

A rule is of one kind by its keys: ``max_worse`` is *relative* (B against A), ``require`` is *absolute* (each trial of B against a
bound), ``guarantee`` is on what a setup claims, ``max_lossy`` is a *budget* of lossy deployments.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What every rule has.

    Args:
        id: as printed; unique in a file. case: pattern of case ids (``*`` and ``?``; brackets stand for themselves); ``*`` = all.
        metric: of ``METRICS``; ``guarantee`` for a rule on guarantees.
        window: ``steady``, ``whole``, ``fault[0]`` …; "" = the one that holds where none is named.
    """

    id: str
    metric: str
    case: str = "*"
    window: str = ""

    def applies_to(self, *case_ids: str) -> bool:
        """Returns whether the pattern matches one of the ids that a case has (A's and B's may differ)."""
        pattern = self.case.replace("[", "[[]")
        return any(fnmatchcase(case_id, pattern) for case_id in case_ids)


@dataclass(frozen=True, kw_only=True, slots=True)
class RelativeRule(Rule):
    """B is at most so much worse than A.

    Args:
        max_ratio: 1.25 for ``25%``. min_abs: in the metric's unit; below it figures do not differ; 0 = not written.
        Of ``loss.confirmed``: ``max_ratio`` − 1 is the share of pairs in which B may be lossy where A is not.
    """

    max_ratio: float
    min_abs: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AbsoluteRule(Rule):
    """Every trial keeps a bound.

    Args:
        relation: ``==``, ``<=``, ``>=``, ``<``, ``>``. limit: in the metric's unit. text: as written.
    """

    relation: str
    limit: float
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GuaranteeRule(Rule):
    """What the setup claims was exercised and held in every trial; ``fault``: only the claim under this one, "" = all claims."""

    fault: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetRule(Rule):
    """Of fresh deployments with one clean, exercised fault at most so many lose anything, and none more than so much.

    Args:
        max_lossy: share of deployments. max_lost_per_fault: messages; None = not written.
    """

    max_lossy: float
    max_lost_per_fault: int | None = None
