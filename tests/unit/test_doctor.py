"""The doctor: what each fact of a machine is judged to be, and that no check ends or holds up the others."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness import sweeping
from harness.brokers import setup
from harness.cli.commands import _read
from harness.cli.diagnosis import print_diagnosis
from harness.clock import ClockDomain
from harness.containers.images import Image, Source
from harness.deployments.contract import Broker, BrokerOptions
from harness.doctor import engine, machine, rights, servers, software, traces
from harness.doctor.examine import checks, found
from harness.doctor.finding import Check, Diagnosis, Finding, Rating, Seen, diagnosed, ok
from harness.errors import UnavailableError, UsageError
from harness.model import NO_CHOICE, Setup, Site
from harness.mounts import Mount

OK, WORSE, MISSING, UNKNOWN = Rating.OK, Rating.WORSE, Rating.MISSING, Rating.UNKNOWN
GB, MB = 10**9, 10**6


def said(seen: Seen) -> tuple[Rating, str]:
    """Returns verdict and value, having seen that whatever is not as it should be has its remedy."""
    assert seen.meaning
    assert bool(seen.remedy) == (seen.rating is not OK)
    return seen.rating, seen.value


class TestSoftware:
    @pytest.mark.parametrize(
        ("version", "rating"),
        [((3, 10, 14), MISSING), ((3, 11, 0), OK), ((3, 14, 2), OK), ((3, 15, 0), WORSE)],
    )
    def test_python_is_at_least_3_11_and_not_newer_than_what_is_tested(
        self, version: tuple[int, ...], rating: Rating
    ) -> None:
        number = ".".join(map(str, version))
        assert said(software.python(version, "/usr/bin/python3", (3, 14))) == (rating, f"{number} (/usr/bin/python3)")

    def test_python_of_a_package_that_names_no_tested_version_is_ok(self) -> None:
        assert software.python((3, 15, 0), "python", None).rating is OK

    @pytest.mark.parametrize(
        ("installed", "rating", "words"),
        [
            ({"redis": "6.4.0", "numpy": "2.4.6"}, OK, "with 2 packages, all as locked"),
            ({"redis": "6.4.0", "numpy": "2.5.5"}, OK, "with 2 packages, all as locked"),
            ({"redis": "6.5.0", "numpy": "2.5.5"}, WORSE, "1 not as locked: redis 6.5.0 (locked: 6.4.0)"),
            ({"redis": "6.4.0", "numpy": "2.3.1"}, WORSE, "1 not as locked: numpy 2.3.1 (locked: 2.4.6 or 2.5.5)"),
            ({"redis": "5.3.0", "numpy": "2.4.6"}, MISSING, "too old: redis 5.3.0 (needs 6.2)"),
            ({"numpy": "2.4.6"}, MISSING, "not installed: redis"),
        ],
    )
    def test_packages_are_there_and_as_locked(self, installed: dict[str, str], rating: Rating, words: str) -> None:
        locked = software.locked_versions(
            "numpy==2.4.6 ; python_full_version < '3.12' \\\n    --hash=sha256:0\n"
            "numpy==2.5.5 ; python_full_version >= '3.12' \\\n    --hash=sha256:1\nredis==6.4.0 \\\n    # via x\n"
        )
        seen = software.packages(installed, {"redis": "6.2", "numpy": "2.0"}, locked)
        assert seen.rating is rating
        assert words in said(seen)[1]

    def test_without_a_lock_file_any_version_that_is_new_enough_will_do(self) -> None:
        seen = software.packages({"redis": "9.9"}, {"redis": "6.2"}, {})
        assert seen.rating is OK
        assert "no lock file here" in seen.value


class TestMachine:
    @pytest.mark.parametrize(
        ("total", "usable", "quota", "rating", "value"),
        [
            (2, 2, None, OK, "2 of 2"),
            (64, 64, 1.0, WORSE, "1 of 64 (control group: 1)"),
            (64, 64, 2.5, OK, "2.5 of 64 (control group: 2.5)"),
            (64, 1, 4.0, WORSE, "1 of 64 (affinity: 1, control group: 4)"),
            (2, 2, 8.0, OK, "2 of 2"),
            (1, 1, None, WORSE, "1 of 1"),
        ],
    )
    def test_cores_are_what_affinity_and_control_groups_leave(
        self, total: int, usable: int, quota: float | None, rating: Rating, value: str
    ) -> None:
        assert said(machine.cores(total, usable, quota)) == (rating, value)

    @pytest.mark.parametrize(
        ("free", "limit", "rating", "value"),
        [
            (20 * GB, None, OK, "20 GB free of 32 GB"),
            (900 * MB, None, WORSE, "900 MB free of 32 GB"),
            (300 * MB, GB, MISSING, "300 MB free of 1 GB (control group) of 32 GB"),
        ],
    )
    def test_memory_has_room_for_a_quickstart(self, free: int, limit: int | None, rating: Rating, value: str) -> None:
        assert said(machine.memory(free, 32 * GB, limit)) == (rating, value)

    @pytest.mark.parametrize(
        ("kind", "free", "rating"),
        [
            ("tmpfs", GB, OK),
            ("tmpfs", 64 * MB, WORSE),  # Docker's default
            ("tmpfs", 5 * MB, MISSING),
            ("ext4", GB, WORSE),
            ("ext4", 5 * MB, MISSING),
        ],
    )
    def test_slots_lie_in_memory_and_have_room(self, kind: str, free: int, rating: Rating) -> None:
        assert machine.slots(Path("/dev/shm"), kind, free, 8 * MB).rating is rating

    def test_room_for_slots_is_told_in_messages(self) -> None:
        assert machine.slots(Path("/dev/shm"), "tmpfs", 152 * MB, 8 * MB).meaning == (
            "room for some 1,000,000 messages in a trial"
        )

    @pytest.mark.parametrize(
        ("kind", "free", "rating"),
        [("ext4", 20 * GB, OK), ("overlay", GB, WORSE), ("ext4", 50 * MB, MISSING), ("tmpfs", 20 * GB, WORSE)],
    )
    def test_data_lie_on_a_disk_with_room(self, kind: str, free: int, rating: Rating) -> None:
        mount = Mount(point="/tmp", kind=kind, source="", options="")
        seen = machine.data(Path("/tmp"), mount, free)
        assert seen.rating is rating
        assert ("TMPDIR" in seen.remedy) == (rating is not OK)

    @pytest.mark.parametrize(
        ("free", "writable", "rating"),
        [(GB, True, OK), (50 * MB, True, WORSE), (5 * MB, True, MISSING), (GB, False, MISSING)],
    )
    def test_runs_have_a_place(self, free: int, writable: bool, rating: Rating) -> None:
        assert said(machine.runs(Path("/home/runs"), free, writable))[0] is rating

    def test_without_real_time_scheduling_producers_may_be_late(self) -> None:
        assert said(machine.scheduling(True)) == (OK, "SCHED_FIFO is permitted (tried)")
        assert said(machine.scheduling(False)) == (WORSE, "SCHED_FIFO is not permitted (tried)")
        assert "docker run --cap-add SYS_NICE" in machine.scheduling(False).remedy

    @pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system has no such scheduling")
    def test_trying_leaves_the_scheduling_of_this_process_alone(self) -> None:
        before = os.sched_getscheduler(0)
        for check in checks(lambda: _read("quickstart", (), None), Path("runs")):
            if check.id in ("scheduling", "timers"):
                assert found(check).verdict is not UNKNOWN
        assert os.sched_getscheduler(0) == before
        assert int(Path("/proc/self/timerslack_ns").read_text()) > 1

    @pytest.mark.parametrize(
        ("late", "rating"),
        [([0.00005] * 50, OK), ([0.0001] * 49 + [0.03], WORSE), ([0.001] * 50, WORSE)],
    )
    def test_sleeps_end_on_time(self, late: list[float], rating: Rating) -> None:
        assert said(machine.timers(late))[0] is rating

    @pytest.mark.parametrize(
        ("source", "read_s", "resolution_s", "rating"),
        [("tsc", 6e-8, 1e-9, OK), ("hpet", 6e-8, 1e-9, WORSE), ("tsc", 2e-6, 1e-9, WORSE), (None, 6e-8, 0.004, WORSE)],
    )
    def test_the_clock_is_quick_and_fine(
        self, source: str | None, read_s: float, resolution_s: float, rating: Rating
    ) -> None:
        domain = ClockDomain(boot_id="b", time_namespace="t")
        assert said(machine.clock(source, read_s, resolution_s, domain))[0] is rating

    @pytest.mark.parametrize(
        ("governor", "driver", "rating"),
        [
            (None, "", OK),
            ("performance", "acpi-cpufreq", OK),
            ("powersave", "intel_pstate", OK),
            ("powersave", "acpi-cpufreq", WORSE),
        ],
    )
    def test_the_processor_may_run_fast(self, governor: str | None, driver: str, rating: Rating) -> None:
        assert machine.processor("A CPU", True, governor, driver).rating is rating

    def test_what_nobody_knows_of_the_processor_is_not_made_up(self) -> None:
        assert said(machine.processor(None, None, None, "")) == (OK, "unknown model")

    @pytest.mark.parametrize(
        ("load", "stolen", "rating"), [(1.5, 0.0004, OK), (2.5, 0.0004, WORSE), (0.1, 0.02, WORSE)]
    )
    def test_nothing_else_keeps_the_cores_busy(self, load: float, stolen: float, rating: Rating) -> None:
        assert said(machine.quiet(load, 2.0, stolen))[0] is rating


class Place:
    """A deployment that says what it is told to."""

    name = "place"

    def __init__(self, version: str | Exception, unavailable: str = "") -> None:
        self._version = version
        self._unavailable = unavailable

    def version(self, setup: Setup) -> str:
        if isinstance(self._version, Exception):
            raise self._version
        return self._version

    def unavailable(self, setup: Setup, site: Site = NO_CHOICE) -> str:
        return self._unavailable

    def up(self, options: BrokerOptions) -> Broker:
        raise AssertionError("the doctor starts nothing")


class TestServers:
    def test_a_server_that_is_found_is_told_with_its_version_and_setups(self) -> None:
        seen = servers.server(Place("redis-server 7.2.4 (PATH)"), "redis", [setup("redis-list"), setup("redis-stream")])
        assert said(seen) == (OK, "redis-server 7.2.4 (PATH)")
        assert seen.meaning == "for redis-list, redis-stream"

    def test_one_that_is_not_found_has_its_remedy(self) -> None:
        error = UnavailableError("no redis-server is found", expected="one on the PATH", remedy="apt install it")
        seen = servers.server(Place(error), "redis", [setup("redis-list")])
        assert said(seen) == (MISSING, "no redis-server is found (expected: one on the PATH)")
        assert seen.remedy == "apt install it"

    def test_one_that_is_found_and_may_not_run_has_its_remedy(self) -> None:
        reason = "there is no user 'nobody'\n  remedy: run brokerbench as another user"
        seen = servers.server(Place("PostgreSQL 18.4", reason), "postgres", [setup("postgres-lease")])
        assert said(seen) == (MISSING, "PostgreSQL 18.4: there is no user 'nobody'")
        assert seen.remedy == "run brokerbench as another user"

    def test_a_broker_whose_client_library_is_missing_has_its_remedy(self) -> None:
        problem = str(UsageError("setup 'redis-list' needs the Python package 'redis'", remedy="pip install redis"))
        seen = servers.server(Place("redis-server 7.2.4"), "redis", [], problem)
        assert said(seen) == (MISSING, "setup 'redis-list' needs the Python package 'redis'")
        assert seen.remedy == "pip install redis"

    @pytest.mark.parametrize(
        ("variable", "value", "broker"),
        [
            ("BROKERBENCH_REDIS_SERVER", "/nowhere/redis-server", "redis"),
            ("BROKERBENCH_REDIS_SERVER", "/bin/false", "redis"),
            ("BROKERBENCH_REDIS_SERVER", "/etc/passwd", "redis"),
            ("BROKERBENCH_POSTGRES_BIN", "/nowhere", "postgres"),
            ("BROKERBENCH_POSTGRES_BIN", "/etc/passwd", "postgres"),
            ("BROKERBENCH_RABBITMQ_SERVER", "/nowhere/rabbitmq-server", "rabbitmq"),
            ("BROKERBENCH_RABBITMQ_SERVER", "/bin/false", "rabbitmq"),
        ],
    )
    def test_a_variable_that_names_no_server_is_a_finding_with_the_remedy(
        self, variable: str, value: str, broker: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(variable, value)
        [check] = [c for c in checks(lambda: _read("quickstart", (), None), Path("runs")) if c.id == f"broker.{broker}"]
        seen = found(check)
        assert seen.verdict is MISSING
        assert value in seen.value
        assert variable in seen.remedy
        assert seen.required == (broker != "rabbitmq")

    def test_servers_that_refuse_root_run_as_somebody_who_may_enter(self) -> None:
        place = Path("/root/tmp")
        assert said(servers.user(None, "ada", place, entered=True)) == (OK, "ada")
        assert servers.user(65534, "nobody", place, entered=True).rating is OK
        assert said(servers.user(65534, "nobody", place, entered=False)) == (
            MISSING,
            "nobody (uid 65534) may not enter /root/tmp",
        )
        assert servers.user(None, "root", place, entered=True, problem="there is no user 'nobody'").rating is MISSING

    def test_ports_of_this_machine_can_be_reached(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert said(servers._ports())[0] is OK

        def refused(*_: object) -> socket.socket:
            raise ConnectionRefusedError(111, "Connection refused")

        monkeypatch.setattr(socket, "create_connection", refused)
        assert said(servers._ports()) == (MISSING, "no connection to 127.0.0.1: Connection refused")


class TestTraces:
    def test_the_state_folder_can_be_written(self) -> None:
        assert said(traces.state(Path("/x"), True)) == (OK, "/x")
        assert said(traces.state(Path("/x"), False)) == (MISSING, "/x cannot be written")

    def test_a_folder_that_is_not_there_yet_is_judged_by_the_nearest_above(self, tmp_path: Path) -> None:
        assert traces.nearest(tmp_path / "a" / "b") == tmp_path
        assert traces.nearest(tmp_path) == tmp_path

    @pytest.mark.skipif(os.geteuid() != 0, reason="takes another user, whom only root can become")
    def test_folders_that_may_not_be_entered_are_no_error(self, tmp_path: Path) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        looked = (
            "import os, sys; from pathlib import Path; from harness.doctor.traces import nearest;"
            "from harness.deployments import embedded_rabbitmq, embedded_postgres, embedded_redis;"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534); print(nearest(Path(sys.argv[1]) / 'a' / 'b'));"
            "[m.unavailable() for m in (embedded_rabbitmq, embedded_postgres, embedded_redis)]"
        )
        for variables in ({"PATH": f"{closed}:/usr/bin"}, {"BROKERBENCH_POSTGRES_BIN": str(closed)}):
            done = subprocess.run(
                [sys.executable, "-c", looked, str(closed)],
                env=os.environ | variables,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.stderr == ""
            assert Path(done.stdout.strip()) in (closed, *closed.parents)

    @pytest.mark.parametrize(
        ("ended", "living", "rating", "value"),
        [
            (0, 0, OK, "none"),
            (1, 0, WORSE, "1 ended run left something"),
            (2, 1, WORSE, "2 ended runs left something; 1 run on now"),
            (0, 2, WORSE, "2 runs on now"),
        ],
    )
    def test_other_runs_are_told(self, ended: int, living: int, rating: Rating, value: str) -> None:
        seen = traces.leftovers(ended, living)
        assert said(seen) == (rating, value)
        assert (seen.remedy == "brokerbench down") == (ended > 0)

    def test_a_setup_that_is_kept_is_told(self) -> None:
        assert said(traces.leftovers(0, 0, ["redis-stream on bridge"])) == (WORSE, "kept by up: redis-stream on bridge")
        seen = traces.leftovers(1, 0, ["redis-stream on bridge"])
        assert said(seen) == (WORSE, "1 ended run left something; kept by up: redis-stream on bridge")

    def test_a_journal_without_a_lock_is_a_leftover_and_looking_changes_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BROKERBENCH_STATE", str(tmp_path))
        assert sweeping.unfinished() == ([], [])
        folder = tmp_path / "journals"
        folder.mkdir()
        dead, alive = folder / f"{1:016x}.jsonl", folder / f"{2:016x}.jsonl"
        dead.write_text("{}\n")
        alive.write_text("{}\n")
        with alive.open() as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert sweeping.unfinished() == ([dead], [alive])
        assert dead.read_text() == alive.read_text() == "{}\n"


class TestEngine:
    ANSWERS: Mapping[str, Any] = {
        "ServerVersion": "20.10.24",
        "Driver": "overlay2",
        "CgroupVersion": "1",
        "OSType": "linux",
        "Swarm": {"LocalNodeState": "inactive"},
    }

    def test_an_engine_that_answers_is_told_with_its_version(self) -> None:
        assert said(engine.answering(self.ANSWERS)) == (OK, "20.10.24, overlay2 storage, control groups v1")
        assert said(engine.swarm(self.ANSWERS)) == (MISSING, "inactive")
        assert said(engine.swarm({**self.ANSWERS, "Swarm": {"LocalNodeState": "active"}})) == (OK, "active")

    def test_an_engine_that_does_not_answer_is_told_with_its_words(self) -> None:
        nobody = UnavailableError("no Docker engine answers: connection refused", remedy="start it")
        assert said(engine.answering(nobody)) == (MISSING, "no Docker engine answers: connection refused")
        assert said(engine.swarm(nobody)) == (MISSING, "no engine")

    def test_an_engine_of_another_system_is_of_no_use(self) -> None:
        assert engine.answering({**self.ANSWERS, "OSType": "windows"}).rating is MISSING

    def test_the_image_that_would_run_is_told_with_version_and_reason(self) -> None:
        built = Image(
            name="redis", reference="brokerbench/redis:1", digest="sha256:1", version="8.0.2", source=Source.BUILT
        )
        seen = engine.image(built, "the image of redis", "docker pull redis:8")
        assert said(seen) == (OK, "brokerbench/redis:1, version 8.0.2")
        assert seen.meaning == "the image of redis: made here of Debian packages"
        assert said(engine.image(None, "the image of redis", "docker pull redis:8")) == (MISSING, "not here")


class TestRights:
    def test_power_loss_takes_linux_root_and_loop_devices(self) -> None:
        assert rights.power_loss("Linux", []).rating is OK
        assert said(rights.power_loss("Linux", ["root", "losetup"])) == (MISSING, "lacking: root, losetup")
        assert said(rights.power_loss("Darwin", [])) == (MISSING, "not on Darwin")

    def test_netem_takes_a_kernel_module_and_a_program(self) -> None:
        assert rights.netem("Linux", True, True).rating is OK
        assert said(rights.netem("Linux", True, False)) == (MISSING, "the program tc is not found")
        assert said(rights.netem("Linux", False, True)) == (MISSING, "sch_netem is not in this kernel")
        assert said(rights.netem("Linux", None, True)) == (UNKNOWN, "the kernel does not tell")
        assert said(rights.netem("Darwin", None, False)) == (MISSING, "not on Darwin")


def finding(verdict: Rating, *, required: bool, what: str = "thing") -> Finding:
    return Finding(
        id="x", group="Group", what=what, value="[v]", verdict=verdict, meaning="so", remedy="do", required=required
    )


class TestDiagnosis:
    @pytest.mark.parametrize(
        ("findings", "quickstart", "code"),
        [
            ([(OK, True), (WORSE, True), (MISSING, False), (UNKNOWN, False)], True, 0),
            ([(OK, True), (UNKNOWN, True)], None, 70),
            ([(UNKNOWN, True), (MISSING, True)], False, 2),
        ],
    )
    def test_what_the_quickstart_needs_decides_the_exit_code(
        self, findings: list[tuple[Rating, bool]], quickstart: bool | None, code: int
    ) -> None:
        diagnosis = diagnosed("1", [finding(verdict, required=required) for verdict, required in findings])
        assert (diagnosis.quickstart, diagnosis.exit_code) == (quickstart, code)

    def test_a_check_that_breaks_is_unknown_and_told(self) -> None:
        def look() -> Seen:
            raise RuntimeError("no such file")

        seen = found(Check(id="x", group="g", what="w", look=look))
        assert (seen.verdict, seen.value) == (UNKNOWN, "RuntimeError: no such file")

    def test_a_check_that_ends_in_our_own_error_is_missing_with_its_remedy(self) -> None:
        def look() -> Seen:
            raise UsageError("wrong", expected="right", remedy="write right")

        seen = found(Check(id="x", group="g", what="w", look=look))
        assert (seen.verdict, seen.value, seen.meaning, seen.remedy) == (
            MISSING,
            "wrong",
            "expected: right",
            "write right",
        )

    def test_a_check_that_hangs_holds_up_nobody(self) -> None:
        ended = threading.Event()

        def look() -> Seen:
            ended.wait()
            return ok("late", "late")

        seen = found(Check(id="x", group="g", what="w", look=look), limit_s=0.05)
        ended.set()
        assert (seen.verdict, seen.value) == (UNKNOWN, "no answer within 0.05 s")

    def test_a_quickstart_that_cannot_be_read_is_one_finding_and_the_others_are_told(self) -> None:
        def unreadable() -> Any:
            raise UsageError("setup 'redis-stream' needs the Python package 'redis'", remedy="pip install redis")

        every = list(checks(unreadable, Path("runs")))
        [check] = [check for check in every if check.id == "quickstart"]
        assert (found(check).verdict, found(check).remedy) == (MISSING, "pip install redis")
        assert len({check.id for check in every}) == len(every) > 20


def printed(diagnosis: Diagnosis, width: int, encoding: str = "utf-8") -> str:
    from io import BytesIO, TextIOWrapper  # noqa: PLC0415

    raw = BytesIO()
    stream = TextIOWrapper(raw, encoding=encoding, errors="strict", newline="\n")
    print_diagnosis(diagnosis, Console(file=stream, width=width, color_system=None))
    stream.flush()
    return raw.getvalue().decode(encoding)


class TestPrinting:
    def test_a_line_has_sign_and_word_and_a_remedy_where_it_is_not_ok(self) -> None:
        text = printed(diagnosed("1.2", [finding(WORSE, required=True), finding(OK, required=False)]), 100)
        assert "brokerbench 1.2: what this machine can do" in text
        assert "▼ worse   thing [v]" in text
        assert "remedy: do" in text
        assert "✓ ok      thing [v] · so" in text
        assert text.rstrip().endswith("The quickstart can run here: brokerbench run quickstart")

    def test_what_is_missing_is_marked_by_whether_it_is_needed_now(self) -> None:
        text = printed(
            diagnosed("1", [finding(MISSING, required=True, what="a"), finding(MISSING, required=False, what="b")]), 80
        )
        assert "✗ missing a" in text
        assert "○ missing b" in text
        assert text.rstrip().endswith("The quickstart cannot run here: a")

    def test_what_cannot_be_told_is_no_verdict(self) -> None:
        text = printed(diagnosed("1", [finding(UNKNOWN, required=True, what="a")]), 80)
        assert text.rstrip().endswith("Whether the quickstart can run here cannot be told: a")

    @pytest.mark.parametrize("width", [30, 40, 80, 200])
    def test_no_line_is_wider_than_the_terminal(self, width: int) -> None:
        long = finding(WORSE, required=False).model_copy(update={"value": "/a/very/long/path" * 9})
        assert max(map(len, printed(diagnosed("1", [long]), width).splitlines())) <= width

    def test_a_terminal_without_our_signs_gets_others(self) -> None:
        assert "v worse   thing" in printed(diagnosed("1", [finding(WORSE, required=False)]), 80, "ascii")
