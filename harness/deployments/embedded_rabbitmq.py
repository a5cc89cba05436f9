"""RabbitMQ as child processes: a node of its own per trial, from the installation of the machine.

The script ``rabbitmq-server`` is, in this order, that of ``BROKERBENCH_RABBITMQ_SERVER``, of the PATH and of the places where
Debian, the vendor's archive and Homebrew put it. Erlang must be on the PATH or in one of those places too. Nothing of the
machine's own RabbitMQ is read or touched: name, ports, cookie, settings and data are the node's own, in the private folder.

A node is ``beam.smp``, its helpers, and ``epmd``, which tells nodes each other's port and serves whoever asks. Ours is started by us, as a
companion of the tree, so that it is struck, stopped and ended with its node; ``-start_epmd false`` keeps Erlang from starting
another one, which would leave every session and family that a sweep looks at.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.deployments._broker import TreeBroker
from harness.deployments._process import ProcessTree, free_port, unprivileged_user
from harness.deployments.contract import Broker, BrokerOptions
from harness.errors import StartError, UnavailableError

VARIABLE = "BROKERBENCH_RABBITMQ_SERVER"
REMEDY = (
    "apt install rabbitmq-server (to keep Debian from starting a service, first make an executable /usr/sbin/policy-rc.d"
    f" that ends with 101), brew install rabbitmq, or set {VARIABLE} to a rabbitmq-server script"
)
OLDEST = (3, 10)  # quorum queues with a delivery limit, classic queues of version 2
PORT_TRIES = 5
LISTEN_TIMEOUT_S = 60.0  # 5 s on an idle machine; after a SIGKILL it reads its queues before it listens
EPMD_TIMEOUT_S = 10.0
LOOK_S = 0.05
USER = "brokerbench"
TAKEN = "eaddrinuse"
_PLACES = (  # Debian, the vendor's generic archive, Homebrew on ARM and Intel
    "/usr/lib/rabbitmq/bin",
    "/usr/lib/rabbitmq/lib/*/sbin",
    "/opt/rabbitmq/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
)
_ERLANG_PLACES = ("/usr/lib/erlang/bin", "/opt/erlang/bin", "/opt/homebrew/opt/erlang/bin", "/usr/local/opt/erlang/bin")


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """RabbitMQ's script and Erlang's programs; where the script was found, and its version."""

    server: Path
    erl: Path
    epmd: Path
    origin: str
    version: str

    def __str__(self) -> str:
        return f"rabbitmq-server {self.version} ({self.origin})"


def unavailable() -> str:
    """Returns why RabbitMQ cannot run here, with the remedy; "" when it can."""
    try:
        _installation()
        unprivileged_user()
    except (UnavailableError, StartError) as error:
        return str(error)
    return ""


def version() -> str:
    """Returns e.g. ``rabbitmq-server 3.10.8 (/usr/lib/rabbitmq/bin)``; starts nothing.

    Raises:
        UnavailableError: none is found, it is too old, or there is no Erlang.
    """
    return str(_installation())


def up(options: BrokerOptions) -> Broker:
    """Starts a fresh node in ``options.folder``; raises StartError with the log's last lines."""
    installation = _installation()
    user = unprivileged_user()
    for _ in range(PORT_TRIES):
        node = EmbeddedRabbitMQ(options, installation, user)
        try:
            node.create()
            node.start()
        except StartError as error:
            node.tree.end()
            if TAKEN not in str(error):  # else another process took a port in between
                raise
        except BaseException:
            node.tree.end()
            raise
        else:
            return node
    raise StartError(f"no ports on 127.0.0.1 stayed free in {PORT_TRIES} tries")


