"""``brokerbench gate`` and ``baseline update`` on stored runs of the null broker, and on copies of them whose records were edited."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.gate.baseline import baseline_schema
from harness.gate.outcome import outcome_schema
from tests.system.conftest import COMMAND, Bench, Finished
from tests.system.test_comparing import as_another, assert_refused

pytestmark = pytest.mark.slow

SCENARIO = """
question: Does the gate see what a broker forgets?
setups: ["null": {forget: 3}]
deployment: embedded
load: {rate: 1000/s}
workers: {count: 1, visibility: 500 ms, sweep: 200 ms}
phases: {warmup: 200 ms, steady: 1 s, drain: 20 s}
"""

P50 = "latency.end_to_end.p50"
NO_LOSS = '[[rule]]\nid = "no-loss"\nmetric = "loss.confirmed"\nrequire = "== 0"\n'
SLOWER = f'[[rule]]\nid = "p50"\nmetric = "{P50}"\nmax_worse = "50%"\n'
KEPT = '[[rule]]\nid = "few"\nmetric = "loss.confirmed"\nrequire = "<= 3"\n'
CRASHED = '[[rule]]\nid = "crash"\nguarantee = "held"\nfault = "broker kill"\n'


UPDATE = ["baseline", "update", "--others", "100%"]
"""Tests beside this one take their part of the machine."""


def test_a_stored_run_is_judged(bench: Bench) -> None:
    """One run is made; all that is asked of `gate` is asked of it and of its copies."""
    made = bench("run", bench.scenario("forgets", SCENARIO), "--quiet")
    assert made.run is not None, made.err
    run = made.run.path
    baselines(bench, run)
    contracts(bench, run)
    relative(bench, run)
    outputs(bench, run)
    assert bench.gone() == []


def rules(bench: Bench, text: str) -> list[str]:
    (bench.home / "rules.toml").write_text(text)
    return ["--rules", "rules.toml"]


def baselines(bench: Bench, run: Path) -> None:
    made = bench(*UPDATE, str(run), "-o", "kept")
    assert made.code == 0
    assert re.fullmatch(
        r"note: null\[forget=3\]@embedded: 1 of 1 trial lost confirmed messages, 3\n"
        r"note: null\[forget=3\]@embedded: the claim without a fault was VIOLATED in 1 of 1 trial: 3 of [\d,]+ confirmed messages lost\n"
        r"note: null\[forget=3\]@embedded: of fewer than 3 trials no gate can tell a difference; run with --trials 3 or more\n",
        made.err,
    )
    [file] = (bench.home / "kept").iterdir()
    assert re.fullmatch(r"forgets--null-forget-3-embedded--[0-9a-f]{12}\.json", file.name)
    assert made.out == f"kept/{file.name}: new\n"
    before = file.read_bytes()
    value = json.loads(before)
    jsonschema.validate(value, baseline_schema())
    [counts] = value["latencies"]["steady"]
    assert sum(counts[1::2]) > 500
    copy = as_another(run, "copy", lambda record: record.update(started_wall_ns=1))
    assert bench(*UPDATE, copy, "-o", "kept").out == f"kept/{file.name}: as it was\n"
    assert file.read_bytes() == before
    other = as_another(run, "other", several(1.5, trials=1))
    assert bench(*UPDATE, other, "-o", "kept").out == f"kept/{file.name}: changed\n"
    changed = json.loads(file.read_bytes())
    assert {name for name in value if value[name] != changed[name]} == {"metrics"}


def contracts(bench: Bench, run: Path) -> None:
    forgets = bench("gate", str(run), *rules(bench, NO_LOSS), COLUMNS="80")
    assert forgets.code == 10, forgets.err
    assert "✗ FAIL" in forgets.out
    assert max(map(len, forgets.out.splitlines())) <= 80
    assert bench("gate", str(run), *rules(bench, CRASHED)).code == 13  # no fault was fired
    misspelt = NO_LOSS.replace("loss.confirmed", "loss.confrimed")
    assert_refused(bench("gate", str(run), *rules(bench, misspelt)), 2, "did you mean")
    cut = as_another(run, "cut", lambda record: record.update(status="interrupted"))
    assert bench("gate", cut, *rules(bench, KEPT)).code == 13
    refused = bench("baseline", "update", cut, "-o", "none")
    assert_refused(refused, 13, "it was interrupted")
    assert not (bench.home / "none").exists()


def several(factor: float, trials: int = 5) -> Callable[[dict[str, Any]], None]:
    """Returns what makes so many trials of each one, with latencies ``factor`` times as large, each a little different."""

    def change(record: dict[str, Any]) -> None:
        for case in record["cases"]:
            [trial] = case["trials"]
            case["trials"] = [_slower(trial, factor * (1 + number / 1000)) for number in range(trials)]
            for number, each in enumerate(case["trials"], 1):
                each |= {"number": number, "folder": f"{Path(trial['folder']).parent}/trial-{number}"}

    return change


def of_several(run: Path, name: str, change: Callable[[dict[str, Any]], None]) -> str:
    """Copies a run of one trial as one of several, each with a folder of its own."""
    copy = Path(as_another(run, name, change))
    for case in json.loads((copy / "run.json").read_text())["cases"]:
        first, *others = (copy / trial["folder"] for trial in case["trials"])
        for other in others:
            shutil.copytree(first, other)
    return str(copy)


def _slower(trial: dict[str, Any], factor: float) -> dict[str, Any]:
    other = json.loads(json.dumps(trial))
    for figures in other["metrics"].values():
        figures[P50] *= factor
    return other


def relative(bench: Bench, run: Path) -> None:
    base = of_several(run, "base", several(1))
    assert bench(*UPDATE, base, "-o", "of-base").code == 0
    against = ["--baseline", "of-base", "--others", "100%"]
    ask = rules(bench, SLOWER + KEPT)
    alike = of_several(run, "alike", several(1.01))
    assert bench("gate", alike, *ask, *against).code == 0
    slow = of_several(run, "slow", several(2))
    slower = bench("gate", slow, *ask, *against)
    assert slower.code == 10
    assert "worse" in slower.out

    def elsewhere(record: dict[str, Any]) -> None:
        several(2)(record)
        record["fingerprint"]["identity"]["cpu_model"] = "Another CPU"

    there = of_several(run, "there", elsewhere)
    unlike = bench("gate", there, *ask, *against)
    assert unlike.code == 12
    assert "/ Another CPU" in " ".join(unlike.out.split())
    across = bench("gate", there, *ask, *against, "--cross-machine", "--json")
    assert across.code == 0, across.err
    told = json.loads(across.out)
    jsonschema.validate(told, outcome_schema())
    assert [round(row["estimate"], 1) for row in told["information"]] == [2.0]
    assert [row["rule"] for row in told["rows"]] == ["few"]


def outputs(bench: Bench, run: Path) -> None:
    ask = ["gate", str(run), *rules(bench, NO_LOSS)]
    files = ["--junit", "out/junit.xml", "--summary", "out/summary.md", "--annotations", "github"]
    told = bench(*ask, *files)
    assert told.code == 10
    assert "\n::error title=FAIL%3A no-loss::" in told.out
    assert sorted(path.name for path in (bench.home / "out").iterdir()) == ["junit.xml", "summary.md"]
    line = shlex.join([*COMMAND, *ask])
    for redirected, code in (
        (">&-", 10),
        ("| head -c 1 >/dev/null; exit ${PIPESTATUS[0]}", 10),
        ("--junit late.xml >/dev/full", 70),
    ):
        ended = shell(bench, f"{line} {redirected}")
        assert (ended.code, "Traceback" in ended.err) == (code, False), (redirected, ended.err)
    assert (bench.home / "late.xml").exists()


def shell(bench: Bench, line: str) -> Finished:
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=bench.home,
        env=bench.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Finished(done.returncode, done.stdout, done.stderr)
