"""PostgreSQL as a queue that deletes in the transaction: a message is held by a row lock, which lasts as long as its job.

One transaction holds one fetch: ``BEGIN``, ``SELECT … FOR UPDATE SKIP LOCKED``, then the settlements as they come, and ``COMMIT``
with the last of them. So the outcome of every settlement of a fetch is the answer of that commit, and it comes when all of the
fetch is settled; until then :meth:`consume` has nothing to give. A worker that dies loses its connection, and with it its locks:
its rows are simply ready again, at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from harness.brokers import _postgres
from harness.brokers._libpq import Answer, Statement
from harness.brokers._pgbinary import bytea_column, int4_column, int8, int8_array, int8_column
from harness.brokers.contract import NO_DELIVERIES, Deliveries, Depth, DriverOptions, Ints, Residue
from harness.clock import NS_PER_S, now_ns
from harness.errors import BrokerbenchError, ConnectionLost
from harness.model import Claim, Parameters, Place, Settlement, SettleOutcome, Setup, Traits

GOODBYE_S = 5.0
_BEGIN, _COMMIT = Statement("BEGIN"), Statement("COMMIT")
_LOCKED = "(xmax::text IN (SELECT backend_xid::text FROM pg_stat_activity WHERE backend_xid IS NOT NULL))"
"""A row lock is the locker's transaction id in the row; it counts only while that transaction runs."""


