"""PostgreSQL as a queue with leases: a claim is committed, holds until ``locked_until``, and a sweep brings back what ran out.

The claim is ``UPDATE … SKIP LOCKED`` over a partial index of what is pending; its array makes sure that the inner ``LIMIT`` runs
once (as a join it may run per row and claim more). An ack deletes the row, so that the table does not grow, and is guarded by the
lease's holder and count: a row that is not returned was no longer ours, STALE.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from harness.brokers import _postgres
from harness.brokers._libpq import Answer, Statement
from harness.brokers._pgbinary import bytea_column, float8, int4, int4_column, int8, int8_array, int8_column
from harness.brokers.contract import NO_DELIVERIES, Deliveries, Depth, DriverOptions, Flags, Ints, Residue
from harness.clock import now_ns
from harness.errors import ConnectionLost
from harness.model import Claim, MayRepeat, Parameters, Place, Settlement, SettleOutcome, Setup, Traits

_PLACES = {
    Place.READY: "status = 'pending' AND scheduled_at <= now()",
    Place.DELAYED: "status = 'pending' AND scheduled_at > now()",
    Place.IN_FLIGHT: "status = 'running'",
    Place.DEAD_LETTER: "status = 'dead'",
}
_HOLD_OVER = {Place.DELAYED: "scheduled_at <= now()", Place.IN_FLIGHT: "locked_until <= now()"}
_SETTLE = {
    Settlement.ACK: "DELETE FROM {table}",
    Settlement.RELEASE: "UPDATE {table} SET status = 'pending', locked_by = NULL, locked_until = NULL",
    Settlement.RETRY: "UPDATE {table} SET status = 'pending', locked_by = NULL, locked_until = NULL, scheduled_at = now()",
    Settlement.DEAD: "UPDATE {table} SET status = 'dead', locked_by = NULL, locked_until = NULL",
}


class LeaseTable(_postgres.QueueTable):
    """One connection to a table with leases; see :class:`harness.brokers.contract.Driver`."""

    def __init__(self, options: DriverOptions) -> None:
        super().__init__(options)
        self._holder = options.client.encode()
        self._claim_sql = self._claiming("$1", "$2", "$3")
        if options.auto_ack:
            self._claim_sql = (
                f"DELETE FROM {self._table} WHERE id = ANY(ARRAY({self._pick('$1')}))"
                " RETURNING id, attempts + 1, payload"
            )

    @property
    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """Returns the one table."""
        return {
            self._table: (
                "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
                "payload bytea NOT NULL",
                "status text NOT NULL DEFAULT 'pending'",
                "attempts integer NOT NULL DEFAULT 0",
                "scheduled_at timestamptz NOT NULL DEFAULT now()",
                "locked_by text",
                "locked_until timestamptz",
            )
        }

    @property
    def indexes(self) -> Mapping[str, str]:
        """Returns the partial indexes of the claim and of the sweep."""
        return {
            "pending": "(scheduled_at, id) WHERE status = 'pending'",
            "running": "(locked_until) WHERE status = 'running'",
        }

    def claim_sql(self, limit: str) -> str:
        """Returns the claim with literals."""
        return self._claiming(limit, "'nobody'", "5")

    def settle(self, tokens: Ints, handles: Sequence[Any], what: Settlement) -> None:
        """Sends one guarded statement for each count of deliveries among them, mostly one; what they do not return is STALE.

        A join with the handles would be one statement for all. But planned while the table is empty it walks over the whole table,
        and over the handles for each row, and that plan stays when the table has filled up.
        """
        tokens, mine = np.array(tokens, np.int64), np.asarray(handles, np.int64)
        try:
            self._session.check()
        except ConnectionLost:
            self._settled.add(tokens, SettleOutcome.UNKNOWN.value, now_ns())
            raise
        if not len(tokens):
            return
        sql = (
            _SETTLE[what].format(table=self._table)
            + " WHERE id = ANY($1::bigint[]) AND attempts = $2 AND status = 'running' AND locked_by = $3 RETURNING id, attempts"
        )
        ids, attempts = mine >> 16, mine & 0xFFFF
        statements = [
            Statement(sql, [int8_array(ids[attempts == count]), int4(count), self._holder])
            for count in np.unique(attempts).tolist()
        ]
        self._session.send(statements, partial(self._was_settled, tokens, mine))

    def reclaim(self, min_idle_s: float) -> int:
        """Makes rows pending again whose lease began ``min_idle_s`` ago or earlier; returns how many."""
        answer = self._session.ask(
            Statement(
                f"UPDATE {self._table} SET status = 'pending', locked_by = NULL, locked_until = NULL"
                f" WHERE id = ANY(ARRAY(SELECT id FROM {self._table} WHERE status = 'running'"
                " AND locked_until <= now() + make_interval(secs => $1) ORDER BY locked_until FOR UPDATE SKIP LOCKED))",
                [float8(self._options.visibility_s - min_idle_s)],
            )
        )
        if answer.refusal is not None:
            self._session.lose(f"the sweep failed: {answer.refusal.message}")
        return answer.results[0].command_tuples or 0

    def depth(self) -> Depth:
        """Counts the rows by their place."""
        counts = ", ".join(f"count(*) FILTER (WHERE {where})" for where in _PLACES.values())
        (values,) = self._session.query(f"SELECT {counts} FROM {self._table}")
        ready, delayed, running, dead = (int.from_bytes(value or b"") for value in values)
        return Depth(ready=ready, in_flight=running, delayed=delayed, dead=dead)

    def residue(self) -> Iterator[Residue]:
        """Yields all rows, place by place."""
        for place, where in _PLACES.items():
            for answer in self._pages(self._table, f"({_HOLD_OVER.get(place, 'false')})::integer", where):
                found = answer.results[0]
                over = int4_column(found, 2).astype(np.uint8) if place in _HOLD_OVER else None
                yield Residue(place, bytea_column(found, 1), int8_column(found, 0), over)

    def _pick(self, limit: str) -> str:
        return (
            f"SELECT id FROM {self._table} WHERE status = 'pending' AND scheduled_at <= now()"
            f" ORDER BY scheduled_at, id LIMIT {limit} FOR UPDATE SKIP LOCKED"
        )

    def _claiming(self, limit: str, holder: str, visibility: str) -> str:
        return (
            f"UPDATE {self._table} SET status = 'running', attempts = attempts + 1, locked_by = {holder},"
            f" locked_until = now() + make_interval(secs => {visibility})"
            f" WHERE id = ANY(ARRAY({self._pick(limit)})) RETURNING id, attempts, payload"
        )

    def _claim(self, max_n: int) -> Deliveries:
        values = [int8(max_n), self._holder, float8(self._options.visibility_s)]
        asked_ns = now_ns()
        answer = self._session.ask(Statement(self._claim_sql, values[:1] if self._options.auto_ack else values))
        if answer.refusal is not None:
            self._session.lose(f"a claim failed: {answer.refusal.message}")
        found = answer.results[0]
        if not found.ntuples:
            return NO_DELIVERIES
        ids, attempts, payloads = int8_column(found, 0), int4_column(found, 1), bytea_column(found, 2)
        if (ids[1:] < ids[:-1]).any():  # UPDATE … RETURNING promises no order
            order = np.argsort(ids)
            ids, attempts, payloads = ids[order], attempts[order], [payloads[row] for row in order]
        return Deliveries(
            payloads,
            (ids << 16 | attempts & 0xFFFF).tolist(),
            entries=ids,
            counts=attempts.astype(np.uint16),
            asked_ns=asked_ns,
        )

    def _ended(self) -> None:
        """Nothing to do: every settlement has a request of its own."""

    def _was_settled(self, tokens: Ints, mine: Ints, answer: Answer | None) -> None:
        if answer is None or answer.refusal is not None or answer.warned:
            self._settled.add(tokens, SettleOutcome.UNKNOWN.value, now_ns())
            return
        found = [int8_column(part, 0) << 16 | int4_column(part, 1) & 0xFFFF for part in answer.results]
        done = np.isin(mine, np.concatenate(found))
        outcomes: Flags = np.where(done, SettleOutcome.OK.value, SettleOutcome.STALE.value).astype(np.uint8)
        self._settled.add(tokens, outcomes, answer.t_ns)


def _claims(parameters: Parameters) -> tuple[Claim, ...]:
    worker_kill = "definition: a claim that nobody acks runs out and is swept back"
    return _postgres.claims(parameters, worker_kill, MayRepeat.EXPIRED)


SETUP = Setup(
    name="postgres-lease",
    broker="postgres",
    summary="UPDATE … FOR UPDATE SKIP LOCKED with lease columns; ack DELETE guarded by holder and attempts; sweep of expired leases",
    traits=Traits(entry_ids=True, reclaims=True, settle_detects_stale=True),
    parameters=_postgres.PARAMETERS,
    schemes=_postgres.SCHEMES,
    durability=_postgres.durability,
    claims=_claims,
    blocks_in_flight=_postgres.BLOCKS_IN_FLIGHT,
)
DRIVER = LeaseTable
