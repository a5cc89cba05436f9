"""The door through which agents of other machines come into a run: an address, and the secret that both sides know.

Locust's messages are neither signed nor encrypted, and what a shard is told may hold the broker's password. So with a secret every
byte goes through CURVE (ZeroMQ's own: Curve25519, authenticated both ways, with keys of the moment that later theft does not undo):
both key pairs are derived from the secret with scrypt, the coordinator takes no other client, and an agent no other coordinator.
Without a secret the door is on this machine only. Pure but for reading the secret; ``wire`` puts the keys on sockets.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import socket
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import UsageError

DEFAULT_PORT = 5557
DEFAULT_WAIT_S = 60.0
SECRET_NAME = "BROKERBENCH_SECRET"
SHORTEST_SECRET = 16

_SALT = b"brokerbench agents 1"
_COST = {"n": 1 << 15, "r": 8, "p": 1, "maxmem": 1 << 26, "dklen": 64}  # 32 MiB and about 0.1 s a guess
_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9a-fA-F:.%\w]+)\]|(?P<host>[^:\[\]/\s]+)):(?P<port>[0-9]{1,5})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """Host and port of a door."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def endpoint(self) -> str:
        """Returns it as ZeroMQ writes it."""
        return f"tcp://{self}"


def address(text: str) -> Address:
    """Returns the address that ``HOST:PORT`` means (``[::1]:5557`` for IPv6).

    Raises:
        UsageError: it is none.
    """
    found = _HOST_PORT.fullmatch(text)
    if not found or not 1 <= int(found["port"]) <= 65_535:
        raise UsageError(
            f"{text!r} is no address", expected="HOST:PORT", remedy=f"for example 127.0.0.1:{DEFAULT_PORT}"
        )
    return Address(host=found["v6"] or found["host"], port=int(found["port"]))


def is_loopback(host: str) -> bool:
    """Returns whether a host means this machine only, whatever it resolves to; an unknown name does not."""
    with suppress(OSError, ValueError):
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)}
        return bool(found) and all(ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in found)
    return False


@dataclass(frozen=True, kw_only=True, slots=True)
class Keys:
    """Both key pairs, in Z85: each side has both, since both have the secret."""

    coordinator_public: str
    agent_public: str
    coordinator_secret: str = field(repr=False)
    agent_secret: str = field(repr=False)


def keys_of(secret: str) -> Keys:
    """Returns the keys that a secret stands for; the same on every machine. Takes about 0.1 s."""
    import zmq  # noqa: PLC0415 - only a run with other machines needs it here
    from zmq.utils import z85  # noqa: PLC0415

    raw = hashlib.scrypt(secret.encode(), salt=_SALT, **_COST)
    coordinator, agent = z85.encode(raw[:32]), z85.encode(raw[32:])
    return Keys(
        coordinator_public=zmq.curve_public(coordinator).decode(),
        agent_public=zmq.curve_public(agent).decode(),
        coordinator_secret=coordinator.decode(),
        agent_secret=agent.decode(),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Door:
    """Where agents come in.

    Args:
        at: where the coordinator listens. keys: of the secret; None = without one, on this machine only.
        wait_s: how long the run waits for its agents, and an agent for its run.
    """

    at: Address
    keys: Keys | None = None
    wait_s: float = DEFAULT_WAIT_S

    def words(self) -> dict[str, Any]:
        """Returns it as JSON values, keys included: for the stdin of a process of ours, nothing else."""
        return {**asdict(self.at), "keys": asdict(self.keys) if self.keys else None, "wait_s": self.wait_s}


def door_from(words: Mapping[str, Any]) -> Door:
    """Returns the door that :meth:`Door.words` wrote."""
    return Door(
        at=Address(host=words["host"], port=words["port"]),
        keys=Keys(**words["keys"]) if words["keys"] else None,
        wait_s=words["wait_s"],
    )


def open_door(where: str, secret: str | None, wait_s: float) -> Door:
    """Returns the door at ``HOST:PORT``.

    Raises:
        UsageError: no address, or one that other machines reach while there is no secret.
    """
    at = address(where)
    if secret is None and not is_loopback(at.host):
        raise UsageError(
            f"{at} is not on this machine alone, and there is no secret",
            expected=f"the same secret of at least {SHORTEST_SECRET} characters on both sides",
            remedy=f"set {SECRET_NAME}, or give --secret-file FILE",
        )
    return Door(at=at, keys=keys_of(secret) if secret is not None else None, wait_s=wait_s)


def secret(file: Path | None, environment: MutableMapping[str, str]) -> str | None:
    """Returns the secret of ``--secret-file``, else of ``BROKERBENCH_SECRET`` (taken out: no child inherits it), else None.

    Raises:
        UsageError: the file cannot be read, or the secret is too short.
    """
    kept = environment.pop(SECRET_NAME, None)
    if file is not None:
        try:
            kept = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise UsageError(f"the secret file {file} cannot be read: {reason}") from error
    if kept is None:
        return None
    kept = kept.strip()
    if len(kept) < SHORTEST_SECRET:
        raise UsageError(
            f"the secret has {len(kept)} characters",
            expected=f"at least {SHORTEST_SECRET}",
            remedy="make one: head -c 24 /dev/urandom | base64",
        )
    return kept


def numeric(at: Address) -> Address:
    """Returns an address of this machine as ZeroMQ binds it: with a number for its name.

    Raises:
        OSError: it has none.
    """
    (*_, name) = socket.getaddrinfo(at.host, at.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return Address(host=str(name[0]), port=at.port)


def require_free(at: Address) -> None:
    """Refuses a door that cannot be opened here, before anything is started.

    Raises:
        UsageError: the port is in use, or the address is not this machine's.
    """
    try:
        (family, kind, protocol, _, name) = socket.getaddrinfo(
            at.host, at.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as ZeroMQ does: only a listener is in the way
            trial.bind(name)
    except OSError as error:
        raise UsageError(
            f"agents cannot be waited for at {at}: {error.strerror}",
            expected="an address of this machine and a free port",
            remedy="end what listens there, or give another one: --listen HOST:PORT",
        ) from error


def is_answered(at: Address, timeout_s: float = 1.0) -> bool:
    """Returns whether something listens there, or nobody says that nothing does (a cable that is cut says nothing)."""
    try:
        socket.create_connection((at.host, at.port), timeout_s).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True
