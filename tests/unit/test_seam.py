"""What a fleet is told, and in which order."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness.load.seam import Fleet


class Delayed(threading.Event):
    """An event whose setter is held up once others know of it."""

    def set(self) -> None:
        super().set()
        time.sleep(0.2)


def test_a_fleet_is_told_its_plan_before_anything_else(tmp_path: Path) -> None:
    told = tmp_path / "told"

    def spawn(*words: str, folders: list[Path], **named: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sh", "-c", f"cat > {told}"], **named)

    plan: Any = SimpleNamespace(
        logs=tmp_path,
        folder=tmp_path,
        agents=SimpleNamespace(local=1),
        place=SimpleNamespace(spawn=spawn),
        words=lambda: {"logs": "/logs"},
    )
    journal: Any = None
    fleet = Fleet(plan, journal, print)
    fleet._tried = Delayed()
    fleet._thread.start()
    fleet.connect("redis://here")
    with fleet._process as process:
        fleet._thread.join(0.5)  # what it writes itself
        assert process.stdin is not None
        process.stdin.close()
        fleet._thread.join()
    first, second = map(json.loads, told.read_text().splitlines())
    assert (first, second["do"]) == ({"logs": "/logs"}, "connect")
