"""Deliveries that look like the one before: taken from the stream without decoding again what is known.

A delivery is three frames (``basic.deliver``, content header, body), of which pika needs 14 µs to decode what is the same each
time. So pika decodes the first of each form and all that is unusual: properties that tell something (``x-delivery-count``),
bodies in several frames, other lengths. What repeats its form byte for byte, but for delivery tag, redelivered and body, is taken here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

Arrived = tuple[int, bool, bytes, Mapping[str, Any] | None]
"""Delivery tag, redelivered, body, headers."""

_FRAME = struct.Struct(">BHI")  # type, channel, size of what follows before the end byte
_CONTENT = struct.Struct(">HHQH")  # class, weight, size of the body, flags of the properties
_TAG = struct.Struct(">QB")  # delivery tag, bits of which the first is redelivered
_METHOD, _HEADER, _BODY, _END = 1, 2, 3, 0xCE
_DELIVER = b"\x00\x3c\x00\x3c"  # class 60, method 60
_TELLING = 0x2000 | 1  # headers; further flags follow


def frame_end(data: bytes, at: int) -> int:
    """Returns where the frame that begins at ``at`` ends, 0 where not all of it has come."""
    if len(data) - at < _FRAME.size:
        return 0
    end = at + _FRAME.size + _FRAME.unpack_from(data, at)[2] + 1
    return end if end <= len(data) else 0


class Pushed:
    """The deliveries of one channel.

    Args:
        channel: its number. sink: called with each delivery that is taken here, in order.
    """

    def __init__(self, channel: int, sink: Callable[[Arrived], object]) -> None:
        self._channel = channel
        self._sink = sink
        self._before_tag = self._after_tag = b""  # up to the delivery tag; from behind ``redelivered`` up to the body
        self._body_bytes = 0

    def take(self, data: bytes, at: int) -> tuple[int, int]:
        """Takes the deliveries of the known form that begin at ``at``; returns where they end, and how many they were."""
        before, after, length = self._before_tag, self._after_tag, self._body_bytes
        if not before:
            return at, 0
        to_after = len(before) + _TAG.size
        to_body = to_after + len(after)
        to_end = to_body + length
        last, count = len(data) - to_end - 1, 0
        while (
            at <= last
            and data.startswith(before, at)
            and data.startswith(after, at + to_after)
            and data[at + to_end] == _END
        ):
            tag, bits = _TAG.unpack_from(data, at + len(before))
            self._sink((tag, bits & 1 == 1, data[at + to_body : at + to_end], None))
            at += to_end + 1
            count += 1
        return at, count

    def learn(self, data: bytes, at: int, end: int) -> int:
        """Returns up to where pika is to decode, and remembers the form where that is a delivery like those to come.

        Args:
            data, at, end: the stream, and where a frame in it begins and ends.

        Returns:
            The end of the delivery or other frame that begins at ``at``; 0 where more of the delivery has to come first.
        """
        kind, channel, _ = _FRAME.unpack_from(data, at)
        if kind != _METHOD or channel != self._channel or not data.startswith(_DELIVER, at + _FRAME.size):
            return end
        header_end = frame_end(data, end)
        if not header_end:
            return 0
        if _FRAME.unpack_from(data, end)[:2] != (_HEADER, channel):
            return end
        _, _, length, flags = _CONTENT.unpack_from(data, end + _FRAME.size)
        if not length:
            return header_end
        body_end = frame_end(data, header_end)
        plain = not flags & _TELLING and data.startswith(_FRAME.pack(_BODY, channel, length), header_end)
        if body_end and plain:
            consumer = at + _FRAME.size + len(_DELIVER)
            tag = consumer + 1 + data[consumer]
            self._before_tag, self._after_tag = data[at:tag], data[tag + _TAG.size : header_end + _FRAME.size]
            self._body_bytes = length
        return body_end
