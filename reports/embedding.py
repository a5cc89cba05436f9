"""A chart's drawing as part of a page: inline SVG, or PNG where that would be too long, and the same picture as a file of its own.

matplotlib is imported when something is drawn, never before.

Neighbours: ``charts`` draw, ``html`` asks for the pictures and puts them on the page with their words and tables.
"""

from __future__ import annotations

import base64
import io
import re
import textwrap
import warnings
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reports.escape import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from reports.charts import Drawing

MAX_SVG_BYTES = 250_000
PNG_DPI = 150
_AUTOMATIC = re.compile(r"[A-Za-z0-9.]+_\d+")  # matplotlib's own names of groups: axes_1, line2d_17
_ID = re.compile(r'\sid="([^"]*)"')
_REFERENCE = re.compile(r'url\(#([^)"]+)\)|(?:xlink:)?href="#([^"]+)"')


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A drawing as a page holds it, and as a file.

    Args:
        svg: of one ``<svg>`` element, safe to put into HTML as it is; "" where it is too long.
        uri: ``data:image/png;base64,…`` in its place; "" where there is the SVG.
        png: the file ``charts/<name>.png``: under its title, transparent, with an ink that can be read on white and on black.
        width_px, height_px: at which it is drawn.
    """

    svg: str
    uri: str
    png: bytes
    width_px: int
    height_px: int


def picture(drawing: Drawing, prefix: str) -> Picture:
    """Returns a drawing as a page holds it.

    Args:
        prefix: of the ids in the SVG; no two pictures of a page have the same.
    """
    drawn, raw = _drawn(drawing.figure)
    svg = inline(raw, prefix, drawing.alt)
    fits = len(svg.encode()) <= MAX_SVG_BYTES
    width_in, height_in = drawing.figure.get_size_inches()
    return Picture(
        svg=svg if fits else "",
        uri="" if fits else "data:image/png;base64," + base64.b64encode(_png(drawn)).decode(),
        png=_png(_titled(drawn, drawing.title)),
        width_px=round(width_in * 100),
        height_px=round(height_in * 100),
    )


def _drawn(figure: Figure) -> tuple[Image, str]:
    """Returns a figure as picture and as SVG. Laid out once and drawn twice: ``savefig`` would draw each of them twice."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - only when something is drawn
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415 - as above
    from PIL import Image  # noqa: PLC0415 - matplotlib's own

    from reports.charts import _style  # noqa: PLC0415 - imports matplotlib

    svg = io.StringIO()
    with _style.styled(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")  # the browser has other fonts
        figure.dpi = PNG_DPI
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        drawn = Image.fromarray(np.asarray(canvas.buffer_rgba()))  # type: ignore[no-untyped-call]
        figure.set_layout_engine("none")
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None})  # type: ignore[no-untyped-call]
    return drawn, svg.getvalue()


def _titled(drawn: Image, title: str) -> Image:
    """Returns a picture under its title, which on the page stands beside it."""
    from matplotlib import get_data_path  # noqa: PLC0415 - as above
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415 - as above

    from reports.charts._style import INK  # noqa: PLC0415 - imports matplotlib

    font = ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf", 0.13 * PNG_DPI)
    lines = textwrap.wrap(printable(title), max(20, int(drawn.width / font.getlength("n"))))
    line_px, pad_px = round(0.19 * PNG_DPI), round(0.06 * PNG_DPI)
    top_px = line_px * len(lines) + pad_px
    made = Image.new("RGBA", (drawn.width, drawn.height + top_px))
    made.paste(drawn, (0, top_px))
    for number, line in enumerate(lines):
        ImageDraw.Draw(made).text((pad_px, pad_px + number * line_px), line, INK, font)
    return made


def _png(drawn: Image) -> bytes:
    written = io.BytesIO()
    drawn.save(written, "PNG")
    return written.getvalue()


def inline(svg: str, prefix: str, alt: str) -> str:
    """Returns matplotlib's SVG as an element that may stand in a page beside others.

    The ink becomes the colour of the text around it; the element's style sheet, which would hold for the whole page, and everything that
    names an address go. An id that something refers to gets the prefix; another becomes ``data-gid``, and matplotlib's own go.
    """
    from reports.charts._style import INK  # noqa: PLC0415 - imports matplotlib

    svg = printable(svg[svg.index("<svg") :].rstrip())
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg, count=2)
    svg = re.sub(re.escape(INK), "currentColor", svg, flags=re.IGNORECASE)
    used = {name for pair in _REFERENCE.findall(svg) for name in pair if name}
    svg = _ID.sub(lambda found: _renamed(found[1], prefix, used), svg)
    svg = _REFERENCE.sub(lambda found: _pointed(found, prefix), svg)
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(printable(alt))}" ', 1)


def _renamed(name: str, prefix: str, used: set[str]) -> str:
    if name in used:
        return f' id="{prefix}-{name}"'
    return "" if _AUTOMATIC.fullmatch(name) else f' data-gid="{name}"'


def _pointed(found: re.Match[str], prefix: str) -> str:
    return f"url(#{prefix}-{found[1]})" if found[1] else f'href="#{prefix}-{found[2]}"'
