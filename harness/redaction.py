"""What must not be told: passwords in addresses, taken out of every text that leaves the process.

A password inside a URL is known by its shape wherever it stands (:func:`hide`). One that stands alone, in the words of a library
say, is known once the process has met its address (:func:`keep`, which everything calls that reads or opens an address).
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, unquote

HIDDEN = "***"
ELLIPSIS = "…"
"""Stands for a password in messages that show how an address is written."""

_VARIABLE = re.compile(r"\$\{\w+\}")
_IN_URL = re.compile(
    r"(?i)\b([a-z][a-z0-9+.-]{0,30}://)([^\s\"'<>]*)@"
)  # to the last @: a password may hold one unescaped
_IN_QUERY = re.compile(r"(?i)([?&]\w*(?:pass(?!file)|secret|token)\w*=)([^&\s\"'<>]*)")
_PASSWORD_KEY = re.compile(r"(?i)pass(?!file)|secret|token")
_PARTS = re.compile(r"(?s)([A-Za-z][A-Za-z0-9+.-]*)://([^?#]*)(.*)")
_ANYWHERE = 12
"""Length from which a secret is hidden wherever it stands; a shorter one only as a whole word: it may be ``redis``."""

_kept: set[str] = set()
_known: re.Pattern[str] | None = None


def keep(address: str) -> bool:
    """Remembers the passwords of an address, as written and decoded; returns whether it has one. Idempotent."""
    global _known  # noqa: PLW0603 - one process, one set of secrets: what is hidden must not depend on who writes
    found = {form for secret in _passwords(address) for form in _forms(secret)}
    if not found <= _kept:
        _kept.update(found)
        _known = re.compile("|".join(map(_pattern, sorted(_kept, key=len, reverse=True))))
    return bool(found)


def hide(text: str) -> str:
    """Returns a text without the passwords in it; names of environment variables (``${NAME}``) stay. Idempotent."""
    text = _IN_URL.sub(_without_password, text)
    text = _IN_QUERY.sub(lambda found: found[0] if _VARIABLE.fullmatch(found[2]) else found[1] + HIDDEN, text)
    return text if _known is None else _known.sub(HIDDEN, text)


def is_ambiguous(address: str) -> bool:
    """Returns whether a URL holds an ``@`` that must be percent-encoded: libraries differ on which of several ends the password."""
    _, _, rest = address.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    return rest.count("@") > 1 or ("@" in rest and "@" not in authority)


def shown(address: str) -> str:
    """Returns an address as it may be printed and stored: scheme, host, port and path, no user, no options."""
    parts = _PARTS.fullmatch(address.strip())
    if parts is None:
        return HIDDEN
    if is_ambiguous(address):
        return f"{parts[1]}://{HIDDEN}"
    _, _, place = parts[2].partition("/")[0].rpartition("@")
    path = parts[2].partition("/")[2]
    return hide(f"{parts[1]}://{place}{'/' if path else ''}{path}")


def _without_password(found: re.Match[str]) -> str:
    user, colon, password = found[2].partition(":")
    if _VARIABLE.fullmatch(password if colon else user) or password == ELLIPSIS:
        return found[0]
    plain = colon and not re.search("[@/?#]", user)  # else a part of the password may stand before its colon
    return f"{found[1]}{user}:{HIDDEN}@" if plain else f"{found[1]}{HIDDEN}@"


def _passwords(address: str) -> set[str]:
    parts = _PARTS.fullmatch(address.strip())
    if parts is None:
        return set()
    # up to the last @: a password may hold one unescaped, or a slash
    userinfo, at, _ = (parts[2] + parts[3] if is_ambiguous(address) else parts[2]).rpartition("@")
    password = userinfo.partition(":")[2]
    found = (
        {password} if at else set()
    )  # a name alone is hidden in its address, not as a word: it is `postgres`, or `default`
    query = parts[3].partition("?")[2].partition("#")[0]
    found |= {value for key, value in parse_qsl(query) if _PASSWORD_KEY.search(key)}
    return {secret for secret in found if secret and not _VARIABLE.fullmatch(secret)}


def _forms(secret: str) -> set[str]:
    plain = unquote(secret)
    return {secret, plain, quote(plain, safe=""), repr(plain)[1:-1]}


def _pattern(secret: str) -> str:
    escaped = re.escape(secret)
    return escaped if len(secret) >= _ANYWHERE else rf"(?<![\w-]){escaped}(?![\w-])"
