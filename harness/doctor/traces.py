"""The state folder, living runs, and what ended runs left."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.doctor.finding import Check, Seen, missing, ok, worse
from harness.sweeping import kept, state_folder, unfinished


def checks() -> Iterator[Check]:
    """Yields the checks of this module."""
    yield Check(id="state", group="Runs", what="state folder", look=_state, required=True)
    yield Check(id="leftovers", group="Runs", what="other runs", look=_leftovers)


def _state() -> Seen:
    folder = state_folder()
    return state(folder, os.access(nearest(folder), os.W_OK | os.X_OK))


def state(folder: Path, writable: bool) -> Seen:
    """Judges the place of the journals."""
    if writable:
        return ok(str(folder), "journals of living runs are kept here, so that nothing is left behind")
    return missing(
        f"{folder} cannot be written",
        "no run can begin without a journal of what it starts",
        "set BROKERBENCH_STATE to a folder that you may write",
    )


def nearest(path: Path) -> Path:
    """Returns the path itself, or the nearest above it that exists."""
    return next(place for place in (path, *path.absolute().parents) if os.access(place, os.F_OK))


def _leftovers() -> Seen:
    ended, living = unfinished()
    return leftovers(len(ended), len(living), kept())


def leftovers(ended: int, living: int, kept: Sequence[str] = ()) -> Seen:
    """Judges what other runs mean to the next one: ``ended`` left something behind, ``living`` use this machine now, and so do setups
    that ``brokerbench up`` ``kept``."""
    parts = [f"{ended} ended {_runs(ended)} left something"] if ended else []
    parts += [f"{living} {_runs(living)} on now"] if living else []
    parts += [f"kept by up: {', '.join(kept)}"] if kept else []
    if ended:
        return worse("; ".join(parts), "servers or folders of theirs may still be here", "brokerbench down")
    if living:
        return worse(
            "; ".join(parts), "runs at the same time disturb each other's figures", "wait until no other is on"
        )
    if kept:
        return worse(
            parts[0], "a broker beside a run disturbs its figures", "brokerbench down, when you no longer need it"
        )
    return ok("none", "no run is on, and none has left anything behind")


def _runs(count: int) -> str:
    return "run" if count == 1 else "runs"
