"""A program that is asked for a word: its answer, and an end whatever it does instead."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from harness import programs
from harness.errors import UnavailableError
from harness.programs import ask, end_asked


def shell(text: str) -> list[str]:
    return ["/bin/sh", "-c", text]


def sleepers(mark: str) -> list[psutil.Process]:
    every = psutil.process_iter(["cmdline", "status"])
    return [p for p in every if p.info["cmdline"] == ["sleep", mark] and p.info["status"] != psutil.STATUS_ZOMBIE]


def gone(mark: str) -> bool:
    """Waits for the kernel to carry out a SIGKILL that was sent."""
    limit = time.monotonic() + 10
    while sleepers(mark) and time.monotonic() < limit:
        time.sleep(0.005)
    return not sleepers(mark)


def test_an_answer_has_status_and_both_outputs() -> None:
    answer = ask(shell("echo ' 7.0 '; echo trouble >&2; exit 3"))
    assert (answer.status, answer.out, answer.err) == (3, "7.0", "trouble")


def test_output_that_is_no_text_is_read_all_the_same() -> None:
    assert ask(shell(r"printf 'a\377b'")).out == "a�b"


def test_a_program_killed_by_a_signal_has_its_negative_number_as_status() -> None:
    assert ask(shell("kill -9 $$")).status == -9


@pytest.mark.parametrize("path", ["/nowhere/server", "/", "a\0b"])
def test_what_cannot_be_started_is_named_with_the_remedy(path: str) -> None:
    with pytest.raises(UnavailableError, match="does not run: ") as caught:
        ask([path], remedy="install it")
    assert caught.value.remedy == "install it"


def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    (tmp_path / "server").write_bytes(b"\x7fELF junk")
    (tmp_path / "server").chmod(0o755)
    with pytest.raises(UnavailableError, match="Exec format error"):
        ask([tmp_path / "server", "--version"])


def test_one_that_hangs_is_killed_with_all_that_it_started() -> None:
    with pytest.raises(UnavailableError, match=r"does not answer within 0\.5 s"):
        ask(shell("sleep 98761 & sleep 98761"), limit_s=0.5)
    assert gone("98761")


def test_what_an_answered_question_left_behind_is_killed_too() -> None:
    assert ask(shell("sleep 98762 >/dev/null 2>&1 & echo 7")).out == "7"
    assert gone("98762")


def test_one_that_closes_its_outputs_and_hangs_is_killed() -> None:
    with pytest.raises(UnavailableError, match="does not answer"):
        ask(shell("exec >&- 2>&-; sleep 98763"), limit_s=0.5)
    assert gone("98763")


def test_one_that_writes_for_ever_is_cut_off() -> None:
    with pytest.raises(UnavailableError, match="says more than 1,048,576 bytes"):
        ask([sys.executable, "-c", "while True: print('7' * 10_000)"])


def test_a_question_in_another_thread_can_be_given_up() -> None:
    thread = threading.Thread(target=lambda: ask(shell("sleep 98764"), limit_s=60))
    thread.start()
    while not sleepers("98764"):
        time.sleep(0.01)
    end_asked()
    thread.join()
    assert gone("98764")
    assert programs._asked == set()
