"""The table *Networks* of a hand-made run: exact cells, ratios only where two figures may be compared; and what befell containers."""

from __future__ import annotations

import io
from typing import Any

import pytest
import records
from rich.console import Console

from harness.model import TrialStatus
from harness.record import AtLeast, CaseRecord, Figure, ImageRecord, IncidentResult, RunRecord, Unknown
from reports import containers
from reports.markdown import page
from reports.networks import NOTES, Comparison, comparison
from reports.terminal import print_run

IMAGE = ImageRecord(reference="redis:8", digest="sha256:abcd", source="official")
CLOSED = {"load": {"saturate_window": 1000}}


def at(
    network: str,
    client: str = "container",
    *,
    label: str = "redis-stream",
    volume: str = "named",
    trials: int = 1,
    status: TrialStatus = TrialStatus.VALID,
    ceiling: bool = False,
    throughput: str = "sustained",
    incidents: list[IncidentResult] | None = None,
    throttled_s: dict[str, float] | None = None,
    **figures: Figure,
) -> CaseRecord:
    """Returns a case at a site; ``figures`` are metrics with ``__`` for each dot."""
    metrics = records.metrics()
    for name, value in figures.items():
        for window in metrics.values():
            window[name.replace("__", ".")] = value
    more: dict[str, Any] = {
        "metrics": metrics,
        "faults": [],
        "status": status,
        "throughput_label": {"steady": throughput},
        "incidents": incidents or [],
        "throttled_s": throttled_s or {},
    }
    return records.case(
        f"{label}@{network}" + (f",client={client}" if client != "container" else ""),
        network=network,
        client=client,
        parameters={"persistence": "aof-everysec", "volume": volume},
        image=IMAGE,
        ceiling=ceiling,
        trials=[records.trial(number, **more) for number in range(1, trials + 1)],
        guarantees=[records.no_fault()],
    )


def costing(network: str, client: str, p50_s: float, p99_s: Figure, cpu: tuple[float, float]) -> CaseRecord:
    return at(
        network,
        client,
        latency__end_to_end__p50=p50_s,
        latency__end_to_end__p99=p99_s,
        cost__broker_cpu=cpu[0],
        cost__load_cpu=cpu[1],
    )


def four() -> list[CaseRecord]:
    return [
        costing("bridge", "container", 0.002, 0.010, (20.0, 60.0)),
        costing("host", "container", 0.0018, 0.008, (15.0, 50.0)),
        costing("overlay", "container", 0.002, AtLeast(at_least=0.5), (20.5, 60.0)),
        costing("bridge", "host", 0.0022, Unknown(unknown="n too small"), (21.0, 58.0)),
    ]


def on_docker(cases: list[CaseRecord], **more: Any) -> RunRecord:
    return records.run(cases, deployment="docker", **more)


def compared(cases: list[CaseRecord], **more: Any) -> Comparison:
    found = comparison(on_docker(cases, **more))
    assert found is not None
    return found


def cells(found: Comparison) -> list[tuple[str, ...]]:
    return [(row.site, *row.cells) for _, rows in found.groups for row in rows]


