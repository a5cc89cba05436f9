"""Real brokers that speak TLS, with certificates of the test's own; each is an embedded one that is told so and started again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit, urlunsplit

import trustme

from harness.deployments._process import free_port
from harness.deployments.contract import Broker

NAME = "localhost"
"""The only name in the server's certificate: 127.0.0.1 is not in it."""


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Files in PEM: an authority, a server's and a client's certificate with their keys, and an authority that signed neither."""

    authority: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path
    stranger: Path

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Makes them in a folder that every user may enter."""
        authority, stranger = trustme.CA(), trustme.CA()
        server, client = authority.issue_cert(NAME), authority.issue_cert("client@example.org")
        made = cls(
            authority=folder / "authority.pem",
            server=folder / "server.pem",
            server_key=folder / "server.key",
            client=folder / "client.pem",
            client_key=folder / "client.key",
            stranger=folder / "stranger.pem",
        )
        authority.cert_pem.write_to_path(made.authority)
        stranger.cert_pem.write_to_path(made.stranger)
        server.cert_chain_pems[0].write_to_path(made.server)
        server.private_key_pem.write_to_path(made.server_key)
        client.cert_chain_pems[0].write_to_path(made.client)
        client.private_key_pem.write_to_path(made.client_key)
        made.client_key.chmod(0o600)  # libpq insists
        return made


def secure(broker: Broker, folder: Path, kind: str, files: Certificates) -> str:
    """Makes a broker speak TLS; returns its address with ``localhost`` for a host, without any key about TLS.

    Args:
        folder: the broker's private folder. kind: ``redis``, ``postgres`` or ``rabbitmq``.
    """
    settings, port = _settings(kind, folder)
    with settings.open("a") as file:
        file.write("\n".join(_lines(kind, _own_copies(folder, settings, files), port)) + "\n")
    broker.stop(30.0)
    broker.start()
    parts = urlsplit(broker.address)
    scheme = {"redis": "rediss", "postgres": "postgresql", "rabbitmq": "amqps"}[kind]
    user = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(scheme=scheme, netloc=f"{user}@{NAME}:{port or parts.port}"))


def with_keys(address: str, keys: Mapping[str, str | Path]) -> str:
    """Returns an address with query keys."""
    return urlunsplit(urlsplit(address)._replace(query=urlencode({key: str(value) for key, value in keys.items()})))


def _settings(kind: str, folder: Path) -> tuple[Path, int]:
    if kind == "postgres":
        return folder / "data" / "postgresql.conf", 0  # on its only port
    return folder / ("redis.conf" if kind == "redis" else "rabbitmq.conf"), free_port()


def _own_copies(folder: Path, settings: Path, files: Certificates) -> Certificates:
    """Returns copies that belong to the server's user: a key that others may read is refused."""
    owner = settings.stat()
    copies = {name: folder / f"tls-{name}" for name in ("authority", "server", "server_key")}
    for name, copy in copies.items():
        shutil.copy(getattr(files, name), copy)
        os.chown(copy, owner.st_uid, owner.st_gid)
        copy.chmod(0o600)
    return Certificates(**copies, client=files.client, client_key=files.client_key, stranger=files.stranger)


def _lines(kind: str, own: Certificates, port: int) -> list[str]:
    if kind == "postgres":
        return ["ssl = on", f"ssl_cert_file = '{own.server}'", f"ssl_key_file = '{own.server_key}'"]
    if kind == "redis":
        return [
            f"tls-port {port}",
            f'tls-cert-file "{own.server}"',
            f'tls-key-file "{own.server_key}"',
            f'tls-ca-cert-file "{own.authority}"',  # clients must show a certificate: Redis's default
        ]
    return [
        f"listeners.ssl.1 = 127.0.0.1:{port}",
        f"ssl_options.cacertfile = {own.authority}",
        f"ssl_options.certfile = {own.server}",
        f"ssl_options.keyfile = {own.server_key}",
        "ssl_options.verify = verify_peer",
        "ssl_options.fail_if_no_peer_cert = true",
    ]
