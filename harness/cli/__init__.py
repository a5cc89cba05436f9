"""The command line: the only place that prints results and chooses exit codes.

Results go to stdout, progress to stderr. Every error that a user can cause ends in one message and the exit code of
``harness.errors.ExitCode``, never in a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import FrameType
from typing import NoReturn

from harness.cli.commands import cli
from harness.errors import BrokerbenchError, ExitCode


def main() -> NoReturn:
    """Runs the command of ``sys.argv`` and exits."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        code = cli.main(standalone_mode=False)
    except BrokerbenchError as error:
        print(f"brokerbench: {error}", file=sys.stderr)
        code = error.exit_code
    except KeyboardInterrupt:
        print("brokerbench: interrupted", file=sys.stderr)
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone (`| head`): nothing is wrong
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.PASS
    except Exception:  # a mistake of ours: never exit with 1, which an uncaught exception would
        traceback.print_exc()
        print("brokerbench: this is a bug of brokerbench; please report it with the lines above", file=sys.stderr)
        code = ExitCode.NO_VERDICT
    sys.exit(int(code or 0))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """First signal: an orderly end. Second: at once; the minder cleans up."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _leave_at_once)
    print("\nbrokerbench: ending: healing faults, taking down (once more to leave at once)", file=sys.stderr)
    raise KeyboardInterrupt


def _leave_at_once(number: int, frame: FrameType | None) -> None:
    os.write(2, b"\nbrokerbench: left at once; the minder removes what is running\n")
    os._exit(int(ExitCode.INTERRUPTED))
