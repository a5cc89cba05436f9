"""Combinations that cannot be: each check looks at values that are right by themselves, and says why they do not go together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.model import Site
from harness.scenario.addresses import EXTERNAL
from harness.scenario.catalogue import Catalogue
from harness.scenario.entries import SetupChoice
from harness.scenario.model import Agents, FaultEntry, Load, Phases, Workers
from harness.scenario.problems import Report
from harness.scenario.shapes import BAD
from harness.scenario.sites import DOCKER, where
from harness.scenario.source import Node
from harness.schedule import expected_messages

BASELINE_S = 5.0
BASELINE_MESSAGES = 1000
BASELINE_ENDS_S = 1.0  # this long before the first fault
MAX_SLOTS = 1 << 28  # attempts of one producer: the size of its slot file
MAX_BLOCK_BYTES = 256 << 20
MAX_STEADY_S = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """A scenario so far; None = not known, because something of it was wrong: checks that need it are left out.

    ``workers`` are those with the largest prefetch; ``idempotency`` are all wrappers that are asked for, ``setups`` all setups.
    """

    root: Node
    load: Load | None
    workers: Workers | None
    phases: Phases | None
    faults: tuple[FaultEntry, ...] | None
    agents: Any
    setups: Sequence[SetupChoice] | None
    idempotency: tuple[str, ...]
    deployment: Any
    catalogue: Catalogue
    sites: Sequence[Site] = ()


class Finding(NamedTuple):
    """Why values do not go together, and the key that it is said of."""

    path: str
    text: str
    expected: str = ""
    remedy: str = ""


def check(draft: Draft, report: Report) -> None:
    """Notes every impossible combination."""
    for each in _CHECKS:
        for path, text, expected, remedy in each(draft):
            report.add(draft.root.nearest(path).place, path, text, expected=expected, remedy=remedy)


def _written(draft: Draft, path: str) -> bool:
    return draft.root.nearest(path).path == path


def _closed_loop(draft: Draft) -> Iterator[Finding]:
    if "saturate" not in draft.root.nearest("load").entries:
        return
    why = "has no meaning in closed loop (saturate)"
    if _written(draft, "load.arrival"):
        yield Finding("load.arrival", why, remedy="remove it: messages are sent as confirms come")
    if _written(draft, "load.window"):
        yield Finding("load.window", why, remedy="write saturate: {window: …} instead")


def _ceiling(draft: Draft) -> Iterator[Finding]:
    if _written(draft, "load.ceiling") and "saturate" in draft.root.nearest("load").entries:
        yield Finding("load.ceiling", "stands beside saturate, which is the same", "one of the two", "remove ceiling")


def _replay_arrival(draft: Draft) -> Iterator[Finding]:
    load = draft.load
    if (
        load
        and load.profile
        and all(piece.kind == "replay" for piece in load.profile)
        and _written(draft, "load.arrival")
    ):
        yield Finding("load.arrival", "has no meaning with a replay", remedy="remove it: the file gives the times")


def _blocks(draft: Draft) -> Iterator[Finding]:
    load = draft.load
    if load is None:
        return
    if load.batch > load.window and _written(draft, "load.batch"):
        text = f"a block of {load.batch} never fits into the window of {load.window}"
        yield Finding("load.batch", text, f"at most {load.window}", "make load.window larger or load.batch smaller")
    block_bytes = min(load.batch, load.window) * load.payload_bytes
    if block_bytes > MAX_BLOCK_BYTES:
        text = f"a block of {load.batch} messages of {load.payload_bytes} B takes {block_bytes >> 20} MiB"
        path = "load.payload" if _written(draft, "load.payload") else "load.batch"
        yield Finding(path, text, f"at most {MAX_BLOCK_BYTES >> 20} MiB", "make load.batch smaller")


def _settling(draft: Draft) -> Iterator[Finding]:
    workers = draft.workers
    if workers is None:
        return
    if workers.ack == "auto" and _written(draft, "workers.settle"):
        text = "has no meaning with ack: auto"
        yield Finding("workers.settle", text, remedy="remove it: nothing is acknowledged")
    elif workers.settle_batch > workers.prefetch and _written(draft, "workers.settle.batch"):
        text = f"{workers.settle_batch} acknowledgements never come together with a prefetch of {workers.prefetch}"
        yield Finding("workers.settle.batch", text, f"at most {workers.prefetch}")
    if workers.settle_linger_s >= workers.visibility_s:
        text = f"acknowledgements would wait as long as a hold lasts ({workers.visibility_s:g} s)"
        path = "workers.settle.linger" if _written(draft, "workers.settle.linger") else "workers.visibility"
        yield Finding(path, text, "settle.linger shorter than visibility")


def _idempotency(draft: Draft) -> Iterator[Finding]:
    wrappers = [word for word in draft.idempotency if word != "none"]
    if not wrappers:
        return
    path, expected = "workers.idempotency", "setups with acks on Redis, where its keys are kept"
    for choice in draft.setups or ():
        if choice.setup.broker != "redis":
            text = f"{wrappers[0]} keeps its keys in the Redis under test, and {choice.setup.name} has none"
            yield Finding(path, text, expected, f"remove {choice.setup.name}, or the wrapper")
        elif choice.setup.traits.at_most_once:
            text = f"{wrappers[0]} is for messages that come twice, and {choice.setup.name} delivers each at most once"
            yield Finding(path, text, expected, f"remove {choice.setup.name}, or the wrapper")
    if draft.workers and draft.workers.ack == "auto":
        text = f"{wrappers[0]} acknowledges what it skips, and with ack: auto nothing is acknowledged"
        yield Finding(path, text, "ack: explicit", "remove workers.ack")


def _steady(draft: Draft) -> Iterator[Finding]:
    profile = "profile" in draft.root.nearest("load").entries
    if profile and _written(draft, "phases.steady"):
        text = "stands beside load.profile, whose pieces say how long steady is"
        yield Finding("phases.steady", text, "one of the two", "remove phases.steady")
    elif profile and draft.phases and not 1.0 <= draft.phases.steady_s <= MAX_STEADY_S:
        text = f"the pieces are {draft.phases.steady_s:g} s long together"
        yield Finding("load.profile", text, "from 1 s to 24 h")


def _counts(draft: Draft) -> Iterator[Finding]:
    load, phases = draft.load, draft.phases
    if load is None or phases is None or not load.profile:
        return
    total = expected_messages(load, phases)
    each = total / load.producers * (1 + load.retry_attempts)
    rate_path = "load.rate" if _written(draft, "load.rate") else "load.profile"
    if each > 0.99 * MAX_SLOTS:  # random arrivals may be a few more than expected
        text = (
            f"{total:,.0f} messages over {load.producers} producer(s), each tried up to {1 + load.retry_attempts} times"
        )
        expected = f"at most {MAX_SLOTS:,} attempts per producer"
        yield Finding(rate_path, text, expected, "lower the rate, shorten steady, or add producers")
    if expected_messages(load, phases, from_s=phases.warmup_s) < 1:
        yield Finding(rate_path, "not one message is due in steady", "a rate that sends something")


def _drain(draft: Draft) -> Iterator[Finding]:
    if draft.workers is None or draft.phases is None:
        return
    hold_s = draft.workers.longest_hold_s
    if draft.phases.drain_s < hold_s:
        text = f"a drain of at most {draft.phases.drain_s:g} s ends before the longest hold is over"
        expected = f"at least max(visibility + sweep, 3 s) = {hold_s:g} s"
        path = "phases.drain" if _written(draft, "phases.drain") else "workers.visibility"
        yield Finding(path, text, expected, f"write phases.drain: {hold_s * 2:g} s, or a shorter visibility")


def _shards(draft: Draft) -> Iterator[Finding]:
    if draft.load is None or draft.workers is None or not isinstance(draft.agents, Agents):
        return
    shards = draft.load.producers + draft.workers.count
    if draft.agents.total > shards:
        text = f"{draft.agents.total} agents for {shards} shards"
        yield Finding("agents", text, f"at most {shards} (producers + workers)", "lower agents")


def _fault_times(draft: Draft) -> Iterator[Finding]:
    phases = draft.phases
    if phases is None or not draft.faults:
        return
    for path, fault in _in_order(draft.faults):
        if fault.at_s >= phases.steady_s:
            text = f"{fault.label} comes at {fault.at_s:g} s, and steady ends at {phases.steady_s:g} s"
            yield Finding(f"{path}.at", text, f"before {phases.steady_s:g} s", "move it or make steady longer")


def _baseline(draft: Draft) -> Iterator[Finding]:
    load, phases = draft.load, draft.phases
    if not draft.faults:
        return
    path, first = next(_in_order(draft.faults))
    ends_s = first.at_s - BASELINE_ENDS_S
    path = f"{path}.at"
    why = "before the first fault, which its recovery is compared with (up to 1 s before it)"
    if ends_s < BASELINE_S:
        text = f"{first.label} at {first.at_s:g} s leaves {max(ends_s, 0.0):g} s of steady load {why}"
        earliest = f"at least {BASELINE_S + BASELINE_ENDS_S:g} s"
        yield Finding(path, text, earliest, f"write at: {BASELINE_S + BASELINE_ENDS_S:g} s or later")
    elif load and phases and load.profile:
        messages = expected_messages(load, phases, from_s=phases.warmup_s, to_s=phases.warmup_s + ends_s)
        if messages < BASELINE_MESSAGES:
            text = f"{messages:,.0f} messages are due {why}"
            yield Finding(
                path,
                text,
                f"at least {BASELINE_MESSAGES:,}",
                "raise the rate or let the fault come later",
            )


def _broker_faults(draft: Draft) -> Iterator[Finding]:
    """A fault of the broker begins a second after the end of the one before: their windows stay apart."""
    free_s, before = 0.0, ""
    for path, fault in _in_order(draft.faults or ()):
        if fault.target != "broker":
            continue
        if before and fault.at_s < free_s:
            text = f"{fault.label} at {fault.at_s:g} s overlaps with {before}"
            yield Finding(f"{path}.at", text, f"at {free_s:g} s or later")
        held_s = max((v for v in fault.settings.values() if isinstance(v, float)), default=0.0)
        free_s, before = fault.at_s + held_s + BASELINE_ENDS_S, f"{fault.label} at {fault.at_s:g} s"


def _faults_on_external(draft: Draft) -> Iterator[Finding]:
    if draft.deployment != EXTERNAL:
        return
    for path, fault in _in_order(draft.faults or ()):
        if fault.target == "broker":
            text = f"{fault.label}: a broker that runs already is not ours to strike"
            ours = DOCKER if fault.verb == "recreate" else "embedded"
            remedy = f"remove it, or let the broker be started: deployment: {ours}"
            yield Finding(f"{path}.{fault.verb}", text, "faults on workers and producers", remedy)


def _without_docker(draft: Draft) -> Iterator[Finding]:
    """Networks, the place of the load and containers are Docker's."""
    if draft.deployment in (DOCKER, BAD):
        return
    expected, choose = "deployment: docker", f"remove it, or write {DOCKER} where {draft.deployment} stands"
    for key in ("network", "client"):
        if _written(draft, key):
            text = f"has no meaning with deployment: {draft.deployment}, which leaves no choice of it"
            yield Finding(key, text, expected, choose)
    for choice in draft.setups or ():
        for name in choice.contained:
            text = f"a container has it, and with deployment: {draft.deployment} {choice.setup.broker} runs in none"
            yield Finding(f"{choice.node.path}.{choice.setup.name}.{name}", text, expected, choose)
    for path, fault in _in_order(draft.faults or ()):
        if fault.verb == "recreate" and draft.deployment != EXTERNAL:  # which refuses all faults of the broker
            text = f"{fault.label}: with deployment: {draft.deployment} there is no container to make again"
            yield Finding(f"{path}.{fault.verb}", text, expected, choose)


