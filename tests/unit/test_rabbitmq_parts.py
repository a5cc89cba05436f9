"""What a confirm and an ack mean on a channel, without a broker."""

from __future__ import annotations

import numpy as np
import pytest

from harness.brokers import setup
from harness.brokers._outcomes import Outcomes
from harness.brokers._rabbitmq_acks import Unacked
from harness.brokers._rabbitmq_confirms import Window
from harness.brokers._rabbitmq_wire import parameters_of
from harness.errors import Unreachable
from harness.model import FaultKind, MayLose, MayRepeat, Outcome, SettleOutcome

ACK, ALL_TO = (False, True), (True, True)


class Channel:
    """A window with two blocks of messages: tags 1 to 4 are tokens 10 to 13, tags 5 to 7 tokens 20 to 22."""

    def __init__(self) -> None:
        self.outcomes = Outcomes()
        self.window = Window(self.outcomes)
        self.window.published(np.arange(10, 14), [b"a", b"b", b"c", b"d"], 0)
        self.window.published(np.arange(20, 23), [b"e", b"f", b"c"], 1000)

    def told(self) -> dict[int, Outcome]:
        """Returns what was told since the last call, by token; each at most once."""
        confirms = self.outcomes.confirms()
        tokens = confirms.tokens.tolist()
        assert len(set(tokens)) == len(tokens)
        return {token: Outcome(outcome) for token, outcome in zip(tokens, confirms.outcomes.tolist(), strict=True)}


def test_one_ack_may_confirm_all_before_it_and_others_only_themselves() -> None:
    channel = Channel()
    channel.window.answered([(3, *ACK), (2, *ALL_TO), (7, *ACK)])
    assert channel.told() == dict.fromkeys([10, 11, 12, 22], Outcome.CONFIRMED)
    assert channel.window
    channel.window.answered([(6, *ALL_TO)])
    assert channel.told() == dict.fromkeys([13, 20, 21], Outcome.CONFIRMED)
    assert not channel.window


def test_a_message_that_came_back_is_rejected_although_it_is_confirmed_then() -> None:
    channel = Channel()
    channel.window.came_back(b"c")
    channel.window.came_back(b"c")  # the other one of the same body
    channel.window.answered([(7, *ALL_TO)])
    told = channel.told()
    assert [token for token, outcome in told.items() if outcome is Outcome.REJECTED] == [12, 22]
    assert len(told) == 7


def test_a_nack_only_refuses_responsibility() -> None:
    channel = Channel()
    channel.window.answered([(2, False, False), (1, *ACK)])
    assert channel.told() == {10: Outcome.CONFIRMED, 11: Outcome.UNKNOWN}
    channel.window.answered([(5, True, False)])
    assert channel.told() == dict.fromkeys([12, 13, 20], Outcome.UNKNOWN)


def test_after_a_loss_only_what_cannot_have_left_was_not_sent() -> None:
    channel = Channel()
    channel.window.came_back(b"b")
    channel.window.answered([(1, *ACK)])
    channel.told()
    channel.window.lost(left_bytes=1000)
    assert channel.told() == {
        11: Outcome.REJECTED,
        12: Outcome.UNKNOWN,
        13: Outcome.UNKNOWN,
        **dict.fromkeys([20, 21, 22], Outcome.NOT_SENT),
    }
    assert not channel.window


class Consumer:
    """Deliveries with tags from 1 on, whose tokens are their tags."""

    def __init__(self, delivered: int, prefetch: int = 100) -> None:
        self.outcomes = Outcomes()
        self.unacked = Unacked(self.outcomes, prefetch)
        self.unacked.begin()
        self.handles = self.unacked.handles(range(1, delivered + 1))

    def settle(self, *tags: int) -> list[tuple[int, bool]]:
        """Returns what is sent for these deliveries."""
        return list(self.unacked.settle(np.array(tags), [self.handles[tag - 1] for tag in tags]))

    def told(self) -> dict[int, SettleOutcome]:
        """Returns what was told since the last call, by token."""
        settled = self.outcomes.settled()
        return {t: SettleOutcome(o) for t, o in zip(settled.tokens.tolist(), settled.outcomes.tolist(), strict=True)}