class EmbeddedRabbitMQ(TreeBroker):
    """A running node; see :class:`harness.deployments.contract.Broker`. It stops orderly on SIGTERM."""

    def __init__(self, options: BrokerOptions, installation: Installation, user: int | None) -> None:
        password = secrets.token_urlsafe(18)  # any user of this machine reaches 127.0.0.1
        port, distribution, epmd = free_port(), free_port(), free_port()
        super().__init__(
            tree=ProcessTree(options.journal, log=options.logs / "rabbitmq.log"),
            address=f"amqp://{USER}:{password}@127.0.0.1:{port}/%2f",
            version=str(installation),
            folder=options.folder,
            launch=self._serve,
        )
        self._password = password
        self._port, self._distribution_port, self._epmd_port = port, distribution, epmd
        self._node = f"{USER}-{secrets.token_hex(6)}@localhost"
        self._installation = installation
        self._user = user
        self._home = options.folder

    def create(self) -> None:
        """Writes the node's settings, cookie and, in the settings, the password; none of it for others to read."""
        for old in self._home.iterdir():  # what a try on a port that was taken has left
            shutil.rmtree(old) if old.is_dir() else old.unlink()
        self._write("rabbitmq.conf", "\n".join(self._settings()) + "\n")
        self._write("rabbitmq-env.conf", "")  # in place of the machine's
        self._write("enabled_plugins", "[].\n")
        self._write(".erlang.cookie", secrets.token_hex(20), mode=0o400)
        if self._user is not None:
            os.chown(self._home, self._user, self._user)

    def _write(self, name: str, text: str, mode: int = 0o600) -> None:
        path = self._home / name
        path.touch(mode=mode)
        path.write_text(text)
        if self._user is not None:
            os.chown(path, self._user, self._user)

    def _settings(self) -> Iterator[str]:
        yield f"listeners.tcp.1 = 127.0.0.1:{self._port}"
        yield f"default_user = {USER}"  # and no guest
        yield f"default_pass = {self._password}"
        yield "disk_free_limit.absolute = 50MB"  # a relative one would block publishers on a small disk
        yield "log.console = true"
        yield "log.console.level = info"
        yield "log.file = false"

    def _environment(self) -> dict[str, str]:
        """Returns all that the node may see of our environment: none of our RABBITMQ_… or ERL_… variables."""
        home = str(self._home)
        return {
            "PATH": f"{self._installation.erl.parent}{os.pathsep}{os.defpath}",
            "HOME": home,
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP": f"{home}/erl_crash.dump",
            # For every Erlang that the script starts: it distributes on 127.0.0.1 only and starts no epmd of its own.
            "ERL_FLAGS": "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the node instead of waiting for it
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CONF_ENV_FILE": f"{home}/rabbitmq-env.conf",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{home}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{home}/mnesia",
            "RABBITMQ_LOG_BASE": f"{home}/log",
        }

    def _serve(self) -> None:
        """Starts epmd and the node on its data, and returns once its port takes connections."""
        try:
            self._start_epmd()
            self.tree.start([str(self._installation.server)], user=self._user, env=self._environment(), cwd=self._home)
            self._wait_listening()
        except BaseException:
            self.tree.end()
            raise

    def _start_epmd(self) -> None:
        command = [str(self._installation.epmd), "-port", str(self._epmd_port), "-address", "127.0.0.1"]
        self.tree.accompany(command, user=self._user, env=self._environment(), cwd=self._home)
        self._wait_for(self._epmd_port, EPMD_TIMEOUT_S, "epmd")

    def _wait_listening(self) -> None:
        self._wait_for(self._port, LISTEN_TIMEOUT_S, "rabbitmq-server")

    def _wait_for(self, port: int, timeout_s: float, what: str) -> None:
        """Returns once a member of the tree listens on a port: another process may have taken it in between."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            members = self.tree.members()
            if not members:
                raise StartError(f"{what} ended while it started; its last words:\n{self.log_tail()}")
            if any(port in _listening(process) for process in members):
                return
            time.sleep(LOOK_S)
        raise StartError(
            f"{what} does not listen on 127.0.0.1:{port} after {timeout_s:g} s; its last words:\n{self.log_tail()}"
        )


def _listening(process: psutil.Process) -> set[int]:
    try:
        connections = process.net_connections("tcp")
    except psutil.Error:
        return set()
    return {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}


def _installation() -> Installation:
    explicit = os.environ.get(VARIABLE, "")
    server, origin = _server(explicit)
    found = _version_of(server)
    if tuple(map(int, found.split(".")[:2])) < OLDEST:
        raise UnavailableError(f"{server} is RabbitMQ {found}", expected="RabbitMQ 3.10 or newer", remedy=REMEDY)
    erl = _erlang("erl", server)
    return Installation(server=server, erl=erl, epmd=_erlang("epmd", server), origin=origin, version=found)


def _server(explicit: str) -> tuple[Path, str]:
    """Returns the script that starts a node, and where it was found."""
    if explicit:
        path = Path(explicit)
        if not os.access(path, os.X_OK) or not path.is_file():
            raise UnavailableError(
                f"{VARIABLE}={explicit} is no program that can be run",
                expected="a rabbitmq-server script",
                remedy=REMEDY,
            )
        return path, VARIABLE
    folders = [Path(name) for name in os.environ.get("PATH", os.defpath).split(os.pathsep) if name]
    for pattern in _PLACES:
        folders += sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)
    for folder in folders:
        path = folder / "rabbitmq-server"
        # Debian's in /usr/sbin is a wrapper that becomes the user rabbitmq, who may not enter a private folder.
        if path.resolve().name == "rabbitmq-script-wrapper":
            continue
        if path.is_file() and os.access(path, os.X_OK):
            return path, str(folder)
    raise UnavailableError("no rabbitmq-server is found", expected="one on the PATH", remedy=REMEDY)


def _version_of(server: Path) -> str:
    """Returns the version of an installation by what lies in it: to ask the node itself would take a second."""
    plugins = server.resolve().parent.parent / "plugins"
    for path in plugins.glob("rabbit-*"):
        if match := re.fullmatch(r"rabbit-(\d+\.\d+(?:\.\d+)?)\S*", path.name):
            return match[1]
    raise UnavailableError(
        f"{server} is not part of a RabbitMQ installation: there is no {plugins}/rabbit-…", remedy=REMEDY
    )


def _erlang(program: str, server: Path) -> Path:
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *_ERLANG_PLACES])
    if found := shutil.which(program, path=places):
        return Path(found)
    raise UnavailableError(
        f"{server} needs Erlang, whose {program} is not found", expected="it on the PATH", remedy=REMEDY
    )
