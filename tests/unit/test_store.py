"""The run folder: what is written can be read, nothing is written half, and what is broken is named with its remedy."""

from __future__ import annotations

import json
import os
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest
import records

from harness import store, tables
from harness.errors import BrokenRunFolderError, BrokerbenchError, ExitCode, UsageError
from harness.store import RunFolder, TrialFolder, record_schema

STARTED = datetime(2026, 11, 21, 10, 15, 3)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path, "crash", STARTED)


@pytest.fixture
def saved(folder: RunFolder) -> RunFolder:
    folder.save(records.run())
    return folder


@pytest.fixture
def trial(folder: RunFolder) -> TrialFolder:
    made = folder.trial("redis-stream", 1)
    made.make()
    return made


def attempts() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "producer": [0, 0],
            "seq": [0, 1],
            "attempt": [1, 1],
            "intended_ns": [10, 20],
            "sent_ns": [11, None],
            "confirmed_ns": [12, None],
            "outcome": ["CONFIRMED", "NOT_SENT"],
            "held": [None, "blocked"],
        },
        schema=tables.ATTEMPTS,
    )


class TestNames:
    def test_a_run_folder_is_named_after_the_moment_and_the_scenario(self, folder: RunFolder) -> None:
        assert folder.path.name == "2026-11-21T10-15-03-crash"
        assert list(folder.path.iterdir()) == []

    def test_two_runs_in_the_same_second_get_folders_of_their_own(self, tmp_path: Path) -> None:
        names = [RunFolder.create(tmp_path, "crash", STARTED).path.name for _ in range(3)]
        assert names == ["2026-11-21T10-15-03-crash", "2026-11-21T10-15-03-crash-2", "2026-11-21T10-15-03-crash-3"]

    def test_many_runs_at_once_never_share_a_folder(self, tmp_path: Path) -> None:
        made: list[Path] = []
        threads = [
            threading.Thread(target=lambda: made.append(RunFolder.create(tmp_path, "x", STARTED).path))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(made)) == 8

    @pytest.mark.parametrize(
        ("name", "plain"), [("../../etc", "etc"), ("a b/ü", "a-b"), ("", "run"), ("..", "run"), ("my.yaml", "my.yaml")]
    )
    def test_a_scenario_name_cannot_lead_out_of_the_output_folder(self, tmp_path: Path, name: str, plain: str) -> None:
        made = RunFolder.create(tmp_path, name, STARTED)
        assert made.path == tmp_path / f"2026-11-21T10-15-03-{plain}"

    def test_a_trial_has_its_place_by_case_and_number(self, folder: RunFolder) -> None:
        trial = folder.trial("redis-stream", 2)
        assert folder.relative(trial) == "cases/redis-stream/trial-2"
        assert folder.trial_at("cases/redis-stream/trial-2") == trial

    def test_a_record_cannot_name_a_trial_outside_its_run(self, folder: RunFolder) -> None:
        with pytest.raises(BrokenRunFolderError, match=r"outside the run: '\.\./other'"):
            folder.trial_at("../other")


class TestUnwritable:
    def test_an_output_folder_below_a_file_is_a_usage_error_with_the_remedy(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError) as caught:
            RunFolder.create(tmp_path / "file", "crash", STARTED)
        assert caught.value.exit_code is ExitCode.USAGE
        assert "does not take a write" in caught.value.problem
        assert caught.value.remedy == "free space there, or name another one with -o DIR"

    def test_a_full_disk_is_found_before_anything_starts_and_leaves_no_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(path: Path, data: bytes) -> None:
            path.write_bytes(data[:10])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(store, "write_whole", full)
        with pytest.raises(UsageError, match="No space left on device"):
            RunFolder.create(tmp_path, "crash", STARTED)
        assert list(tmp_path.iterdir()) == []

    def test_a_folder_that_has_gone_is_a_clear_error_when_saving(self, saved: RunFolder) -> None:
        gone = RunFolder(saved.path / "gone")
        with pytest.raises(BrokerbenchError, match="cannot be written: No such file or directory") as caught:
            gone.save(records.run())
        assert caught.value.exit_code is ExitCode.NO_VERDICT


