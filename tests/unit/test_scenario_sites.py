"""Where cases run: networks, the place of the load and a container's parameters, and which deployment is chosen where none is written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from scenario_support import CATALOGUE, MINIMAL, SETUPS, problem_of, problems_of, read_text

from harness.model import NO_CHOICE, Container, Setup, Site
from harness.scenario.describe import as_dict, describe
from harness.scenario.model import Scenario
from harness.scenario.problems import Problem, ScenarioError
from harness.scenario.read import read_scenario

DOCKER = MINIMAL + "deployment: docker\n"
EVERYWHERE = "network: [bridge, host, overlay, {bridge: {client: host}}]\n"


def with_setups(setups: str, text: str = DOCKER) -> str:
    return text.replace("[redis-stream]", setups)


class TestExpansion:
    def test_each_network_is_a_case_and_sites_of_one_setup_stand_together(self, tmp_path: Path):
        cases = read_text(tmp_path, with_setups("[redis-stream, redis-list]") + EVERYWHERE).cases
        assert [(case.id, case.slug) for case in cases] == [
            ("redis-stream@bridge", "redis-stream-bridge"),
            ("redis-stream@host", "redis-stream-host"),
            ("redis-stream@overlay", "redis-stream-overlay"),
            ("redis-stream@bridge,client=host", "redis-stream-bridge-client-host"),
            ("redis-list@bridge", "redis-list-bridge"),
            ("redis-list@host", "redis-list-host"),
            ("redis-list@overlay", "redis-list-overlay"),
            ("redis-list@bridge,client=host", "redis-list-bridge-client-host"),
        ]
        assert [(case.network, case.site.network, case.site.client) for case in cases[:4]] == [
            ("bridge", "bridge", "container"),
            ("host", "host", "container"),
            ("overlay", "overlay", "container"),
            ("bridge", "bridge", "host"),
        ]

    def test_a_ceiling_runs_each_case_once_more_in_closed_loop_beside_it(self, tmp_path: Path):
        text = with_setups("[redis-stream: {cpus: 0.5}]").replace("rate: 1000/s", "rate: 1000/s, ceiling: {window: 50}")
        scenario = read_text(tmp_path, text + "network: [bridge, host]\n")
        assert [(case.id, case.ceiling, case.load.saturate_window, case.load.window) for case in scenario.cases] == [
            ("redis-stream[cpus=0.5]@bridge", False, None, 1000),
            ("redis-stream[cpus=0.5]@host", False, None, 1000),
            ("redis-stream[cpus=0.5,load=ceiling]@bridge", True, 50, 50),
            ("redis-stream[cpus=0.5,load=ceiling]@host", True, 50, 50),
        ]
        assert [case.get("ceiling") for case in as_dict(scenario)["cases"]] == [None, None, 50, 50]
        assert "load: poisson 1,000/s, and closed loop, 50 outstanding of 256 B" in describe(scenario)

    def test_where_nothing_is_written_it_is_the_bridge_with_the_load_in_a_container(self, tmp_path: Path):
        (case,) = read_text(tmp_path, DOCKER).cases
        assert (case.id, case.site) == (
            "redis-stream@bridge",
            Site(network="bridge", client="container", container=Container()),
        )
        assert dict(case.all_parameters) == {"persistence": "aof-everysec", "volume": "named"}

    def test_client_is_the_default_of_all_networks_and_one_may_have_its_own(self, tmp_path: Path):
        text = DOCKER + "network: [bridge, {host: {client: container}}]\nclient: host\n"
        assert [case.id for case in read_text(tmp_path, text).cases] == [
            "redis-stream@bridge,client=host",
            "redis-stream@host",
        ]

    def test_a_containers_parameters_expand_and_stand_in_the_id_behind_the_setups_own(self, tmp_path: Path):
        setups = "[redis-stream: {cpus: [0.50, 2], persistence: none, memory: 256  MiB, volume: named}]"
        half, two = read_text(tmp_path, with_setups(setups)).cases
        assert half.id == "redis-stream[persistence=none,cpus=0.5,memory=256 MiB]@bridge"
        assert half.slug == "redis-stream-persistence-none-cpus-0.5-memory-256-mib-bridge"
        assert two.id == "redis-stream[persistence=none,cpus=2,memory=256 MiB]@bridge"
        assert half.site.container == Container(
            cpus=0.5,
            memory_bytes=256 * 1024**2,
            volume="named",
            written={"cpus": "0.5", "memory": "256 MiB", "volume": "named"},
        )

    def test_none_is_no_limit_and_stands_nowhere(self, tmp_path: Path):
        bare, half = read_text(tmp_path, with_setups("[redis-stream: {cpus: [none, 0.5], memory: none}]")).cases
        assert (bare.id, bare.site.container) == ("redis-stream@bridge", Container())
        assert dict(bare.all_parameters) == {"persistence": "aof-everysec", "volume": "named"}
        assert half.id == "redis-stream[cpus=0.5]@bridge"
        assert half.site.container == Container(cpus=0.5, written={"cpus": "0.5"})

    @pytest.mark.parametrize(
        ("twice", "id_"),
        [
            ("memory: [64 MiB, 65536 KiB]", "redis-stream[memory=64 MiB]@bridge"),
            ("memory: [64 MB, 64000 kB]", "redis-stream[memory=64 MB]@bridge"),
            ("cpus: [0.5, 0.50]", "redis-stream[cpus=0.5]@bridge"),
            ("cpus: [none, none]", "redis-stream@bridge"),
        ],
    )
    def test_the_same_limit_written_twice_is_the_same_case(self, tmp_path: Path, twice: str, id_: str):
        problem = problem_of(tmp_path, with_setups(f"[redis-stream: {{{twice}}}]"))
        assert (problem.text, problem.remedy) == (f"the case {id_} comes twice", "remove one of the two")

    def test_drivers_get_none_of_a_containers_parameters_and_records_get_all(self, tmp_path: Path):
        read = read_text(tmp_path, with_setups("[redis-stream: {volume: tmpfs, cpus: 1}]"))
        (case,) = read.cases
        assert dict(case.parameters) == {"persistence": "aof-everysec"}
        (expanded,) = as_dict(read)["cases"]
        assert expanded == {
            "id": "redis-stream[volume=tmpfs,cpus=1]@bridge",
            "setup": "redis-stream",
            "parameters": {"persistence": "aof-everysec", "volume": "tmpfs", "cpus": "1"},
            "network": "bridge",
            "client": "container",
            "workers": {},
        }

    def test_prefetches_and_networks_multiply(self, tmp_path: Path):
        text = DOCKER + "network: [bridge, host]\nworkers: {prefetch: [1, 100]}\n"
        assert [case.id for case in read_text(tmp_path, text).cases] == [
            "redis-stream[prefetch=1]@bridge",
            "redis-stream[prefetch=1]@host",
            "redis-stream@bridge",
            "redis-stream@host",
        ]

    def test_too_many_sites_count_as_cases(self, tmp_path: Path):
        many = ", ".join(f"{0.01 * number:.2f}" for number in range(1, 201))
        problem = problem_of(tmp_path, with_setups(f"[redis-stream: {{cpus: [{many}]}}]") + EVERYWHERE)
        assert (problem.text, problem.expected) == ("the lists expand to 800 cases", "at most 500")

    def test_a_setups_own_parameter_comes_before_the_containers_of_that_name(self, tmp_path: Path):
        own = dataclasses.replace(SETUPS[1].parameters[0], name="memory", values=("little", "much"))
        setup = dataclasses.replace(SETUPS[1], parameters=(own,))
        catalogue = dataclasses.replace(CATALOGUE, setups={setup.name: setup})
        path = tmp_path / "own.yaml"
        path.write_text(with_setups("[redis-stream: {memory: much}]"))
        (case,) = read_scenario(path, catalogue).cases
        assert (case.parameters, case.site.container) == ({"memory": "much"}, Container())

    def test_check_says_where_all_of_it_runs(self, tmp_path: Path):
        assert "deployment: embedded\n" in describe(read_text(tmp_path, MINIMAL)) + "\n"
        told = describe(read_text(tmp_path, DOCKER + EVERYWHERE))
        assert (
            "deployment: docker; on bridge, host, overlay with the load in a container; on bridge with the load on this machine"
            in told.splitlines()
        )


@pytest.mark.parametrize(
    ("text", "key", "told"),
    [
        (
            "network: hosts\n",
            "network",
            ("'hosts' is none of them", "bridge, host, overlay, a list", "did you mean 'host'?"),
        ),
        ("network: []\n", "network", ("a list of 0", "a list of 1 to 20", "")),
        (
            "network: [bridge, macvlan]\n",
            "network.1",
            ("'macvlan' is none of them", "bridge, host, overlay", "write bridge, host or overlay"),
        ),
        (
            "network: [{brigde: {client: host}}]\n",
            "network.0.brigde",
            ("'brigde' is no network", "bridge", "did you mean 'bridge'?"),
        ),
        (
            "network: {bridge: {clients: host}}\n",
            "network.bridge",
            (
                "below a network stands its client, and nothing else",
                "{bridge: {client",
                "write bridge, or {bridge: {client: host}}",
            ),
        ),
        (
            "network: [{bridge: {}}]\n",
            "network.0.bridge",
            (
                "below a network stands its client, and nothing else",
                "{bridge: {client",
                "write bridge, or {bridge: {client: host}}",
            ),
        ),
        (
            "network: [{bridge: {client: host}, host: {client: host}}]\n",
            "network.0",
            ("2 networks stand in one item", "bridge, host, overlay", "write one list item for each network"),
        ),
        (
            "network: 7\n",
            "network",
            ("'7' is none of them", "bridge, host, overlay", "write bridge, host or overlay"),
        ),
        (
            "network: {bridge: {client: hosts}}\n",
            "network.bridge.client",
            ("'hosts' is none of them", "container, host", "did you mean 'host'?"),
        ),
        (
            "network: {bridge: , host: }\n",
            "network",
            ("2 networks stand in one item", "bridge, host, overlay", "write one list item for each network"),
        ),
        ("network:\n", "network", ("has no value", "bridge, host, overlay", "write a value, or remove the key")),
        ("client: [host]\n", "client", ("a list is not what belongs here", "container, host", "")),
        (
            "network: [bridge, host, bridge]\n",
            "network.2",
            ("the network bridge comes twice", "", "remove one of the two"),
        ),
        (
            "network: [bridge, {bridge: {client: host}}]\nclient: host\n",
            "network.1",
            ("the network bridge,client=host comes twice", "", "remove one of the two"),
        ),
        (
            "agents: {remote: 2}\nload: {rate: 1000/s, producers: 4}\n",
            "agents",
            (
                "agents of other machines do not reach brokers in containers",
                "agents of this machine only",
                "remove agents.remote, or use deployment: external",
            ),
        ),
        (
            "faults: [{at: 9 s, cut: producer}]\nnetwork: [host, overlay]\n",
            "faults.0.cut",
            (
                "cut producer needs a proxy on this machine, which a load in a container on overlay (network.1) does not reach",
                "client: host, or network: host",
                "write {overlay: {client: host}} there",
            ),
        ),
        (
            "faults: [{at: 9 s, cut: producer}]\nnetwork: [bridge, host, overlay]\n",
            "faults.0.cut",
            (
                "cut producer needs a proxy on this machine,"
                " which a load in a container on bridge (network.0), overlay (network.2) does not reach",
                "client: host, or network: host",
                "write {bridge: {client: host}} and {overlay: {client: host}} there",
            ),
        ),
        (
            "faults: [{at: 9 s, cut: producer}]\nnetwork: bridge\n",
            "faults.0.cut",
            (
                "cut producer needs a proxy on this machine, which a load in a container on bridge does not reach",
                "client: host, or network: host",
                "write client: host",
            ),
        ),
    ],
)
def test_what_docker_cannot_do_is_refused(tmp_path: Path, text: str, key: str, told: tuple[str, str, str]):
    said, expected, remedy = told
    whole = DOCKER.replace("load: {rate: 1000/s}\n", "") + text if text.startswith("agents") else DOCKER + text
    problem = problem_of(tmp_path, whole)
    assert (problem.key, problem.remedy) == (key, remedy)
    assert problem.text.startswith(said)
    assert expected in problem.expected
    assert problem.place.line == next(
        number for number, line in enumerate(whole.splitlines(), 1) if line.startswith(key.partition(".")[0])
    )


@pytest.mark.parametrize("text", ["network: host\n", "client: host\n"])
def test_producers_can_be_cut_where_they_reach_the_proxy(tmp_path: Path, text: str):
    assert len(read_text(tmp_path, DOCKER + "faults: [{at: 9 s, cut: producer}]\n" + text).cases) == 1


@pytest.mark.parametrize(
    ("parameter", "said", "remedy"),
    [
        ("cpus: 0", "'0' is out of bounds", "write 0.01 or more"),
        ("cpus: 2000", "'2000' is out of bounds", "write 1024 or less"),
        ("cpus: half", "'half' is not what belongs here", ""),
        ("cpus: [1, -1]", "'-1' is out of bounds", "write 0.01 or more"),
        ("cpus: 50 %", "'50 %' has a unit", "write 0.5"),
        ("cpus: 0 %", "'0 %' has a unit", ""),
        ("memory: 64mb", "'64mb' has the unit 'mb'", "write '64 MB'"),
        ("memory: 64 M", "'64 M' has the unit 'M'", "write '64 MB' or '64 MiB'"),
        ("memory: 64 words", "'64 words' has the unit 'words'", ""),
        ("memory: []", "an empty list", "write a value, or remove the parameter"),
        ("persistence: []", "an empty list", "write a value, or remove the parameter"),
        ("memory: 256", "'256' has no unit", "write '256 B' or '256 kB'"),
        ("memory: 1 MiB", "'1 MiB' is out of bounds", "write 6 MiB or more"),
        ("volume: nfs", "'nfs' is none of them", ""),
        ("volume: annonymous", "'annonymous' is none of them", "did you mean 'anonymous'?"),
        ("volumes: named", "redis-stream has no parameter 'volumes'", "did you mean 'volume'?"),
    ],
)
def test_a_bad_parameter_of_a_container_is_refused_with_what_was_expected(
    tmp_path: Path, parameter: str, said: str, remedy: str
):
    problem = problem_of(tmp_path, with_setups(f"[redis-stream: {{{parameter}}}]"))
    assert (problem.text, problem.remedy, problem.place.line) == (said, remedy, 2)
    assert problem.expected


@pytest.mark.parametrize("deployment", ["embedded", "external\naddress: redis://localhost"])
def test_without_docker_nothing_of_dockers_is_taken(tmp_path: Path, deployment: str):
    text = with_setups("[redis-stream: {cpus: 1, volume: tmpfs}]", MINIMAL)
    found = problems_of(tmp_path, f"{text}network: host\nclient: host\ndeployment: {deployment}\n")
    name = deployment.partition("\n")[0]
    assert [problem.key for problem in found] == [
        "setups.0.redis-stream.cpus",
        "setups.0.redis-stream.volume",
        "network",
        "client",
    ]
    assert found[0].text == f"a container has it, and with deployment: {name} redis runs in none"
    assert found[2].text == f"has no meaning with deployment: {name}, which leaves no choice of it"
    assert {(problem.expected, problem.remedy) for problem in found} == {
        ("deployment: docker", f"remove it, or write docker where {name} stands")
    }


def test_a_new_container_for_a_broker_that_is_not_ours_is_refused_once(tmp_path: Path):
    text = MINIMAL + "faults: [{at: 9 s, recreate: broker}]\ndeployment: external\naddress: redis://localhost\n"
    problem = problem_of(tmp_path, text)
    assert (problem.key, problem.text, problem.remedy) == (
        "faults.0.recreate",
        "recreate broker: a broker that runs already is not ours to strike",
        "remove it, or let the broker be started: deployment: docker",
    )


class TestWhatDockerHasNoServerOf:
    """`check` refuses what `run` would: a broker without a server in a container, a driver that is not in the load's image."""

    CATALOGUE = dataclasses.replace(CATALOGUE, docker_brokers=("redis", "postgres"), not_in_image=["redis-list"])

    def problem(self, tmp_path: Path, text: str) -> Problem:
        path = tmp_path / "asked.yaml"
        path.write_text(text)
        with pytest.raises(ScenarioError) as caught:
            read_scenario(path, self.CATALOGUE)
        (problem,) = caught.value.problems
        return problem

    @pytest.mark.parametrize(
        ("text", "remedy"),
        [
            (DOCKER, "remove it, or write deployment: embedded"),
            (MINIMAL + "network: host\n", "remove it, or remove network and write deployment: embedded"),
            (
                with_setups("[redis-stream: {cpus: 1}]", DOCKER + "client: host\n"),
                "remove it, or remove client and cpus and write deployment: embedded",
            ),
        ],
    )
    def test_a_broker_without_a_server_is_refused_with_a_remedy_that_can_be_taken(
        self, tmp_path: Path, text: str, remedy: str
    ):
        problem = self.problem(tmp_path, text.replace("setups: [", "setups:\n  [null,\n   "))
        assert str(problem) == (
            f"{tmp_path / 'asked.yaml'}:3: setups.0: null cannot run with deployment: docker, which has no server of null\n"
            "    expected: setups of postgres, redis\n"
            f"    remedy: {remedy}"
        )

    def test_it_has_none_of_a_containers_parameters(self, tmp_path: Path):
        problem = self.problem(tmp_path, with_setups("[null: {cpus: 1}]"))
        assert (problem.text, problem.expected, problem.remedy) == (
            "null has no parameter 'cpus'",
            "drop",
            "remove it",
        )

    def test_a_driver_that_is_not_in_the_image_of_the_load_needs_the_load_on_this_machine(self, tmp_path: Path):
        problem = self.problem(tmp_path, with_setups("[redis-list]"))
        assert (problem.key, problem.place.line, problem.text, problem.expected, problem.remedy) == (
            "setups.0",
            2,
            "the driver of redis-list comes from another package, which is not in the image of the load",
            "client: host, on every network",
            "write client: host",
        )
        path = tmp_path / "host.yaml"
        path.write_text(with_setups("[redis-list]") + "client: host\n")
        assert len(read_scenario(path, self.CATALOGUE).cases) == 1


