"""Which rabbitmq-server is taken, and why one is refused; nothing is started."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.deployments import embedded_rabbitmq
from harness.errors import UnavailableError


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has Erlang on the PATH and no RabbitMQ."""
    monkeypatch.delenv(embedded_rabbitmq.VARIABLE, raising=False)
    monkeypatch.setattr(embedded_rabbitmq, "_PLACES", ())
    monkeypatch.setattr(embedded_rabbitmq, "_ERLANG_PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for program in ("erl", "epmd"):
        make_program(tmp_path / "bin" / program)


def make_program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    return path


def install(root: Path, version: str) -> Path:
    """Makes what an installation looks like and returns its script, which cannot be run with success."""
    (root / "plugins" / f"rabbit-{version}").mkdir(parents=True)
    (root / "plugins" / f"rabbit_common-{version}").mkdir()
    return make_program(root / "sbin" / "rabbitmq-server")


def test_the_variable_goes_before_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path = install(tmp_path / "one", "3.12.1")
    chosen = install(tmp_path / "other", "4.0.5")
    monkeypatch.setenv("PATH", f"{on_path.parent}{os.pathsep}{tmp_path / 'bin'}")
    assert embedded_rabbitmq.version() == f"rabbitmq-server 3.12.1 ({on_path.parent})"
    monkeypatch.setenv(embedded_rabbitmq.VARIABLE, str(chosen))
    assert embedded_rabbitmq.version() == "rabbitmq-server 4.0.5 (BROKERBENCH_RABBITMQ_SERVER)"


def test_debians_wrapper_that_becomes_another_user_is_replaced_by_what_it_wraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = install(tmp_path / "lib" / "rabbitmq_server-3.10.8", "3.10.8")
    scripts, sbin = tmp_path / "rabbitmq" / "bin", tmp_path / "sbin"
    make_program(scripts / "rabbitmq-script-wrapper")
    (scripts / "rabbitmq-server").symlink_to(real)
    sbin.mkdir()
    (sbin / "rabbitmq-server").symlink_to(scripts / "rabbitmq-script-wrapper")
    monkeypatch.setenv("PATH", f"{sbin}{os.pathsep}{tmp_path / 'bin'}")
    assert embedded_rabbitmq.version() == f"rabbitmq-server 3.10.8 ({scripts})"
    monkeypatch.setenv(embedded_rabbitmq.VARIABLE, str(sbin / "rabbitmq-server"))
    assert embedded_rabbitmq.version() == "rabbitmq-server 3.10.8 (BROKERBENCH_RABBITMQ_SERVER)"


def test_homebrews_link_into_its_cellar_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "Cellar" / "rabbitmq" / "4.1.0", "4.1.0")
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "rabbitmq").symlink_to(tmp_path / "Cellar" / "rabbitmq" / "4.1.0")
    monkeypatch.setattr(embedded_rabbitmq, "_PLACES", (str(tmp_path / "opt" / "rabbitmq" / "sbin"),))
    assert embedded_rabbitmq.version() == f"rabbitmq-server 4.1.0 ({tmp_path}/opt/rabbitmq/sbin)"


@pytest.mark.parametrize("name", ["3.9.27", "3.8.2.ez"])
def test_a_server_that_is_too_old_is_refused_with_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(embedded_rabbitmq.VARIABLE, str(install(tmp_path / "old", name)))
    with pytest.raises(UnavailableError, match=rf"is RabbitMQ {name[:5]}.*\n.*RabbitMQ 3\.10 or newer"):
        embedded_rabbitmq.version()


def test_a_release_candidate_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(embedded_rabbitmq.VARIABLE, str(install(tmp_path / "new", "4.2.0-rc.1")))
    assert embedded_rabbitmq.version() == "rabbitmq-server 4.2.0 (BROKERBENCH_RABBITMQ_SERVER)"


def test_a_machine_without_rabbitmq_gets_the_remedies() -> None:
    reason = embedded_rabbitmq.unavailable()
    assert "no rabbitmq-server is found" in reason
    assert "apt install rabbitmq-server" in reason
    assert "policy-rc.d" in reason
    assert "brew install rabbitmq" in reason
    assert embedded_rabbitmq.VARIABLE in reason


def test_a_variable_that_leads_nowhere_or_to_no_program_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = install(tmp_path / "closed", "3.12.1")
    closed.chmod(0o644)
    for path in (tmp_path / "nowhere", tmp_path, closed):
        monkeypatch.setenv(embedded_rabbitmq.VARIABLE, str(path))
        assert f"{embedded_rabbitmq.VARIABLE}={path} is no program that can be run" in embedded_rabbitmq.unavailable()


def test_a_script_outside_an_installation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(embedded_rabbitmq.VARIABLE, str(make_program(tmp_path / "x" / "sbin" / "rabbitmq-server")))
    assert "is not part of a RabbitMQ installation" in embedded_rabbitmq.unavailable()


@pytest.mark.parametrize("program", ["erl", "epmd"])
def test_a_machine_without_erlang_is_told_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setenv(embedded_rabbitmq.VARIABLE, str(install(tmp_path / "one", "3.12.1")))
    (tmp_path / "bin" / program).unlink()
    assert f"needs Erlang, whose {program} is not found" in embedded_rabbitmq.unavailable()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become another user")
def test_a_server_that_its_user_may_not_run_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = install(tmp_path / "closed", "3.12.1")  # pytest's folders are closed to others
    monkeypatch.setenv(embedded_rabbitmq.VARIABLE, str(server))
    reason = embedded_rabbitmq.unavailable()
    assert f"{server} cannot be run by the user" in reason
    assert "run brokerbench as another user than root" in reason
