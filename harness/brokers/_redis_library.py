"""redis-py as an application gets it: ``redis.Redis(host=…)`` with its own retries, a pipeline for each block.

Its retries are the client's, not ours: where a connection breaks before all replies have come, the whole block is sent again, though
the server may have executed it. redis-py makes that policy in ``Redis.__init__`` only: a client of ``Redis.from_url`` or of a pool of
one's own has no retries at all (8.1.0: seen, and in ``AbstractConnection.__init__``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from redis.connection import SSLConnection, UnixDomainSocketConnection, parse_url

from harness.brokers._redis_link import Command

VERSION = redis.__version__


class Library:
    """A client of redis-py with every default; connects when it first sends."""

    def __init__(self, address: str, name: str) -> None:
        settings: dict[str, Any] = parse_url(address)  # type: ignore[no-untyped-call]
        kind = settings.pop("connection_class", None)
        if kind is SSLConnection:
            settings["ssl"] = True
        elif kind is UnixDomainSocketConnection:
            settings["unix_socket_path"] = settings.pop("path")
        self._client: Any = redis.Redis(**settings, client_name=name)

    def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Returns the replies to commands sent as one pipeline, error replies as exceptions in their place.

        Blocks for as long as the library tries. Raises what it raises when it gives up (RedisError, OSError).
        """
        with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            replies: list[Any] = pipeline.execute(raise_on_error=False)
            return replies

    def settings(self) -> dict[str, str]:
        """Returns what the library does by itself, in words, for the record."""
        retry = self._client.get_retry()
        backoff = retry._backoff  # nobody else tells
        options = self._client.connection_pool.connection_kwargs
        return {
            "client retries": f"{retry.get_retries()}, {type(backoff).__name__} {vars(backoff)}",
            "client socket_timeout": f"{options.get('socket_timeout')}",
        }

    def close(self) -> None:
        """Closes its connections; it makes new ones when it sends again."""
        self._client.connection_pool.disconnect()
