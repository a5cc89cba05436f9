"""What Docker lacks or refuses ends in one clear error, and nothing is left behind: in the engine, of processes, on disk."""

from __future__ import annotations

import io
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from docker.errors import APIError
from docker.models.networks import Network

from harness.containers.engine import engine, facts
from harness.containers.images import OFFICIAL, image_of
from harness.errors import ExitCode
from tests.system.conftest import Bench, Finished

pytestmark = pytest.mark.slow

SCENARIO = """\
question: What does Docker refuse?
setups: [{setup}]
deployment: docker
{more}
load: {{rate: 200/s}}
workers: {{visibility: 1 s, sweep: 500 ms}}
phases: {{warmup: 0 s, steady: {steady}, drain: 10 s}}
"""


def scenario(bench: Bench, more: str = "network: bridge", setup: str = "redis-list", steady: str = "1 s") -> str:
    """Writes a short scenario and returns its path."""
    return bench.scenario("docker", SCENARIO.format(setup=setup, more=more, steady=steady))


def refused(bench: Bench, finished: Finished, *words: str) -> None:
    """Asserts one clear refusal that holds these words, before anything was started."""
    assert finished.code == ExitCode.USAGE, finished.out + finished.err
    assert finished.err.count("brokerbench: ") == 1, finished.err
    assert "remedy: " in finished.err, finished.err
    assert "Traceback" not in finished.err
    for word in words:
        assert word in flat(finished.err)
    assert finished.out == ""
    assert finished.run is None
    assert bench.gone() == []


def broken(bench: Bench, finished: Finished, *words: str) -> None:
    """Asserts that what had to be started could not be: no verdict, one reason in the record and the report, nothing left."""
    assert finished.code == ExitCode.USAGE, finished.out + finished.err
    assert "Traceback" not in finished.err + finished.out
    assert finished.trial.status.value == "unavailable"
    (reason,) = finished.trial.reasons
    for word in words:
        assert word in reason
        assert word in flat(finished.out)
    assert "VIOLATED" not in finished.out
    assert bench.gone() == []


class Bound:
    """This machine for somebody to whom the modes of files apply, which they do not to root."""

    def enter(self, *command: str) -> list[str]:
        """Returns a command that runs so."""
        without = "-dac_override,-dac_read_search"
        return (
            ["setpriv", f"--bounding-set={without}", f"--inh-caps={without}", *command]
            if os.getuid() == 0
            else [*command]
        )


def flat(text: str) -> str:
    return " ".join(text.split())


# Without an engine that can be used


def test_no_engine_is_told_with_the_remedy(bench: Bench) -> None:
    for words in (("run", scenario(bench)), ("up", "redis-list")):
        told = "no Docker engine answers at DOCKER_HOST=unix:///nowhere: ", "remedy: unset or correct DOCKER_HOST"
        refused(bench, bench(*words), *told)


def test_an_address_that_is_none_is_told(bench: Bench) -> None:
    for address in ("nonsense", "tcp://127.0.0.1:1", "ssh://nowhere.invalid"):
        finished = bench("run", scenario(bench), DOCKER_HOST=address)
        refused(bench, finished, f"no Docker engine answers at DOCKER_HOST={address}: ", "unset or correct DOCKER_HOST")


def test_what_else_sends_the_docker_cli_elsewhere_is_refused_by_name(docker_bench: Bench) -> None:
    path = scenario(docker_bench)
    finished = docker_bench("run", path, DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH="/nowhere")
    refused(docker_bench, finished, "DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=/nowhere", "expected: ca.pem")
    elsewhere = {"DOCKER_CONFIG": str(docker_bench.home / "docker")}
    made = ["docker", "context", "create", "far", "--docker", "host=unix:///nowhere"]
    subprocess.run(made, check=True, capture_output=True, env={**os.environ, **elsewhere})
    finished = docker_bench("run", path, DOCKER_CONTEXT="far", **elsewhere)
    told = "DOCKER_CONTEXT=far is the engine at unix:///nowhere", "remedy: export DOCKER_HOST=unix:///nowhere, or unset"
    refused(docker_bench, finished, *told)
    finished = docker_bench("run", path, DOCKER_CONTEXT="none", **elsewhere)
    refused(docker_bench, finished, "DOCKER_CONTEXT=none names no engine")


def test_no_right_to_the_engine_is_told_with_the_remedy(bench: Bench) -> None:
    path = bench.home / "docker.sock"
    with socket.socket(socket.AF_UNIX) as engines:
        engines.bind(str(path))
        engines.listen()
        path.chmod(0)
        started = bench.start("run", scenario(bench), inside=Bound(), DOCKER_HOST=f"unix://{path}")
        finished = bench.finish(started)
    refused(bench, finished, "permission denied", "usermod -aG docker")


def test_the_old_compose_is_refused_with_the_remedy(docker_bench: Bench) -> None:
    folder = docker_bench.home / "programs"
    folder.mkdir()
    (folder / "docker-compose").write_text("#!/bin/sh\necho 1.29.2\n")
    (folder / "docker-compose").chmod(0o755)
    finished = docker_bench("run", scenario(docker_bench), PATH=str(folder))
    refused(
        docker_bench,
        finished,
        "the docker CLI is not in PATH; ",
        "docker-compose is 1.29.2, Compose v1",
        "expected: Docker Compose 2.18 or newer",
        "remedy: ",
    )


# What this engine does not have


