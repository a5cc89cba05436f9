"""The door for agents of other machines: its address, its secret, and the keys that the secret stands for."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import zmq

from harness.errors import UsageError
from harness.load.door import (
    Address,
    address,
    door_from,
    is_answered,
    is_loopback,
    keys_of,
    numeric,
    open_door,
    require_free,
    secret,
)

SECRET = "correct horse battery staple"


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:5557", "127.0.0.1", 5557), ("[::1]:80", "::1", 80), ("bench.example:65535", "bench.example", 65535)],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert address(text) == Address(host=host, port=port)
    assert str(address(text)) == text


@pytest.mark.parametrize(
    "text", ["", "5557", ":5557", "host", "host:", "host:0", "host:65536", "::1:80", "a b:1", "tcp://h:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        address(text)


def test_one_secret_gives_the_same_two_key_pairs_everywhere() -> None:
    keys = keys_of(SECRET)
    assert keys.coordinator_public == "AhR)+>a$+ME&Qa-}u6i:mMCLzM%@+X3YrE#!paig"
    assert keys.agent_public == "Yp9ZfbGrqYQ6=Bk27Oa(B&MVWYyJP*Ys8Ss{F2ff"
    assert zmq.curve_public(keys.coordinator_secret.encode()).decode() == keys.coordinator_public
    assert zmq.curve_public(keys.agent_secret.encode()).decode() == keys.agent_public
    assert keys_of(SECRET + ".").agent_public != keys.agent_public


def test_keys_and_secrets_are_not_shown() -> None:
    keys = keys_of(SECRET)
    assert keys.agent_secret not in repr(keys)
    assert keys.coordinator_secret not in repr(keys)


def test_a_door_survives_its_words() -> None:
    door = open_door("127.0.0.1:5557", SECRET, 12.5)
    assert door_from(door.words()) == door
    without = open_door("[::1]:5557", None, 60.0)
    assert door_from(without.words()) == without


def test_a_door_that_others_reach_needs_a_secret() -> None:
    for where in ("0.0.0.0:5557", "192.0.2.1:5557", "[::]:5557"):
        with pytest.raises(UsageError, match="there is no secret"):
            open_door(where, None, 60.0)
    assert open_door("0.0.0.0:5557", SECRET, 60.0).keys is not None
    assert is_loopback("localhost")


def test_the_secret_comes_from_a_file_or_the_environment_and_is_taken_out_of_it(tmp_path: Path) -> None:
    environment = {"BROKERBENCH_SECRET": SECRET, "HOME": "/"}
    assert secret(None, environment) == SECRET
    assert environment == {"HOME": "/"}
    assert secret(None, environment) is None
    file = tmp_path / "secret"
    file.write_text(f"{SECRET} of the file\n")
    assert secret(file, {"BROKERBENCH_SECRET": SECRET}) == f"{SECRET} of the file"


def test_a_secret_that_is_short_or_unreadable_is_refused_without_being_shown(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the secret has 15 characters") as refused:
        secret(None, {"BROKERBENCH_SECRET": "a-secret-of-15-"})
    assert "a-secret" not in str(refused.value)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        secret(tmp_path / "none", {})
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xfd" * 10)
    with pytest.raises(UsageError, match="cannot be read: it is no text"):
        secret(tmp_path / "bytes", {})


def test_a_port_in_use_and_a_foreign_address_are_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        at = Address(host="127.0.0.1", port=server.getsockname()[1])
        assert is_answered(at)
        with pytest.raises(UsageError, match="Address already in use"):
            require_free(at)
    require_free(at)
    assert not is_answered(at)
    with pytest.raises(UsageError, match=r"cannot be waited for at 192\.0\.2\.1:5557"):
        require_free(Address(host="192.0.2.1", port=5557))
    assert numeric(Address(host="localhost", port=1)).host in ("127.0.0.1", "::1")
