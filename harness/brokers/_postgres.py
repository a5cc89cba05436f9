"""What the two PostgreSQL queue tables share: publishing, claims, settings, connections. Neighbour: ``_libpq`` (one connection).

A block is one ``INSERT … SELECT unnest`` and a sync, so one transaction; several may be under way. Its outcome is the answer of
the commit: CONFIRMED when the sync was answered without an error, REJECTED where the server's error proves the rollback, UNKNOWN
otherwise.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from harness.brokers._libpq import Answer, Done, Session, Statement
from harness.brokers._outcomes import Outcomes
from harness.brokers._pgbinary import bytea_array, int8, int8_column
from harness.brokers.contract import (
    NO_DELIVERIES,
    Block,
    Confirms,
    Deliveries,
    DriverOptions,
    Effective,
    Ints,
    Settled,
)
from harness.clock import NS_PER_S, now_ns
from harness.errors import ConnectionLost, UsageError
from harness.model import (
    AS_FOUND,
    Claim,
    DurabilityClass,
    FaultKind,
    MayLose,
    MayRepeat,
    Outcome,
    Parameter,
    Parameters,
)

BLOCKS_IN_FLIGHT = 2
"""One executes and commits while the other is on its way. The server works one connection's blocks off in turn, so more of
them only wait there: 1, 2, 4 and 8 were measured alike, at 4,000/s and at saturation, within the noise of a shared machine."""

POLL_S = 0.002
"""Pause between two looks at an empty table. NOTIFY would only be a hint, and its commit takes a lock that all share."""

FULLY_WRITTEN = {"fsync": "on", "full_page_writes": "on"}
"""Without them a commit that was waited for may be gone all the same."""

PAGE_ROWS = 2000
COMMIT_LAG_S = 0.6
"""Bound of what ``synchronous_commit=off`` may lose: three times ``wal_writer_delay`` (200 ms)."""

PARAMETERS = (
    Parameter(
        name="synchronous_commit",
        values=("on", "off"),
        meaning="whether a commit waits until its WAL is on disk",
        of_broker=True,
    ),
    Parameter(name="unlogged", values=("false", "true"), meaning="an UNLOGGED table: no WAL, emptied by a crash"),
)

SCHEMES = ("postgresql", "postgres")

PLANNER = {
    # A queue table is empty most of the time. Statistics taken then justify a sequential scan, and the plan of a prepared
    # statement stays when the table has filled up: 45 claims a second instead of 1,100 (performance.md, quirks).
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

RECORDED = (
    "wal_level",
    "wal_sync_method",
    "wal_writer_delay",
    "commit_delay",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "max_connections",
    "autovacuum",
    "autovacuum_naptime",
    "synchronous_standby_names",
    "data_checksums",
    "io_method",
)


def durability(parameters: Parameters) -> DurabilityClass:
    """Returns what a confirm survives. With ``synchronous_commit=off`` it stands for a commit record in the server's own
    memory, which a crash of the process takes along: bounded to a window, but memory all the same."""
    if parameters["unlogged"] == "true" or parameters["synchronous_commit"] == "off":
        return DurabilityClass.MEMORY
    return DurabilityClass.FSYNCED


def claims(parameters: Parameters, worker_kill: str, may_repeat: MayRepeat = MayRepeat.NONE) -> tuple[Claim, ...]:
    """Returns what a queue table claims; ``worker_kill`` says why a killed worker loses nothing, ``may_repeat`` is without a fault."""
    broker_kill = Claim(
        fault=FaultKind.BROKER_KILL,
        may_lose=MayLose.NONE,
        source="documentation: a commit returns once its WAL record is flushed; measured: 0 of 1531",
    )
    if parameters["unlogged"] == "true":
        broker_kill = Claim(
            fault=FaultKind.BROKER_KILL,
            may_lose=MayLose.ALL,
            source="documentation: an unlogged table is truncated after a crash; measured: 1773 of 1773",
        )
    elif parameters["synchronous_commit"] == "off":
        broker_kill = Claim(
            fault=FaultKind.BROKER_KILL,
            may_lose=MayLose.WINDOW,
            window_s=COMMIT_LAG_S,
            may_repeat=MayRepeat.ACKED,  # the commits of acks are lost in the same way
            source="documentation: at most three times wal_writer_delay (200 ms); measured: 28 of 1735",
        )
    none = MayLose.NONE
    return (
        Claim(fault=FaultKind.NONE, may_lose=none, may_repeat=may_repeat, source="definition: transactions, row locks"),
        broker_kill,
        Claim(
            fault=FaultKind.BROKER_RESTART,
            may_lose=none,
            source="documentation: a clean shutdown flushes all, unlogged tables too",
        ),
        Claim(fault=FaultKind.BROKER_PAUSE, may_lose=none, source="definition: nothing is forgotten while it stands"),
        Claim(fault=FaultKind.WORKER_KILL, may_lose=none, source=worker_kill),
        Claim(fault=FaultKind.PRODUCER_KILL, may_lose=none, source="definition: what is committed stays"),
        Claim(
            fault=FaultKind.REPLY_CUT,
            may_lose=none,
            may_repeat=may_repeat,
            source="definition: what is committed stays; libpq never sends again by itself",
        ),
    )


class QueueTable(ABC):
    """One connection to one queue table; the two designs say how messages are laid out, claimed and settled.

    Handles are ``id << 16 | mark``: one ``bigint`` each, so that a slice or a list of them is as good as the whole.
    """

    def __init__(self, options: DriverOptions) -> None:
        if not re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_]{0,47}", options.queue):
            raise UsageError(
                f"queue name {options.queue!r}", expected="at most 48 letters, digits and underscores, a letter first"
            )
        self._options = options
        self._table = f'"{options.queue}"'
        self._insert = f"INSERT INTO {self._table} (payload) SELECT unnest($1::bytea[])"
        self._others = f"starts_with(application_name, 'bb:{options.queue}:') AND pid <> pg_backend_pid()"
        self._confirms = Outcomes()
        self._settled = Outcomes()
        self._session = Session(
            options.address,
            name=f"bb:{options.queue}:{options.client}",
            settings=_commit_setting(options.parameters) | PLANNER,
            connect_timeout_s=options.connect_timeout_s,
            answer_timeout_s=options.answer_timeout_s,
            ended=self._ended,
        )

    # What the designs differ in.

    @property
    @abstractmethod
    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """Returns quoted table name → its columns and constraints; the first is the queue itself."""

    @property
    def indexes(self) -> Mapping[str, str]:
        """Returns index name (to be prefixed with the queue's) → what it covers, on the queue's table."""
        return {}

    @abstractmethod
    def claim_sql(self, limit: str) -> str:
        """Returns the claiming statement with literals or parameters for its other values, for its plan."""

    @abstractmethod
    def _claim(self, max_n: int) -> Deliveries:
        """Asks once for messages."""

    # The contract.

    def connect(self) -> None:
        """Connects; raises Unreachable."""
        self._session.close(abort=True)
        self._session.connect()

    def prepare(self) -> Effective:
        """Makes the tables and indexes where they are missing, analyses, and reads the settings back."""
        unlogged = "UNLOGGED" if self._options.parameters["unlogged"] == "true" else ""
        options = "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000"
        queue = self._options.queue
        statements = [
            f"SELECT pg_advisory_xact_lock(hashtext('{queue}'))",  # IF NOT EXISTS alone fails when two make it at once
            *(
                f"CREATE {unlogged} TABLE IF NOT EXISTS {table} ({', '.join(columns)}) WITH ({options})"
                for table, columns in self.tables.items()
            ),
            *(
                f'CREATE INDEX IF NOT EXISTS "{queue}_{name}" ON {self._table} {covers}'
                for name, covers in self.indexes.items()
            ),
            f"ANALYZE {self._table}",
        ]
        answer = self._session.ask(*map(Statement, statements))
        if answer.refusal is not None:
            self._session.lose(f"the queue's tables cannot be made: {answer.refusal.message}")
        return self._effective()

    def blocked(self) -> str:
        """Returns that the server does not read where bytes of ours wait, "" otherwise: PostgreSQL has no such alarm."""
        return "the server does not read" if self._session.up and self._session.stuffed else ""

    def publish(self, block: Block) -> None:
        """Sends one ``INSERT`` and a sync, and returns."""
        tokens = np.array(block.tokens, np.int64)
        try:
            self._session.check()
        except ConnectionLost:
            self._confirms.add(tokens, Outcome.NOT_SENT.value, now_ns())
            raise
        self._session.send([Statement(self._insert, [bytea_array(block.payloads)])], self._published(tokens))

    def poll_confirms(self, wait_s: float) -> Confirms:
        """Returns the outcomes of the blocks whose commits were answered."""
        self._pump_until(now_ns() + int(wait_s * NS_PER_S), self._confirms.__bool__)
        return self._confirms.confirms()

    def consume(self, max_n: int, wait_s: float) -> Deliveries:
        """Asks every ``POLL_S`` until there is a message or ``wait_s`` is over."""
        deadline_ns = now_ns() + int(wait_s * NS_PER_S)
        while True:
            found = self._claim(max_n)
            if found.payloads or now_ns() >= deadline_ns:
                return found
            self._pump_until(min(now_ns() + int(POLL_S * NS_PER_S), deadline_ns), lambda: False)

    def cancel(self) -> Deliveries:
        """Returns nothing: nothing is pushed."""
        return NO_DELIVERIES

    def poll_settled(self, wait_s: float) -> Settled:
        """Returns the outcomes of settlements whose commits were answered."""
        self._pump_until(now_ns() + int(wait_s * NS_PER_S), self._settled.__bool__)
        return self._settled.settled()

    def connections(self) -> list[str] | None:
        """Returns the ``application_name`` of other sessions of this queue."""
        found = self._session.query(f"SELECT application_name FROM pg_stat_activity WHERE {self._others}")
        return [(name or b"").decode() for (name,) in found]

    def purge(self) -> None:
        """Drops the queue's tables with their indexes; ends sessions of this queue that hold messages in a transaction."""
        self._session.query(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {self._others}"
            " AND starts_with(state, 'idle in transaction')"
        )
        answer = self._session.ask(*(Statement(f"DROP TABLE IF EXISTS {table}") for table in self.tables))
        if answer.refusal is not None:
            self._session.lose(f"the queue's tables cannot be dropped: {answer.refusal.message}")

    def close(self, abort: bool = False) -> None:
        """Closes the connection."""
        self._session.close(abort=abort)

    # Shared by the designs.

    @abstractmethod
    def _ended(self) -> None:
        """Turns into outcomes what no outstanding request of a lost connection stands for."""

    def _published(self, tokens: Ints) -> Done:
        def done(answer: Answer | None) -> None:
            t_ns = answer.t_ns if answer is not None else now_ns()
            self._confirms.add(tokens, _outcome(answer).value, t_ns)

        return done

    def _pump_until(self, deadline_ns: int, enough: Callable[[], bool]) -> None:
        """Takes answers until there is enough, the time is over, or there is no connection (any more)."""
        while self._session.up:
            self._session.pump(0.0 if enough() else (deadline_ns - now_ns()) / NS_PER_S)
            if enough() or now_ns() >= deadline_ns:
                return

    def _pages(self, table: str, columns: str, where: str) -> Iterator[Answer]:
        """Yields pages of rows, ``id`` and ``payload`` first, in the order of their ids."""
        last = 0
        sql = (
            f"SELECT id, payload, {columns} FROM {table}"
            f" WHERE id > $1::bigint AND {where} ORDER BY id LIMIT {PAGE_ROWS}"
        )
        while True:
            answer = self._session.ask(Statement(sql, [int8(last)]))
            if answer.refusal is not None:
                self._session.lose(f"the table cannot be read: {answer.refusal.message}")
            if not answer.results[0].ntuples:
                return
            yield answer
            last = int(int8_column(answer.results[0], 0)[-1])

    def _effective(self) -> Effective:
        names = ("server_version", "synchronous_commit", "fsync", "full_page_writes", *PLANNER, *RECORDED)
        columns = ", ".join(f"current_setting('{name}', true)" for name in names)
        (values,) = self._session.query(f"SELECT {columns}")
        settings = {name: (value or b"").decode() for name, value in zip(names, values, strict=True)}
        ((kept,),) = self._session.query(
            f"SELECT relpersistence::text FROM pg_class WHERE oid = '{self._table}'::regclass"
        )
        plan = self._session.query(f"EXPLAIN (COSTS OFF) {self.claim_sql(str(self._options.prefetch))}")
        asked = {"relpersistence": "u" if self._options.parameters["unlogged"] == "true" else "p"}
        found = {"relpersistence": (kept or b"").decode()}
        means = {}
        if commit := _commit_setting(self._options.parameters):
            asked |= commit | FULLY_WRITTEN
            found |= {name: settings.pop(name) for name in (*commit, *FULLY_WRITTEN)}
        elif settings["synchronous_commit"] in ("on", "off") and settings.items() >= FULLY_WRITTEN.items():
            means = {"synchronous_commit": settings["synchronous_commit"]}
        return Effective(
            version=f"PostgreSQL {settings.pop('server_version')}",
            asked=asked,
            found=found,
            also=settings | {"plan of the claim": "\n".join((line or b"").decode() for (line,) in plan)},
            parameters=means,
            encrypted=self._session.encrypted,
        )


def _commit_setting(parameters: Parameters) -> dict[str, str]:
    """Returns what is set in a session about commits: nothing where a server that is not ours is left as it is found."""
    value = parameters["synchronous_commit"]
    return {} if value == AS_FOUND else {"synchronous_commit": value}


def _outcome(answer: Answer | None) -> Outcome:
    if answer is None or answer.warned:  # a cut wait for a standby: committed here, and who knows there
        return Outcome.UNKNOWN
    if answer.refusal is None:
        return Outcome.CONFIRMED
    return Outcome.REJECTED if answer.refusal.proves_rollback else Outcome.UNKNOWN
