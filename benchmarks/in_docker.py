"""Docker: from the command to the first message, how long teardown takes, and what it costs to run the load in a container.

Printed, not asserted: both depend on what else the machine does. The images must be there (``brokerbench images build``).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.containers.engine import why_no_engine
from harness.record import RunRecord
from harness.store import RunFolder

SETUPS = ("redis-stream", "postgres-lease", "rabbitmq-quorum")
TIMES = 5
SHORT = """
question: how soon does it start, and how soon is it gone?
setups: [{setup}]
deployment: docker
load: {{rate: 500/s}}
workers: {{visibility: 500 ms}}
phases: {{warmup: 0 s, steady: 1 s, drain: 20 s}}
"""
COST = """
question: what does it cost to run the load in a container?
setups: [{setup}]
deployment: docker
network: [bridge, {{bridge: {{client: host}}}}, host, {{host: {{client: host}}}}]
load: {{rate: 4000/s}}
workers: {{visibility: 500 ms}}
phases: {{warmup: 1 s, steady: 6 s, drain: 20 s}}
"""
RUN = [sys.executable, "-c", "from harness.cli import main; main()", "run"]


def run(text: str, home: Path) -> tuple[int, RunFolder]:
    """Returns when the command was given, and the folder of its run."""
    scenario = home / "short.yaml"
    scenario.write_text(text)
    output = Path(tempfile.mkdtemp(dir=home))
    began_ns = time.monotonic_ns()
    done = subprocess.run(
        [*RUN, str(scenario), "--quiet", "--output", str(output)],
        env={**os.environ, "BROKERBENCH_STATE": str(home / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, 13):  # 13: the machine was too busy for the latencies, which nobody reads here
        sys.exit(done.stderr)
    return began_ns, RunFolder.open(next(output.glob("*/run.json")))


def moments(setup: str, home: Path) -> tuple[float, float]:
    """Returns the seconds to the first message, and those of taking load and broker down."""
    began_ns, folder = run(SHORT.format(setup=setup), home)
    (case,) = folder.load().cases
    trial = folder.trial_at(case.trials[0].folder)
    first_ns = trial.read_table("attempts")["sent_ns"].min()
    if not isinstance(first_ns, int):
        sys.exit(f"{setup}: nothing was sent: {'; '.join(case.trials[0].reasons)}")
    lines = trial.read_timeline()
    (searching_ns,) = (line["t_ns"] for line in lines if line.get("phase") == "searching")
    (down_s,) = (line["took_s"] for line in lines if line["kind"] == "down")
    load_s = (searching_ns - (trial.read_facts().drain_end_ns or searching_ns)) / 1e9
    return (first_ns - began_ns) / 1e9, load_s + down_s


def costs(record: RunRecord) -> dict[str, dict[str, float]]:
    """Returns per case the CPU seconds per million messages of load and broker."""
    return {
        case.id.split("@")[1]: {
            f"{who}_cpu_s_per_million": figure
            for who in ("load", "broker")
            if isinstance(figure := case.trials[0].metrics["whole"].get(f"cost.{who}_cpu"), float)
        }
        for case in record.cases
    }


def main() -> int:
    """Prints one line per setup and question."""
    if reason := why_no_engine():
        print(json.dumps({"what": f"not measured: {reason.splitlines()[0]}"}))
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-docker-") as home:
        for setup in SETUPS:
            seen = [moments(setup, Path(home)) for _ in range(TIMES)]
            first_s, gone_s = (statistics.median(each) for each in zip(*seen, strict=True))
            bars = {"first_message_s": first_s, "teardown_s": gone_s}
            print(json.dumps({"what": f"{setup}@bridge, median of {TIMES}"} | bars), flush=True)
        for setup in SETUPS:
            _, folder = run(COST.format(setup=setup), Path(home))
            print(json.dumps({"what": f"{setup}, CPU at 4,000/s"} | costs(folder.load())), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
