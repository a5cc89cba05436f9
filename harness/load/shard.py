"""One shard: ``python -m harness.load.shard``, a plain process with one connection and one slot file.

Its first line of stdin is its :class:`~harness.load.config.ShardConfig`, each further line a command (``orders``). It says ``ready``
when connected, ``done`` when the schedule has been sent, ``end`` with its CPU time, or ``failed`` with what is wrong. It ends when
its stdin does.
"""

from __future__ import annotations

import signal
import sys
import time
import traceback

from harness.brokers import setup
from harness.clock import NS_PER_S, now_ns
from harness.envelope import Stamper
from harness.errors import BrokerbenchError
from harness.ledger import CHUNK_SLOTS, SlotFile
from harness.load.config import ShardConfig, config_from_json
from harness.load.connection import Connection, driver_for
from harness.load.idempotency import WRAPPERS, Wrapper
from harness.load.inbox import Inbox
from harness.load.orders import Orders, say
from harness.load.outbox import Outbox
from harness.load.pacing import exact_timers, go_realtime, no_collections
from harness.load.producer import Producer
from harness.load.worker import Worker
from harness.redaction import hide
from harness.schedule import intended_offsets_ns

FIRST_CONNECT_S = 5.0
_WORKER_SEED = 0x77  # keeps the streams of random numbers of workers apart from those of producers


def run_producer(config: ShardConfig, orders: Orders) -> None:
    """Runs a producer to its end."""
    load = config.load
    open_loop = load.saturate_window is None
    offsets_ns = (
        intended_offsets_ns(load, config.phases, producer=config.number, seed=config.seed) if open_loop else None
    )
    slots = CHUNK_SLOTS + (len(offsets_ns) if offsets_ns is not None else 0)
    scheduling = go_realtime() if open_loop and config.realtime else "other"
    file = _slot_file(config, scheduling, first_slots=slots)
    outbox = Outbox(
        file,
        window=load.saturate_window or load.window,
        batch=load.batch,
        blocks_in_flight=setup(config.setup).blocks_in_flight,
        retries=load.retry_attempts,
        backoff_ns=int(load.retry_backoff_s * NS_PER_S),
    )
    stamper = Stamper(
        run_id=config.run_id,
        trial=config.trial,
        producer=config.number,
        payload_bytes=load.payload_bytes,
        capacity=load.batch,
        seed=config.seed,
        clock_offset_ns=config.clock_offset_ns,
    )
    connection = _connect(config, file, orders)
    producer = Producer(
        outbox=outbox,
        stamper=stamper,
        connection=connection,
        orders=orders,
        offsets_ns=offsets_ns,
        load_s=config.phases.warmup_s + config.phases.steady_s,
        tick_ns=int(load.tick_s * NS_PER_S),
        cpu=file.live["cpu_ns"],
    )
    no_collections()
    say("ready", scheduling=scheduling)
    producer.run(lambda: say("done"))
    connection.close()
    _goodbye(file)


def run_worker(config: ShardConfig, orders: Orders) -> None:
    """Runs a worker to its end."""
    workers = config.workers
    file = _slot_file(config, "other", first_slots=CHUNK_SLOTS)
    connection = _connect(config, file, orders)
    traits = setup(config.setup).traits
    wrapper = _wrapper(config)
    worker = Worker(
        inbox=Inbox(file, run_id=config.run_id, trial=config.trial, clock_offset_ns=config.clock_offset_ns),
        file=file,
        connection=connection,
        orders=orders,
        workers=workers,
        auto=workers.ack == "auto" or traits.at_most_once,
        pushes=traits.pushes,
        seed=(config.seed, _WORKER_SEED, config.number),
        wrapper=wrapper,
    )
    no_collections()
    say("ready", scheduling="other")
    worker.run()
    if wrapper is not None:
        wrapper.close()
    connection.close()
    _goodbye(file)


def _wrapper(config: ShardConfig) -> Wrapper | None:
    kind = config.workers.idempotency
    if kind == "none":
        return None
    return WRAPPERS[kind](address=config.address, queue=config.queue, client=config.name)


def main() -> int:
    """Reads the configuration and runs; returns 1 after an error, which stderr (the shard's log) tells in full."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the harness's to answer
    orders = Orders()
    line = orders.first()
    if not line:
        return 0
    config = config_from_json(line)
    orders.listen()
    exact_timers()
    try:
        (run_producer if config.kind == "producer" else run_worker)(config, orders)
    except BrokerbenchError as error:
        _log_traceback()
        say("failed", problem=error.problem, remedy=error.remedy)
        return 1
    except Exception as error:
        _log_traceback()
        say("failed", problem=hide(f"{type(error).__name__}: {error}"), remedy="see the shard's log")
        return 1
    return 0


def _log_traceback() -> None:
    print(hide(traceback.format_exc()), file=sys.stderr, flush=True)


def _slot_file(config: ShardConfig, scheduling: str, first_slots: int) -> SlotFile:
    return SlotFile.create(
        config.slots_path,
        kind=config.kind,
        name=config.name,
        run_id=config.run_id,
        trial=config.trial,
        number=config.number,
        scheduling=scheduling,
        started_ns=now_ns(),
        first_slots=first_slots,
    )


def _connect(config: ShardConfig, file: SlotFile, orders: Orders) -> Connection:
    connection = Connection(driver_for(config), config.connections_path, file.live["connected"])
    connection.first(FIRST_CONNECT_S, lambda: orders.orphaned)
    return connection


def _goodbye(file: SlotFile) -> None:
    file.live["cpu_ns"] = time.process_time_ns()
    file.close()
    say("end", cpu_s=time.process_time(), slots=file.used)


if __name__ == "__main__":
    sys.exit(main())