def _not_on_docker(draft: Draft) -> Iterator[Finding]:
    """Docker has servers of some brokers only, and the load's containers have our drivers only."""
    if draft.deployment != DOCKER:
        return
    for choice in draft.setups or ():
        setup = choice.setup
        if not draft.catalogue.on_docker(setup):
            has = ", ".join(sorted(draft.catalogue.docker_brokers or ()))
            text = f"{setup.name} cannot run with deployment: docker, which has no server of {setup.broker}"
            also = " and ".join(_of_docker_only(draft))
            remedy = f"remove it, or {f'remove {also} and ' if also else ''}write deployment: embedded"
            yield Finding(choice.node.path, text, f"setups of {has}", remedy)
        elif setup.name in draft.catalogue.not_in_image and any(site.client == "container" for site in draft.sites):
            text = f"the driver of {setup.name} comes from another package, which is not in the image of the load"
            yield Finding(choice.node.path, text, "client: host, on every network", "write client: host")


def _of_docker_only(draft: Draft) -> Iterator[str]:
    """Yields what is written that every other deployment refuses."""
    yield from (key for key in ("network", "client") if _written(draft, key))
    yield from dict.fromkeys(name for choice in draft.setups or () for name in choice.contained)
    yield from dict.fromkeys(fault.label for fault in draft.faults or () if fault.verb == "recreate")


