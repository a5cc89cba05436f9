"""What is said of the rows of a comparison, made once for terminal, Markdown and page. Neighbour: ``ratios`` has the words of figures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from reports import words
from reports.compared import Arm, Claimed, Comparison, Group, Setting
from reports.differences import INVALID
from reports.ratios import holds_one
from reports.words import Sign

TITLES = {
    "kept": "What was kept",
    "carried": "How much it carried",
    "late": "How late messages came",
    "back": "How it came back",
    "cost": "What it cost",
}
REFERENCE = "reference"
UNFINISHED = {
    "running": "not finished: it runs still, or was killed",
    "loaded": "not finished: it runs still, or was killed",
    "interrupted": "interrupted",
    "failed": "failed",
}

_SIGNS = {
    (sign.symbol, sign.word): sign
    for sign in (
        *words.OF_VERDICT.values(),
        *words.OF_STATUS.values(),
        words.SLO_MISSED,
        words.CUT_OFF,
        words.LOST_AS_CLAIMED,
        words.LOST_BY_SKIPPING,
        words.LOST_NO_CLAIM,
    )
}


def sign(arm: Arm) -> Sign:
    """Returns how a case ended."""
    return _SIGNS[arm.symbol, arm.verdict]


def worst_first(group: Group) -> list[Arm]:
    """Returns the arms of a group, the worst verdict first."""
    return sorted(group.arms, key=lambda arm: sign(arm).rank)


def foremost(arms: Sequence[Arm], most: int) -> list[Arm]:
    """Returns as many arms in their order, of more the worst and of alike ones those that differ most, each with its reference."""
    if len(arms) <= most:
        return list(arms)
    by_label = {arm.label: arm for arm in arms}
    chosen: dict[str, Arm] = {}
    for arm in sorted(arms, key=lambda arm: (sign(arm).rank, -_departs(arm))):
        wanted = {label: by_label[label] for label in (arm.reference, arm.label) if label in by_label}
        if len(chosen | wanted) <= most:
            chosen |= wanted
    return [arm for arm in arms if arm.label in chosen]


def _departs(arm: Arm) -> float:
    """Returns how far the figures of an arm are from their reference's at most, as a log ratio; one that may be chance counts little."""
    every = [each.difference for each in arm.figures.values() if each.difference and each.difference.ratio]
    weighed = [
        abs(math.log(each.ratio)) * (1.0 if each.interval and not holds_one(each.interval) else 1e-3)
        for each in every
        if each.ratio
    ]
    return max(weighed, default=0.0)


def kept(arm: Arm) -> str:
    """Returns what a case lost and repeated, and what that proves, in a sentence."""
    parts = [f"lost {loss(arm)} confirmed" if arm.loss.lost is not None else "loss not known"]
    if arm.repeats:
        parts.append(words.count(arm.repeats, "repeat"))
    if arm.trials > 1 or arm.valid != arm.trials:
        parts.append(f"{arm.valid} of {words.count(arm.trials, 'trial')} valid")
    if short(arm):
        parts.append(short(arm))
    return "; ".join([", ".join(parts), *([arm.loss.bound] if arm.loss.bound else [])])


def short(arm: Arm) -> str:
    """Returns that a case has fewer trials than its scenario asks for, "" where it has all."""
    return f"{arm.trials} of {words.count(arm.planned, 'planned trial')} run" if arm.trials < arm.planned else ""


def unfinished(told: Comparison) -> str:
    """Returns which runs have not ended, or not as they were to, "" where all have."""
    states = [(run.name, run.status) for run in told.runs if run.status != "finished"]
    if len(told.runs) == 1:
        return "".join(f"The run is {UNFINISHED[status]}. " for _, status in states)
    return "".join(f"{name} is {UNFINISHED[status]}. " for name, status in states)


def standing(arm: Arm, *, several: bool) -> list[str]:
    """Returns what stands under the name of a row: that its figures count for nothing, or that it is the reference."""
    found = [] if arm.valid or not arm.trials else [f"! {INVALID}"]
    if arm.reference == arm.label and several:
        found.append(REFERENCE)
    return found


def loss(arm: Arm) -> str:
    """Returns how many confirmed messages were lost, of how many."""
    if arm.loss.lost is None:
        return words.NOT_MEASURED
    return f"{words.loss(arm.loss.lost, arm.loss.or_more)} of {arm.loss.of:,}"


def claims(told: Comparison) -> Iterator[tuple[Arm, Claimed, Sign]]:
    """Yields each claim of each case with what was seen of it, the worst of a case first."""
    for group in told.groups:
        for arm in group.arms:
            for claim in arm.guarantees:
                yield arm, claim, words.OF_VERDICT[claim.verdict]


def parts_of(told: Comparison) -> Iterator[tuple[str, list[Setting]]]:
    """Yields what differs, part by part, with its title."""
    for title, settings in (
        ("What differs between the cases", told.parameters),
        ("What the brokers said of themselves differently", told.settings),
        ("What differs between the scenarios", told.scenarios),
        ("What differs between the environments", told.fingerprints),
    ):
        if settings:
            yield title, settings


def by_value(setting: Setting) -> list[str]:
    """Returns each value of a setting with those that have it: ``none: redis-stream[persistence=none]@embedded``."""
    return [f"{value}: {', '.join(labels)}" for value, labels in groups_of(setting)]


def groups_of(setting: Setting) -> list[tuple[str, list[str]]]:
    """Returns each value of a setting, and the labels of those that have it."""
    groups: dict[str, list[str]] = {}
    for label, value in setting.values.items():
        groups.setdefault(words.NOT_MEASURED if value is None else value, []).append(label)
    return list(groups.items())


def headline(told: Comparison) -> str:
    """Returns what the whole comparison says in a few sentences: how its cases ended, and how many ratios differ from 1."""
    arms = [arm for group in told.groups for arm in group.arms]
    ended: dict[str, int] = {}
    for arm in sorted(arms, key=lambda arm: sign(arm).rank):
        ended[arm.verdict] = ended.get(arm.verdict, 0) + 1
    of_runs = f" of {len(told.runs)} runs" if len(told.runs) > 1 else ""
    told_of = "; ".join(f"{number} {word}" for word, number in ended.items())
    first = "Unlike, so no evidence. " if told.cross_machine else ""
    return f"{first}{unfinished(told)}{words.count(len(arms), 'case')}{of_runs}: {told_of}. {_shown(arms)}"


def _shown(arms: Sequence[Arm]) -> str:
    differences = [figure.difference for arm in arms for figure in arm.figures.values() if figure.difference]
    bounded = [each.interval for each in differences if each.interval]
    if not differences:
        return "Nothing could be compared."
    if not bounded:
        return f"{words.count(len(differences), 'difference')}, none of which can be told from chance: no interval."
    sure = sum(not holds_one(interval) for interval in bounded)
    by_chance = sum(interval.level * (bool(interval.low) + (interval.high is not None)) for interval in bounded)
    about = f"about {by_chance:.0f}" if by_chance >= 1 else "less than one"
    leave = "leaves" if sure == 1 else "leave"
    return f"{sure} of {words.count(len(bounded), 'interval')} of ratios {leave} ×1 out; by chance alone {about} would."
