"""Encrypted addresses against real brokers: the whole way over TLS, and what is told where the other side cannot be trusted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from urllib.parse import urlsplit

import pytest

from harness import brokers
from harness.brokers.contract import DriverOptions
from harness.deployments.contract import Broker, BrokerOptions
from harness.deployments.external import ExternalDeployment
from harness.errors import UnavailableError, Unreachable, UsageError
from harness.journal import Journal
from harness.model import Settlement, SettleOutcome, Setup
from tests.contract.conftest import DEPLOYMENT
from tests.contract.line import Line, eventually
from tests.contract.secured import NAME, Certificates, secure, with_keys

CAPABLE = {
    "redis": ("BROKERBENCH_REDIS_SERVER", "/usr/bin/redis-server", "redis-server"),
    "postgres": ("BROKERBENCH_POSTGRES_BIN", "/usr/lib/postgresql/*/bin", "postgresql"),
}
"""Servers that were built with TLS, those of the wheels were not: variable, where Debian has it, its package."""

TRUSTING = {"redis": "ssl_ca_certs", "postgres": "sslrootcert", "rabbitmq": "cacertfile"}
SHOWING = {
    "redis": ("ssl_certfile", "ssl_keyfile"),
    "postgres": ("sslcert", "sslkey"),
    "rabbitmq": ("certfile", "keyfile"),
}
DESIGN = {"redis": "redis-stream", "postgres": "postgres-lease", "rabbitmq": "rabbitmq-classic"}


@dataclass(frozen=True, kw_only=True)
class Secured:
    """A broker that speaks TLS: what to speak to it with, and its address without keys; the one that is not encrypted."""

    setup: Setup
    files: Certificates
    address: str
    plain: str

    def keys(self, **other: str | Path) -> dict[str, str | Path]:
        """Returns the keys of a client that is trusted and that trusts the server."""
        kind = self.setup.broker
        certificate, key = SHOWING[kind]
        given: dict[str, str | Path] = {TRUSTING[kind]: self.files.authority}
        given |= {certificate: self.files.client, key: self.files.client_key}
        return given | ({"sslmode": "verify-full"} if kind == "postgres" else {}) | other

    def line(self, **other: str | Path) -> Line:
        """Returns a queue at the address with these keys."""
        address = with_keys(self.address, self.keys(**other))
        broker = cast("Broker", SimpleNamespace(address=address, alive=lambda: True))
        return Line(self.setup, self.setup.complete({}, as_found=True), broker)


@pytest.fixture(scope="module")
def secure_of(journal: Journal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Secured]]:
    """Starts a broker of a kind once, however pytest orders the tests; at the end all are down."""
    with ExitStack() as running:

        @cache
        def started(kind: str) -> Secured:
            return running.enter_context(_serving(kind, journal, tmp_path_factory.mktemp("logs")))

        yield started


@pytest.fixture(params=DESIGN)
def secured(request: pytest.FixtureRequest, secure_of: Callable[[str], Secured]) -> Secured:
    """A broker of each kind."""
    return secure_of(request.param)


@contextmanager
def _serving(kind: str, journal: Journal, logs: Path) -> Iterator[Secured]:
    setup = brokers.setup(DESIGN[kind])
    base = journal.temp_folder(f"tls-{kind}")
    base.chmod(0o711)
    with pytest.MonkeyPatch.context() as patch:
        if kind in CAPABLE:
            variable, place, package = CAPABLE[kind]
            found = sorted(Path("/").glob(place[1:]))
            if not found:
                pytest.skip(f"{place} is missing; remedy: apt install {package}")
            patch.setenv(variable, str(found[-1]))
        if reason := DEPLOYMENT.unavailable(setup):
            pytest.skip(reason)
        broker = DEPLOYMENT.up(
            BrokerOptions(
                setup=setup,
                parameters=setup.complete({}),
                folder=base / "broker",
                logs=logs,
                journal=journal,
            )
        )
    try:
        files = Certificates.make(base)
        address = secure(broker, base / "broker", kind, files)
        eventually(lambda: serves(setup, broker.address), "it serves again")
        yield Secured(setup=setup, files=files, address=address, plain=broker.address)
    finally:
        broker.down()


def serves(setup: Setup, address: str) -> bool:
    """Returns whether a broker takes a plain connection."""
    driver = brokers.open_driver(
        DriverOptions(
            setup=setup.name,
            address=address,
            queue="bb_tls_0",
            parameters=setup.complete({}, as_found=True),
            client="waiting",
        )
    )
    try:
        driver.connect()
    except Unreachable:
        return False
    finally:
        driver.close()
    return True


def test_messages_of_many_records_go_through_and_the_driver_says_that_it_is_encrypted(secured: Secured) -> None:
    """A TLS record holds 16 KiB: what is left in the library's buffer is not seen by looking at the socket."""
    with secured.line() as line:
        producer, worker = line.open("producer"), line.open("worker", prefetch=500)
        assert producer.prepare().encrypted is True
        seqs = list(range(400))
        for first in range(0, 400, 100):
            line.publish(producer, seqs[first : first + 100], payload_bytes=2048)
        received = line.receive(worker, 400)
        assert sorted(received.seqs) == seqs
        assert set(line.settle(worker, received, Settlement.ACK).values()) == {SettleOutcome.OK}
        assert line.found(producer) == {}


