"""The command ``images``, as a user types it."""

from __future__ import annotations

import pytest

from harness.containers.images import OFFICIAL
from tests.system.conftest import Bench

pytestmark = pytest.mark.slow


def test_images_are_made_once_and_listed_with_version_digest_and_reason(docker_bench: Bench) -> None:
    made = docker_bench("images", "build", "load")
    assert made.code == 0, made.err
    again = docker_bench("images", "build", "load")
    assert (again.code, again.out) == (0, made.out)
    assert again.err.startswith("done in ")
    listed = docker_bench("images")
    assert (listed.code, listed.err) == (0, "")
    head, *lines = (line.split() for line in listed.out.splitlines())
    assert head == ["for", "image", "version", "digest", "why"]
    assert [line[0] for line in lines] == [*OFFICIAL, "load"]
    assert f"load: {lines[-1][1]}\n" == made.out
    assert not [line for line in lines if line[1] == "none"]


def test_without_an_engine_and_for_an_image_that_nobody_knows_there_is_one_clear_error(bench: Bench) -> None:
    for words in (("images",), ("images", "build", "load")):
        finished = bench(*words)
        assert (finished.code, finished.out) == (2, "")
        assert finished.err.startswith("brokerbench: no Docker engine answers at DOCKER_HOST=unix:///nowhere: ")
        assert "\n  remedy: unset or correct DOCKER_HOST" in finished.err
    finished = bench("images", "build", "mysql")
    assert finished.code == 2
    assert finished.err == (
        "brokerbench: there is no image 'mysql'\n  expected: one of base, redis, rabbitmq, postgres, libraries, load\n"
    )