class TestDefault:
    """Which deployment runs a scenario that names none; what this machine serves is injected."""

    @staticmethod
    def read(tmp_path: Path, text: str, serves: str) -> tuple[Scenario, list[list[str]]]:
        asked: list[list[str]] = []

        def default(setups: list[Setup]) -> str:
            asked.append([setup.name for setup in setups])
            return serves

        path = tmp_path / "asked.yaml"
        path.write_text(text)
        return read_scenario(path, dataclasses.replace(CATALOGUE, default=default)), asked

    @pytest.mark.parametrize("serves", ["docker", "embedded"])
    def test_the_machine_decides_where_nothing_else_does(self, tmp_path: Path, serves: str):
        read, asked = self.read(tmp_path, with_setups("[redis-stream, redis-list]", MINIMAL), serves)
        assert (read.deployment, asked) == (serves, [["redis-stream", "redis-list"]])
        assert (read.cases[0].site == NO_CHOICE) is (serves == "embedded")

    def test_what_is_written_is_not_asked_for(self, tmp_path: Path):
        read, asked = self.read(tmp_path, MINIMAL + "deployment: embedded\n", "docker")
        assert (read.deployment, asked) == ("embedded", [])

    @pytest.mark.parametrize("text", ["network: host\n", "client: host\n"])
    def test_a_network_or_a_client_asks_for_docker(self, tmp_path: Path, text: str):
        assert self.read(tmp_path, MINIMAL + text, "embedded")[0].deployment == "docker"

    def test_a_parameter_of_the_container_asks_for_docker(self, tmp_path: Path):
        text = with_setups("[redis-stream: {cpus: 1}]", MINIMAL)
        assert self.read(tmp_path, text, "embedded")[0].deployment == "docker"

    @pytest.mark.parametrize(
        "text", ["faults: [{at: 9 s, cut: producer}]\n", "agents: {local: 1, remote: 1}\nworkers: {count: 4}\n"]
    )
    def test_what_docker_cannot_do_runs_embedded(self, tmp_path: Path, text: str):
        assert self.read(tmp_path, MINIMAL + text, "docker")[0].deployment == "embedded"
