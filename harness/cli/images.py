"""``brokerbench images``: which image would run for each broker and for the load, and how to make them where no registry answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

from harness.errors import BrokerbenchError, UsageError

if TYPE_CHECKING:
    from harness.containers.images import Image


@click.group(invoke_without_command=True)
@click.pass_context
def images(context: click.Context) -> None:
    """List the image that would run for each broker and for the load, if no registry were asked."""
    if context.invoked_subcommand is not None:
        return
    from harness.containers.engine import engine  # noqa: PLC0415 - as in `build`
    from harness.containers.images import BUILD, OFFICIAL, present, present_load  # noqa: PLC0415 - as in `build`

    engine()  # without one there is nothing to list
    looks: list[tuple[str, Callable[[], Image | None], str]] = [
        (broker, partial(present, broker), f"{image} is pulled if a registry answers; or {BUILD} makes one")
        for broker, image in OFFICIAL.items()
    ]
    looks.append(("load", present_load, f"made by the first run that needs it, or by {BUILD} load"))
    lines = [("for", "image", "version", "digest", "why")]
    problems: list[BrokerbenchError] = []
    for name, look, otherwise in looks:
        try:
            found = look()
        except BrokerbenchError as error:
            problems.append(error)
            lines.append((name, "none", "", "", error.problem))
            continue
        if found is None:
            lines.append((name, "none", "", "", otherwise))
        else:
            digest = found.digest.removeprefix("sha256:")[:12]
            lines.append((name, found.reference, found.version or "unknown", digest, found.source.words))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())
    if problems:
        raise problems[0]


@images.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def build(names: tuple[str, ...]) -> None:
    """Make images of Debian packages: NAMEs of base, redis, rabbitmq, postgres, libraries, load; all without any.

    What is there already is left as it is. Where the official images can be had, only the load's is needed.
    """
    from harness.containers.building import PARENTS, reference  # noqa: PLC0415 - the SDK takes 0.1 s to import
    from harness.containers.images import make_all  # noqa: PLC0415 - as above

    for name in names:
        if name not in PARENTS:
            raise UsageError(f"there is no image {name!r}", expected=f"one of {', '.join(PARENTS)}")
    started = time.monotonic()
    wanted = names or tuple(PARENTS)
    make_all(wanted, _say)
    for name in wanted:
        click.echo(f"{name}: {reference(name)}")
    click.echo(f"done in {time.monotonic() - started:.1f} s", err=True)


def _say(line: str) -> None:
    """Tells how a build goes, on stderr."""
    click.echo(line, err=True)
