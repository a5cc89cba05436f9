"""``brokerbench compare`` on a stored run of real brokers, and on copies of it that say that they were made elsewhere."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from reports.compared import comparison_schema
from tests.system.conftest import Bench, Finished

pytestmark = pytest.mark.slow

SCENARIO = """
question: What does a stream cost beside a list?
setups: [redis-list, redis-stream]
load: {rate: 1500/s}
workers: {count: 1, visibility: 1 s, sweep: 500 ms}
phases: {warmup: 500 ms, steady: 2 s, drain: 20 s}
"""


def as_another(run: Path, name: str, change: Callable[[dict[str, Any]], object] = lambda record: None) -> str:
    """Copies a run's folder, as if it had been made another time, out of the folder of runs, and returns the copy's path."""
    copy = run.parent.parent / name
    shutil.copytree(run, copy)
    record = json.loads((copy / "run.json").read_text())
    record["run_id"] = f"{len(name):016x}"
    change(record)
    (copy / "run.json").write_text(json.dumps(record))
    return str(copy)


def test_cases_and_runs_stand_side_by_side(bench: Bench) -> None:
    """One run is made; all that is asked of `compare` is asked of it and of its copies."""
    made = bench("run", bench.scenario("two", SCENARIO))
    assert made.run is not None, made.err
    run = made.run.path
    within(bench, run)
    between(bench, run)
    elsewhere(bench, run)
    broken(bench, run)
    assert bench.gone() == []


def within(bench: Bench, run: Path) -> None:
    told = bench("compare", str(run), "--baseline", "redis-stream@embedded", "--html", "page.html", COLUMNS="80")
    assert told.code == 0, told.err
    assert told.err == ""
    lines = told.out.splitlines()
    assert all(len(line) <= 80 for line in lines if str(run) not in line and "brokerbench run" not in line)
    assert re.search(r"✓ HELD +redis-list@embedded", told.out)
    assert "no interval (one trial)" in told.out
    assert told.out.rstrip().endswith("Page: page.html")
    page = (bench.home / "page.html").read_text()
    assert 'id="chart-ratios"' in page
    again = bench("compare", str(run), "--html", "page.html", "--markdown")
    assert (again.code, again.err) == (0, "Page: page.html\n")
    assert page.count("<figure") == page.count('<details class="data">') >= 3
    assert re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?(?:https?:)?//', page) == []
    markdown = bench("compare", str(run), "--markdown")
    assert markdown.out.startswith("# two, side by side: What does a stream cost beside a list?\n")
    assert len(markdown.out.encode()) < 64 * 1024
    as_json = bench("compare", str(run), "--json")
    jsonschema.validate(json.loads(as_json.out), comparison_schema())


def between(bench: Bench, run: Path) -> None:
    again = as_another(run, "again")
    told = bench("compare", str(run), again, "--json")
    assert told.code == 0, told.err
    [group] = json.loads(told.out)["groups"]
    ratios = [
        figure["difference"]["ratio"]
        for arm in group["arms"]
        for figure in arm["figures"].values()
        if figure["difference"] is not None
    ]
    assert len(ratios) > 10
    assert set(ratios) == {1.0}  # it is the same run but for its name
    drifted = as_another(run, "drifted", lambda record: record["fingerprint"]["drift"].update(kernel="6.0.0-other"))
    told = bench("compare", str(run), drifted)
    assert told.code == 0, told.err
    assert "! DRIFT" in told.out
    assert "/ 6.0.0-other" in told.out


def elsewhere(bench: Bench, run: Path) -> None:
    there = as_another(run, "there", lambda record: record["fingerprint"]["identity"].update(cpu_model="Another CPU"))
    refused = bench("compare", str(run), there, "--html", "refused.html")
    assert (refused.code, refused.out) == (12, "")
    assert re.search(r"CPU model: .+ / Another CPU", refused.err)
    assert "--cross-machine" in refused.err
    assert not (bench.home / "refused.html").exists()
    next(Path(there).glob("cases/*/*/deliveries.parquet")).unlink()
    told = bench("compare", str(run), there, "--cross-machine", "--html", "across.html")
    assert told.code == 0, told.err
    assert "Not in the charts" in (bench.home / "across.html").read_text()
    assert "! UNLIKE: information, no evidence" in told.out
    assert "×1.000" in told.out
    asked = as_another(run, "asked", lambda record: record["scenario_expanded"]["workers"].update(count=7))
    assert_refused(bench("compare", str(run), asked), 12, "scenario: workers: count: 1 / 7")
    other = as_another(run, "other", lambda record: [case.update(id=f"x{case['id']}") for case in record["cases"]])
    assert_refused(bench("compare", str(run), other), 12, "no case in common")


def broken(bench: Bench, run: Path) -> None:
    newer = as_another(run, "newer", lambda record: record.update(schema_version=99))
    torn = Path(as_another(run, "torn"))
    (torn / "run.json").write_text('{"schema_version": 1')
    for words, said in (
        ((str(run), newer), "schema version 99"),
        ((str(torn),), "is not whole JSON"),
        (("nowhere",), "does not exist"),
        ((str(run), "--baseline", "redis-lst@embedded"), "did you mean 'redis-list@embedded'?"),
        (("nowhere", "--html", f"{run}/report.html"), "it is a part of the run in"),
        (("nowhere", "--html", "again/run.json"), "it is a part of the run in"),
        ((str(run), "--json", "--markdown"), "--markdown and --json are both named"),
        (
            ("nowhere", "--html", "no/such/page.html"),
            "--html no/such/page.html cannot be written",
        ),  # told before any work
    ):
        assert_refused(bench("compare", *words), 2, said)


def assert_refused(finished: Finished, code: int, said: str) -> None:
    assert (finished.code, finished.out) == (code, ""), finished.err
    assert said in finished.err
    assert "remedy: " in finished.err
    assert "Traceback" not in finished.err
