"""The command line: the only place that prints results and chooses exit codes.

Results go to stdout, progress to stderr. Every error that a user can cause ends in one message and the exit code of
``harness.errors.ExitCode``, never in a traceback.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from harness.errors import BrokerbenchError, ExitCode
from harness.redaction import hide

ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def main() -> NoReturn:
    """Runs the command of ``sys.argv`` and exits."""
    _open_what_is_closed()
    for number in ENDING:
        signal.signal(number, _leave_before_start)
    from harness.cli.commands import cli  # noqa: PLC0415 - it takes 0.6 s, in which a Ctrl-C must not end in a traceback

    for number in ENDING:
        signal.signal(number, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a console that knows no ✓ must not cost the verdict
    try:
        code = cli.main(standalone_mode=False)
    except BrokerbenchError as error:
        _tell(f"brokerbench: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        _tell("brokerbench: interrupted")
        code = ExitCode.INTERRUPTED
    except Exception:  # a mistake of ours: never exit with 1, which an uncaught exception would
        _tell(
            f"{hide(traceback.format_exc())}\nbrokerbench: this is a bug of brokerbench; please report it with the lines above"
        )
        code = ExitCode.NO_VERDICT
    sys.exit(int(code or 0))


def _open_what_is_closed() -> None:
    """Gives stdin, stdout and stderr that were closed (`>&-`) to /dev/null; else the next file that is opened takes their number."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            null = Path(os.devnull).open("r" if name == "stdin" else "w", encoding="utf-8")  # noqa: SIM115 - until we end
            setattr(sys, name, null)


def _tell(text: str) -> None:
    from reports.escape import printable  # noqa: PLC0415 - as in `main`

    with suppress(OSError, ValueError):  # a closed stderr changes nothing about how the command ended
        print(printable(text), file=sys.stderr, flush=True)  # it may quote what others wrote


def _leave_before_start(number: int, frame: FrameType | None) -> None:
    """A signal before anything was begun: there is nothing to end."""
    with suppress(OSError):
        os.write(2, b"\nbrokerbench: interrupted\n")
    os._exit(int(ExitCode.INTERRUPTED))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """First signal: an orderly end. Second: at once; the minder cleans up."""
    for each in ENDING:
        signal.signal(each, _leave_at_once)
    if not _of_live("say_ending", bool)():
        with suppress(OSError):  # its reader may have gone with the same Ctrl-C (`2>&1 | tee`)
            os.write(2, b"\nbrokerbench: ending: healing faults, taking down (once more to leave at once)\n")
    raise KeyboardInterrupt


def _of_live(name: str, otherwise: Any) -> Any:
    """Returns something of the live view's module, which nobody has imported where nothing is shown; a signal may come while it is imported."""
    return getattr(sys.modules.get("harness.cli.live"), name, otherwise)


def _leave_at_once(number: int, frame: FrameType | None) -> None:
    with suppress(OSError):
        cursor = _of_live("SHOW_CURSOR", b"") if os.isatty(2) else b""
        os.write(2, cursor + b"\nbrokerbench: left at once; the minder removes what is running\n")
    os._exit(int(ExitCode.INTERRUPTED))