def test_an_image_that_is_not_there_and_cannot_be_had_is_told(docker_bench: Bench) -> None:
    finished = docker_bench("run", scenario(docker_bench), BROKERBENCH_IMAGE_REDIS="nowhere.invalid/none:1")
    refused(docker_bench, finished, "nowhere.invalid/none:1", "BROKERBENCH_IMAGE_REDIS")


def test_a_name_that_no_image_can_have_is_told_and_the_other_images_are_still_listed(docker_bench: Bench) -> None:
    told = (
        "BROKERBENCH_IMAGE_REDIS='-x' is no name of an image",
        "expected: a name as docker run takes it, e.g. redis:8",
    )
    refused(docker_bench, docker_bench("run", scenario(docker_bench), BROKERBENCH_IMAGE_REDIS="-x"), *told)
    listed = docker_bench("images", BROKERBENCH_IMAGE_REDIS="-x")
    assert listed.code == ExitCode.USAGE
    assert all(words in flat(listed.err) for words in (*told, "correct or unset BROKERBENCH_IMAGE_REDIS"))
    assert [line.split()[0] for line in listed.out.splitlines()] == ["for", *OFFICIAL, "load"]


def test_a_setup_that_no_image_serves_is_told(docker_bench: Bench) -> None:
    finished = docker_bench("run", scenario(docker_bench, setup="null"))
    assert (finished.code, finished.run) == (ExitCode.USAGE, None)
    assert "null cannot run with deployment: docker, which has no server of null" in finished.err


def test_an_overlay_without_a_swarm_is_refused_unless_one_may_be_made(docker_bench: Bench) -> None:
    if facts()["Swarm"]["LocalNodeState"] != "inactive":
        pytest.skip("the engine is in a swarm; remedy: docker swarm leave")
    refused(docker_bench, docker_bench("run", scenario(docker_bench, "network: overlay")), "swarm", "--init-swarm")


def test_a_network_without_an_address_left_is_told(docker_bench: Bench) -> None:
    with _no_addresses_left():
        finished = docker_bench("run", scenario(docker_bench))
    broken(docker_bench, finished, "address", "docker network prune")


@contextmanager
def _no_addresses_left() -> Iterator[None]:
    """Takes every subnet of the engine's pools."""
    made: list[Network] = []
    try:
        with pytest.raises(APIError, match="pool"):
            _take_subnets(made)
        yield
    finally:
        for each in made:
            each.remove()


def _take_subnets(made: list[Network]) -> None:
    while len(made) < 300:
        made.append(engine().networks.create(f"bb-test-{os.getpid()}-{len(made)}"))


def test_a_container_that_dies_at_its_start_is_shown_with_its_last_words(docker_bench: Bench) -> None:
    with _image('ENTRYPOINT ["sh", "-c", "echo first line; echo the last words >&2; exit 3"]') as image:
        finished = docker_bench("run", scenario(docker_bench), BROKERBENCH_IMAGE_REDIS=image)
    broken(docker_bench, finished, "the last words", "3")


@contextmanager
def _image(*lines: str) -> Iterator[str]:
    """Makes an image on top of the one that is there for Redis."""
    name = f"bb-test-dies:{os.getpid()}"
    text = "\n".join([f"FROM {image_of('redis').reference}", *lines])
    engine().images.build(fileobj=io.BytesIO(text.encode()), tag=name, rm=True)
    try:
        yield name
    finally:
        engine().images.remove(name)


def test_a_limit_in_which_the_server_cannot_live_is_told(docker_bench: Bench) -> None:
    setup = "rabbitmq-classic: {memory: 32 MB}"
    finished = docker_bench("run", scenario(docker_bench, setup=setup))
    broken(docker_bench, finished, "memory")
    shutil.rmtree(docker_bench.runs)
    kept = docker_bench("up", "rabbitmq-classic", "--set", "memory=32 MB")
    refused(docker_bench, kept, "memory", "remedy: give it more than --set memory='32 MB'")


# What a scenario may not say


def test_what_containers_cannot_be_is_refused_all_at_once(bench: Bench) -> None:
    setups = "redis-list: {cpus: 0}, redis-stream: {memory: 1 MB}, redis-reliable-list: {volume: nmaed}"
    path = scenario(bench, "network: [bridge, brigde]\nclient: nowhere", setups)
    told = ("bridge, host, overlay", "nowhere", "cpus", "memory", "named, bind, anonymous, tmpfs")
    refused(bench, bench("check", path), "docker.yaml:2", "docker.yaml:4", "docker.yaml:5", *told)


def test_what_does_not_go_together_with_containers_is_refused_all_at_once(bench: Bench) -> None:
    more = "network: [host, host, bridge]\nagents: {local: 1, remote: 1}\nfaults: [{at: 6 s, cut: producer}]"
    path = scenario(bench, more, steady="9 s")
    refused(bench, bench("check", path), "comes twice", "agents of other machines", "proxy", "client: host")
    refused(bench, bench("check", scenario(bench, "address: redis://127.0.0.1:6379")), "address")


def test_what_only_containers_have_is_refused_elsewhere_all_at_once(bench: Bench) -> None:
    more = "network: host\nclient: host\nfaults: [{at: 6 s, recreate: broker}]"
    path = scenario(bench, more, "redis-list: {cpus: 1, memory: 64 MB, volume: bind}", steady="9 s")
    finished = bench("check", path, "--set", "deployment=embedded")
    refused(bench, finished)
    assert finished.err.count("expected: deployment: docker") == 6, finished.err
