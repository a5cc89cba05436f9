"""pika's connection over a plain socket that our polls drive: what is ready is read, what waits is sent, nothing else happens.

pika's own adapters bring an event loop each, or wait for every single answer. This one is pika's ``Connection`` with the methods
that pika leaves to adapters: frames, channels, confirms, consumers and heartbeats are all pika's. What all messages of a block
share, pika encodes once; what repeats from delivery to delivery, it decodes once (``_rabbitmq_pushed``). Frames are collected
and leave in one write; a socket that takes no more never blocks us, for the rest waits here. Neighbour: ``_rabbitmq``.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from typing import Any

from pika import BasicProperties, URLParameters, exceptions, frame, tcp_socket_opts
from pika.connection import Connection
from pika.spec import FRAME_BODY, FRAME_END, Basic

from harness.brokers._rabbitmq_pushed import Arrived, Pushed, frame_end
from harness.brokers._rabbitmq_tls import split_tls
from harness.clock import NS_PER_S, now_ns
from harness.errors import Unreachable

READ_BYTES = 1 << 17
REST_NS = 1_000_000_000
"""How long an ended connection may go on giving: a living broker with auto-ack pushes without end."""
TLS_READS = 8  # a TLS socket gives 16 KiB at a time
PIECE_BYTES = 1024
"""pika copies what is left of its input for every frame: in small pieces that costs nothing."""
TLS_WRITE_BYTES = 1 << 14

BODY_BEGIN, BODY_END = struct.Struct(">BHI"), bytes((FRAME_END,))

_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def parameters_of(address: str, name: str) -> URLParameters:
    """Returns pika's parameters for an address, with its retries off; raises Unreachable for one that pika cannot read."""
    plain, tls = split_tls(address)
    try:
        parameters = URLParameters(plain)
    except Exception:  # pika evaluates parts of the URL; its messages may quote the password
        raise Unreachable(
            "RabbitMQ's address cannot be read",
            expected="amqp://USER:…@HOST:PORT/VHOST, special characters as %xx",
        ) from None
    parameters.ssl_options = tls
    parameters.client_properties = {**(parameters.client_properties or {}), "connection_name": name}
    parameters.connection_attempts = 1
    parameters.blocked_connection_timeout = None  # a blocked connection is told, not closed
    return parameters


def words(error: BaseException | None) -> str:
    """Returns an error in the broker's own words where it gave some."""
    if isinstance(error, exceptions.ConnectionClosed | exceptions.ChannelClosed):
        return f"{error.reply_code} {error.reply_text}"
    if isinstance(error, exceptions.AMQPError) and not isinstance(error, exceptions.AMQPHeartbeatTimeout):
        return f"{type(error).__name__} {' '.join(map(str, error.args))}".strip()
    return str(error) or type(error).__name__


