"""``cut: producer``: replies to producers are cut off: the broker has executed a request, and the producer never learns it.

A proxy stands between the producers and the broker. At a cut it passes a request with messages on, waits until the broker answers it,
swallows the answer and resets the connection. So every request that was cut was executed, and its messages are in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from harness.clock import NS_PER_S, now_ns
from harness.faults.contract import FaultKey, Healed, Stage, Strike
from harness.model import FaultKind
from harness.proxy.proxy import Cut

FIRST_LIMIT_S = 5.0
"""How long after the order the first request to be cut may come; every producer sends a message a second at least, or nothing is proven."""
LAST_LIMIT_S = 2.0
BACK_LIMIT_S = 5.0
SHOWN = 100
"""Cuts whose times stand in the evidence; the sums are of all."""


class CutProducer:
    """Replies to producers are swallowed and their connections reset, ``count`` times."""

    verb: ClassVar[str] = "cut"
    target: ClassVar[str] = "producer"
    kind: ClassVar[FaultKind] = FaultKind.REPLY_CUT
    keys: ClassVar[tuple[FaultKey, ...]] = (
        FaultKey(name="count", unit="count", default="1", meaning="how many replies are cut, one after the other"),
        FaultKey(name="every", unit="duration", default="500 ms", meaning="time from one cut to the next"),
    )
    summary: ClassVar[str] = "requests of producers are executed, their replies swallowed and the connections reset"

    def __init__(self, settings: Mapping[str, float | int | None]) -> None:
        self._count = int(settings["count"] or 1)
        self._every_s = float(settings["every"] or 0)
        self.hold_s: float | None = (self._count - 1) * self._every_s
        self._ends_ns: int | None = None

    def inject(self, stage: Stage) -> Strike:
        """Orders the cuts and waits for the first; it hit when that swallowed an answer."""
        ordered_ns = now_ns()
        if stage.proxy is None:
            return Strike(t_ns=ordered_ns, hit=False, evidence={"proxy": "none stands before the broker"})
        self._ends_ns = ordered_ns + int((self.hold_s or 0) * NS_PER_S)
        stage.proxy.cut(self._count, self._every_s)
        cuts = stage.proxy.cuts(1, FIRST_LIMIT_S)
        return Strike(t_ns=cuts[0].asked_ns if cuts else ordered_ns, hit=bool(cuts), evidence=evidence(cuts))

    def heal(self, stage: Stage) -> Healed:
        """Ends the cuts, the rest of them undone when told to before their time, and waits until the producers have answers again."""
        if stage.proxy is None or self._ends_ns is None:
            return Healed(t_ns=now_ns())
        in_time = now_ns() >= self._ends_ns
        cuts = stage.proxy.cuts(self._count, LAST_LIMIT_S if in_time else 0)
        stage.proxy.stop()
        back_ns = stage.proxy.back_ns(BACK_LIMIT_S) if in_time and cuts else None
        found = evidence(stage.proxy.cuts(0, 0))
        return Healed(t_ns=back_ns or now_ns(), evidence={**found, "answered_again_ns": back_ns})


def evidence(cuts: Sequence[Cut]) -> dict[str, Any]:
    """Returns what shows that requests were executed and their replies never arrived."""
    return {
        "cuts": len(cuts),
        "messages": sum(cut.messages for cut in cuts),
        "swallowed_bytes": sum(cut.swallowed_bytes for cut in cuts),
        "producers": sorted({cut.producer for cut in cuts}),
        "cut_ns": [cut.cut_ns for cut in cuts[:SHOWN]],
    }


FAULT = CutProducer
