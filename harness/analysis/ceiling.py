"""Whether a trial came near what the generator can do on this machine at all (``measurement.md`` section 5).

``calibrate`` measures that against the null broker: same producers, payload, style, window, batch and workers. The trial's facts hold it,
so that a stored run says the same when its figures are made again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from harness.facts import TrialFacts
from harness.record import Figure
from harness.units import format_rate

SHARE = 0.70
"""Above that share of the ceiling a run may show the generator instead of the broker."""

NEAR = "near the generator's ceiling: "
"""How the warning begins."""


def ceiling_words(facts: TrialFacts, figures: Mapping[str, Figure]) -> Iterator[str]:
    """Yields how near a trial came, where that is too near; nothing where the ceiling is not known.

    Args:
        figures: of the window of the headline.
    """
    seen = [figures.get(f"rate.{name}") for name in ("confirmed", "delivered")]
    rate = max((float(figure) for figure in seen if isinstance(figure, float | int)), default=0.0)
    if facts.ceiling_per_s and rate > SHARE * facts.ceiling_per_s:
        share = round(100 * rate / facts.ceiling_per_s)
        yield (
            f"{NEAR}{format_rate(rate)} is {share} % of the {format_rate(facts.ceiling_per_s)} that it reached on the null broker "
            f"(told above {100 * SHARE:.0f} %): such figures may show the generator instead of the broker"
        )
