"""RabbitMQ's C client as a pair of programs (``librabbitmq_pair.c``), compiled here where there is a compiler."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from _native import Spent, both

from harness.brokers import open_driver
from harness.brokers.contract import DriverOptions
from harness.model import Setup

SOURCE = Path(__file__).with_name("librabbitmq_pair.c")
COMPILERS = ("cc", "gcc", "clang")


def missing() -> str:
    """Returns why there is no pair on this machine, with the remedy; "" where there is one."""
    return _compiled()[1]


def rabbitmq_pair(
    address: str, setup: Setup, parameters: Mapping[str, str], queue: str, seconds: float
) -> tuple[int, Spent]:
    """Returns how many messages the pair carried through a queue such as the setup's, and what that took."""
    driver = open_driver(
        DriverOptions(setup=setup.name, address=address, queue=queue, parameters=parameters, client="native")
    )
    driver.connect()
    driver.prepare()
    try:
        pair = str(_compiled()[0])
        environment = {**os.environ, "AMQP_URL": address}  # a command line can be seen by others
        publish, consume = [pair, "publish", queue, str(seconds)], [pair, "consume", queue]
        (sent, first_ns, sent_ns), (taken, _, last_ns), cpu_s = both(publish, consume, env=environment)
        assert sent == taken, f"{sent} messages were sent, {taken} taken"
        return sent, Spent(sending_s=(sent_ns - first_ns) / 1e9, all_s=(last_ns - first_ns) / 1e9, cpu_s=cpu_s)
    finally:
        driver.purge()
        driver.close()


@cache
def _compiled() -> tuple[Path, str]:
    """Returns the program, compiled once, or why there is none."""
    folder = Path(tempfile.mkdtemp(prefix="brokerbench-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = folder / "librabbitmq_pair"
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        return program, "there is no C compiler (Debian: apt install gcc libc6-dev)"
    done = subprocess.run(
        [compiler, "-O2", "-o", program, SOURCE, "-lrabbitmq"], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return program, ""
    if "amqp.h" in done.stderr or "-lrabbitmq" in done.stderr:
        return program, "librabbitmq is not installed (Debian: apt install librabbitmq-dev)"
    return program, f"{SOURCE.name} does not compile: {done.stderr.strip().splitlines()[0]}"