class TestTable:
    def test_at_a_rate_it_is_latency_and_cpu_each_with_its_ratio_to_the_bridge(self) -> None:
        found = compared(four())
        assert found.headings == ("e2e p50", "e2e p99", "broker CPU per message", "load CPU per message")
        assert [label for label, _ in found.groups] == ["redis-stream"]
        assert cells(found) == [
            ("bridge", "2 ms ×1.00", "10 ms ×1.00", "20 µs ×1.00", "60 µs ×1.00"),
            ("host", "1.8 ms ×0.90", "8 ms ×0.80", "15 µs ×0.75", "50 µs ×0.83"),
            ("overlay", "2 ms ×1.00", "≥ 500 ms", "20.5 µs ×1.02", "60 µs ×1.00"),
            ("bridge, load on the host", "2.2 ms ×1.10", "n too small", "21 µs ×1.05", "58 µs ×0.97"),
        ]
        assert found.notes == (NOTES["cost"], NOTES["ratio"], NOTES["overlay"], NOTES["host"], NOTES["once"])

    def test_the_ceilings_of_cases_stand_before_their_figures_at_the_rate(self) -> None:
        def ceiling(network: str, rate: float, label: str = "redis-stream[load=ceiling]") -> CaseRecord:
            return at(network, label=label, ceiling=True, rate__confirmed=rate)

        found = compared([*four()[:2], ceiling("bridge", 20_000.0), ceiling("host", 30_000.0), four()[2]])
        assert found.headings[:3] == ("ceiling: confirmed", "ceiling: throughput", "e2e p50")
        assert [label for label, _ in found.groups] == ["redis-stream"]
        assert [row[:4] for row in cells(found)] == [
            ("bridge", "20,000/s ×1.00", "3,998/s ×1.00", "2 ms ×1.00"),
            ("host", "30,000/s ×1.50", "3,998/s ×1.00", "1.8 ms ×0.90"),
            ("overlay", "—", "—", "2 ms ×1.00"),
        ]
        assert found.notes[0] == NOTES["ceiling"]
        limited = [
            at("bridge", label="redis-stream[cpus=1]"),
            ceiling("host", 1.0, "redis-stream[cpus=1,load=ceiling]"),
        ]
        assert [label for label, _ in compared(limited).groups] == ["redis-stream[cpus=1]"]

    def test_in_closed_loop_it_is_throughput_compared_only_where_it_was_sustained(self) -> None:
        rates = {"rate__confirmed": 20_000.0, "cost__broker_cpu": 10.0, "cost__load_cpu": 40.0}
        slower = {"rate__confirmed": 17_000.0, "cost__broker_cpu": 12.0, "cost__load_cpu": 40.0}
        found = compared(
            [
                _closed("bridge", 19_000.0, rates),
                _closed("host", 23_750.0, rates | {"rate__confirmed": 25_000.0}),
                _closed("overlay", 11_000.0, slower, label="filling"),
            ],
            scenario_expanded=CLOSED,
        )
        assert found.headings == ("confirmed", "throughput", "broker CPU per message", "load CPU per message")
        assert cells(found) == [
            ("bridge", "20,000/s ×1.00", "19,000/s ×1.00", "10 µs ×1.00", "40 µs ×1.00"),
            ("host", "25,000/s ×1.25", "23,750/s ×1.25", "10 µs ×1.00", "40 µs ×1.00"),
            ("overlay", "17,000/s ×0.85", "11,000/s (filling)", "12 µs ×1.20", "40 µs ×1.00"),
        ]
        assert NOTES["filling"] in found.notes

    def test_without_a_valid_bridge_there_is_no_ratio_and_what_is_invalid_says_so(self) -> None:
        bridge, host, *_ = four()
        broken = bridge.model_copy(update={"trials": [records.trial(status=TrialStatus.INVALID, faults=[])]})
        found = compared([broken, host])
        assert cells(found)[0][1] == "1.71 ms (INVALID)"
        assert cells(found)[1] == ("host", "1.8 ms", "8 ms", "15 µs", "50 µs")
        assert found.notes == (NOTES["cost"], NOTES["once"], NOTES["invalid"])

    def test_without_any_bridge_there_is_no_ratio(self) -> None:
        found = compared(four()[1:3])
        assert [row[1] for row in cells(found)] == ["1.8 ms", "2 ms"]

    def test_each_setup_and_each_parameter_is_a_group_of_its_own(self) -> None:
        two = [at("bridge", label=label) for label in ("redis-stream[cpus=1]", "postgres-lease")]
        found = compared([*two, at("host", label="postgres-lease"), at("host", label="redis-stream[cpus=1]")])
        assert [(label, [row.site for row in rows]) for label, rows in found.groups] == [
            ("redis-stream[cpus=1]", ["bridge", "host"]),
            ("postgres-lease", ["bridge", "host"]),
        ]

    def test_of_several_trials_it_is_the_middle_one(self) -> None:
        found = compared([at("bridge", trials=3), at("host", trials=3)])
        assert found.notes == (NOTES["cost"], NOTES["ratio"], NOTES["middle"])

    @pytest.mark.parametrize(
        "cases", [[at("bridge")], [at("bridge"), at("bridge", label="redis-list")], [records.case()]]
    )
    def test_nothing_is_compared_where_no_setup_ran_at_two_sites(self, cases: list[CaseRecord]) -> None:
        assert comparison(on_docker(cases)) is None

    def test_a_case_that_was_not_run_is_left_out(self) -> None:
        missing = at("overlay").model_copy(update={"trials": [], "unavailable": "no swarm"})
        assert [row[0] for row in cells(compared([*four()[:2], missing]))] == ["bridge", "host"]
        assert comparison(on_docker([at("bridge"), missing])) is None