def test_one_ack_names_several_only_from_the_oldest_on_without_a_gap() -> None:
    consumer = Consumer(12)
    assert consumer.settle(1, 2, 3) == [(3, True)]
    assert consumer.settle(5, 6) == [(5, False), (6, False)]  # 4 was not handed in
    assert consumer.settle(4) == [(4, False)]
    assert consumer.settle(9, 7, 8, 11) == [(9, True), (11, False)]
    assert consumer.settle(10, 12) == [(10, False), (12, False)]


def test_what_was_settled_or_is_of_an_earlier_channel_is_stale_and_never_sent() -> None:
    consumer = Consumer(4)
    consumer.settle(1, 2, 4)
    assert consumer.settle(2, 4) == []
    assert consumer.told() == dict.fromkeys([2, 4], SettleOutcome.STALE)
    consumer.unacked.lost()
    assert consumer.told() == dict.fromkeys([1, 2, 4], SettleOutcome.UNKNOWN)
    consumer.unacked.begin()
    consumer.unacked.handles(range(1, 5))
    assert consumer.settle(3) == []
    assert consumer.told() == {3: SettleOutcome.STALE}


def test_a_settlement_is_ok_once_a_later_method_was_answered() -> None:
    consumer = Consumer(6)
    consumer.settle(1, 2)
    consumer.unacked.ask()
    consumer.settle(3)
    assert consumer.told() == {}
    consumer.unacked.answered()
    assert consumer.told() == dict.fromkeys([1, 2], SettleOutcome.OK)
    consumer.unacked.ask()
    consumer.unacked.answered()
    assert consumer.told() == {3: SettleOutcome.OK}


def test_a_delivery_that_is_later_by_the_prefetch_shows_that_earlier_acks_were_taken() -> None:
    consumer = Consumer(10, prefetch=10)
    consumer.settle(1, 2, 3)
    consumer.unacked.handles([11, 12])
    assert consumer.told() == {}
    consumer.unacked.handles([13])
    assert consumer.told() == dict.fromkeys([1, 2, 3], SettleOutcome.OK)


def test_a_later_delivery_shows_nothing_while_tags_are_settled_out_of_order() -> None:
    consumer = Consumer(10, prefetch=10)
    consumer.settle(2)
    consumer.settle(1)
    consumer.unacked.handles([11])  # the broker may have taken the ack of 2 alone
    assert consumer.told() == {}
    consumer.unacked.handles([12])
    assert consumer.told() == {}
    consumer.unacked.ask()
    consumer.unacked.answered()
    assert consumer.told() == dict.fromkeys([1, 2], SettleOutcome.OK)


@pytest.mark.parametrize(
    "address",
    [
        "amqp://me:pass/word@127.0.0.1/%2f",
        "amqp://me:secret@127.0.0.1:port/",
        "amqp://me:secret@127.0.0.1/?heartbeat=secret",
    ],
)
def test_an_address_that_cannot_be_read_is_never_quoted(address: str) -> None:
    with pytest.raises(Unreachable) as caught:
        parameters_of(address, "test")
    assert "secret" not in str(caught.value)
    assert "pass" not in caught.value.problem
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "2.5", str(1 << 31)])
def test_a_delivery_limit_is_a_whole_number_from_one(wrong: str) -> None:
    (limit,) = setup("rabbitmq-quorum").parameters
    assert limit.check is not None
    assert limit.check("20") == 20
    with pytest.raises(ValueError, match="expected a whole number"):
        limit.check(wrong)


def test_only_transient_messages_may_be_lost_with_the_broker_and_acked_ones_may_come_again() -> None:
    def claim(name: str, **parameters: str) -> tuple[MayLose, MayRepeat]:
        of = setup(name)
        claims = {one.fault: one for one in of.claims(of.complete(parameters))}
        return claims[FaultKind.BROKER_KILL].may_lose, claims[FaultKind.BROKER_KILL].may_repeat

    assert claim("rabbitmq-classic") == (MayLose.NONE, MayRepeat.ACKED)
    assert claim("rabbitmq-classic", persistent="false") == (MayLose.ALL, MayRepeat.UNACKED)
    assert claim("rabbitmq-quorum") == (MayLose.NONE, MayRepeat.ACKED)
