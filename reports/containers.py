"""What a reader must know of the containers that cases ran in: where they ran, from which image, what befell them."""

from __future__ import annotations

from collections.abc import Iterator

from harness.record import CaseRecord, RunRecord
from harness.units import format_duration

_PLACES = {"container": "in a container", "host": "on the host"}
TMPFS = "volume tmpfs: the data end with the container, so nothing is claimed of what ends the broker"


def ground(record: RunRecord) -> str:
    """Returns the deployment with its networks: ``docker: on bridge, host with the load in a container``."""
    networks: dict[str, dict[str, None]] = {}
    for case in record.cases:
        if case.client:
            networks.setdefault(case.client, {})[case.network] = None
    told = [f"on {', '.join(each)} with the load {_PLACES.get(client, client)}" for client, each in networks.items()]
    return f"{record.deployment}: {'; '.join(told)}" if told else record.deployment


def site(case: CaseRecord) -> str:
    """Returns where a case ran: ``bridge``, ``bridge, load on the host``; "" where there was nothing to choose."""
    if not case.client:
        return ""
    return case.network if case.client == "container" else f"{case.network}, load {_PLACES[case.client]}"


def about(case: CaseRecord) -> str:
    """Returns network, image and storage of a case in words, "" where it ran in no container."""
    if not case.client:
        return ""
    told = [f"network {case.network}, the load {_PLACES[case.client]}"]
    if case.image:
        told.append(f"image {case.image.reference} ({case.image.source}, {case.image.digest})")
    if is_on_tmpfs(case):
        told.append(TMPFS)
    return "; ".join(told)


def is_on_tmpfs(case: CaseRecord) -> bool:
    """Returns whether the data of a case's broker lay in a container's own memory."""
    return bool(case.client) and case.parameters.get("volume") == "tmpfs"


def _in_phase(phase: str) -> str:
    """Returns the phase as it follows a time since *steady*, which itself says that."""
    if phase in ("", "steady"):
        return ""
    return f", in the {phase}" if phase in ("warm-up", "drain") else f", {phase}"


def befell(case: CaseRecord) -> Iterator[str]:
    """Yields what befell the containers of a case, a sentence each, the trial named where there are several."""
    for trial in case.trials:
        which = f"trial {trial.number}, " if len(case.trials) > 1 else ""
        for incident in trial.incidents:
            when = f"{abs(incident.at_s):.1f} s {'after the start of' if incident.at_s >= 0 else 'before'} steady"
            yield f"{which}{when}{_in_phase(incident.phase)}: {incident.text}"
        for source, held_s in trial.throttled_s.items():
            if held_s > 0:
                total = format_duration(held_s)
                yield f"{which}{source}: from the load's start to the end of the drain a CPU limit kept it waiting for {total} in all"
