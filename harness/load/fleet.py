"""The fleet: a Locust master (*coordinator*) and Locust workers (*agents*) that start, watch and stop shards.

``python -m harness.load.fleet coordinator AGENTS`` speaks JSON lines with the harness over stdin and stdout (``seam``), and forks so many
agents, which so need not import again what took it a second; ``… fleet remote`` is an agent for a coordinator on another machine (``lend``
starts it). A Locust user supervises one shard process; it never sends a message itself.
When a pipe ends, everything below it ends: harness → coordinator → agents → shards.

Locust would respread users when an agent comes late or is gone for a minute: a second shard for the same producer. So the
assignment is frozen once all users are idle and known, and a user without an assignment idles.
"""

# ruff: noqa: E402 - gevent must patch before anything else is imported
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import os

# numpy's own threads do not outlive a fork, and nothing here needs them.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import errno
import json
import logging
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import gevent
import gevent.fileobject
import zmq.green
from locust import User, runners, task
from locust.dispatch import UsersDispatcher
from locust.env import Environment
from locust.exception import RPCError
from locust.rpc import Message, zmqrpc
from locust.runners import MasterRunner, WorkerRunner
from locust.stats import RequestStats, StatsError, stats_history

from harness.load.agent import Agent
from harness.load.config import ShardConfig, config_from_json
from harness.load.coordinator import Coordinator
from harness.load.door import Door, door_from, numeric
from harness.load.page import guard
from harness.load.remote_agent import Ended, Knock, RemoteAgent
from harness.load.statistics import Sample, add
from harness.load.wire import Calls, Guard, call, serve

PAGE_START_S = 5.0
runners.WORKER_REPORT_INTERVAL = 1.0  # the page follows within a second
runners.WORKER_LOG_REPORT_INTERVAL = -1  # logs are in files


class Supervisor(User):
    """Supervises one shard process at a time; without an assignment it idles."""

    abstract = True
    kind: ClassVar[str] = ""
    agent: ClassVar[Agent]

    @task
    def supervise(self) -> None:
        """Waits for an assignment and stays with it until the shard has ended."""
        self.agent.supervise(self.kind)


class ProducerUser(Supervisor):
    """One producer shard."""

    abstract = False
    kind = "producer"


class WorkerUser(Supervisor):
    """One worker shard."""

    abstract = False
    kind = "worker"


def feed(stats: RequestStats, config: ShardConfig, sample: Sample) -> None:
    """Adds a sample to Locust's statistics: what ``log_request`` and ``log_error`` do, for many requests at once."""
    now = time.time()
    for entry in (stats.total, stats.entries[(config.setup, sample.method)]):
        add(entry, sample, second=int(now), payload_bytes=config.load.payload_bytes)
        entry.last_request_timestamp = now
    for what, count in sample.failures.items():
        key = StatsError.create_key(sample.method, config.setup, what)
        error = stats.errors.setdefault(key, StatsError(sample.method, config.setup, what))
        error.occurred()
        error.occurrences += count - 1


class ByKind(UsersDispatcher):
    """Spreads each kind of user evenly over the agents; Locust's own order would put all producers on one of two."""

    def _user_gen(self) -> Iterator[str | None]:
        for user_class in self._user_classes:
            yield from [user_class.__name__] * user_class.fixed_count
        while True:
            yield None


class Master(MasterRunner):
    """A Locust master whose users are spread once: late and lost agents change nothing, the page's buttons neither."""

    frozen = False

    def start(self, *arguments: Any, **named: Any) -> None:
        """Spawns users, the first time."""
        if not self.frozen:
            super().start(*arguments, **named)

    def stop(self, send_stop_to_client: bool = True) -> None:
        """Does nothing: whether the load stops is the harness's to say."""


