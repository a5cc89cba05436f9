"""The load side of one trial, phase by phase: broker up, load, faults, drain, search. It reads as the story.

Whatever happens, the faults are healed, the load is ended and the broker is taken down. What was seen stays in the slot
folder and in :attr:`Trial.seen`; ``harvest`` makes tables and facts of it, however the trial ended.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial

import polars as pl

from harness import tables
from harness.brokers import open_driver
from harness.brokers.contract import Effective
from harness.clock import now_ns
from harness.deployments.contract import Broker, BrokerOptions, Incident, LoadPlace
from harness.errors import BrokerbenchError, Unreachable
from harness.facts import KILLED_FOR_MEMORY, FaultRecord, IncidentRecord, ShardRecord
from harness.faults import faults
from harness.faults.contract import Stage
from harness.load.plan import FleetPlan
from harness.load.seam import Fleet
from harness.model import AS_FOUND
from harness.proxy.proxy import Proxy
from harness.run.context import TrialContext, needs_proxy
from harness.run.health import Probe, described
from harness.run.nemesis import Nemesis, Planned
from harness.run.outage import outage_words
from harness.run.progress import FaultHealed, FaultInjected, FaultPlanned, PhaseChanged, Warned
from harness.run.remarks import clock_words, realtime_words, watcher_words
from harness.run.sampling import Sampler
from harness.run.search import Search, search, unsearched
from harness.run.watch import BrokerDied, Quiet, Watch
from harness.scenario.model import FaultEntry
from harness.stalls import StallWatcher
from harness.timeline import Timeline

HEALTHY_LIMIT_S = 60.0
FOREIGN_LIMIT_S = 5.0
"""A broker that runs already has nothing to wait for."""
READY_LIMIT_S = 60.0
LEAD_S = 0.2
"""From the order to the first message: every shard must have got the order by then."""
REMOTE_LEAD_S = 1.0
"""So must every shard on another machine."""
CONFIRM_LIMIT_S = 10.0
STOP_LIMIT_S = 30.0


@dataclass
class Seen:
    """What the trial has come to know, however far it came."""

    effective: Effective | None = None
    server: str = ""
    load_start_ns: int | None = None
    steady_start_ns: int | None = None
    load_end_ns: int | None = None
    drain_end_ns: int | None = None
    asking_until_ns: int | None = None
    drain_complete: bool = False
    has_broker: bool = True  # False: it did not come up
    broker_back: bool = True
    broker_died: str = ""
    aborted: str = ""
    found: Search = field(default_factory=lambda: unsearched("the trial ended before the search"))
    faults: tuple[FaultRecord, ...] = ()
    shards: tuple[ShardRecord, ...] = ()
    connections: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=tables.CONNECTIONS))
    sampler: Sampler | None = None
    stall_max_s: float = 0.0
    clock_error_s: float = 0.0
    incidents: list[IncidentRecord] = field(default_factory=list)
    load_place: str = ""
    shared_clock: bool | None = None
    ceiling_per_s: float | None = None
    agents_stay: bool | None = (
        None  # agents of other machines were told that another trial follows; None = none was told
    )
    warnings: list[str] = field(default_factory=list)


class Trial:
    """Runs one trial; what it saw is in :attr:`seen` whether :meth:`run` returned or raised."""

    def __init__(self, context: TrialContext) -> None:
        self._context = context
        self._prepared_ns = 0
        self._fleet: Fleet | None = None  # once its place is known
        self.seen = Seen()

    def run(self) -> None:
        """Runs all phases and leaves nothing running.

        Raises:
            BrokerbenchError: the broker or the load did not come up or broke; ``seen.aborted`` says why.
            KeyboardInterrupt: Ctrl-C.
        """
        try:
            with ExitStack() as cleanup:
                timeline = cleanup.enter_context(self._context.folder.timeline())
                self._phases(cleanup, timeline)
        except BrokerDied as error:
            self.seen.broker_died = error.problem
            self.seen.found = unsearched("the broker had ended")
        except KeyboardInterrupt:
            self.seen.aborted = "interrupted by Ctrl-C"
            raise
        except BaseException as error:
            self.seen.aborted = described(error)
            raise
        finally:
            self._end_load()
            self._note_outages()

    def _phases(self, cleanup: ExitStack, timeline: Timeline) -> None:
        broker = self._start_broker(cleanup, timeline)
        proxy = self._start_proxy(cleanup, broker)
        fleet = self._start_fleet(cleanup, timeline, broker, proxy)
        sampler = self._start_watchers(cleanup, timeline, broker, fleet)
        stage = Stage(
            broker=broker,
            crew=fleet,
            healthy=self._probe(broker, of_fault=True),
            seed=self._context.scenario.seed,
            proxy=proxy,
        )
        nemesis = self._start_load(cleanup, timeline, stage, fleet)
        watch = Watch(
            fleet,
            sampler,
            self._context.listener,
            self.seen.warnings,
            broker=broker,
            nemesis=nemesis,
            unminded=self._context.journal.unminded,
        )
        self._load(timeline, fleet, nemesis, watch)
        self._drain(timeline, fleet, watch)
        sampler.stop()
        self._collect(timeline, fleet)
        fleet.close()
        self._search(timeline, broker, load_ended=all(shard.ended_ns is not None for shard in fleet.shards()))

    def _end_load(self) -> None:
        """A load that was cut short ended now."""
        start_ns = self.seen.load_start_ns
        if start_ns is not None and self.seen.load_end_ns is None:
            self.seen.load_end_ns = max(start_ns, now_ns())

    def _note_outages(self) -> None:
        """A broker that is not ours has no process whose end could be seen, only times at which nobody reached it."""
        seen = self.seen
        if self._context.scenario.address is not None and seen.load_start_ns is not None and not seen.broker_died:
            seen.broker_died = outage_words(seen.connections, seen.load_start_ns)

    # The phases, in order.

    def _start_broker(self, cleanup: ExitStack, timeline: Timeline) -> Broker:
        context = self._context
        self._phase(timeline, "starting broker" if context.scenario.address is None else "looking for the broker")
        self.seen.has_broker = False
        broker = context.deployment.up(
            BrokerOptions(
                setup=context.case.setup,
                parameters=context.case.parameters,
                folder=context.broker_folder,
                logs=context.folder.logs.absolute(),
                journal=context.journal,
                seed=context.scenario.seed,
                queues=context.queues,
                site=context.case.site,
                meanwhile=partial(self._launch_fleet, cleanup),
            )
        )
        self._warn(broker.notes)
        cleanup.callback(self._take_down, broker, timeline)
        self.seen.server = broker.version
        self._probe(broker)(HEALTHY_LIMIT_S if broker.ours else FOREIGN_LIMIT_S)
        self.seen.has_broker = True
        self._phase(timeline, "preparing")
        self.seen.effective = self._prepare(broker)
        self._prepared_ns = now_ns()
        self._warn(self.seen.effective.notes)
        self._warn(self._unknown(self.seen.effective))
        return broker

    def _unknown(self, effective: Effective) -> Iterator[str]:
        for name, value in self._context.case.parameters.items():
            if value == AS_FOUND and name not in effective.parameters:
                yield f"{name} is as found and unknown: the broker does not tell it, or has what no value of it stands for"

    def _take_down(self, broker: Broker, timeline: Timeline) -> None:
        told, began_ns = len(broker.notes), now_ns()
        broker.down()
        timeline.append(now_ns(), "down", took_s=(now_ns() - began_ns) / 1e9)
        self._warn(broker.notes[told:])

    def _prepare(self, broker: Broker) -> Effective:
        driver = open_driver(self._context.driver_options(broker.address, "prepare"))
        try:
            driver.connect()
            effective = driver.prepare()
        finally:
            driver.close()
        parameters = {**self._context.case.parameters, **effective.parameters}  # what was as found is known now
        self._context.folder.write_settings({"server": broker.version, **asdict(effective), "parameters": parameters})
        return effective

    def _start_proxy(self, cleanup: ExitStack, broker: Broker) -> Proxy | None:
        """Puts a proxy before the broker, for the producers only, where a fault needs it."""
        context = self._context
        if not needs_proxy(context.scenario):
            return None
        proxy = Proxy.start(broker.address, context.journal, run_id=context.run_id, trial=context.trial_id)
        cleanup.callback(proxy.close)
        return proxy

    def _start_fleet(self, cleanup: ExitStack, timeline: Timeline, broker: Broker, proxy: Proxy | None) -> Fleet:
        context = self._context
        place, options = broker.load_place, context.driver_options(broker.load_address, "")
        self.seen.load_place = place.name
        if self._fleet is None:
            self._fleet = self._launched(cleanup, place)
        fleet = self._fleet
        fleet.connect(options.address, proxy.address if proxy else "")
        self.seen.agents_stay = context.more
        cleanup.callback(self._keep_shards, fleet, timeline)
        cleanup.callback(fleet.close)
        fleet.wait_agents(partial(self._waiting, timeline))
        fleet.wait_ready(READY_LIMIT_S)
        if fleet.web_url:
            context.listener.notice(Warned(text=f"Locust's page: {fleet.web_url}"))
        self.seen.shared_clock = fleet.shared_clock
        timeline.append(
            now_ns(),
            "fleet",
            place=place.name,
            shared_clock=fleet.shared_clock,
            shards=[asdict(shard) for shard in fleet.shards()],
        )
        self._warn(realtime_words(fleet.plan, fleet.shards()))
        return fleet

    def _launch_fleet(self, cleanup: ExitStack, place: LoadPlace) -> None:
        """Lets the load's processes come up while the broker does; agents of other machines come for a broker that is up."""
        if self._context.door is None:
            self._fleet = self._launched(cleanup, place)

    def _launched(self, cleanup: ExitStack, place: LoadPlace) -> Fleet:
        context = self._context
        scenario, options = context.scenario, context.driver_options("", "")
        plan = FleetPlan(
            run_id=context.run_id,
            trial=context.trial_id,
            folder=context.slots,
            logs=context.folder.logs.absolute(),
            place=place,
            setup=options.setup,
            queue=options.queue,
            parameters=options.parameters,
            load=context.case.load,
            workers=context.case.workers,
            phases=scenario.phases,
            seed=scenario.seed,
            agents=scenario.agents,
            web=context.web,
            door=context.door,
            more=context.more,
        )
        cleanup.callback(place.end)
        fleet = Fleet.launch(plan, context.journal, lambda text: self._warn([text]))
        cleanup.callback(fleet.close)  # should the broker not come up; else the load ends before its broker
        return fleet

    def _start_watchers(self, cleanup: ExitStack, timeline: Timeline, broker: Broker, fleet: Fleet) -> Sampler:
        stalls = StallWatcher(self._context.journal, self._watcher_ended)
        cleanup.callback(self._keep_stalls, stalls)
        cleanup.enter_context(stalls)
        options = self._context.driver_options(broker.address, "sampler")
        sampler = Sampler(broker, fleet, options, partial(self._note_incident, timeline))
        self.seen.sampler = sampler
        cleanup.callback(sampler.stop)
        sampler.start()
        return sampler

    def _start_load(self, cleanup: ExitStack, timeline: Timeline, stage: Stage, fleet: Fleet) -> Nemesis:
        scenario, seen = self._context.scenario, self.seen
        lead_s = LEAD_S if self._context.door is None else REMOTE_LEAD_S
        seen.load_start_ns = max(now_ns() + int(lead_s * 1e9), self._earliest_start_ns())
        seen.steady_start_ns = seen.load_start_ns + int(scenario.phases.warmup_s * 1e9)
        planned = [self._planned(entry, seen.steady_start_ns) for entry in scenario.faults]
        for index, each in enumerate(planned):
            told = FaultPlanned(index=index, label=each.label, t_ns=each.at_ns, hold_s=each.fault.hold_s)
            self._context.listener.notice(told)
        load_end_ns = seen.steady_start_ns + int(scenario.phases.steady_s * 1e9)
        nemesis = Nemesis(stage, planned, load_end_ns, partial(self._tell_fault, timeline))
        cleanup.callback(self._keep_faults, nemesis)
        cleanup.callback(nemesis.stop)
        fleet.go(seen.load_start_ns)
        nemesis.start()
        return nemesis

    def _earliest_start_ns(self) -> int:
        """Returns when the load may start so that no fault strikes the broker before its queue is safely made."""
        scenario, setup = self._context.scenario, self._context.case.setup
        strikes_s = [fault.at_s for fault in scenario.faults if faults()[fault.verb, fault.target].target == "broker"]
        young_s = setup.settles_in_s - scenario.phases.warmup_s - min(strikes_s, default=math.inf)
        return self._prepared_ns + int(max(young_s, 0.0) * 1e9)

    def _planned(self, entry: FaultEntry, steady_start_ns: int) -> Planned:
        fault = faults()[entry.verb, entry.target](entry.settings)
        return Planned(fault=fault, label=entry.label, at_ns=steady_start_ns + int(entry.at_s * 1e9))

    def _load(self, timeline: Timeline, fleet: Fleet, nemesis: Nemesis, watch: Watch) -> None:
        phases, seen = self._context.scenario.phases, self.seen
        assert seen.load_start_ns is not None
        assert seen.steady_start_ns is not None
        self._phase(timeline, "warm-up", phases.warmup_s, at_ns=seen.load_start_ns)
        watch.until(at_ns=seen.steady_start_ns)
        self._phase(timeline, "steady", phases.steady_s, at_ns=seen.steady_start_ns)
        load_end_ns = seen.steady_start_ns + int(phases.steady_s * 1e9)
        watch.until(at_ns=load_end_ns)
        seen.load_end_ns = load_end_ns
        watch.until(nemesis.done)
        seen.warnings.extend(nemesis.broken)
        seen.broker_back = not nemesis.unhealed()

    def _drain(self, timeline: Timeline, fleet: Fleet, watch: Watch) -> None:
        """Lets producers take their last confirms, and workers go on asking until nothing has come for the longest hold."""
        scenario, seen = self._context.scenario, self.seen
        self._phase(timeline, "drain", scenario.phases.drain_s, limit=True)
        limit_ns = now_ns() + int(scenario.phases.drain_s * 1e9)
        watch.until(fleet.producers_done, at_ns=limit_ns)
        left_s = max(0.0, (limit_ns - now_ns()) / 1e9)
        fleet.finish_producers(min(CONFIRM_LIMIT_S, scenario.longest_hold_s, left_s))
        quiet = Quiet(fleet, scenario.longest_hold_s)
        seen.drain_complete = watch.until(quiet, at_ns=limit_ns)
        seen.asking_until_ns = now_ns()
        fleet.stop_workers(STOP_LIMIT_S)
        watch.tell()
        seen.drain_end_ns = now_ns()

    def _collect(self, timeline: Timeline, fleet: Fleet) -> None:
        if self._context.door is not None:
            self._phase(timeline, "collecting slots of other machines")
            fleet.collect()

    def _search(self, timeline: Timeline, broker: Broker, *, load_ended: bool) -> None:
        self._phase(timeline, "searching")
        driver = open_driver(self._context.driver_options(broker.address, "search"))
        try:
            driver.connect()
            found = search(driver, run_id=self._context.run_id, trial=self._context.trial_id, load_ended=load_ended)
        except BrokerbenchError as error:
            if not broker.ours and isinstance(error, Unreachable):
                self.seen.broker_died = f"it cannot be reached any more: {error.problem}"
            self.seen.broker_back = (
                self.seen.broker_back and broker.alive()
            )  # alive but full, say: only the search is lost
            found = unsearched(f"the broker could not be searched: {described(error)}")
        finally:
            driver.close()
        self.seen.found = found
        timeline.append(
            now_ns(), "search", found=len(found.residue), depth=dict(found.depth), problems=list(found.problems)
        )

    # What the phases share.

    def _warn(self, sentences: Iterable[str]) -> None:
        for sentence in sentences:
            self.seen.warnings.append(sentence)
            self._context.listener.notice(Warned(text=sentence))

    def _waiting(self, timeline: Timeline, have: int) -> None:
        """Says for how many agents of other machines the trial waits."""
        wanted, door = self._context.scenario.agents.remote, self._context.door
        if have < wanted and door is not None:
            phase = f"waiting for agents of other machines: {max(have, 0)} of {wanted} at {door.at}"
            self._phase(timeline, phase, door.wait_s, limit=True)

    def _keep_shards(self, fleet: Fleet, timeline: Timeline) -> None:
        self.seen.shards = tuple(fleet.shards())
        self.seen.connections = fleet.connections()
        if fleet.collected is None:
            return
        clocks = fleet.collected["clocks"]
        timeline.append(now_ns(), "clocks", clocks=clocks)
        self.seen.clock_error_s = max((clock["error"] / 1e9 for clock in clocks), default=0.0)
        self._warn([*fleet.collected["problems"], *(clock_words(clock) for clock in clocks if not clock["exact"])])

    def _note_incident(self, timeline: Timeline, incident: Incident) -> None:
        timeline.append(incident.t_ns, "incident", source=incident.source, what=incident.what, text=incident.text)
        self.seen.incidents.append(IncidentRecord(**asdict(incident)))
        if (incident.source, incident.what) == ("broker", KILLED_FOR_MEMORY):
            self.seen.broker_died = (
                self.seen.broker_died or incident.text
            )  # its first process may live on, as PostgreSQL's does
        self._context.listener.notice(Warned(text=incident.text))

    def _watcher_ended(self, t_ns: int) -> None:
        self._warn([watcher_words(t_ns, self.seen.load_start_ns, self.seen.steady_start_ns)])

    def _keep_stalls(self, stalls: StallWatcher) -> None:
        self.seen.stall_max_s = stalls.max_stall_s()

    def _keep_faults(self, nemesis: Nemesis) -> None:
        self.seen.faults = nemesis.records()

    def _probe(self, broker: Broker, *, of_fault: bool = False) -> Probe:
        return Probe(
            self._context.driver_options(broker.address, "probe"),
            alive=broker.alive,
            log_tail=broker.log_tail,
            queue_itself=of_fault and self._context.case.setup.own_health,
        )

    def _phase(
        self,
        timeline: Timeline,
        phase: str,
        length_s: float | None = None,
        *,
        limit: bool = False,
        at_ns: int | None = None,
    ) -> None:
        t_ns = now_ns() if at_ns is None else at_ns
        timeline.append(t_ns, "phase", phase=phase)
        self._context.listener.notice(PhaseChanged(phase=phase, t_ns=t_ns, length_s=length_s, limit=limit))

    def _tell_fault(self, timeline: Timeline, record: FaultRecord) -> None:
        timeline.append(now_ns(), "fault", fault=asdict(record))
        if record.healed_ns is not None:
            healed = FaultHealed(index=record.index, label=record.label, t_ns=record.healed_ns)
            self._context.listener.notice(healed)
        elif record.injected_ns is not None:
            entry = self._context.scenario.faults[record.index]
            hold_s = faults()[entry.verb, entry.target](entry.settings).hold_s
            self._context.listener.notice(
                FaultInjected(index=record.index, label=record.label, t_ns=record.injected_ns, hold_s=hold_s)
            )
