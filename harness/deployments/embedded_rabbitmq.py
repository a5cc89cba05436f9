"""RabbitMQ as child processes: a node of its own per trial, from the installation of the machine.

The script ``rabbitmq-server`` is, in this order, that of ``BROKERBENCH_RABBITMQ_SERVER``, of the PATH and of the places where
Debian, the vendor's archive and Homebrew put it. Erlang must be on the PATH or in one of those places too. Nothing of the
machine's own RabbitMQ is read or touched: name, ports, cookie, settings and data are the node's own, in the private folder.

A node is ``beam.smp``, its helpers, and ``epmd``, which tells Erlang's nodes each other's port. We start it ourselves, as a companion
of the tree, so that it is struck, stopped and ended with its node: one that Erlang starts is a daemon that outlives it and
that the next node would share. Told to listen on 127.0.0.1, epmd listens on ::1 as well; so it is handed a socket as
systemd does it, where it was built to take one (Homebrew's was not: there ::1 stays).
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.deployments._broker import TreeBroker
from harness.deployments._process import ProcessTree, free_port
from harness.deployments._users import check_reach, may_run, unprivileged_user
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
LAST_WORDS = 25  # what ends a node takes many lines
USER = "brokerbench"
TAKEN = re.compile("eaddrinuse|dist_port_already_used")
TAKES_SOCKETS = b"sd_listen_fds"  # in a program that was built for systemd
HANDED_SOCKET = 'exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$1" -systemd'  # sd_listen_fds(3)
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
        _check_user(_installation(), unprivileged_user())
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
    if user is not None:
        check_reach(options.folder.parent, user, "RabbitMQ")
    for _ in range(PORT_TRIES):
        node = EmbeddedRabbitMQ(options, installation, user)
        node.create()
        try:
            node.start()
        except StartError as error:
            if not TAKEN.search(str(error)):  # else another process took a port in between
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
        self._write("rabbitmq.conf", "\n".join(settings("127.0.0.1", self._port, self._password)) + "\n")
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
            "ERL_CRASH_DUMP_SECONDS": "0",  # none: it would go with the folder, and holds the password
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
            self._wait("rabbitmq-server", self._port, LISTEN_TIMEOUT_S, answers=self._listens, runs=self.tree.alive)
        except BaseException:
            self.tree.end()
            raise

    def _start_epmd(self) -> None:
        epmd, port = self._installation.epmd, self._epmd_port
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # it was served there before a restart
            try:
                listener.bind(("127.0.0.1", port))
            except OSError as error:
                raise StartError(f"epmd cannot listen on 127.0.0.1:{port}: eaddrinuse") from error
            if handed := TAKES_SOCKETS in epmd.read_bytes():
                listener.listen()
                self._accompany(["/bin/sh", "-c", HANDED_SOCKET, "sh", str(epmd)], stdin=listener.fileno())
        if not handed:
            self._accompany([str(epmd), "-port", str(port), "-address", "127.0.0.1"])
        self._wait("epmd", port, EPMD_TIMEOUT_S, answers=lambda: _epmd_answers(port), runs=self.tree.members)

    def _accompany(self, argv: list[str], stdin: int = subprocess.DEVNULL) -> None:
        self.tree.accompany(argv, user=self._user, env=self._environment(), cwd=self._home, stdin=stdin)

    def _listens(self) -> bool:
        """Returns whether our node listens: that something does is not enough, another process may have taken the port."""
        return any(self._port in _listening(process) for process in self.tree.members())

    def _wait(
        self, what: str, port: int, timeout_s: float, *, answers: Callable[[], bool], runs: Callable[[], object]
    ) -> None:
        deadline = time.monotonic() + timeout_s
        while not answers():
            if not runs():
                raise StartError(f"{what} ended while it started; its last words:\n{self.log_tail(LAST_WORDS)}")
            if time.monotonic() > deadline:
                raise StartError(
                    f"{what} does not listen on 127.0.0.1:{port} after {timeout_s:g} s;"
                    f" its last words:\n{self.log_tail(LAST_WORDS)}"
                )
            time.sleep(LOOK_S)


def settings(listen: str, port: int, password: str) -> Iterator[str]:
    """Yields the lines of ``rabbitmq.conf`` that a node of ours gets wherever it runs."""
    yield f"listeners.tcp.1 = {listen}:{port}"
    yield f"default_user = {USER}"  # and no guest
    yield f"default_pass = {password}"
    yield "disk_free_limit.absolute = 50MB"  # a relative one would block publishers on a small disk
    yield "log.console = true"
    yield "log.console.level = info"
    yield "log.console.use_colors = off"
    yield "log.file = false"


def _epmd_answers(port: int) -> bool:
    """Returns whether epmd answers NAMES_REQ, whose answer begins with its own port."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0) as client:
            client.sendall(b"\x00\x01n")
            return client.recv(4) == port.to_bytes(4, "big")
    except OSError:
        return False


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
        return _behind_wrapper(path), VARIABLE
    folders = [Path(name) for name in os.environ.get("PATH", os.defpath).split(os.pathsep) if name]
    for pattern in _PLACES:
        folders += sorted(Path("/").glob(pattern.lstrip("/")), reverse=True)
    for folder in folders:
        path = folder / "rabbitmq-server"
        if os.access(path, os.X_OK) and path.is_file():  # in this order: a folder of another user's may be on the PATH
            real = _behind_wrapper(path)
            return real, str(real.parent)
    raise UnavailableError("no rabbitmq-server is found", expected="one on the PATH", remedy=REMEDY)


def _behind_wrapper(path: Path) -> Path:
    """Returns the script itself for Debian's wrapper, which becomes the user ``rabbitmq``, who may not enter a private folder."""
    real = path.resolve()
    return real.with_name("rabbitmq-server") if real.name == "rabbitmq-script-wrapper" else path


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


def _check_user(installation: Installation, user: int | None) -> None:
    for program in (installation.server, installation.erl, installation.epmd):
        if user is not None and not may_run(program.resolve(), user):
            raise UnavailableError(
                f"{program} cannot be run by the user {user} that RabbitMQ has to be where we are root",
                remedy="run brokerbench as another user than root, or install RabbitMQ and Erlang where everybody may enter",
            )
