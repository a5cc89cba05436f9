"""What is particular to the queue tables of PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import psycopg
import pytest

from harness.errors import ConnectionLost
from harness.model import DurabilityClass, Outcome, Settlement, SettleOutcome, Setup
from tests.contract.line import Line, eventually, outcomes_of, publish_until_lost, settled_of

OwnLine = Callable[..., Line]
LEASE, DELETE = "postgres-lease", "postgres-delete"
lease_only, delete_only = pytest.mark.setups(LEASE), pytest.mark.setups(DELETE)

pytestmark = pytest.mark.setups(LEASE, DELETE)


@pytest.fixture
def admin(line: Line) -> Iterator[psycopg.Connection]:
    """A plain connection beside the driver's."""
    with psycopg.connect(line.broker.address, autocommit=True) as connection:
        yield connection


# Settings and plans.


def test_the_claim_walks_an_index_whether_the_table_is_empty_full_or_analysed(line: Line) -> None:
    producer = line.open("p0")
    for first in (0, 5000):
        plan = producer.prepare().also["plan of the claim"]
        assert "Index Scan using" in plan
        assert [word for word in ("Seq Scan", "Bitmap", "Sort") if word in plan] == []
        line.publish(producer, range(first, first + 5000))


@lease_only
def test_the_claim_of_a_lease_walks_the_index_of_what_is_pending(line: Line) -> None:
    plan = line.open("p0").prepare().also["plan of the claim"]
    assert f"Index Scan using {line.queue}_pending" in plan


def test_a_full_table_is_emptied_without_reading_it_over_and_over(line: Line, admin: psycopg.Connection) -> None:
    producer, worker = line.open("p0"), line.open("w0")
    for first in range(0, 20_000, 2000):
        line.publish(producer, range(first, first + 2000))
    for _ in range(200):
        received = line.receive(worker, 100)
        assert set(line.settle(worker, received, Settlement.ACK).values()) == {SettleOutcome.OK}
    (reads,) = (
        admin.execute("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = %s", [line.queue]).fetchone() or ()
    )
    assert reads <= 3, "ANALYZE and the making of the indexes may read it, 400 claims and acks may not"


@pytest.mark.parametrize("asked", ["on", "off"])
def test_synchronous_commit_is_read_back_as_the_session_has_it(setup: Setup, line: Line, asked: str) -> None:
    line.parameters = setup.complete({"synchronous_commit": asked})
    effective = line.open("p0").prepare()
    assert effective.differences() == ()
    assert effective.found["synchronous_commit"] == asked
    assert effective.version.startswith("PostgreSQL ")


def test_an_unlogged_table_is_made_and_one_that_is_not_is_told(setup: Setup, line: Line) -> None:
    logged = line.open("p0").prepare()
    assert (logged.found["relpersistence"], logged.differences()) == ("p", ())
    line.parameters = setup.complete({"unlogged": "true"})
    assert line.open("p1").prepare().differences() == ("relpersistence: asked 'u', found 'p'",)
    line.open("p1", queue=f"{line.queue}0").prepare()
    assert line.open("p1", queue=f"{line.queue}0").prepare().found["relpersistence"] == "u"
    line.open("p1", queue=f"{line.queue}0").purge()


def test_what_a_confirm_survives_depends_on_the_settings(setup: Setup) -> None:
    classes = {
        (commit, unlogged): setup.durability({"synchronous_commit": commit, "unlogged": unlogged})
        for commit, unlogged in itertools.product(("on", "off"), ("false", "true"))
    }
    assert classes.pop(("on", "false")) is DurabilityClass.FSYNCED
    assert set(classes.values()) == {DurabilityClass.MEMORY}


# Outcomes of a block: the answer of its commit.


@pytest.mark.parametrize("answered_bytes", [0, 5, 10, 28, 33])
def test_a_commit_whose_answer_is_cut_off_is_unknown(line: Line, answered_bytes: int) -> None:
    """33 of the 34 bytes of an answer hold the INSERT's own success: not the commit's."""
    proxy = line.proxy()
    producer, witness = line.open("p0", via=proxy), line.open("w0")
    line.publish(producer, range(1000, 1256))  # prepares the statement
    proxy.cut_after(answered_bytes)
    outcomes = publish_until_lost(producer, line.block(range(256)))
    assert outcomes == dict.fromkeys(range(256), Outcome.UNKNOWN)
    eventually(lambda: witness.depth().ready == 512, "the INSERT was not committed")


def test_a_statement_that_fails_rejects_its_block_and_no_other(line: Line, admin: psycopg.Connection) -> None:
    producer = line.open("p0")
    admin.execute(f"ALTER TABLE {line.queue} ADD CHECK (length(payload) < 300)")
    producer.publish(line.block(range(10), payload_bytes=400))
    producer.publish(line.block(range(10, 20)))
    rejected, confirmed = dict.fromkeys(range(10), Outcome.REJECTED), dict.fromkeys(range(10, 20), Outcome.CONFIRMED)
    assert outcomes_of(producer, 20) == rejected | confirmed
    assert line.found(producer) == {"ready": list(range(10, 20))}