def _closed(network: str, throughput: float, figures: dict[str, Figure], label: str = "sustained") -> CaseRecord:
    return records.case(
        f"redis-stream@{network}",
        network=network,
        client="container",
        trials=[
            trial.model_copy(
                update={"metrics": {window: {**of, "throughput": throughput} for window, of in trial.metrics.items()}}
            )
            for trial in at(network, throughput=label, **figures).trials
        ],
    )


def printed(record: RunRecord, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        print_run(record, console)
    return captured.get()


class TestPrinted:
    def test_terminal_and_page_hold_every_cell(self) -> None:
        record = on_docker(four())
        wide, narrow, whole = printed(record, 200), printed(record, 40), page(record)
        assert "\nNetworks\n" in wide
        assert "\n## Networks\n" in whole
        for row in cells(compared(four())):
            for cell in row:
                assert cell in wide
                assert cell in " ".join(narrow.split())
                assert cell in whole
        assert max(map(len, narrow.splitlines())) <= 40
        assert "    bridge, load on the host\n      e2e p50: 2.2 ms ×1.10\n" in narrow

    def test_without_docker_nothing_is_said_of_networks(self) -> None:
        for told in (printed(records.run(), 200), page(records.run())):
            assert "Networks" not in told
            assert "Containers" not in told


class TestContainers:
    def test_the_page_says_where_a_case_ran_and_from_which_image(self) -> None:
        whole = page(on_docker(four()))
        assert (
            "deployment docker: on bridge, host, overlay with the load in a container; on bridge with the load on the host"
            in whole
        )
        assert (
            "network host, the load in a container; image redis:8 (official, sha256:abcd); process-crash-safe." in whole
        )

    def test_what_befell_a_container_is_told_with_its_time(self) -> None:
        killed = IncidentResult(
            at_s=4.25, source="broker", what="killed for memory", text="the broker's container was killed"
        )
        early = IncidentResult(at_s=-0.7, source="broker", what="throttled", text="the broker was kept waiting")
        case = at("bridge", incidents=[early, killed], throttled_s={"broker": 1.25, "load": 0.0})
        assert list(containers.befell(case)) == [
            "0.7 s before steady: the broker was kept waiting",
            "4.2 s after the start of steady: the broker's container was killed",
            "broker: from the load's start to the end of the drain a CPU limit kept it waiting for 1.25 s in all",
        ]
        for told in (printed(on_docker([case]), 200), page(on_docker([case]))):
            assert all(sentence in told for sentence in containers.befell(case))
        assert next(containers.befell(at("bridge", trials=2, incidents=[killed]))).startswith("trial 1, 4.2 s after")

    @pytest.mark.parametrize(
        ("at_s", "phase", "told"),
        [
            (-1.5, "before the load", "1.5 s before steady, before the load: it ended"),
            (-0.5, "warm-up", "0.5 s before steady, in the warm-up: it ended"),
            (3.0, "steady", "3.0 s after the start of steady: it ended"),
            (19.9, "drain", "19.9 s after the start of steady, in the drain: it ended"),
            (30.0, "after the drain", "30.0 s after the start of steady, after the drain: it ended"),
        ],
    )
    def test_what_befell_a_container_is_told_with_the_phase_it_fell_in(
        self, at_s: float, phase: str, told: str
    ) -> None:
        ended = IncidentResult(at_s=at_s, phase=phase, source="broker", what="ended", text="it ended")
        assert list(containers.befell(at("bridge", incidents=[ended]))) == [told]

    def test_a_tmpfs_says_that_nothing_is_claimed_of_what_ends_the_broker(self) -> None:
        kept, gone = at("bridge", volume="named"), at("host", volume="tmpfs")
        record = on_docker([kept, gone])
        told = printed(record, 200)
        assert f"  {gone.id}: {containers.TMPFS}\n" in told
        assert told.count(containers.TMPFS) == 1
        assert containers.TMPFS in page(record)
        assert containers.TMPFS not in page(on_docker([at("bridge")]))
