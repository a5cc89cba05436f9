"""Passwords are taken out of every text: inside URLs by their shape, alone once their address was met."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from harness import redaction
from harness.errors import BrokerbenchError
from harness.redaction import hide, keep, shown


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """Each test begins knowing no password, and leaves none behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redaction, "_kept", set())
        patch.setattr(redaction, "_known", None)
        yield


@pytest.mark.parametrize(
    ("address", "printed"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("redis://:hunter2@db:6379", "redis://db:6379"),
        ("redis://token@db", "redis://db"),
        ("rediss://u:p@db:1/0?ssl_ca_certs=/ca.pem", "rediss://db:1/0"),
        ("postgresql://u:p%40ss@h1:1,h2:2/data?password=x", "postgresql://h1:1,h2:2/data"),
        ("amqps://u:p@[::1]:5671/%2f", "amqps://[::1]:5671/%2f"),
        ("redis://u:pa/ss@db:1", "redis://***"),
        ("redis://u:pa?ss@db:1", "redis://***"),
        ("amqp://u:p@sZQZ/w#x@db:1/", "amqp://***"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("hunter2", "***"),
    ],
)
def test_an_address_is_shown_without_user_and_options(address: str, printed: str) -> None:
    assert shown(address) == printed


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("at redis://:hunter2@db:6379/0, twice", "at redis://:***@db:6379/0, twice"),
        ("--set address=redis://u:p@ss@db", "--set address=redis://u:***@db"),
        ("nats://token@db", "nats://***@db"),
        ("amqp://p@s/w:x#y@db", "amqp://***@db"),
        (
            "postgresql://h/d?user=u&password=geheim&sslmode=require",
            "postgresql://h/d?user=u&password=***&sslmode=require",
        ),
        ("postgresql://h/d?passfile=/home/me/.pgpass", "postgresql://h/d?passfile=/home/me/.pgpass"),
        ("redis://:${PASSWORD}@db:1", "redis://:${PASSWORD}@db:1"),
        ("${ADDRESS}", "${ADDRESS}"),
        ("expected: redis://USER:…@HOST", "expected: redis://USER:…@HOST"),
        ("redis-stream@external saw redis://db:1", "redis-stream@external saw redis://db:1"),
    ],
)
def test_a_password_in_a_url_is_hidden_wherever_it_stands(text: str, told: str) -> None:
    assert hide(text) == told
    assert hide(told) == told


def test_a_password_that_stands_alone_is_hidden_once_its_address_was_met() -> None:
    assert hide("is it correct-horse?") == "is it correct-horse?"
    assert keep("redis://u:correct-horse@db")
    assert hide("is it correct-horse? xcorrect-horsex") == "is it ***? x***x"


def test_a_password_is_hidden_as_written_and_decoded() -> None:
    keep("postgresql://u:p%40ss%20word@db?sslpassword=key%2Fphrase")
    assert hide("p%40ss%20word, p@ss word, key%2Fphrase, key/phrase") == "***, ***, ***, ***"


def test_a_short_password_is_hidden_as_a_word_only() -> None:
    """The defaults of servers are such, and the names of our setups must stay legible."""
    keep("amqp://guest:guest@db")
    keep("postgresql://postgres:postgres@db")
    assert hide("user guest of postgres-lease: postgres") == "user *** of postgres-lease: ***"


def test_an_address_without_a_password_hides_nothing() -> None:
    assert not keep("redis://default@db:6379/0")
    assert not keep("redis://db")
    assert not keep("redis://:${PASSWORD}@db")
    assert hide("default of db") == "default of db"


def test_no_error_of_ours_tells_a_password() -> None:
    keep("redis://:correct-horse@db")
    error = BrokerbenchError("refused: correct-horse", expected="not redis://:pw@db", remedy="try correct-horse")
    assert not re.search("correct-horse|pw", f"{error} {error!r} {error.args} {error.remedy} {error.expected}")
