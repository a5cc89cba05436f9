"""TLS of RabbitMQ's addresses: ``amqps://…`` with RabbitMQ's own query keys (rabbitmq.com/docs/uri-query-parameters).

``cacertfile`` (else the machine's authorities), ``certfile`` and ``keyfile`` of a client, ``server_name_indication`` (the name that the
certificate is checked against, else the host's), ``verify=verify_none`` to check nothing. Neighbour: ``_rabbitmq_wire``.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from pika import SSLOptions

from harness.brokers import _tls
from harness.errors import UsageError

_KEYS = ("cacertfile", "certfile", "keyfile", "verify", "server_name_indication")
_VERIFY = ("verify_peer", "verify_none")


def split_tls(address: str) -> tuple[str, SSLOptions | None]:
    """Returns an address without its keys about TLS, and what they say; None = not encrypted.

    Raises:
        UsageError: a key has no meaning here, or a file cannot be read.
    """
    parts = urlsplit(address)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    keys = {key: value for key, value in pairs if key in _KEYS}
    rest = urlencode([(key, value) for key, value in pairs if key not in _KEYS])
    encrypted = parts.scheme.lower() == "amqps"
    if "ssl_options" in dict(pairs) or (keys and not encrypted):
        key = next(iter(keys), "ssl_options")
        raise UsageError(f"the address of RabbitMQ holds {key}", expected=f"amqps://…?{'=…&'.join(_KEYS[:3])}=…")
    return urlunsplit(parts._replace(query=rest)), _options(keys) if encrypted else None


def remedy(told: str, *, encrypted: bool) -> str:
    """Returns what helps against a connection that failed, "" where nothing is known."""
    return _tls.remedy(
        told,
        authority="amqps://…?cacertfile=FILE",
        unchecked="give the name to check: server_name_indication=NAME",
        client="amqps://…?certfile=FILE&keyfile=FILE",
        encrypted=encrypted,
    )


def _options(keys: Mapping[str, str]) -> SSLOptions:
    if keys.get("verify", _VERIFY[0]) not in _VERIFY:
        raise UsageError(f"verify={keys['verify']} in the address of RabbitMQ", expected=" or ".join(_VERIFY))
    try:
        context = ssl.create_default_context(cafile=keys.get("cacertfile"))
        if "certfile" in keys:
            _tls.require_key(keys["certfile"], keys.get("keyfile"))
            context.load_cert_chain(keys["certfile"], keys.get("keyfile"), password=lambda: b"")
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(value for key, value in keys.items() if key.endswith("file"))
        raise UsageError(
            f"TLS files of RabbitMQ's address cannot be used ({files}): {error.strerror or error}",
            expected="certificates and a key in PEM, the key not encrypted",
        ) from error
    if keys.get("verify") == "verify_none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return SSLOptions(context, keys.get("server_name_indication"))