class DeleteTable(_postgres.QueueTable):
    """One connection to a table whose rows are locked, then deleted; see :class:`harness.brokers.contract.Driver`."""

    def __init__(self, options: DriverOptions) -> None:
        super().__init__(options)
        self._dead = f'"{options.queue}_dead"'
        self._fetch = 0  # which fetch the open transaction belongs to
        self._unsettled = 0  # deliveries of it that were not settled yet
        self._uncommitted: list[Ints] = []  # tokens that its commit will answer

    @property
    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """Returns the queue and the place of its dead letters."""
        key, payload = "PRIMARY KEY", "payload bytea NOT NULL"
        return {
            self._table: (f"id bigint GENERATED ALWAYS AS IDENTITY {key}", payload),
            self._dead: (f"id bigint {key}", payload),
        }

    def claim_sql(self, limit: str) -> str:
        """Returns the fetch."""
        return f"SELECT id, payload FROM {self._table} ORDER BY id LIMIT {limit} FOR UPDATE SKIP LOCKED"

    def connect(self) -> None:
        """Connects; what an earlier connection held is not held any more."""
        super().connect()
        self._unsettled, self._uncommitted = 0, []

    def consume(self, max_n: int, wait_s: float) -> Deliveries:
        """Fetches into a new transaction; returns nothing, after ``wait_s``, while the one before is not settled whole."""
        if self._unsettled:
            deadline_ns = now_ns() + int(wait_s * NS_PER_S)
            self._session.check()
            self._pump_until(deadline_ns, lambda: False)
            return NO_DELIVERIES
        return super().consume(max_n, wait_s)

    def settle(self, tokens: Ints, handles: Sequence[Any], what: Settlement) -> None:
        """Deletes (ACK), moves (DEAD) or leaves (RELEASE, RETRY) rows; commits with the last of the fetch. What an earlier
        connection fetched is STALE without asking: its lock went with that connection."""
        tokens, mine = np.array(tokens, np.int64), np.asarray(handles, np.int64)
        try:
            self._session.check()
        except ConnectionLost:
            self._settled.add(tokens, SettleOutcome.UNKNOWN.value, now_ns())
            raise
        held = (mine & 0xFFFF == self._fetch & 0xFFFF) & bool(self._unsettled)
        self._settled.add(tokens[~held], SettleOutcome.STALE.value, now_ns())
        if not held.any():
            return
        self._uncommitted.append(tokens[held])
        self._unsettled -= int(held.sum())
        statements = self._settling(mine[held] >> 16, what)
        if not self._unsettled:
            self._commit(statements)
        elif statements:
            self._session.send(statements, self._was_sound)

    def reclaim(self, min_idle_s: float) -> int:
        """Returns 0: a lock ends with its holder's connection."""
        return 0

    def depth(self) -> Depth:
        """Counts rows; those that a running transaction has locked are in flight."""
        sql = (
            f"SELECT count(*) FILTER (WHERE NOT {_LOCKED}), count(*) FILTER (WHERE {_LOCKED}),"
            f" (SELECT count(*) FROM {self._dead}) FROM {self._table}"
        )
        ((ready, locked, dead),) = self._session.query(sql)
        return Depth(
            ready=int.from_bytes(ready or b""),
            in_flight=int.from_bytes(locked or b""),
            delayed=0,
            dead=int.from_bytes(dead or b""),
        )

    def residue(self) -> Iterator[Residue]:
        """Yields all rows: what nobody has locked is ready."""
        for answer in self._pages(self._table, f"{_LOCKED}::integer", "true"):
            found = answer.results[0]
            ids, payloads, locked = int8_column(found, 0), bytea_column(found, 1), int4_column(found, 2) == 1
            for place, chosen in ((Place.READY, ~locked), (Place.IN_FLIGHT, locked)):
                rows = np.flatnonzero(chosen)
                if len(rows):
                    yield Residue(place, [payloads[row] for row in rows], ids[rows])
        for answer in self._pages(self._dead, "0", "true"):
            yield Residue(Place.DEAD_LETTER, bytea_column(answer.results[0], 1), int8_column(answer.results[0], 0))

    def close(self, abort: bool = False) -> None:
        """Commits what was settled of an unfinished fetch, unless ``abort``, and closes the connection."""
        if self._uncommitted and not abort and self._session.up:
            try:
                if self._unsettled:
                    self._commit([])
                self._pump_until(now_ns() + int(GOODBYE_S * NS_PER_S), lambda: not self._session.busy)
            except BrokerbenchError:
                pass  # its outcomes are UNKNOWN by now
        super().close(abort=abort)

    def _claim(self, max_n: int) -> Deliveries:
        asked_ns = now_ns()
        if self._options.auto_ack:
            answer = self._session.ask(
                Statement(
                    f"DELETE FROM {self._table} WHERE id = ANY(ARRAY(SELECT id FROM {self._table} ORDER BY id LIMIT $1"
                    " FOR UPDATE SKIP LOCKED)) RETURNING id, payload",
                    [int8(max_n)],
                )
            )
        else:
            answer = self._session.ask(_BEGIN, Statement(self.claim_sql("$1"), [int8(max_n)]))
        if answer.refusal is not None:
            self._session.lose(f"a fetch failed: {answer.refusal.message}")
        found = answer.results[-1]
        if not found.ntuples:
            if not self._options.auto_ack:
                self._session.send([_COMMIT], self._was_sound)
            return NO_DELIVERIES
        self._fetch += 1
        self._unsettled = 0 if self._options.auto_ack else found.ntuples
        ids = int8_column(found, 0)
        handles = (ids << 16 | self._fetch & 0xFFFF).tolist()
        return Deliveries(bytea_column(found, 1), handles, entries=ids, asked_ns=asked_ns)

    def _settling(self, ids: Ints, what: Settlement) -> list[Statement]:
        if what is Settlement.ACK:
            return [Statement(f"DELETE FROM {self._table} WHERE id = ANY($1::bigint[])", [int8_array(ids)])]
        if what is Settlement.DEAD:
            moved = f"DELETE FROM {self._table} WHERE id = ANY($1::bigint[]) RETURNING id, payload"
            return [Statement(f"WITH gone AS ({moved}) INSERT INTO {self._dead} SELECT * FROM gone", [int8_array(ids)])]
        return []

    def _commit(self, statements: Sequence[Statement]) -> None:
        tokens, self._uncommitted = np.concatenate(self._uncommitted), []
        self._unsettled = 0
        self._session.send([*statements, _COMMIT], partial(self._was_committed, tokens))

    def _was_committed(self, tokens: Ints, answer: Answer | None) -> None:
        sound = answer is not None and answer.refusal is None and not answer.warned
        if answer and sound and answer.results[-1].command_status == b"COMMIT":  # a broken transaction says ROLLBACK
            self._settled.add(tokens, SettleOutcome.OK.value, answer.t_ns)
            return
        self._settled.add(tokens, SettleOutcome.UNKNOWN.value, now_ns())
        self._was_sound(answer)

    def _was_sound(self, answer: Answer | None) -> None:
        """Gives up a transaction that is broken: only its rollback is left."""
        if answer is not None and answer.refusal is not None:
            self._session.lose(f"a settlement failed: {answer.refusal.message}")

    def _ended(self) -> None:
        lost, self._uncommitted = self._uncommitted, []
        for tokens in lost:
            self._settled.add(tokens, SettleOutcome.UNKNOWN.value, now_ns())


def _claims(parameters: Parameters) -> tuple[Claim, ...]:
    return _postgres.claims(parameters, "definition: the row lock ends with the connection; measured: 0, at once")


SETUP = Setup(
    name="postgres-delete",
    broker="postgres",
    summary="SELECT … FOR UPDATE SKIP LOCKED, DELETE and COMMIT in one transaction: the row lock lasts as long as the job",
    traits=Traits(entry_ids=True, settle_detects_stale=True),
    parameters=_postgres.PARAMETERS,
    schemes=_postgres.SCHEMES,
    durability=_postgres.durability,
    claims=_claims,
    blocks_in_flight=_postgres.BLOCKS_IN_FLIGHT,
)
DRIVER = DeleteTable