class TestRecord:
    def test_what_is_saved_is_what_is_loaded(self, saved: RunFolder) -> None:
        assert saved.load() == records.run()
        assert [child.name for child in saved.path.iterdir()] == ["run.json"]

    def test_a_later_stage_replaces_the_one_before(self, saved: RunFolder) -> None:
        saved.save(records.run(status="interrupted"))
        assert saved.load().status == "interrupted"

    def test_a_save_that_fails_leaves_the_record_before_it_whole(
        self, saved: RunFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(file: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(BrokerbenchError, match="No space left on device"):
            saved.save(records.run(status="interrupted"))
        assert saved.load().status == "finished"
        assert [child.name for child in saved.path.iterdir()] == ["run.json"]

    def test_a_number_that_json_does_not_know_is_refused_and_the_record_before_stays(self, saved: RunFolder) -> None:
        broken = records.run([records.case(trials=[records.trial(metrics={"steady": {"lag.p99": float("nan")}})])])
        with pytest.raises(BrokerbenchError, match=r"holds a number that run\.json cannot"):
            saved.save(broken)
        assert saved.load() == records.run()

    def test_the_exported_schema_accepts_a_real_record(self, saved: RunFolder) -> None:
        schema = record_schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(json.loads((saved.path / "run.json").read_text()), schema)

    @pytest.mark.parametrize(
        "change", [{"schema_version": 0}, {"status": "fine"}, {"cases": [{}]}, {"surprise": 1}, {"question": None}]
    )
    def test_the_exported_schema_refuses_what_is_no_record(self, saved: RunFolder, change: dict[str, Any]) -> None:
        value = json.loads((saved.path / "run.json").read_text()) | change
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, record_schema())


class TestBrokenRecord:
    def test_a_missing_folder_is_named_with_where_to_look(self, tmp_path: Path) -> None:
        with pytest.raises(BrokenRunFolderError) as caught:
            RunFolder.open(tmp_path / "nothing")
        assert caught.value.problem == f"run folder {tmp_path / 'nothing'} does not exist"
        assert caught.value.remedy == f"look for it with: ls {tmp_path}"

    def test_a_folder_of_runs_is_not_a_run_and_the_newest_is_offered(self, saved: RunFolder) -> None:
        with pytest.raises(BrokenRunFolderError, match=r"is not a run folder: it has no run\.json") as caught:
            RunFolder.open(saved.path.parent)
        assert caught.value.remedy == f"name the run in it, e.g. {saved.path}"

    def test_the_path_of_run_json_itself_opens_its_run(self, saved: RunFolder) -> None:
        assert RunFolder.open(saved.path / "run.json") == RunFolder.open(saved.path) == saved

    def test_a_newer_version_is_refused_with_the_remedy(self, saved: RunFolder) -> None:
        path = saved.path / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2, "tool_version": "9.9"}))
        with pytest.raises(BrokenRunFolderError) as caught:
            saved.load()
        assert caught.value.problem == f"{path} has schema version 2, written by brokerbench 9.9"
        assert caught.value.expected == "version 1 or older"
        assert "pip install --upgrade brokerbench" in caught.value.remedy

    @pytest.mark.parametrize("version", ["1", None, 0, -1, True])
    def test_a_version_that_is_none_is_refused(self, saved: RunFolder, version: object) -> None:
        path = saved.path / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": version}))
        with pytest.raises(BrokenRunFolderError, match="schema version"):
            saved.load()

    def test_a_record_cut_short_is_refused_and_left_as_it_is(self, saved: RunFolder) -> None:
        path = saved.path / "run.json"
        half = path.read_bytes()[:1000]
        path.write_bytes(half)
        with pytest.raises(BrokenRunFolderError, match="is not whole JSON"):
            saved.load()
        assert path.read_bytes() == half

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[]", b"3"])
    def test_a_file_that_is_no_record_at_all_is_refused(self, saved: RunFolder, content: bytes) -> None:
        (saved.path / "run.json").write_bytes(content)
        with pytest.raises(BrokenRunFolderError):
            saved.load()

    def test_a_record_with_a_wrong_field_names_the_field(self, saved: RunFolder) -> None:
        path = saved.path / "run.json"
        value = json.loads(path.read_text())
        value["cases"][1]["trials"][0]["status"] = "fine"
        path.write_text(json.dumps(value))
        with pytest.raises(BrokenRunFolderError, match=r"cases\.1\.trials\.0\.status"):
            saved.load()


