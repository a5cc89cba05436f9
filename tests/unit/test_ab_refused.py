"""What ``ab`` refuses before the first trial: one clear error each, and nothing is made; and the form of what it writes."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import jsonschema
import pytest

from harness.cli.commands import cli
from harness.cli.pairing import OUTPUT, _new
from harness.errors import BrokenRunFolderError, UsageError
from harness.gate.pairs import Begun
from harness.pairs_folder import PairsFolder
from tests.unit.test_pairs import NO_LOSS, SLOWER, Scripted, compared, only_folder, steady

SCENARIO = """
question: Is B slower than A?
setups: ["null": {}]
deployment: embedded
load: {saturate: {window: 50}}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path / "state"))
    (tmp_path / "asked.yaml").write_text(SCENARIO)
    return tmp_path


def refused(*words: str) -> str:
    """Returns the error of a command line; nothing is begun by it."""
    with pytest.raises(UsageError) as caught:
        cli.main(["ab", *words], standalone_mode=False)
    assert caught.value.exit_code == 2
    assert not Path("runs").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "SCENARIO is missing"),
        (["asked.yaml", "--max-worse", "10"], "--max-worse 10: '10' has no unit"),
        (["asked.yaml", "--max-worse", "-5%"], "--max-worse -5%"),
        (["asked.yaml", "--others", "150%"], "--others 150%: '150%' is out of bounds"),
        (["asked.yaml", "--others", "some"], "--others some: 'some' is not a quantity"),
        (["asked.yaml", "--rules", "rules.toml", "--max-worse", "5%"], "--max-worse is for the default rules"),
        (["asked.yaml", "--rules", "none.toml"], "none.toml"),
        (["asked.yaml", "--case", "redis-*"], "--case redis-* matches no case of asked"),
        (["asked.yaml", "--b", 'setups=["null", {"null": {drop: "1"}}]'], "A has 1 cases and B 2"),
        (["asked.yaml", "--b", "setups.null.dorp=1"], "did you mean 'drop'?"),
        (["asked.yaml", "--b-image", "redis:7"], "--b-image redis:7: the brokers of this scenario run embedded"),
        (["asked.yaml", "--a-python", "no/python"], "no/python cannot be started: No such file or directory"),
        (["asked.yaml", "--order-seed", "-1"], "--order-seed"),
        (["asked.yaml", "--junit", "asked.yaml/x.xml"], "--junit asked.yaml/x.xml cannot be written"),
    ],
)
def test_what_cannot_be_is_refused_with_the_value(words: list[str], told: str) -> None:
    assert told in refused(*words)


def test_some_of_the_cases_of_a_are_not_paired_with_as_many_others_of_b(home: Path) -> None:
    many = SCENARIO.replace('"null": {}', '"null": {max_ready: ["200", "50"], service_rate: [2000/s, 1000/s]}')
    (home / "asked.yaml").write_text(many)
    told = refused("asked.yaml", "--case", "*max_ready=200*", "--b", "setups.null.service_rate=2000/s")
    assert "A has 4 cases and B 2: a case of A has no partner in B" in told


def test_a_typing_error_in_a_rules_metric_is_answered_with_the_nearest_names(home: Path) -> None:
    (home / "rules.toml").write_text('[[rule]]\nid = "p99"\nmetric = "latency.end_to_end.p9"\nmax_worse = "5%"\n')
    assert "latency.end_to_end.p99" in refused("asked.yaml", "--rules", "rules.toml")


def test_a_python_without_brokerbench_is_refused_with_its_words(home: Path) -> None:
    other = home / "python"
    other.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'harness'\" >&2\nexit 1\n")
    other.chmod(0o755)
    told = refused("asked.yaml", "--a-python", "python")
    assert f"{other} has no brokerbench that can be started: ModuleNotFoundError: No module named 'harness'" in told
    assert f"remedy: {other} -m pip install brokerbench" in told


def test_an_image_must_say_of_which_broker_it_is(home: Path) -> None:
    (home / "asked.yaml").write_text(
        SCENARIO.replace('"null": {}', "redis-list, postgres-lease").replace("embedded", "docker")
    )
    told = refused("asked.yaml", "--a-image", "redis:7")
    assert "expected: BROKER=IMAGE, once for each, where BROKER is redis or postgres" in told
    assert "of which broker it is is not clear" in refused("asked.yaml", "--a-image", "rabbitmq=rabbitmq:3")