class DoorServer(zmqrpc.Server):
    """Locust's server at two places: a free port of this machine for its own agents, and the door for those of others."""

    def __init__(self, door: Door, host: str, port: int) -> None:
        at = numeric(door.at)
        zmqrpc.BaseSocket.__init__(self, zmq.ROUTER, ipv4_only=":" not in at.host)  # type: ignore[no-untyped-call]
        if door.keys is not None:
            gevent.spawn(Guard(self.socket.context, door.keys).serve)
        serve(self.socket, door.keys)
        try:
            self.socket.bind(at.endpoint)
        except zmq.ZMQError as error:
            raise RPCError(f"agents cannot be waited for at {door.at}: {error}") from error
        self.port = self.socket.bind_to_random_port(f"tcp://{host}")

    def send_to_client(self, msg: Message) -> None:
        """Sends to a client; one that is gone is none of Locust's business, which would wait for nine seconds and end."""
        self.reaches(msg)

    def reaches(self, msg: Message) -> bool:
        """Sends to a client; returns whether it is connected."""
        try:
            self.socket.send_multipart([msg.node_id.encode(), msg.serialize()])  # type: ignore[no-untyped-call]
        except zmq.ZMQError as error:
            if error.errno in (errno.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True


class DoorClient(zmqrpc.Client):
    """Locust's client with the door's keys; ``calls`` says what becomes of its connections."""

    def __init__(self, door: Door, calls: Calls, host: str, port: int, identity: str) -> None:
        zmqrpc.BaseSocket.__init__(self, zmq.DEALER, ipv4_only=":" not in host)  # type: ignore[no-untyped-call]
        self.socket.setsockopt(zmq.IDENTITY, identity.encode())
        call(self.socket, door.keys)
        calls.watch(self.socket)
        self.socket.connect(f"tcp://{f'[{host}]' if ':' in host else host}:{port}")

    def send(self, msg: Message) -> None:
        """Sends, unless the socket takes nothing, as after a refusal, which ``calls`` tells: Locust would wait for nine seconds and end."""
        try:
            self.socket.send(msg.serialize(), zmq.NOBLOCK)  # type: ignore[no-untyped-call]
        except zmq.Again:
            logging.info("not sent: %s", msg.type)


class RemoteRunner(WorkerRunner):
    """A Locust worker that knocks before it comes in; ``welcome`` is what it was told."""

    welcome: dict[str, Any]

    def __init__(self, environment: Environment, door: Door, calls: Calls, say: Callable[..., None]) -> None:
        self._knock = partial(Knock, door, calls, self, say)
        super().__init__(environment, door.at.host, door.at.port)

    def connect_to_master(self) -> None:
        """Knocks, then comes in as Locust's workers do."""
        self.welcome = self._knock()()
        super().connect_to_master()  # type: ignore[no-untyped-call]


class Nodes:
    """Locust's side of the coordinator (``nodes.Nodes``).

    Args:
        producers, workers: how many users of each kind. door: for agents of other machines.
    """

    def __init__(self, *, producers: int, workers: int, door: Door | None) -> None:
        if door is not None:
            _speak(Server=partial(DoorServer, door))
        self._environment = Environment(user_classes=[ProducerUser, WorkerUser], dispatcher_class=ByKind)
        ProducerUser.fixed_count, WorkerUser.fixed_count = producers, workers
        self._environment.user_classes = [cls for cls in self._environment.user_classes if cls.fixed_count]
        self._runner = self._environment.runner = Master(self._environment, "127.0.0.1", 0)
        self.port = self._runner.server.port

    def hear(self, name: str, handler: Callable[[Any, Any], None]) -> None:
        """Calls ``handler(environment, message)`` for each message of that name."""
        self._runner.register_message(name, handler)

    def send(self, client: str, what: str, data: dict[str, Any]) -> bool:
        """Sends a message; returns whether the client is connected."""
        message = Message(what, data, client)  # type: ignore[no-untyped-call]
        server = self._runner.server
        if isinstance(server, DoorServer):
            return server.reaches(message)
        server.send_to_client(message)
        return True

    def start_users(self, total: int) -> None:
        """Spreads all users over the agents that are ready; afterwards nothing changes that any more."""
        self._runner.start(total, spawn_rate=total)
        self._runner.frozen = True
        gevent.spawn(stats_history, self._runner)

    def missing(self, client: str) -> None:
        """Tells Locust that an agent is gone."""
        if client in self._runner.clients:
            self._runner.clients[client].state = runners.STATE_MISSING

    def open_page(self, on_stop: Callable[[], None]) -> str:
        """Opens Locust's page and returns its URL."""
        page = self._environment.create_web_ui(host="127.0.0.1", port=0, delayed_start=True)
        assert page.app is not None
        page.app.before_request(guard(on_stop))
        page.start()  # type: ignore[no-untyped-call]
        deadline = time.monotonic() + PAGE_START_S
        while (page.server is None or not page.server.started) and time.monotonic() < deadline:
            gevent.sleep(0.01)
        assert page.server is not None
        return f"http://127.0.0.1:{page.server.server_port}"


def _speak(**classes: Any) -> None:
    """Puts our sockets in the place of those that Locust's runners make."""
    vars(runners)["rpc"] = SimpleNamespace(**classes)


def _log_to(path: Path) -> None:
    logging.basicConfig(filename=path, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def _own_stdout() -> Any:
    """Returns stdout for ourselves: whatever a library prints goes to the log."""
    out = gevent.fileobject.FileObject(os.dup(1), "wb")
    os.dup2(2, 1)
    return out


class Forked:
    """An agent: a fork of this process (``nodes.AgentProcess``).

    Args:
        pid: its process id. stdin: the end of its pipe that we write to.
    """

    def __init__(self, pid: int, stdin: int) -> None:
        self.pid = pid
        self.stdin = os.fdopen(stdin, "wb")
        self._status: int | None = None

    def wait(self) -> int:
        """Waits for its end and returns its status; for one caller."""
        self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def poll(self) -> int | None:
        """Returns its status once :meth:`wait` has it."""
        return self._status

    def kill(self) -> None:
        """Sends SIGKILL, unless it was waited for."""
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)


def _fork_agents(count: int) -> list[Forked]:
    """Forks agents, each of which waits for its words; call it before this process has sockets, threads or greenlets."""
    agents: list[Forked] = []
    for index in range(count):
        theirs, ours = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(theirs, 0)
            os.dup2(2, 1)  # stdout is the coordinator's
            for descriptor in (theirs, ours, *(agent.stdin.fileno() for agent in agents)):
                os.close(descriptor)
            try:
                _be_agent(_stdin(), index)
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        os.close(theirs)
        agents.append(Forked(pid, ours))
    return agents


def _stdin() -> Iterator[bytes]:
    return iter(gevent.fileobject.FileObject(0, "rb", closefd=False))


def _coordinate(lines: Iterator[bytes], agents: Sequence[Forked]) -> None:
    out = _own_stdout()
    plan = json.loads(next(lines))
    _log_to(Path(plan["logs"]) / "locust-coordinator.log")
    remote = plan.get("remote")
    kinds = [config_from_json(config).kind for config in plan["shards"]]
    try:
        nodes = Nodes(
            producers=kinds.count("producer"),
            workers=kinds.count("worker"),
            door=door_from(remote["door"]) if remote else None,
        )
    except RPCError as error:
        out.write(json.dumps({"event": "failed", "problem": str(error)}).encode() + b"\n")
        out.flush()
        os._exit(1)
    Coordinator(plan, lines, out, nodes, agents).run()


def _be_agent(lines: Iterator[bytes], index: int) -> None:
    words = json.loads(next(lines))
    logs = Path(words["logs"])
    _log_to(logs / f"locust-agent-{index}.log")
    if words["door"]:
        _speak(Client=partial(DoorClient, door_from(words["door"]), Calls()))
    environment = Environment(user_classes=[ProducerUser, WorkerUser])
    runner = environment.create_worker_runner("127.0.0.1", words["port"])
    agent = Supervisor.agent = Agent(index, logs, runner, partial(feed, environment.stats))
    gevent.spawn(agent.watch)
    for _ in lines:
        pass
    agent.end()
    os._exit(0)


def _be_remote(lines: Iterator[bytes]) -> None:
    out = _own_stdout()
    words = json.loads(next(lines))
    door, logs, calls = door_from(words["door"]), Path(words["logs"]), Calls()
    _log_to(logs / "locust-agent.log")
    _speak(Client=partial(DoorClient, door, calls))
    runners.MASTER_HEARTBEAT_TIMEOUT = 1 << 30  # whether the coordinator lives is for RemoteAgent to say

    def say(event: str, **facts: Any) -> None:
        out.write(json.dumps({"event": event, **facts}).encode() + b"\n")
        out.flush()

    def follow_parent() -> None:
        for _ in lines:
            pass
        if hasattr(Supervisor, "agent"):
            Supervisor.agent.desert()  # type: ignore[attr-defined]
        os._exit(0)

    gevent.spawn(follow_parent)
    environment = Environment(user_classes=[ProducerUser, WorkerUser])
    environment.stats = RequestStats(use_response_times_cache=False)
    try:
        runner = RemoteRunner(environment, door, calls, say)
        environment.runner = runner
        agent = Supervisor.agent = RemoteAgent(
            runner.welcome,
            door,
            folder=Path(words["folder"]),
            logs=logs,
            runner=runner,
            feed=partial(feed, environment.stats),
            calls=calls,
            say=say,
        )
        say("joined", **runner.welcome)
        gevent.spawn(agent.watch)
        say("over" if agent.stay() else "left")
    except Ended as ended:
        say(ended.what, text=ended.text)
    os._exit(0)


def main() -> None:
    """Runs a coordinator and its agents, or an agent for one on another machine; none returns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the harness's to answer
    if sys.argv[1] == "coordinator":
        agents = _fork_agents(int(sys.argv[2]))
        _coordinate(_stdin(), agents)
    else:
        _be_remote(_stdin())


if __name__ == "__main__":
    main()
