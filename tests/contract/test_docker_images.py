"""The images of brokers and load on the real engine: which one runs, what they promise, and how they are made."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from docker.errors import ContainerError
from docker.models.containers import Container

from harness import __version__, brokers, sweeping
from harness.containers import building, images, packages
from harness.containers.engine import engine, why_no_engine
from harness.containers.images import Source
from harness.deployments.docker import DockerDeployment
from harness.doctor import engine as doctor
from harness.errors import UnavailableError
from harness.model import Container as Limits
from harness.model import Site

pytestmark = [
    pytest.mark.xdist_group("docker"),
    pytest.mark.skipif(bool(why_no_engine()), reason=why_no_engine()),
]

CONTRACT: Mapping[str, Mapping[str, Any]] = {
    "redis": {"Volumes": {"/data"}, "Ports": {6379}, "Cmd": ["redis-server"], "Stop": "SIGTERM"},
    "rabbitmq": {
        "Volumes": {"/var/lib/rabbitmq"},
        "Ports": {5672, 15672},
        "Cmd": ["rabbitmq-server"],
        "Stop": "SIGTERM",
    },
    "postgres": {"Volumes": {"/var/lib/postgresql/data"}, "Ports": {5432}, "Cmd": ["postgres"], "Stop": "SIGINT"},
}
"""Of the official images; ours are held to the same."""
PASSWORD = """a 'b" $c"""


@contextmanager
def running(image: str, command: list[str], **options: Any) -> Iterator[Container]:
    """A container without a network; it goes with its volumes."""
    made = engine().containers.run(image, command, detach=True, network_mode="none", **options)
    try:
        yield made
    finally:
        made.remove(v=True, force=True)


def said(container: Container, *command: str, until: str = "") -> str:
    """Returns what a program in a container says, asked until it ends well and says ``until``."""
    words = ""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        status, out = container.exec_run(list(command))
        assert isinstance(out, bytes)
        words = out.decode()
        if status == 0 and until in words:
            return words
        time.sleep(0.05)
    raise AssertionError(f"{command}: {words}\n{container.logs().decode()}")


@pytest.mark.parametrize("broker", CONTRACT)
def test_an_image_keeps_the_contract_of_the_official_one(broker: str) -> None:
    found = images.image_of(broker)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", found.digest)
    config = engine().images.get(found.reference).attrs["Config"]
    promised = CONTRACT[broker]
    assert set(config["Volumes"]) == promised["Volumes"]
    assert {int(port.partition("/")[0]) for port in config["ExposedPorts"]} >= promised["Ports"]
    assert config["Cmd"] == promised["Cmd"]
    assert config["Entrypoint"] == ["docker-entrypoint.sh"]
    assert config.get("StopSignal", "SIGTERM") == promised["Stop"]
    if found.source is Source.BUILT:
        assert re.fullmatch(r"\d+(\.\d+)+", found.version)
        assert found.reference == building.reference(broker)


def test_redis_takes_options_alone_and_runs_as_its_own_user_on_its_data_folder() -> None:
    with running(images.image_of("redis").reference, ["--appendonly", "yes"]) as redis:
        assert said(redis, "redis-cli", "ping", until="PONG") == "PONG\n"
        assert said(redis, "redis-cli", "config", "get", "protected-mode").split() == ["protected-mode", "no"]
        assert said(redis, "stat", "-c", "%u", "/proc/1", "/data", "/data/appendonlydir").split() == ["999"] * 3
        redis.stop(timeout=20)
        redis.reload()
        assert redis.attrs["State"]["ExitCode"] == 0


def test_postgres_makes_user_database_and_password_once_and_ends_with_all_written_when_it_is_stopped() -> None:
    asked = {"POSTGRES_USER": "bench", "POSTGRES_PASSWORD": PASSWORD, "POSTGRES_DB": "a db"}
    query = ("psql", "-h", "127.0.0.1", "-U", "bench", "-d", "a db", "-Atc")
    image = images.image_of("postgres").reference
    with running(image, ["-c", "wal_level=logical"], environment={**asked, "PGPASSWORD": PASSWORD}) as postgres:
        assert said(postgres, *query, "show wal_level") == "logical\n"
        assert said(postgres, *query, "create table kept (id int)") == "CREATE TABLE\n"
        # From this container itself anybody may, as in the official image; from elsewhere it takes the password.
        lines = said(postgres, "cat", "/var/lib/postgresql/data/pg_hba.conf").splitlines()
        assert lines[-1] == "host all all all scram-sha-256"
        assert said(postgres, *query, "select rolpassword ~ '^SCRAM' from pg_authid where rolname = 'bench'") == "t\n"
        assert said(postgres, "stat", "-c", "%u", "/proc/1", "/var/lib/postgresql/data").split() == ["999"] * 2
        postgres.restart(timeout=30)
        assert said(postgres, *query, "select count(*) from kept") == "0\n"
        log = postgres.logs().decode()
        assert "Skipping initialization" in log
        assert "was not properly shut down" not in log


