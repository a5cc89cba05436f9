"""The null broker as a child process; what it does wrong is written to ``null-broker.log.jsonl`` in the logs folder."""

from __future__ import annotations

import sys

from harness.brokers._null_server import VERSION
from harness.deployments._broker import TreeBroker, wait_listening
from harness.deployments._process import ProcessTree, free_port
from harness.deployments.contract import Broker, BrokerOptions

LOG = "null-broker.log.jsonl"


def unavailable() -> str:
    """Returns "": all that it needs is Python."""
    return ""


def version() -> str:
    """Returns which server would run."""
    return VERSION


def up(options: BrokerOptions) -> Broker:
    """Starts a null broker; raises StartError with the log's last lines."""
    port = free_port()
    tree = ProcessTree(options.journal, log=options.logs / "null-broker.log")
    command = [sys.executable, "-P", "-m", "harness.brokers._null_server", f"--port={port}", f"--seed={options.seed}"]

    def launch() -> None:
        tree.start([*command, f"--log={options.logs / LOG}"], cwd=options.folder)
        wait_listening(tree, port, "the null broker")

    broker = TreeBroker(
        tree=tree, address=f"null://127.0.0.1:{port}", version=VERSION, folder=options.folder, launch=launch
    )
    try:
        broker.start()
    except BaseException:
        tree.end()
        raise
    return broker
