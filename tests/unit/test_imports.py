"""How soon something starts: what is heavy is imported by who needs it, and when."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SERVERS = {"docker", "psycopg", "redis", "pika"}
PAGES = {"scipy", "matplotlib", "jinja2", "PIL", "prometheus_client"}
LOCUST = {"locust", "gevent", "flask"}


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("harness.cli.commands", SERVERS | PAGES | LOCUST),
        ("harness.cli.commands, harness.run.runner, harness.deployments.embedded", SERVERS | PAGES | LOCUST),
        ("harness.cli.commands, harness.run.runner, harness.cli.live, harness.deployments.docker", PAGES | LOCUST),
        ("harness.load.shard, harness.brokers.null", {*SERVERS, *PAGES, *LOCUST, "polars", "pydantic"}),
        ("harness.minder", {*SERVERS, *PAGES, *LOCUST, "polars", "pydantic", "numpy"}),
    ],
)
def test_nothing_heavy_is_imported_before_a_run_starts_or_a_shard_connects(modules: str, heavy: set[str]) -> None:
    code = f"import json, sys, {modules}; print(json.dumps(sorted(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert heavy & set(json.loads(said)) == set()


def test_a_driver_is_imported_when_its_setup_is_looked_at() -> None:
    code = (
        "import sys; from harness.brokers import setups; found = setups(); names = list(found);"
        "found['redis-list']; print('redis' in sys.modules, 'pika' in sys.modules, 'rabbitmq-quorum' in found, 'other' in found, len(found) == len(names))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    assert said == "True False True False True\n"


def test_a_signal_while_the_command_line_is_imported_ends_it_without_a_traceback() -> None:
    code = (
        "import os, signal, sys, harness.cli\n"
        "class Struck:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'harness.cli.commands': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Struck()); sys.argv = ['brokerbench', '--version']; harness.cli.main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "\nbrokerbench: interrupted\n")