def _sites(draft: Draft) -> Iterator[Finding]:
    """What the load's containers cannot have, and networks that come twice."""
    if draft.deployment != DOCKER:
        return
    if isinstance(draft.agents, Agents) and draft.agents.remote:
        text = "agents of other machines do not reach brokers in containers, which are published on 127.0.0.1 only"
        yield Finding(
            "agents", text, "agents of this machine only", "remove agents.remote, or use deployment: external"
        )
    for path, fault in _in_order(draft.faults or ()):
        apart = [
            (index, site.network)
            for index, site in enumerate(draft.sites)
            if site.client == "container" and site.network != "host"
        ]
        if (fault.verb, fault.target) == ("cut", "producer") and apart:
            listed = draft.root.nearest("network").kind == "list"
            places = ", ".join(f"{name} (network.{index})" if listed else name for index, name in apart)
            text = (
                f"{fault.label} needs a proxy on this machine, which a load in a container on {places} does not reach"
            )
            own = " and ".join(f"{{{name}: {{client: host}}}}" for _, name in apart)
            remedy = f"write {own} there" if listed else "write client: host"
            yield Finding(f"{path}.{fault.verb}", text, "client: host, or network: host", remedy)
    seen: set[Site] = set()
    for index, site in enumerate(draft.sites):
        if site in seen:
            text = f"the network {where(site, DOCKER)} comes twice"
            yield Finding(f"network.{index}", text, remedy="remove one of the two")
        seen.add(site)


