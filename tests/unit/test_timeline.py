"""The timeline of a trial: whole lines in the order in which things happened, whatever ends the writer."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from harness.errors import BrokenRunFolderError, BrokerbenchError
from harness.facts import FaultRecord, ShardRecord, TrialFacts
from harness.model import FaultKind
from harness.store import TrialFolder
from harness.timeline import Timeline


@pytest.fixture
def trial(tmp_path: Path) -> TrialFolder:
    made = TrialFolder(tmp_path / "trial-1")
    made.make()
    return made


def facts() -> TrialFacts:
    kill = FaultRecord(
        index=0,
        kind=FaultKind.BROKER_KILL,
        label="kill broker",
        planned_ns=5,
        injected_ns=6,
        hit=True,
        evidence={"pids": [1, 2], "gone": True},
    )
    worker = ShardRecord(name="w0", kind="worker", number=0, slots_found=-1)
    return TrialFacts(run_id=2**64 - 1, trial=1, faults=(kill,), shards=(worker,), depth_end={"ready": 0, "dead": None})


def test_facts_that_an_older_version_also_wrote_are_left_aside(trial: TrialFolder) -> None:
    with trial.timeline() as timeline:
        timeline.append(1, "facts", facts={"run_id": 7, "trial": 2, "cpu_broker_s": 1.5, "disk_bytes": 4096})
    assert trial.read_facts() == TrialFacts(run_id=7, trial=2)


def test_lines_come_back_in_the_order_written(trial: TrialFolder) -> None:
    with trial.timeline() as timeline:
        timeline.append(5, "phase", name="steady")
        timeline.append(7, "fault", evidence={"pids": np.array([1, 2])[0], "log": Path("/x")})
    assert trial.read_timeline() == [
        {"t_ns": 5, "kind": "phase", "name": "steady"},
        {"t_ns": 7, "kind": "fault", "evidence": {"pids": 1, "log": "/x"}},
    ]


def test_a_line_is_on_disk_before_the_next_thing_happens(trial: TrialFolder) -> None:
    timeline = trial.timeline()
    timeline.append(5, "phase", name="steady")
    assert len(trial.read_timeline()) == 1
    timeline.close()
    timeline.close()


def test_threads_write_whole_lines(trial: TrialFolder) -> None:
    with trial.timeline() as timeline:
        threads = [
            threading.Thread(target=lambda n=n: [timeline.append(n, "warning", text="x" * 500) for _ in range(50)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(trial.read_timeline()) == 200


def test_a_last_line_that_a_crash_cut_short_hides_none_of_the_others(trial: TrialFolder) -> None:
    with trial.timeline() as timeline:
        timeline.append(5, "phase", name="steady")
    with (trial.path / "timeline.jsonl").open("a") as file:
        file.write('{"t_ns": 6, "kind": "fau')
    assert [line["t_ns"] for line in trial.read_timeline()] == [5]


@pytest.mark.parametrize("damage", ['{"t_ns": 6', "[]", "{}", "\x00"])
def test_a_damaged_line_inside_is_refused_with_its_number(trial: TrialFolder, damage: str) -> None:
    (trial.path / "timeline.jsonl").write_text(f'{{"t_ns": 5, "kind": "phase"}}\n{damage}\n')
    with pytest.raises(BrokenRunFolderError, match="line 2 is damaged"):
        trial.read_timeline()


def test_a_missing_timeline_is_refused(trial: TrialFolder) -> None:
    with pytest.raises(BrokenRunFolderError, match=r"^timeline.jsonl of the trial is missing"):
        trial.read_facts()


def test_the_facts_of_a_trial_come_back_as_they_were(trial: TrialFolder) -> None:
    with trial.timeline() as timeline:
        timeline.append(5, "phase", name="steady")
        timeline.append_facts(9, facts())
    assert trial.read_facts() == facts()


def test_a_trial_that_ended_before_its_facts_says_so(trial: TrialFolder) -> None:
    with trial.timeline() as timeline:
        timeline.append(5, "phase", name="steady")
    with pytest.raises(BrokenRunFolderError, match="has no line of kind 'facts'") as caught:
        trial.read_facts()
    assert "cut short" in caught.value.remedy


def test_facts_of_another_shape_name_the_field(trial: TrialFolder) -> None:
    with trial.timeline() as timeline:
        timeline.append(9, "facts", facts={"run_id": 1})
    with pytest.raises(BrokenRunFolderError, match="trial: "):
        trial.read_facts()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_timeline_on_a_full_disk_says_so() -> None:
    timeline = Timeline(Path("/dev/full"))
    with pytest.raises(BrokerbenchError, match="No space left on device"):
        timeline.append(1, "phase")
    timeline.close()
