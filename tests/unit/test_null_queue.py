"""What a queue of the null broker does, honestly and on request; time is handed in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest

from harness import envelope
from harness.brokers._null_mischief import KINDS, NONE, Mischief
from harness.brokers._null_protocol import Messages
from harness.brokers._null_queue import DELAY_NS, PHANTOM_SEQ, Queue
from harness.model import Place, Settlement, SettleOutcome

S = 1_000_000_000


class Chosen(Mischief):
    """Strikes given sequence numbers, with given bits for the details."""

    def __init__(self, strikes: dict[int, str], bits: int = 0) -> None:
        super().__init__({}, seed=1, queue="", struck={})
        self.honest = not strikes
        self.returned: list[str] = []
        self._by_seq, self._bits = strikes, bits

    def choose(self, keys: np.ndarray) -> np.ndarray:
        seqs = (keys & np.uint64(0xFFFFFFFF)).tolist()
        return np.array([list(KINDS).index(self._by_seq[s]) if s in self._by_seq else NONE for s in seqs], np.uint8)

    def draw(self, key: int) -> int:
        return self._bits

    def give_back(self, kind: str) -> None:
        self.returned.append(kind)


class Bench:
    """A queue with its log."""

    def __init__(self, strikes: dict[int, str] | None = None, bits: int = 0) -> None:
        self.log: list[dict[str, Any]] = []
        self.mischief = Chosen(strikes or {}, bits)
        self.queue = Queue(self.mischief, lambda record: self.log.append(dict(record)), count(1).__next__)

    def publish(self, seqs: Sequence[int], *, attempt: int = 1, producer: int = 0, now_ns: int = 0) -> list[int]:
        """Returns the positions that were confirmed."""
        stamper = envelope.Stamper(run_id=1, trial=1, producer=producer, payload_bytes=64, capacity=len(seqs))
        rows = stamper.stamp(np.array(seqs), np.full(len(seqs), attempt), np.zeros(len(seqs)))
        return self.queue.publish(rows, now_ns).tolist()

    def fetch(self, max_n: int = 100, client: str = "w0", now_ns: int = 0) -> Messages:
        return self.queue.fetch(max_n, client, now_ns)

    def settle(self, messages: Messages, what: Settlement = Settlement.ACK, client: str = "w0") -> list[int]:
        return self.queue.settle(client, messages.entries << 16 | messages.marks, what).tolist()

    def wrongs(self) -> list[tuple[str, int, str]]:
        return [(record["strike"], record["seq"], record["detail"]) for record in self.log]


def seqs(messages: Messages) -> list[int]:
    return envelope.parse(list(messages.payloads)).seq.tolist()


OK, STALE = SettleOutcome.OK.value, SettleOutcome.STALE.value


def test_an_honest_queue_hands_out_in_order_and_forgets_what_is_acked() -> None:
    bench = Bench()
    assert bench.publish(range(5)) == [0, 1, 2, 3, 4]
    first, rest = bench.fetch(2), bench.fetch()
    assert (seqs(first), seqs(rest)) == ([0, 1], [2, 3, 4])
    assert bench.queue.depth() == (0, 5, 0, 0)
    assert bench.settle(first) == [OK, OK]
    assert bench.settle(first) == [STALE, STALE]
    assert bench.queue.depth() == (0, 3, 0, 0)
    assert bench.log == []


def test_what_is_settled_otherwise_goes_where_it_belongs() -> None:
    bench = Bench()
    bench.publish(range(4))
    messages = [bench.fetch(1) for _ in range(3)]
    assert bench.settle(messages[0], Settlement.RETRY) == [OK]
    assert bench.settle(messages[1], Settlement.RELEASE) == [OK]
    assert bench.settle(messages[2], Settlement.DEAD) == [OK]
    assert bench.queue.depth() == (3, 0, 0, 1)
    again = bench.fetch()
    assert (seqs(again), again.marks.tolist()) == ([1, 3, 0], [2, 1, 2])


def test_a_hold_that_ran_out_passes_to_another_and_the_former_holder_is_stale() -> None:
    bench = Bench()
    bench.publish(range(2))
    before = bench.fetch(now_ns=0)
    assert bench.queue.reclaim(5.0, 5 * S - 1) == 0
    assert bench.queue.reclaim(5.0, 5 * S) == 2
    after = bench.fetch(client="w1", now_ns=5 * S)
    assert seqs(after) == [0, 1]
    assert bench.settle(before) == [STALE, STALE]
    assert bench.settle(after, client="w0") == [STALE, STALE]
    assert bench.settle(after, client="w1") == [OK, OK]


def test_what_is_dropped_is_neither_kept_nor_confirmed() -> None:
    bench = Bench({1: "drop"})
    assert bench.publish(range(3)) == [0, 2]
    assert seqs(bench.fetch()) == [0, 2]
    assert bench.wrongs() == [("drop", 1, "")]


def test_what_is_forgotten_is_confirmed_and_not_kept() -> None:
    bench = Bench({1: "forget"})
    assert bench.publish(range(3)) == [0, 1, 2]
    assert seqs(bench.fetch()) == [0, 2]
    assert bench.wrongs() == [("forget", 1, "")]


@pytest.mark.parametrize("bits", range(1, 4000, 38))
def test_a_flipped_padding_leaves_the_identity_readable(bits: int) -> None:
    bench = Bench({1: "corrupt"}, bits=bits | 1)
    bench.publish(range(3))
    parsed = envelope.parse(list(bench.fetch().payloads))
    assert (parsed.readable.tolist(), parsed.checksum_ok.tolist()) == ([True] * 3, [True, False, True])
    assert bench.wrongs() == [("corrupt", 1, "padding")]


@pytest.mark.parametrize("bits", range(0, 40 * 256, 256))
def test_a_flipped_header_leaves_no_identity(bits: int) -> None:
    bench = Bench({1: "corrupt"}, bits=bits)
    bench.publish(range(3))
    assert envelope.parse(list(bench.fetch().payloads)).readable.tolist() == [True, False, True]
    assert bench.wrongs() == [("corrupt", 1, "header")]


def test_a_duplicate_is_a_copy_with_an_entry_of_its_own() -> None:
    bench = Bench({1: "duplicate"}, bits=1)
    bench.publish(range(3))
    found = bench.fetch()
    assert (seqs(found), found.entries.tolist()) == ([0, 1, 1, 2], [1, 2, 3, 4])
    assert bench.settle(found) == [OK] * 4
    assert bench.wrongs() == [("duplicate", 1, "copy")]


def test_or_the_same_entry_handed_out_twice_in_one_answer() -> None:
    bench = Bench({1: "duplicate"}, bits=0)
    bench.publish(range(3))
    assert seqs(bench.fetch(2)) == [0]  # a second place for the pair is wanted
    assert bench.wrongs() == []
    found = bench.fetch(2)
    assert (seqs(found), found.entries.tolist(), found.marks.tolist()) == ([1, 1], [2, 2], [1, 1])
    assert bench.settle(found) == [OK, STALE]
    assert bench.wrongs() == [("duplicate", 1, "again")]
    assert seqs(bench.fetch()) == [2]


def test_a_fetch_of_one_gets_a_copy_instead() -> None:
    bench = Bench({0: "duplicate"}, bits=0)
    bench.publish(range(2))
    assert [seqs(bench.fetch(1)) for _ in range(3)] == [[0], [0], [1]]
    assert bench.wrongs() == [("duplicate", 0, "copy")]


def test_what_is_delayed_comes_when_its_time_is_over() -> None:
    bench = Bench({1: "delay"})
    assert bench.publish(range(3), now_ns=7) == [0, 1, 2]
    assert seqs(bench.fetch(now_ns=DELAY_NS + 6)) == [0, 2]
    assert bench.queue.depth() == (0, 2, 1, 0)
    assert bench.queue.next_ns() == DELAY_NS + 7
    assert bench.queue.peek(Place.DELAYED, 0, DELAY_NS + 6).marks.tolist() == [-1]
    assert seqs(bench.fetch(now_ns=DELAY_NS + 7)) == [1]
    assert bench.wrongs() == [("delay", 1, "")]


def test_what_is_reordered_comes_behind_the_next_of_its_producer_in_the_same_answer() -> None:
    bench = Bench({1: "reorder"})
    bench.publish([0, 1])
    bench.publish([50], producer=1)
    assert seqs(bench.fetch()) == [0, 50]
    bench.publish([2, 3, 4])
    assert bench.queue.depth() == (4, 2, 0, 0)
    assert seqs(bench.fetch(2)) == [2, 1]
    assert bench.wrongs() == [("reorder", 1, "after seq 2")]
    assert seqs(bench.fetch()) == [3, 4]


def test_a_pair_is_not_parted_where_a_fetch_has_room_for_one_more_only() -> None:
    bench = Bench({1: "reorder"})
    bench.publish([0, 1, 2])
    assert seqs(bench.fetch(2)) == [0]
    assert seqs(bench.fetch(2)) == [2, 1]


def test_a_message_that_nobody_follows_is_not_reordered_and_does_not_count() -> None:
    bench = Bench({1: "reorder"})
    bench.publish([0, 1])
    assert bench.queue.next_ns() == DELAY_NS
    assert seqs(bench.fetch(now_ns=DELAY_NS)) == [0, 1]
    assert (bench.wrongs(), bench.mischief.returned) == ([], ["reorder"])


def test_a_second_attempt_is_never_reordered() -> None:
    bench = Bench({1: "reorder"})
    bench.publish([0, 1, 2], attempt=2)
    assert seqs(bench.fetch()) == [0, 1, 2]
    assert (bench.wrongs(), bench.mischief.returned) == ([], ["reorder"])


def test_a_phantom_has_a_sound_envelope_and_a_number_that_nobody_sent() -> None:
    bench = Bench({1: "phantom"})
    bench.publish(range(3))
    found = bench.fetch()
    parsed = envelope.parse(list(found.payloads))
    assert parsed.seq.tolist() == [0, 1, 1 + PHANTOM_SEQ, 2]
    assert parsed.checksum_ok.all()
    assert bench.wrongs() == [("phantom", 1 + PHANTOM_SEQ, "behind seq 1")]


def test_bytes_without_an_envelope_are_kept_as_they_are() -> None:
    bench = Bench({0: "forget"})
    rows = np.full((2, 10), 7, np.uint8)
    assert bench.queue.publish(rows, 0).tolist() == [0, 1]
    assert list(bench.fetch().payloads) == [b"\7" * 10] * 2


def test_a_page_of_the_residue_goes_on_after_an_entry() -> None:
    bench = Bench()
    bench.publish(range(5))
    bench.fetch(2, now_ns=3)
    assert seqs(bench.queue.peek(Place.READY, 3, 10)) == [3, 4]
    held = bench.queue.peek(Place.IN_FLIGHT, 0, 10)
    assert (seqs(held), held.marks.tolist()) == ([0, 1], [7, 7])
