"""The pages, and what stands in their fenced blocks."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = sorted([README, ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """Returns the texts of a page's blocks of one language."""
    return [text for found, text in _FENCE.findall(page.read_text()) if found == language]


def without_blocks(page: Path) -> str:
    """Returns a page's text outside of fenced blocks."""
    return _FENCE.sub("", page.read_text())


def commands(page: Path) -> list[str]:
    """Returns every command line that a page tells its reader to type."""
    return [line for block in blocks(page, "sh") for line in block.splitlines() if line.strip()]
