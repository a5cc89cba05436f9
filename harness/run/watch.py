"""The story's eyes while the load runs: ticks for the live view, and what ends a phase early."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from harness.clock import now_ns
from harness.deployments.contract import Broker
from harness.errors import BrokerbenchError, ExitCode
from harness.load.live import Live
from harness.load.seam import Fleet, FleetLost
from harness.run.nemesis import Nemesis
from harness.run.progress import Listener, Tick, Warned
from harness.run.sampling import Sampler

PERIOD_S = 0.1
COUNTS = ("offered", "sent", "confirmed", "rejected", "unknown", "delivered", "finished", "settled", "redelivered")

KINDS = ("producer", "worker")


class BrokerDied(BrokerbenchError):
    """The broker ended by itself (or by somebody else's hand): what its setup claims is not judged by that."""

    exit_code = ExitCode.INVALID


class Watch:
    """Waits for the end of a phase and tells the listener what happens meanwhile.

    Args:
        fleet: whose live counts are passed on; its page's stop button raises KeyboardInterrupt here, as Ctrl-C does.
        sampler: knows the broker's own depth.
        warnings: gets every problem of the fleet, once.
        broker, nemesis: a broker that ends while no fault has it in its hands has ended by itself.
        unminded: what it means that the minder has ended; "" = it has not.
    """

    def __init__(
        self,
        fleet: Fleet,
        sampler: Sampler,
        listener: Listener,
        warnings: list[str],
        *,
        broker: Broker,
        nemesis: Nemesis,
        unminded: Callable[[], str] = str,
    ) -> None:
        self._fleet = fleet
        self._broker = broker
        self._nemesis = nemesis
        self._sampler = sampler
        self._listener = listener
        self._warnings = warnings
        self._unminded = unminded
        self._told = 0

    def until(self, done: Callable[[], bool] | None = None, *, at_ns: int | None = None) -> bool:
        """Returns True as soon as ``done()``, False at ``at_ns``; without ``done`` it waits for the time alone.

        Raises:
            BrokerDied: the broker's process ended, and not by a fault of the scenario.
            FleetLost: the load as a whole ended, and nobody had ended it.
        """
        while True:
            self._tick()
            if done is not None and done():
                return True
            left_s = PERIOD_S if at_ns is None else (at_ns - now_ns()) / 1e9
            if left_s <= 0:
                return False
            time.sleep(min(PERIOD_S, left_s))

    def tell(self) -> None:
        """Tells the listener the newest counts; :meth:`until` does it by itself."""
        live = self._fleet.live()
        counts = {name: live.total(name) for name in COUNTS}
        self._listener.notice(
            Tick(
                t_ns=now_ns(),
                latency=live.latency["worker"],
                backlog_broker=self._sampler.depth,
                dead_letters=self._sampler.dead_letters,
                core_shares={kind: share for kind in KINDS if (share := self._core_share(live, kind)) is not None},
                **counts,
                **self._workers(live),
            )
        )

    def _workers(self, live: Live) -> Mapping[str, int]:
        newest = {_post(shard.name): shard for shard in self._fleet.shards() if shard.kind == "worker"}.values()
        running = [shard for shard in newest if shard.ended_ns is None]
        connected = sum(bool(live.shards.get(shard.name, {}).get("connected")) for shard in running)
        lost = sum(s.ended_ns is not None and (s.killed_ns is not None or not s.expected_exit) for s in newest)
        return {"workers": connected, "workers_cut": len(running) - connected, "workers_lost": lost}

    def _core_share(self, live: Live, kind: str) -> float | None:
        shares = [live.core_shares[name][1] for name in self._fleet.running(kind) if name in live.core_shares]
        return max(shares, default=None)

    def _tick(self) -> None:
        self.tell()
        problems = self._fleet.problems()
        for problem in problems[self._told :]:
            self._warnings.append(problem)
            self._listener.notice(Warned(text=problem))
        self._told = len(problems)
        if (text := self._unminded()) and text not in self._warnings:
            self._warnings.append(text)
            self._listener.notice(Warned(text=text))
        if self._has_died():
            why, words = self._broker.why_ended(), self._broker.log_tail()
            said = f"its last words:\n{words}" if words.strip() else "it left no words"
            raise BrokerDied(f"{f'{why}; ' if why else ''}{said}")
        if self._fleet.stopped_from_page():
            raise KeyboardInterrupt
        if why := self._fleet.why_lost():
            raise FleetLost(why)

    def _has_died(self) -> bool:
        # In this order: a fault takes the broker before it strikes, and lets go when it works again.
        if self._broker.alive() or self._nemesis.strikes_broker() or self._nemesis.unhealed():
            return False
        return not self._broker.alive()


def _post(shard: str) -> str:
    """Returns the name of a shard without its generation: ``w1.1``, which replaces ``w1``, → ``w1``."""
    return shard.partition(".")[0]


class Quiet:
    """True once nothing has come for a time during which a worker was connected and asking.

    Args:
        quiet_s: max(visibility + sweep, 3 s): a message held by a dead worker would have come by then.
    """

    def __init__(self, fleet: Fleet, quiet_s: float) -> None:
        self._fleet = fleet
        self._quiet_ns = int(quiet_s * 1e9)
        self._delivered = -1
        self._since_ns = now_ns()

    def __call__(self) -> bool:
        """Looks once more; call it several times a second."""
        live = self._fleet.live()
        delivered = live.total("delivered")
        workers = self._fleet.running("worker")
        asking = any(live.shards.get(name, {}).get("connected") for name in workers)
        if delivered != self._delivered or not asking:
            self._delivered, self._since_ns = delivered, live.t_ns
        return live.t_ns - self._since_ns >= self._quiet_ns
