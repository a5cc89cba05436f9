"""Whether a trial was disturbed from outside: by other programs and other machines on the same processor, never by itself.

Decided from what the machine was busy with while under load; no figure of the trial is looked at (``gate.md``, Design of a comparison).
"""

from __future__ import annotations

from harness.analysis.used import others_cores, used
from harness.clock import NS_PER_S
from harness.errors import BrokenRunFolderError
from harness.record import TrialRecord
from harness.store import RunFolder

OTHERS_SHARE = 0.25
"""Share of the machine's CPUs that others may use during a trial of a pair."""


def disturbance(folder: RunFolder, trial: TrialRecord, others_share: float) -> str:
    """Returns what others took of the machine while the trial was under load, "" where it was not more than ``others_share`` of its
    CPUs, or cannot be told.

    What the hypervisor gave to others counts as theirs; broker, load and the harness beside them do not.
    """
    try:
        place = folder.trial_at(trial.folder)
        samples, facts = place.read_table("samples"), place.read_facts()
    except BrokenRunFolderError:
        return ""
    others = others_cores(samples, facts)
    if others is None or not facts.cores or facts.load_start_ns is None or facts.load_end_ns is None:
        return ""
    span = (facts.load_start_ns, facts.load_end_ns)
    per_s = NS_PER_S / (span[1] - span[0])
    stolen = (used(samples, "machine", "cpu_steal_s", span) or 0.0) * per_s
    others = max(0.0, others - (used(samples, "harness", "cpu_s", span) or 0.0) * per_s)
    if others + stolen <= others_share * facts.cores:
        return ""
    told = [f"other programs used {others:.1f} of {facts.cores} cores while under load"]
    if stolen >= 0.05:
        told.append(f"the hypervisor gave {stolen:.1f} to others")
    return ", ".join(told)