@pytest.mark.parametrize(
    ("sqlstate", "outcome"),
    [("23514", Outcome.REJECTED), ("53100", Outcome.REJECTED), ("40003", Outcome.UNKNOWN), ("08007", Outcome.UNKNOWN)],
)
def test_a_commit_that_fails_is_read_by_its_sqlstate(
    line: Line, admin: psycopg.Connection, sqlstate: str, outcome: Outcome
) -> None:
    producer = line.open("p0")
    admin.execute(
        f"CREATE FUNCTION {line.queue}_f() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{sqlstate}', MESSAGE = 'at the commit'; END $$"
    )
    admin.execute(
        f"CREATE CONSTRAINT TRIGGER late AFTER INSERT ON {line.queue} DEFERRABLE INITIALLY DEFERRED"
        f" FOR EACH ROW EXECUTE FUNCTION {line.queue}_f()"
    )
    producer.publish(line.block(range(5)))
    assert outcomes_of(producer, 5) == dict.fromkeys(range(5), outcome)
    admin.execute(f"DROP FUNCTION {line.queue}_f CASCADE")
    line.publish(producer, range(5, 10))


def test_a_wait_for_a_standby_that_is_cut_short_is_unknown(setup: Setup, own_line: OwnLine) -> None:
    line = own_line(setup)
    producer, witness = line.open("p0"), line.open("s0")
    waiting = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with psycopg.connect(line.broker.address, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        admin.execute("SELECT pg_reload_conf()")

        def waits(first: int) -> bool:
            """Publishes a block; a session that has not reloaded yet confirms it."""
            producer.publish(line.block(range(first, first + 5)))
            while not len(producer.poll_confirms(0.01).tokens):
                if admin.execute(f"SELECT 1 {waiting}").fetchall():
                    return True
            return False

        first = next(first for first in range(0, 5000, 5) if waits(first))
        assert admin.execute(f"SELECT pg_cancel_backend(pid) {waiting}").fetchall() == [(True,)]
        assert outcomes_of(producer, 5) == dict.fromkeys(range(first, first + 5), Outcome.UNKNOWN)
        assert witness.depth().ready == first + 5
        admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
        admin.execute("SELECT pg_reload_conf()")


def test_a_server_that_ends_the_session_leaves_unknown(line: Line, admin: psycopg.Connection) -> None:
    producer = line.open("p0")
    with admin.transaction():
        admin.execute(f"LOCK TABLE {line.queue} IN EXCLUSIVE MODE")
        producer.publish(line.block(range(5)))
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
        assert admin.execute(ended, [f"bb:{line.queue}:p0"]).fetchall() == [(True,)]
    with pytest.raises(ConnectionLost, match="terminating connection"):
        outcomes_of(producer, 5)
    assert outcomes_of(producer, 5) == dict.fromkeys(range(5), Outcome.UNKNOWN)


def test_blocks_may_be_outstanding_together_and_are_delivered_in_order(line: Line) -> None:
    producer, worker = line.open("p0"), line.open("w0")
    for first in range(0, 1000, 100):
        producer.publish(line.block(range(first, first + 100)))
    assert outcomes_of(producer, 1000) == dict.fromkeys(range(1000), Outcome.CONFIRMED)
    assert line.receive(worker, 1000).seqs == list(range(1000))


# Waiting.


def test_a_server_that_stands_is_a_lost_connection_after_the_answer_timeout(setup: Setup, own_line: OwnLine) -> None:
    line = own_line(setup)
    worker = line.open("w0", answer_timeout_s=0.2)
    line.broker.pause()
    with pytest.raises(ConnectionLost, match=r"no answer for 0\.2 s"):
        worker.consume(10, 0.0)
    line.broker.resume()
    worker.connect()
    assert worker.consume(10, 0.0).payloads == []


def test_a_block_that_a_standing_server_does_not_read_blocks_nobody(setup: Setup, own_line: OwnLine) -> None:
    line = own_line(setup)
    producer, witness = line.open("p0"), line.open("s0")
    line.broker.pause()
    blocks = 0
    while not producer.blocked():
        producer.publish(line.block(range(blocks * 256, blocks * 256 + 256), payload_bytes=4096))
        blocks += 1
        assert blocks < 100
    line.broker.resume()
    assert outcomes_of(producer, blocks * 256) == dict.fromkeys(range(blocks * 256), Outcome.CONFIRMED)
    assert (producer.blocked(), witness.depth().ready) == ("", blocks * 256)


# Leases.


@lease_only
def test_an_ack_after_the_lease_passed_to_another_is_stale_and_takes_nothing(line: Line) -> None:
    producer, late, next_ = line.open("p0"), line.open("w0"), line.open("w1")
    line.publish(producer, range(3))
    before = line.receive(late, 3)
    assert producer.reclaim(0.0) == 3
    after = line.receive(next_, 3)
    assert [int(count) for part in after.parts for count in part.counts] == [2, 2, 2]
    assert set(line.settle(late, before, Settlement.ACK).values()) == {SettleOutcome.STALE}
    assert line.found(producer) == {"in_flight": [0, 1, 2]}
    assert set(line.settle(next_, after, Settlement.ACK).values()) == {SettleOutcome.OK}
    assert line.found(producer) == {}


@lease_only
def test_an_ack_of_an_earlier_lease_of_the_same_worker_is_stale(line: Line) -> None:
    worker = line.open("w0")
    line.publish(line.open("p0"), [0])
    before = line.receive(worker, 1)
    assert worker.reclaim(0.0) == 1
    after = line.receive(worker, 1)
    assert line.settle(worker, before, Settlement.ACK) == {0: SettleOutcome.STALE}
    assert line.settle(worker, after, Settlement.ACK) == {0: SettleOutcome.OK}


@lease_only
def test_a_lease_that_ran_out_and_was_not_swept_is_still_acked_by_its_holder(line: Line) -> None:
    worker = line.open("w0", visibility_s=0.0)
    line.publish(line.open("p0"), [0])
    assert line.settle(worker, line.receive(worker, 1), Settlement.ACK) == {0: SettleOutcome.OK}


@lease_only
def test_the_residue_says_which_leases_have_run_out(line: Line) -> None:
    line.publish(line.open("p0"), range(4))
    line.receive(line.open("w0", visibility_s=0.0), 2)
    line.receive(line.open("w1", visibility_s=60.0), 2)
    (part,) = line.open("s0").residue()
    assert part.hold_over is not None
    assert part.hold_over.tolist() == [1, 1, 0, 0]


@lease_only
def test_what_is_put_off_goes_behind_what_waits(line: Line) -> None:
    worker = line.open("w0")
    line.publish(line.open("p0"), range(4))
    assert set(line.settle(worker, line.receive(worker, 2), Settlement.RETRY).values()) == {SettleOutcome.OK}
    assert line.receive(worker, 2).seqs == [2, 3]
    assert line.receive(worker, 2).seqs == [0, 1]


# Deletes in the transaction.


@delete_only
def test_a_fetch_is_settled_by_the_commit_that_its_last_settlement_brings(line: Line) -> None:
    worker = line.open("w0")
    producer = line.open("p0")
    line.publish(producer, range(10))
    received = line.receive(worker, 4)
    worker.settle(np.arange(3), received.handles[:3], Settlement.ACK)
    assert worker.poll_settled(0.05).tokens.tolist() == []
    assert worker.consume(10, 0.0).payloads == []  # the transaction is open
    assert line.found(producer) == {"in_flight": [0, 1, 2, 3], "ready": [4, 5, 6, 7, 8, 9]}
    worker.settle(np.array([3]), received.handles[3:], Settlement.RELEASE)
    assert settled_of(worker, 4) == dict.fromkeys(range(4), SettleOutcome.OK)
    assert line.found(producer) == {"ready": [3, 4, 5, 6, 7, 8, 9]}
    assert line.receive(worker, 7).seqs == [3, 4, 5, 6, 7, 8, 9]


@delete_only
def test_rows_of_a_worker_that_went_are_ready_at_once(line: Line) -> None:
    producer, dying, living = line.open("p0"), line.open("w0"), line.open("w1")
    line.publish(producer, range(10))
    held = line.receive(dying, 10)
    dying.settle(np.arange(9), held.handles[:9], Settlement.ACK)
    dying.close(abort=True)
    assert set(dying.poll_settled(0).outcomes) == {SettleOutcome.UNKNOWN}
    # Not by a fetch: one that comes in the middle of the rollback takes a part, and no more before it has settled that.
    eventually(lambda: living.depth().ready == 10, "the rows of the worker that went stay locked")
    assert line.receive(living, 10).seqs == list(range(10))


@delete_only
def test_a_worker_that_says_goodbye_commits_what_it_settled(line: Line) -> None:
    worker = line.open("w0")
    line.publish(line.open("p0"), range(10))
    received = line.receive(worker, 10)
    worker.settle(np.arange(4), received.handles[:4], Settlement.ACK)
    worker.close()
    assert line.found(line.open("s0")) == {"ready": [4, 5, 6, 7, 8, 9]}


@delete_only
def test_what_an_earlier_connection_fetched_is_stale(line: Line) -> None:
    worker = line.open("w0")
    line.publish(line.open("p0"), range(2))
    before = line.receive(worker, 2)
    worker.close(abort=True)
    worker.connect()
    eventually(lambda: worker.depth().ready == 2, "the earlier connection's rows stay locked")
    after = line.receive(worker, 2)
    assert set(line.settle(worker, before, Settlement.ACK).values()) == {SettleOutcome.STALE}
    assert set(line.settle(worker, after, Settlement.ACK).values()) == {SettleOutcome.OK}
