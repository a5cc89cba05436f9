"""The minder: ``python -m harness.minder JOURNAL`` waits until its pipe to the run closes, then sweeps what the run left.

Over the pipe it is told of queues on brokers that are not ours, and where these are: the passwords are in no file.

The kernel closes the pipe however the run ends, SIGKILL included. After an orderly end the journal is gone, and so is the work.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.sweeping import sweep

_LOCK_WAIT_S = 10.0  # the kernel closes an ended run's files one after the other: the pipe may come before the lock


def main() -> None:
    """Blocks until stdin ends; then sweeps. Signals that end the run (a closed terminal, a shutdown) do not end the minder."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    queues: dict[str, dict[str, Any]] = {}
    for line in sys.stdin.buffer:
        with suppress(ValueError):  # half a line, of a run that was killed while it wrote: nothing was made yet
            said = json.loads(line)
            if "gone" in said:
                queues.pop(said["gone"], None)
            else:
                queues[said["queue"]] = said
    sweep(Path(sys.argv[1]).absolute(), wait_s=_LOCK_WAIT_S, queues=queues)


if __name__ == "__main__":
    main()