def test_postgres_without_a_password_ends_and_says_what_it_wants() -> None:
    with pytest.raises(ContainerError, match="POSTGRES_PASSWORD"):
        engine().containers.run(
            images.image_of("postgres").reference,
            network_mode="none",
            remove=True,
            tmpfs={"/var/lib/postgresql/data": ""},  # instead of the volume that the image declares, which would stay
        )


def test_the_load_has_the_code_and_the_packages_that_are_installed_here_for_every_user() -> None:
    image = images.load_image()
    assert image.version == __version__
    program = (
        "import harness.load.fleet, harness.load.shard, json; from importlib.metadata import distributions;"
        " print(json.dumps({d.name.lower().replace('_', '-').replace('.', '-'): d.version for d in distributions()}))"
    )
    words = engine().containers.run(
        image.reference, ["python", "-c", program], user="12345", network_mode="none", remove=True, read_only=True
    )
    found = json.loads(words)
    wanted = dict(line.split("==") for line in packages.pinned()) | {"brokerbench": __version__}
    assert {name: found.get(name) for name in wanted} == wanted


def test_what_is_there_is_not_made_again() -> None:
    images.load_image()
    lines: list[str] = []
    for name in ("libraries", "load"):
        assert building.build(name, lines.append) == building.reference(name)
    assert lines == []


def test_a_variable_names_the_image_and_one_that_cannot_be_had_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    present = images.image_of("redis")
    monkeypatch.setenv("BROKERBENCH_IMAGE_RABBITMQ", present.reference)
    assert images.image_of("rabbitmq").source is Source.VARIABLE
    assert images.image_of("rabbitmq").digest == present.digest
    monkeypatch.setenv("BROKERBENCH_IMAGE_RABBITMQ", "127.0.0.1:1/nothing:9")
    for _ in range(2):  # the second time it is remembered
        with pytest.raises(UnavailableError) as refused:
            images.image_of("rabbitmq")
        assert refused.value.problem.startswith(
            "BROKERBENCH_IMAGE_RABBITMQ names 127.0.0.1:1/nothing:9, which is not here: "
        )
        assert refused.value.remedy == "docker pull 127.0.0.1:1/nothing:9, or unset BROKERBENCH_IMAGE_RABBITMQ"
    assert images.present("rabbitmq") is None
    with pytest.raises(UnavailableError, match="no image is known for beanstalkd"):
        images.image_of("beanstalkd")


def test_a_load_whose_image_cannot_be_made_is_refused_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    docker_cli = shutil.which("docker")
    assert docker_cli is not None
    (tmp_path / "docker").symlink_to(docker_cli)
    said: list[str] = []
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        patch.setattr(packages, "pinned", lambda: ["nothing==0"])
        patch.setattr(packages, "_has_pip", lambda: False)
        building.reference.cache_clear()
        site = Site(network="bridge", client="container", container=Limits())
        why = DockerDeployment(say=said.append).unavailable(brokers.setup("redis-list"), site)
        (check,) = (check for check in doctor.checks() if check.id == "docker.image.load")
        seen = check.look()
    building.reference.cache_clear()
    assert "has no pip, and there is no uv\n  remedy: python -m ensurepip, or install uv" in why
    assert said[-1] == f"libraries: 1 packages for Python {packages.PYTHON}"
    assert seen.remedy == "python -m ensurepip, or install uv, then brokerbench images build load"


def test_a_build_that_fails_tells_its_last_lines_and_leaves_nothing_tagged() -> None:
    images.load_image()
    before = {tag for image in engine().images.list() for tag in image.tags}
    recipe = building._tar({"Dockerfile": b"ARG BASE\nFROM ${BASE}\nRUN echo what went wrong; exit 3\n"})
    with pytest.raises(UnavailableError) as failed:
        building._built("load", recipe, building.quiet, {})
    assert "the image load cannot be made; the last lines of its build:" in failed.value.problem
    assert "\n    what went wrong\n" in failed.value.problem
    assert "returned a non-zero code: 3" in failed.value.problem
    assert {tag for image in engine().images.list() for tag in image.tags if tag.startswith("brokerbench/")} <= before


def test_an_image_is_made_by_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path))
    assert sweeping.state_folder() == tmp_path
    lines: list[str] = []
    waits, entered = threading.Event(), threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        waits.set()

    def second() -> None:
        with building._alone("load", say):
            entered.set()

    with (tmp_path / "image-load.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(30)
        assert not entered.is_set()
    thread.join(30)
    assert entered.is_set()
    assert lines == ["load: waiting, since it is being made already"]
