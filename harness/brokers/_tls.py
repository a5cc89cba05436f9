"""What helps against a TLS connection that fails, by what OpenSSL said; and key files that would ask on the terminal."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from harness.errors import UsageError

_OTHER_NAMES = re.compile(r"(?i)(host ?name|ip address) mismatch|does not match host name|not valid for '")
_CLIENT = re.compile(r"(?i)certificate[ _]required|valid client certificate")
_PLAIN = re.compile(r"(?i)wrong[ _]version[ _]number|record[ _]layer[ _]failure")
_SILENCE = re.compile(r"(?i)time[d-]? ?out|in time")


def remedy(told: str, *, authority: str, unchecked: str, client: str, encrypted: bool) -> str:
    """Returns what to do, "" where nothing is known.

    Args:
        told: by the library. authority: how an address names one. unchecked: the key that has another name checked, or none.
        client: the keys of a client's certificate. encrypted: the address asks for TLS from the first byte.
    """
    if _OTHER_NAMES.search(told):
        return f"the certificate is for other names: write one of them as the host of the address, or {unchecked}"
    if _CLIENT.search(told):
        return f"the server asks for a client's certificate: {client}"
    if _PLAIN.search(told) or (encrypted and _SILENCE.search(told)):
        return "does this port speak TLS?"
    trusted = "certificate" in told.lower() and "expired" not in told
    return f"name the authority that signed it: {authority}" if trusted else ""


def require_key(certificate: str, key: str | None, password: str = "") -> None:
    """Tries the certificate and key of a client; never asks for a passphrase.

    Raises:
        UsageError: they cannot be used; says so by name where the key is encrypted.
    """
    file = key or certificate
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password=lambda: password)
    except OSError as error:  # ssl.SSLError is one
        encrypted = False
        if isinstance(error, ssl.SSLError):
            encrypted = b"ENCRYPTED" in Path(file).read_bytes()
        problem = "is encrypted, and nobody is asked for its passphrase" if encrypted else error.strerror or str(error)
        raise UsageError(
            f"the key file {file} cannot be used: {problem}",
            expected="a certificate and its key in PEM, the key not encrypted",
            remedy=f"openssl pkey -in {file} -out PLAIN" if encrypted else "",
        ) from error