class TestResuming:
    @pytest.fixture
    def folder(self, home: Path) -> PairsFolder:
        """A comparison of which nothing has been run."""
        begun = _new(
            scenario="asked.yaml",
            a_keys=(),
            b_keys=("workers.prefetch=10",),
            keys=(),
            cases=(),
            a_python=None,
            b_python=None,
            a_images=(),
            b_images=(),
            quick=True,
            rules_file=None,
            max_worse=None,
            others="25%",
            order_seed=7,
            output=OUTPUT,
        )
        folder = PairsFolder.create(home / "pairs", "asked", datetime(2026, 11, 21))
        folder.save(begun.record)
        return folder

    def test_what_was_asked_for_is_not_asked_for_again(self, folder: PairsFolder) -> None:
        told = refused("--resume", str(folder.path), "--quick")
        assert "--resume goes on with what was asked for, and --quick is asked for too" in told
        assert "SCENARIO is asked for too" in refused("asked.yaml", "--resume", str(folder.path))

    def test_a_scenario_that_has_changed_is_not_gone_on_with(self, folder: PairsFolder, home: Path) -> None:
        (home / "asked.yaml").write_text(SCENARIO.replace("50", "60"))
        told = refused("--resume", str(folder.path))
        assert "asked.yaml is not what it was when" in told
        assert "remedy: restore the file, or begin anew" in told

    def test_another_version_is_not_gone_on_with(self, folder: PairsFolder) -> None:
        folder.save(folder.load().model_copy(update={"tool_version": "0.0.9"}))
        assert "was begun by brokerbench 0.0.9" in refused("--resume", str(folder.path))

    def test_a_folder_of_something_else_is_refused(self, home: Path) -> None:
        (home / "other").mkdir()
        assert "other is not a folder of pairs: it has no ab.json" in refused("--resume", "other")
        assert "nowhere does not exist" in refused("--resume", "nowhere")

    def test_a_broken_or_newer_record_is_refused(self, folder: PairsFolder) -> None:
        path = folder.path / "ab.json"
        whole = path.read_text()
        path.write_text(whole[:100])
        assert "ab.json cannot be read" in refused("--resume", str(folder.path))
        path.write_text(whole.replace('"schema_version": 1', '"schema_version": 99', 1))
        assert "has schema version 99" in refused("--resume", str(folder.path))
        path.write_text("[" * 100_000)
        assert "ab.json cannot be read: it is nested too deeply" in refused("--resume", str(folder.path))

    def test_a_record_that_names_what_is_not_there_is_refused(self, folder: PairsFolder) -> None:
        record = folder.load()
        folder.save(record.model_copy(update={"begun": Begun(case=7, number=1, run="x/pair-1-a/y")}))
        assert "begun.case: 7 is no index of its 1 cases" in refused("--resume", str(folder.path))
        [case] = record.cases
        folder.save(record.model_copy(update={"cases": [case.model_copy(update={"slug": "../out"})]}))
        assert "cases.0.slug: '../out' is no name of a folder" in refused("--resume", str(folder.path))
        with pytest.raises(BrokenRunFolderError, match="names a run outside its folder: 'a\\\\x00b'"):
            folder.trial("a\0b")

    def test_a_stray_folder_is_none_of_its_trials(self, folder: PairsFolder) -> None:
        stray = folder.path / "case" / "pair-1-2-a" / "y"
        stray.mkdir(parents=True)
        (stray / "run.json").write_text("{}")
        assert list(folder.runs()) == []


def test_run_takes_some_of_the_cases_only(home: Path) -> None:
    with pytest.raises(UsageError, match="--case redis-\\* matches no case of asked"):
        cli.main(["run", "asked.yaml", "--case", "redis-*"], standalone_mode=False)


def test_what_ab_writes_fits_the_schema_that_is_published(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    cli.main(["schema", "--pairs"], standalone_mode=False)
    schema = json.loads(capsys.readouterr().out)
    compared(tmp_path / "pairs", Scripted(steady(0.01)), Scripted(steady(0.01)), SLOWER, NO_LOSS, stopping="quick")
    jsonschema.validate(json.loads((only_folder(tmp_path / "pairs").path / "ab.json").read_text()), schema)
