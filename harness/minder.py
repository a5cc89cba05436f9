"""The minder: ``python -m harness.minder JOURNAL`` waits until its pipe to the run closes, then sweeps what the run left.

The kernel closes the pipe however the run ends, SIGKILL included. After an orderly end the journal is gone, and so is the work.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from harness.journal import sweep

_LOCK_WAIT_S = 10.0  # the kernel closes an ended run's files one after the other: the pipe may come before the lock


def main() -> None:
    """Blocks until stdin ends; then sweeps. Signals that end the run (a closed terminal, a shutdown) do not end the minder."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    while sys.stdin.buffer.read(1):
        pass
    sweep(Path(sys.argv[1]).absolute(), wait_s=_LOCK_WAIT_S)


if __name__ == "__main__":
    main()