class Wire(Connection):  # type: ignore[misc]  # pika has no types
    """One connection, from its first byte on; it is made, used until :attr:`ended` is set, and thrown away.

    Args:
        parameters: see :func:`parameters_of`.
        connect_timeout_s: limit on TCP's and TLS's handshakes; AMQP's is the caller's to wait for (``is_open``).

    Raises:
        OSError: nobody listens, or the certificate is refused.
    """

    def __init__(self, parameters: URLParameters, connect_timeout_s: float) -> None:
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # all that matters is in our errors
        self.ended: BaseException | None = None
        self.block_reason = ""
        self.taken = 0  # bytes of ours that may have left
        self._connect_timeout_s = connect_timeout_s
        self._timers: list[tuple[int, Callable[[], object]]] = []
        self._frames: list[bytes] = []
        self._rest = memoryview(b"")  # of what was to leave
        self._socket: Any = None
        self._tls = parameters.ssl_options is not None
        self._terminating = False
        self._pushed: Pushed | None = None
        self._frame_buffer: bytes  # pika's
        self._begun = b""  # of a frame or delivery that has not come whole
        super().__init__(parameters, None, self._on_ended, self._on_ended)
        self.add_on_connection_blocked_callback(self._on_blocked)
        self.add_on_connection_unblocked_callback(self._on_unblocked)

    @property
    def position(self) -> int:
        """Returns at which byte of the stream the next frame begins."""
        self._gather()
        return self.taken + len(self._rest)

    @property
    def congested(self) -> bool:
        """Returns whether the broker does not read all that we have for it."""
        return len(self._rest) > 0

    def end(self, error: BaseException) -> None:
        """Notes why the connection is of no use any more; the first reason stays."""
        if self.ended is None:
            self.ended = error

    def pump(self, wait_s: float) -> None:
        """Sends and reads what it can, waiting up to ``wait_s`` for something to read; never raises: see :attr:`ended`."""
        if self.ended is not None:
            return
        self._run_timers()
        self.flush()
        if not self._read() and wait_s > 0 and self.ended is None:
            self._wait(wait_s)
            self.flush()
            self._read()
        if self._terminating:
            self._terminating = False
            self._on_stream_terminated(None)

    def flush(self) -> None:
        """Sends as much as the socket takes now."""
        self._gather()
        while len(self._rest) and self.ended is None:
            piece = self._rest[:TLS_WRITE_BYTES] if self._tls else self._rest
            try:
                count = self._socket.send(piece)
            except _NOT_NOW:
                return
            except OSError as error:
                self._read()  # the broker may have said why
                self.end(error)
                return
            self.taken += count
            self._rest = self._rest[count:]

    def publish(self, channel: Any, queue: str, properties: BasicProperties, bodies: Sequence[bytes]) -> None:
        """Publishes messages of one length, ``mandatory`` and through the default exchange; they leave with the next flush."""
        number, length = channel.channel_number, len(bodies[0])
        if not 0 < length <= self._body_max_length:  # more frames, or fewer
            for body in bodies:
                channel.basic_publish("", queue, body, properties, True)
            return
        method = frame.Method(number, Basic.Publish(exchange="", routing_key=queue, mandatory=True))
        begin = BODY_BEGIN.pack(FRAME_BODY, number, length)
        before = method.marshal() + frame.Header(number, length, properties).marshal() + begin
        self._frames += (before, (BODY_END + before).join(bodies), BODY_END)

    def take_pushed(self, channel: int, sink: Callable[[Arrived], object]) -> None:
        """From now on gives deliveries on a channel that look like one before to ``sink``; the others still go through pika."""
        self._pushed = Pushed(channel, sink)
        self._begun, self._frame_buffer = self._begun + self._frame_buffer, b""

    def read_the_rest(self) -> None:
        """Reads what has come and was not read: a connection may have ended before, say by a write; never raises."""
        until = now_ns() + REST_NS
        while self._socket is not None and self._read() and now_ns() < until:
            pass

    def abort(self) -> None:
        """Closes the socket without a goodbye; idempotent."""
        self.end(ConnectionAbortedError("the connection was closed"))
        if self._socket is not None:
            self._socket.close()

    @property
    def may_have_left(self) -> int:
        """Returns how many bytes of the stream may have left: TLS may have sent the beginning of a piece that it did not take."""
        return self.taken + (min(len(self._rest), TLS_WRITE_BYTES) if self._tls else 0)

    def _gather(self) -> None:
        if self._frames:
            self._rest = memoryview(b"".join((self._rest, *self._frames)))
            self._frames.clear()

    def _wait(self, wait_s: float) -> None:
        if self._tls and self._socket.pending():
            return
        due = min((t_ns for t_ns, _ in self._timers), default=None)
        if due is not None:
            wait_s = min(wait_s, max(due - now_ns(), 0) / NS_PER_S)
        select.select([self._socket], [self._socket] if self.congested else [], [], wait_s)

    def _read(self) -> bool:
        """Hands what has come to pika; returns whether anything has."""
        came = False
        for _ in range(TLS_READS if self._tls else 1):
            try:
                data = self._socket.recv(READ_BYTES)
                if not data:
                    raise ConnectionResetError("the broker closed the connection")
            except _NOT_NOW:
                break
            except OSError as error:
                self.end(error)
                break
            came = True
            if not self._digest(data):
                break
        return came

    def _digest(self, data: bytes) -> bool:
        try:
            if self._pushed is not None:
                return self._digest_pushed(self._begun + data, self._pushed)
            for start in range(0, len(data), PIECE_BYTES):
                self._on_data_available(data[start : start + PIECE_BYTES])
                if self._terminating:
                    return False
        except Exception as error:  # whatever pika makes of bytes that are no AMQP
            self.end(error)
            self._socket.close()  # what follows cannot be told apart
            return False
        return True

    def _digest_pushed(self, data: bytes, pushed: Pushed) -> bool:
        at = 0
        while True:
            stop, count = pushed.take(data, at)
            self.bytes_received += stop - at  # what pika's heartbeats go by
            self.frames_received += 3 * count
            at = stop
            end = frame_end(data, at)
            stop = pushed.learn(data, at, end) if end else 0
            if not stop:
                self._begun = data[at:]
                return True
            self._on_data_available(data[at:stop])
            at = stop
            if self._terminating:
                return False

    def _run_timers(self) -> None:
        if not self._timers:
            return
        now = now_ns()
        for timer in [timer for timer in self._timers if timer[0] <= now]:
            self._timers.remove(timer)
            timer[1]()

    def _on_ended(self, _: Connection, error: BaseException) -> None:
        self.end(error)

    def _on_blocked(self, _: Connection, frame: Any) -> None:
        self.block_reason = f"RabbitMQ blocks publishers: {frame.method.reason}"

    def _on_unblocked(self, _: Connection, __: Any) -> None:
        self.block_reason = ""

    # What pika leaves to adapters.

    def _adapter_connect_stream(self) -> None:
        address = (self.params.host, self.params.port)
        self._socket = socket.create_connection(address, self._connect_timeout_s)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            tcp_socket_opts.set_sock_opts(self.params.tcp_options, self._socket)
            options = self.params.ssl_options
            if options is not None:
                name = options.server_hostname or self.params.host
                self._socket = options.context.wrap_socket(self._socket, server_hostname=name)
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise
        self._on_stream_connected()

    def _adapter_disconnect_stream(self) -> None:
        self._terminating = True  # pika wants to hear of the end later, not from within its own call

    def _adapter_emit_data(self, data: bytes) -> None:
        self._frames.append(data)

    def _output_marshaled_frames(self, marshaled_frames: Sequence[bytes]) -> None:
        self._frames += marshaled_frames

    def _adapter_call_later(self, delay: float, callback: Callable[[], object]) -> object:
        timer = (now_ns() + int(delay * NS_PER_S), callback)
        self._timers.append(timer)
        return timer

    def _adapter_remove_timeout(self, timeout_id: Any) -> None:
        if timeout_id in self._timers:
            self._timers.remove(timeout_id)

    def _adapter_add_callback_threadsafe(self, callback: Callable[..., object]) -> None:
        raise NotImplementedError("a wire belongs to one thread")
