"""`brokerbench up --json` says where the broker is: for this machine, and for other containers of its network."""

from __future__ import annotations

import json
import re
import socket
from urllib.parse import urlsplit

import pytest

from harness.containers.engine import engine
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow


def test_up_tells_programs_where_it_is_and_down_what_it_removed(docker_bench: Bench) -> None:
    up = docker_bench("up", "redis-stream", "--set", "persistence=none", "--json")
    assert up.code == 0, up.err
    found = json.loads(up.out)
    assert found["name"] == "redis-stream[persistence=none]@bridge"
    assert found["network"] == f"bb_{found['run_id']}_{found['network'].rpartition('_')[2]}"
    (network,) = engine().networks.list(names=[found["network"]])
    (container,) = engine().containers.list(filters={"label": f"brokerbench.run={found['run_id']}"})
    assert container.id in {each.id for each in engine().networks.get(network.id).containers}
    assert container.attrs["Config"]["Image"] == found["image"]
    assert re.fullmatch(r"redis://(\S*:)\S+@broker:6379\S*", found["load_address"])
    assert urlsplit(found["load_address"]).password == urlsplit(found["address"]).password
    with socket.create_connection(("127.0.0.1", urlsplit(found["address"]).port or 0), timeout=5) as connection:
        connection.sendall(b"PING\r\n")
        assert connection.recv(100).startswith(b"-NOAUTH")
    assert found["image"] in found["server"]
    assert found["notes"] == []

    down = docker_bench("down", "--json")
    told = json.loads(down.out)
    assert (down.code, told["left"]) == (0, [])
    assert "what was kept: redis-stream[persistence=none]@bridge" in told["removed"]
    assert docker_bench.gone() == []
