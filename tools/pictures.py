"""Pictures of the README from a run: two of its charts, and its page as a browser shows it; each with its words."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from harness.store import RunFolder
from reports import story
from reports.charts import Drawing, charts
from reports.embedding import picture
from reports.view import view

WIDTH_PX, HEIGHT_PX = 1280, 1180


def pictures(page: Path, into: Path, beside: Path) -> str:
    """Writes the pictures of a run; returns them as Markdown, each with its alternative text.

    Args:
        page: the run's ``report.html``. into: folder of the pictures. beside: the file that shows them.
    """
    into.mkdir(exist_ok=True)
    run = view(RunFolder.open(page.parent))
    worst = story.worst_first(list(run.record.cases))[0]
    case = next(each for each in run.cases if each.record.slug == worst.slug)
    drawn: dict[str, Drawing | None] = {}
    for chart in charts():
        for draw, of in ((chart.of_case, case), (chart.of_cases, run.cases)):
            drawing = draw(of) if draw else None
            if drawing:
                drawn[drawing.name.removesuffix(f"-{worst.slug}")] = drawing
    return "\n\n".join(_written(page, drawn, into, beside))


def _written(page: Path, drawn: dict[str, Drawing | None], into: Path, beside: Path) -> Iterator[str]:
    def shown(name: str, alt: str) -> str:
        words = " ".join(alt.split()).replace("[", "(").replace("]", ")")
        return f"![{words}]({(into / name).relative_to(beside.parent).as_posix()})"

    for name in ("timeline", "percentiles"):
        drawing = drawn[name]
        assert drawing is not None
        (into / f"{name}.png").write_bytes(picture(drawing, "f").png)
        yield shown(f"{name}.png", f"{drawing.title}. {drawing.alt}")
    _photographed(page, into / "page.png")
    yield shown(
        "page.png",
        "The top of the page report.html: the verdict in plain words, a line for each case with its sign, what was expected beside what"
        " was seen, and the table of cases.",
    )


def _photographed(page: Path, file: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("pictures need a browser\n  remedy: apt install chromium")
    size = f"--window-size={WIDTH_PX},{HEIGHT_PX}"
    command = [browser, "--headless", "--no-sandbox", "--hide-scrollbars", size, f"--screenshot={file}", page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
