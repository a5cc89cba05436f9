"""What a server in a container is told, one :class:`Server` per broker: the same settings that the embedded ones get.

Settings go into files of a folder that the container sees read-only as ``/etc/brokerbench``; ``compose/<broker>/config`` and ``config-host`` hold what
:func:`by_hand` returns, for those who run the compose files themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from harness.deployments import embedded_postgres, embedded_rabbitmq, embedded_redis
from harness.model import Parameters

NAME = "broker"
"""By which other containers of its network reach a broker."""
EVERYWHERE, LOOPBACK = "0.0.0.0", "127.0.0.1"
MIB = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What a server's configuration is made from.

    Args:
        listen, port: where it listens. password: its own. memory_bytes: limit of its container, None = none.
    """

    parameters: Parameters
    listen: str
    port: int
    password: str
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A broker's server in a container.

    Args:
        port: where it listens on a network of its own.
        url: of its address; ``{password}``, ``{host}`` and ``{port}`` are filled in.
        files: name → text of its configuration.
        further_ports: variables of its compose file for more ports that it takes on the host's network.
    """

    port: int
    url: str
    files: Callable[[Told], Mapping[str, str]]
    further_ports: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)

    def address(self, *, host: str, port: int, password: str) -> str:
        """Returns the URL for drivers."""
        return self.url.format(host=host, port=port, password=password)


def by_hand(broker: str, *, host_network: bool) -> Mapping[str, str]:
    """Returns name → text of the configuration that the compose files use where nobody sets another."""
    server = SERVERS[broker]
    listen = LOOPBACK if host_network else EVERYWHERE
    return server.files(Told(parameters=server.defaults, listen=listen, port=server.port, password="brokerbench"))


def _redis(told: Told) -> Mapping[str, str]:
    lines = [f"bind {told.listen}", f"port {told.port}", "dir /data"]
    return {"redis.conf": _text([*lines, *embedded_redis.settings(told.parameters, told.password)])}


def _rabbitmq(told: Told) -> Mapping[str, str]:
    lines = list(embedded_rabbitmq.settings(told.listen, told.port, told.password))
    if told.memory_bytes is not None:
        # It would take that of the machine, and be killed before it ever held a publisher back.
        lines.append(f"total_memory_available_override_value = {told.memory_bytes}")
    return {"rabbitmq.conf": _text(lines), "enabled_plugins": "[].\n"}


def _postgres(told: Told) -> Mapping[str, str]:
    return {"postgresql.conf": _text(f"{name} = '{value}'" for name, value in _postgres_settings(told))}


def _postgres_settings(told: Told) -> Iterator[tuple[str, str]]:
    own = {
        "listen_addresses": "*" if told.listen == EVERYWHERE else told.listen,
        "port": str(told.port),
        "synchronous_commit": told.parameters["synchronous_commit"],
    }
    if told.memory_bytes is not None:
        own["shared_buffers"] = f"{min(128, told.memory_bytes // 4 // MIB)}MB"
    settings = {**embedded_postgres.SETTINGS, **own}
    del settings["unix_socket_directories"]  # the image's entry point makes the cluster through one
    yield from settings.items()


def _text(lines: Iterator[str] | list[str]) -> str:
    return "\n".join(lines) + "\n"


SERVERS: Mapping[str, Server] = {
    "redis": Server(
        port=6379,
        url="redis://:{password}@{host}:{port}/0",
        files=_redis,
        defaults={"persistence": "aof-everysec"},
    ),
    "rabbitmq": Server(
        port=5672,
        url=f"amqp://{embedded_rabbitmq.USER}:{{password}}@{{host}}:{{port}}/%2f",
        files=_rabbitmq,
        further_ports=("BROKERBENCH_DISTRIBUTION_PORT", "BROKERBENCH_EPMD_PORT"),
    ),
    "postgres": Server(
        port=5432,
        url=f"postgresql://{embedded_postgres.ADMIN}:{{password}}@{{host}}:{{port}}/postgres",
        files=_postgres,
        defaults={"synchronous_commit": "on"},
    ),
}