def _killed_workers(draft: Draft) -> Iterator[Finding]:
    """Workers that are dead, or not yet replaced, cannot be killed; and somebody must be left to drain."""
    if draft.workers is None:
        return
    count = draft.workers.count
    dead: list[tuple[float, int]] = []  # (back at, how many)
    for path, fault in _in_order(draft.faults or ()):
        if (fault.verb, fault.target) != ("kill", "worker"):
            continue
        alive = count - sum(n for back_s, n in dead if back_s > fault.at_s)
        killed = _count(fault)
        if killed > alive:
            text = f"{killed} workers are to be killed at {fault.at_s:g} s, and {alive} of {count} are alive then"
            yield Finding(f"{path}.count", text, f"at most {alive}", "raise workers.count")
            continue
        back_s = fault.settings.get("replace_after")
        dead.append((float("inf") if back_s is None else fault.at_s + back_s, killed))
        if sum(n for back_s, n in dead if back_s == float("inf")) == count:
            text = f"after {fault.at_s:g} s no worker is left, and nobody drains the queue"
            yield Finding(f"{path}.replace_after", text, "a time", "raise workers.count or let them be replaced")


def _killed_producers(draft: Draft) -> Iterator[Finding]:
    alive = draft.load.producers if draft.load else 0
    for path, fault in _in_order(draft.faults or () if draft.load else ()):
        if (fault.verb, fault.target) != ("kill", "producer"):
            continue
        killed = _count(fault)
        if killed > alive:
            text = f"{killed} producers are to be killed at {fault.at_s:g} s, and {alive} are alive then"
            yield Finding(f"{path}.count", text, f"at most {alive}" if alive else "none", "raise load.producers")
        alive -= killed


def _cuts(draft: Draft) -> Iterator[Finding]:
    """The last reply is cut while there is load; and the proxy that cuts it can be reached by producers of this machine only."""
    for path, fault in _in_order(draft.faults or ()):
        if (fault.verb, fault.target) != ("cut", "producer"):
            continue
        last_s = fault.at_s + (_count(fault) - 1) * float(fault.settings.get("every") or 0)
        if draft.phases and fault.at_s < draft.phases.steady_s <= last_s:
            text = f"the last of {_count(fault)} cuts comes at {last_s:g} s, and steady ends at {draft.phases.steady_s:g} s"
            yield Finding(f"{path}.count", text, remedy="lower count or every, or make steady longer")
        if isinstance(draft.agents, Agents) and draft.agents.remote:
            text = f"{fault.label} needs producers on this machine, and agents of others may run them"
            yield Finding(f"{path}.{fault.verb}", text, "agents of this machine only", "remove agents.remote")


def _count(fault: FaultEntry) -> int:
    return int(fault.settings.get("count") or 1)


def _in_order(faults: tuple[FaultEntry, ...]) -> Iterator[tuple[str, FaultEntry]]:
    """Yields (path, fault) by time."""
    listed = [(f"faults.{index}", fault) for index, fault in enumerate(faults)]
    return iter(sorted(listed, key=lambda pair: pair[1].at_s))


_CHECKS: tuple[Callable[[Draft], Iterator[Finding]], ...] = (
    _closed_loop,
    _ceiling,
    _replay_arrival,
    _blocks,
    _settling,
    _idempotency,
    _steady,
    _counts,
    _drain,
    _shards,
    _fault_times,
    _baseline,
    _broker_faults,
    _faults_on_external,
    _without_docker,
    _not_on_docker,
    _sites,
    _killed_workers,
    _killed_producers,
    _cuts,
)