class TestTables:
    @pytest.mark.parametrize("name", sorted(store.TABLES))
    def test_every_table_comes_back_with_its_exact_columns(self, trial: TrialFolder, name: str) -> None:
        empty = pl.DataFrame(schema=store.TABLES[name])
        trial.write_table(name, empty)
        assert trial.read_table(name).schema == store.TABLES[name]

    def test_rows_come_back_to_the_last_digit(self, trial: TrialFolder) -> None:
        trial.write_table("attempts", attempts())
        assert trial.read_table("attempts").equals(attempts())
        assert [path.name for path in trial.path.glob("*.parquet")] == ["attempts.parquet"]

    def test_a_table_with_another_column_or_type_is_not_written(self, trial: TrialFolder) -> None:
        with pytest.raises(ValueError, match=r"missing \['held'\], unknown none"):
            trial.write_table("attempts", attempts().drop("held"))
        with pytest.raises(ValueError, match="order differs"):
            trial.write_table("attempts", attempts().select(sorted(tables.ATTEMPTS)))
        with pytest.raises(ValueError, match="column seq is Int64, expected UInt32"):
            trial.write_table("attempts", attempts().cast({"seq": pl.Int64}))
        assert list(trial.path.glob("*.parquet")) == []

    def test_a_table_written_by_something_else_is_refused(self, trial: TrialFolder) -> None:
        attempts().rename({"seq": "sequence"}).write_parquet(trial.path / "attempts.parquet")
        with pytest.raises(BrokenRunFolderError, match=r"missing \['seq'\], unknown \['sequence'\]"):
            trial.read_table("attempts")

    @pytest.mark.parametrize("keep", [0, 3, 200])
    def test_a_table_cut_short_is_refused_with_its_path(self, trial: TrialFolder, keep: int) -> None:
        trial.write_table("attempts", attempts())
        path = trial.path / "attempts.parquet"
        path.write_bytes(path.read_bytes()[:keep])
        for read in (trial.read_table, trial.scan_table):
            with pytest.raises(BrokenRunFolderError, match=r"attempts\.parquet cannot be read"):
                read("attempts")

    def test_a_scan_gives_the_same_rows_and_refuses_the_same_strangers(self, trial: TrialFolder) -> None:
        trial.write_table("attempts", attempts())
        assert trial.scan_table("attempts").collect().equals(attempts())
        attempts().drop("held").write_parquet(trial.path / "residue.parquet")
        with pytest.raises(BrokenRunFolderError, match="columns differ"):
            trial.scan_table("residue")
        with pytest.raises(BrokenRunFolderError, match="is missing"):
            trial.scan_table("samples")

    def test_a_table_that_is_older_than_a_column_has_nulls_there(self, trial: TrialFolder) -> None:
        older = pl.DataFrame(schema=tables.DELIVERIES).clear(2).drop("skipped")
        older.write_parquet(trial.path / "deliveries.parquet")
        for frame in (trial.read_table("deliveries"), trial.scan_table("deliveries").collect()):
            assert frame.schema == tables.DELIVERIES
            assert frame.get_column("skipped").to_list() == [None, None]

    def test_a_table_that_is_older_than_a_word_of_a_column_keeps_its_words(self, trial: TrialFolder) -> None:
        older = attempts().with_columns(pl.col("outcome").cast(pl.Enum(["NOT_SENT", "CONFIRMED"])))
        older.write_parquet(trial.path / "attempts.parquet")
        for frame in (trial.read_table("attempts"), trial.scan_table("attempts").collect()):
            assert frame.equals(attempts())
            assert frame.schema == tables.ATTEMPTS

    def test_a_table_with_a_word_that_nobody_knows_is_refused(self, trial: TrialFolder) -> None:
        strange = attempts().with_columns(pl.col("outcome").cast(pl.Enum(["NOT_SENT", "CONFIRMED", "PERHAPS"])))
        strange.write_parquet(trial.path / "attempts.parquet")
        with pytest.raises(BrokenRunFolderError, match="column outcome is Enum"):
            trial.read_table("attempts")

    def test_a_missing_table_and_a_missing_trial_are_told_apart(self, trial: TrialFolder, folder: RunFolder) -> None:
        with pytest.raises(BrokenRunFolderError, match=r"^attempts.parquet of the trial is missing"):
            trial.read_table("attempts")
        with pytest.raises(BrokenRunFolderError, match=r"^the trial's folder is missing"):
            folder.trial("redis-stream", 2).read_table("attempts")

    def test_a_trial_is_never_written_over_another(self, trial: TrialFolder) -> None:
        with pytest.raises(BrokerbenchError, match="File exists"):
            trial.make()


class TestSettings:
    def test_settings_come_back_as_they_were(self, trial: TrialFolder) -> None:
        settings = {"asked": {"appendfsync": "always"}, "found": {"appendfsync": "always"}, "version": "Redis 6.2"}
        trial.write_settings(settings)
        assert trial.read_settings() == settings

    @pytest.mark.parametrize(("content", "problem"), [("[]", "holds a list"), ('{"asked"', "is not whole JSON")])
    def test_settings_that_are_damaged_are_refused(self, trial: TrialFolder, content: str, problem: str) -> None:
        (trial.path / "settings.json").write_text(content)
        with pytest.raises(BrokenRunFolderError, match=problem):
            trial.read_settings()

    def test_logs_have_their_folder(self, trial: TrialFolder) -> None:
        assert trial.logs.is_dir()
