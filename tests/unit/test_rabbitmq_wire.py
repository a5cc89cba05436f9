"""RabbitMQ's bytes: what is encoded and decoded once a block is byte for byte what pika does for each message."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import BasicProperties
from pika.frame import Body, Frame, Header, Heartbeat, Method
from pika.spec import Basic

from harness.brokers._rabbitmq_pushed import Arrived, Pushed, frame_end
from harness.brokers._rabbitmq_wire import Wire

CHANNEL, OTHER = 2, 1
TRANSIENT = BasicProperties(delivery_mode=1)
COUNTED = BasicProperties(delivery_mode=2, headers={"x-delivery-count": 3})


class Taken:
    """What a :class:`Pushed` takes, in one order with the frames that it leaves to pika."""

    def __init__(self) -> None:
        self.seen: list[Arrived | bytes] = []
        self._pushed = Pushed(CHANNEL, self.seen.append)
        self._begun = b""

    def feed(self, data: bytes) -> None:
        data, at = self._begun + data, 0
        while True:
            at, _ = self._pushed.take(data, at)
            end = frame_end(data, at)
            stop = self._pushed.learn(data, at, end) if end else 0
            if not stop:
                self._begun = data[at:]
                return
            self.seen.append(data[at:stop])
            at = stop

    @property
    def short(self) -> list[Arrived]:
        return [one for one in self.seen if isinstance(one, tuple)]

    @property
    def left_to_pika(self) -> bytes:
        return b"".join(one for one in self.seen if isinstance(one, bytes))


def delivery(tag: int, redelivered: bool, body: bytes, properties: BasicProperties, *, channel: int = CHANNEL) -> bytes:
    method = Basic.Deliver("w0", tag, redelivered, "", "queue")
    frames: list[Frame] = [Method(channel, method), Header(channel, len(body), properties)]
    frames += [Body(channel, body)] if body else []
    return b"".join(frame.marshal() for frame in frames)


def plain(tag: int, body: bytes = b"x" * 64, redelivered: bool = False) -> bytes:
    return delivery(tag, redelivered, body, BasicProperties(delivery_mode=2))


def test_the_first_delivery_is_pikas_and_what_repeats_its_form_is_taken() -> None:
    taken = Taken()
    taken.feed(plain(1) + plain(2, b"y" * 64, True) + plain(1 << 40, b"\xce" * 64))
    assert taken.left_to_pika == plain(1)
    assert taken.short == [(2, True, b"y" * 64, None), (1 << 40, False, b"\xce" * 64, None)]


@pytest.mark.parametrize(
    "unusual",
    [
        delivery(2, True, b"x" * 64, COUNTED),
        delivery(2, False, b"", BasicProperties(delivery_mode=2)),
        delivery(2, False, b"x" * 64, BasicProperties(delivery_mode=2), channel=OTHER),
        Method(CHANNEL, Basic.QosOk()).marshal(),
        Method(OTHER, Basic.Ack(7, True)).marshal(),
        Heartbeat().marshal(),
    ],
    ids=["headers", "no body", "another channel", "an answer", "a confirm", "heartbeat"],
)
def test_what_is_unusual_is_pikas_and_in_its_place(unusual: bytes) -> None:
    taken = Taken()
    taken.feed(plain(1) + plain(2) + unusual + plain(3))
    assert taken.short == [(2, False, b"x" * 64, None), (3, False, b"x" * 64, None)]
    assert taken.left_to_pika == plain(1) + unusual
    assert isinstance(taken.seen[2], bytes)  # between the two, and so it is told in its turn


def test_a_body_in_several_frames_is_pikas() -> None:
    whole = delivery(2, False, b"x" * 64, TRANSIENT)
    split = whole[: -(7 + 64 + 1)] + Body(CHANNEL, b"x" * 40).marshal() + Body(CHANNEL, b"x" * 24).marshal()
    taken = Taken()
    taken.feed(plain(1) + split + plain(3))
    assert taken.left_to_pika == plain(1) + split
    assert taken.short == [(3, False, b"x" * 64, None)]


MESSAGES = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from([b"", b"a" * 16, b"b" * 16, b"\xce" * 16, b"c" * 300]),
        st.sampled_from([TRANSIENT, COUNTED, BasicProperties(delivery_mode=2)]),
    ),
    max_size=12,
)


@given(messages=MESSAGES, cuts=st.lists(st.integers(0, 6000), max_size=8))
def test_however_the_stream_is_cut_nothing_is_missing_and_the_order_stays(
    messages: list[tuple[bool, bytes, BasicProperties]], cuts: list[int]
) -> None:
    sent = [delivery(tag, *message) for tag, message in enumerate(messages, start=1)]
    stream, taken, at = b"".join(sent), Taken(), 0
    for cut in [*sorted(min(cut, len(stream)) for cut in cuts), len(stream)]:
        taken.feed(stream[at:cut])
        at = cut
    assert b"".join(sent[one[0] - 1] if isinstance(one, tuple) else one for one in taken.seen) == stream
    assert [one[:3] for one in taken.short] == [(tag, *messages[tag - 1][:2]) for tag, *_ in taken.short]


@pytest.mark.parametrize("properties", [TRANSIENT, BasicProperties(delivery_mode=2)])
def test_a_block_is_published_as_pika_would_publish_each_message(properties: BasicProperties) -> None:
    bodies = [bytes([65 + number]) * 64 for number in range(3)]
    wire: Any = SimpleNamespace(_frames=[], _body_max_length=131_064)
    Wire.publish(wire, SimpleNamespace(channel_number=OTHER), "queue", properties, bodies)
    method = Basic.Publish(exchange="", routing_key="queue", mandatory=True)
    frames = [[Method(OTHER, method), Header(OTHER, len(body), properties), Body(OTHER, body)] for body in bodies]
    assert b"".join(wire._frames) == b"".join(frame.marshal() for message in frames for frame in message)


@pytest.mark.parametrize("length", [0, 65])
def test_messages_that_do_not_make_one_body_frame_each_are_left_to_pika(length: int) -> None:
    asked: list[tuple[Any, ...]] = []
    channel = SimpleNamespace(channel_number=OTHER, basic_publish=lambda *words: asked.append(words))
    wire: Any = SimpleNamespace(_frames=[], _body_max_length=64)
    Wire.publish(wire, channel, "queue", TRANSIENT, [b"x" * length] * 2)
    assert asked == [("", "queue", b"x" * length, TRANSIENT, True)] * 2
    assert wire._frames == []
