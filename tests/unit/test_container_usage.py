"""What the files of a cgroup of version 2 say, as the kernel writes them; version 1 is what ``tests/contract`` meets on this machine or another."""

from __future__ import annotations

from pathlib import Path

from harness.containers.usage import _Files

FILES = {
    "cgroup.procs": "4242\n4243\n",
    "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 40\nnr_throttled 3\nthrottled_usec 750000\n",
    "memory.current": "104857600\n",
    "memory.stat": "anon 20000000\nfile 80000000\nkernel 4857600\nshmem 1000000\n",
    "memory.events": "low 0\nhigh 0\nmax 12\noom 2\noom_kill 2\noom_group_kill 0\n",
    "io.stat": "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n259:1 rbytes=1 wbytes=2 rios=1 wios=1 dbytes=0 dios=0\n",
}


def test_the_files_of_version_2_are_read(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    files = _Files({"": tmp_path}, tmp_path.name, 4242, own_network=False)
    assert files.shared()
    used, memory_bytes = files.look()
    assert (used.cpu_s, used.throttled_s, used.killed) == (2.5, 0.75, 2)
    assert (used.read_bytes, used.written_bytes) == (4097, 8194)
    assert (used.received_bytes, used.sent_bytes) == (None, None)
    assert memory_bytes == 104857600 - 80000000 + 1000000
    running = files.processes()
    assert running is not None
    assert (running.main, running.all) == (4242, (4242, 4243))


def test_a_group_that_is_gone_says_nothing(tmp_path: Path) -> None:
    files = _Files({"": tmp_path / "gone"}, "gone", 4242, own_network=False)
    assert not files.shared()
    used, memory_bytes = files.look()
    assert (used.cpu_s, used.killed, memory_bytes, files.processes()) == (None, None, None, None)
