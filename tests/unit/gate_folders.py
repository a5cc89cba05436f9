"""Run folders for gates, hand-made: a record whose trials have the figures that a test names, and the settings that were read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.analysis.comparable import Side
from harness.gate.baseline import Baseline, baseline_of, text_of
from harness.model import DurabilityClass, TrialStatus
from harness.record import CaseRecord, RunRecord, TrialRecord
from tests.unit import records, test_comparable
from tests.unit.test_comparable import FINGERPRINT, READ_BACK

CASE = "null@embedded"
SCENARIO: dict[str, Any] = test_comparable.SCENARIO | {"faults": []}
"""No trial here has a fault."""
P50 = "latency.end_to_end.p50"


def trial(number: int, p50_s: float, lost: float = 0.0, **more: Any) -> TrialRecord:
    """Returns a valid trial."""
    values: dict[str, Any] = {
        "number": number,
        "status": TrialStatus.VALID,
        "reasons": [],
        "folder": f"cases/null/trial-{number}",
        "metrics": {"steady": {P50: p50_s, "throughput": 1 / p50_s}, "whole": {P50: p50_s, "loss.confirmed": lost}},
        "throughput_label": {"steady": "sustained", "whole": "sustained"},
        "guarantees": [records.no_fault()],
        "evidence_sound": True,
    }
    return TrialRecord(**values | more)


def case(trials: Sequence[TrialRecord], **more: Any) -> CaseRecord:
    """Returns the null broker's case."""
    values: dict[str, Any] = {
        "id": CASE,
        "slug": "null-embedded",
        "setup": "null",
        "broker": "null",
        "parameters": {"drop": ""},
        "network": "embedded",
        "durability_class": DurabilityClass.MEMORY,
        "summary": "a server of our own",
        "server": "null broker 1",
        "trials": list(trials),
    }
    return CaseRecord(**values | more)


def run(p50_s: Sequence[float], *, lost: float = 0.0, run_id: str = "1" * 16, **more: Any) -> RunRecord:
    """Returns a run of one case with a trial for each latency."""
    trials = [trial(number, each, lost) for number, each in enumerate(p50_s, 1)]
    values: dict[str, Any] = {
        "run_id": run_id,
        "scenario": "smoke",
        "cases": [case(trials)],
        "fingerprint": FINGERPRINT,
        "scenario_expanded": SCENARIO,
    }
    return records.run(**values | more)


def stored(folder: Path, record: RunRecord) -> Path:
    """Writes a run folder with the settings of its trials and returns it."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record.model_dump(mode="json")))
    for each in (each for case in record.cases for each in case.trials):
        place = folder / each.folder
        place.mkdir(parents=True, exist_ok=True)
        (place / "settings.json").write_text(json.dumps(READ_BACK))
    return folder


def baseline(record: RunRecord) -> Baseline:
    """Returns the baseline of the only case of a run."""
    [only] = record.cases
    return baseline_of(
        Side(run=record, case=only, settings=[READ_BACK] * len(only.trials)), {"steady": [[3, 1]] * len(only.trials)}
    )


def kept(path: Path, record: RunRecord) -> Path:
    """Writes the baseline of a run and returns its file."""
    path.write_text(text_of(baseline(record)))
    return path


def rules(path: Path, *told: str) -> Path:
    """Writes a rules file and returns it."""
    path.write_text("\n".join(f"[[rule]]\n{each}\n" for each in told))
    return path


SLOWER = f'id = "p50"\nmetric = "{P50}"\nmax_worse = "10%"'
NO_LOSS = 'id = "no-loss"\nmetric = "loss.confirmed"\nrequire = "== 0"'