def refusal(secured: Secured, address: str, limit_s: float = 20.0) -> Unreachable:
    """Returns why a driver does not connect; it must not take long over it."""
    driver = brokers.open_driver(
        DriverOptions(
            setup=secured.setup.name,
            address=address,
            queue="bb_tls_1",
            parameters=secured.setup.complete({}, as_found=True),
            client="refused",
            connect_timeout_s=limit_s,
        )
    )
    begun = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        driver.connect()
    assert time.monotonic() - begun < 10
    driver.close()
    return caught.value


def test_an_authority_that_is_not_ours_is_told_with_the_remedy(secured: Secured) -> None:
    stranger = with_keys(secured.address, secured.keys(**{TRUSTING[secured.setup.broker]: secured.files.stranger}))
    error = refusal(secured, stranger)
    assert "certificate verify failed" in error.problem
    assert TRUSTING[secured.setup.broker] in error.remedy


def test_a_host_that_the_certificate_does_not_name_is_told(secured: Secured) -> None:
    other = with_keys(secured.address.replace(f"@{NAME}:", "@127.0.0.1:"), secured.keys())
    error = refusal(secured, other)
    assert "127.0.0.1" in error.problem
    assert "match" in error.problem or "not valid for" in error.problem
    assert "for other names" in error.remedy
    assert "authority" not in error.remedy


def test_an_encrypted_key_is_refused_by_name_and_nobody_is_asked(secured: Secured, tmp_path: Path) -> None:
    key = tmp_path / "locked.key"
    openssl = [
        "openssl",
        "pkey",
        "-in",
        str(secured.files.client_key),
        "-aes256",
        "-passout",
        "pass:x",
        "-out",
        str(key),
    ]
    subprocess.run(openssl, check=True)
    key.chmod(0o600)
    program = (
        "import sys; from harness import brokers; from harness.brokers.contract import DriverOptions\n"
        "d = brokers.open_driver(DriverOptions(setup=sys.argv[1], address=sys.argv[2], queue='bb_tls_1', "
        "parameters=brokers.setup(sys.argv[1]).complete({}, as_found=True), client='refused'))\n"
        "try: d.connect()\n"
        "except Exception as error: print(type(error).__name__, error.problem, error.remedy)\n"
    )
    address = with_keys(secured.address, secured.keys(**{SHOWING[secured.setup.broker][1]: key}))
    controller, terminal = os.openpty()  # OpenSSL asks on the terminal of its session
    asked = subprocess.run(
        ["setsid", "--ctty", "--wait", sys.executable, "-c", program, secured.setup.name, address],
        stdin=terminal,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    os.set_blocking(controller, False)
    os.close(terminal)
    try:
        shown = os.read(controller, 1000)
    except OSError:  # nothing was written
        shown = b""
    finally:
        os.close(controller)
    assert shown == b""
    assert asked.stderr == ""
    assert str(key) in asked.stdout
    assert "openssl pkey" in asked.stdout


@pytest.mark.parametrize("secured", sorted(set(DESIGN) - {"postgres"}), indirect=True)  # its one port speaks both
def test_a_port_that_does_not_speak_tls_is_suspected(secured: Secured) -> None:
    plain = urlsplit(secured.plain)
    address = urlsplit(secured.address)._replace(netloc=f"u:p@{NAME}:{plain.port}").geturl()
    assert refusal(secured, with_keys(address, secured.keys()), 2.0).remedy == "does this port speak TLS?"


def test_a_broker_that_cannot_be_trusted_is_refused_before_anything_is_made(
    secured: Secured, journal: Journal, tmp_path: Path
) -> None:
    address = with_keys(secured.address, secured.keys(**{TRUSTING[secured.setup.broker]: secured.files.stranger}))
    deployment = ExternalDeployment({secured.setup.broker: address})
    options = BrokerOptions(
        setup=secured.setup,
        parameters=secured.setup.complete({}, as_found=True),
        folder=tmp_path,
        logs=tmp_path,
        journal=journal,
        queues=("bb_tls_1",),
    )
    with pytest.raises(UnavailableError, match="certificate verify failed"):
        deployment.up(options)


def test_a_file_that_is_missing_is_named(secured: Secured, tmp_path: Path) -> None:
    address = with_keys(secured.address, secured.keys(**{TRUSTING[secured.setup.broker]: tmp_path / "absent.pem"}))
    driver = brokers.open_driver(
        DriverOptions(
            setup=secured.setup.name,
            address=address,
            queue="bb_tls_1",
            parameters=secured.setup.complete({}, as_found=True),
            client="refused",
        )
    )
    with pytest.raises((Unreachable, UsageError), match=r"absent\.pem"):
        driver.connect()
