"""What is set on ZeroMQ's sockets so that agents of other machines can be trusted, heard and missed.

Knows neither Locust nor gevent: ``fleet`` hands its (green) sockets in. Neighbour: ``door`` (address and keys).
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from harness.load.door import Keys

_DOMAIN = b"brokerbench"
_ZAP = "inproc://zeromq.zap.01"  # RFC 27: where ZeroMQ asks who may come in

# A cable that is cut says nothing: both sides ask over TCP once a second, and a connection without an answer ends after five.
_BEAT_MS, _BEAT_LIMIT_MS, _CONNECT_LIMIT_MS = 1000, 5000, 2000
WRONG_AFTER = 3
"""Handshakes that must fail in a row before the secret is called wrong: one may have met a coordinator that was just ending."""


def serve(socket: Any, keys: Keys | None) -> None:
    """Prepares the coordinator's socket, before it is bound.

    A sender is told at once when a peer is gone (``EHOSTUNREACH``), and a peer that comes again takes its place.
    """
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
    _beat(socket)
    if keys is not None:
        socket.curve_server = True
        socket.curve_secretkey = keys.coordinator_secret.encode()
        socket.zap_domain = _DOMAIN
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # nobody comes in while nobody answers for them


def call(socket: Any, keys: Keys | None) -> None:
    """Prepares an agent's socket, before it is connected."""
    socket.setsockopt(zmq.CONNECT_TIMEOUT, _CONNECT_LIMIT_MS)
    _beat(socket)
    if keys is not None:
        socket.curve_serverkey = keys.coordinator_public.encode()
        socket.curve_publickey = keys.agent_public.encode()
        socket.curve_secretkey = keys.agent_secret.encode()


def _beat(socket: Any) -> None:
    socket.setsockopt(zmq.HEARTBEAT_IVL, _BEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _BEAT_LIMIT_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, 1 << 26)


class Guard:
    """Lets in whoever has the agents' key (RFC 27, "ZAP"); bind it before the coordinator's socket is bound.

    Args:
        context: of that socket.
    """

    def __init__(self, context: Any, keys: Keys) -> None:
        self._expected = z85.decode(keys.agent_public)
        self._socket = context.socket(zmq.REP)
        self._socket.bind(_ZAP)

    def serve(self) -> None:
        """Answers for ever."""
        while True:
            version, request, _, _, _, mechanism, *credentials = self._socket.recv_multipart()
            known = mechanism == b"CURVE" and credentials == [self._expected]
            status, text = (b"200", b"OK") if known else (b"400", b"no such key")
            self._socket.send_multipart([version, request, status, text, b"", b""])


@dataclass
class Calls:
    """What became of an agent's connections: counts, and whether it is connected now.

    Attributes:
        reached: something took the connection. failed: handshakes that failed since the last that did not.
        refused: what listens there speaks another protocol, or knows another key: ZeroMQ tries no more.
        lost: connections that were made and ended.
    """

    reached: bool = False
    up: bool = False
    failed: int = 0
    refused: bool = False
    lost: int = 0

    @property
    def wrong_secret(self) -> bool:
        """Returns whether what listens there does not know the secret, as far as can be told."""
        return self.refused or self.failed >= WRONG_AFTER

    def watch(self, socket: Any) -> None:
        """Follows a socket until it is closed; call it before the socket is connected. Returns at once."""
        monitor = socket.get_monitor_socket()
        threading.Thread(target=self._follow, args=(monitor,), daemon=True).start()

    def _follow(self, monitor: Any) -> None:
        while True:
            try:
                event = zmq.Event(recv_monitor_message(monitor)["event"])
            except zmq.ZMQError:
                return
            if event is zmq.Event.MONITOR_STOPPED:
                return
            self._saw(event)

    def _saw(self, event: zmq.Event) -> None:
        if event is zmq.Event.CONNECTED:
            self.reached = True
        elif event is zmq.Event.HANDSHAKE_SUCCEEDED:
            self.up, self.failed = True, 0
        elif event is zmq.Event.HANDSHAKE_FAILED_NO_DETAIL:
            self.failed += 1
        elif event in (zmq.Event.HANDSHAKE_FAILED_AUTH, zmq.Event.HANDSHAKE_FAILED_PROTOCOL):
            self.refused = True
        elif event is zmq.Event.DISCONNECTED:
            self.lost += self.up
            self.up = False
        else:
            return
        logging.info("connection to the coordinator: %s", event.name)
