"""The code of a document: its fenced blocks in order, and which of them say `<!-- run -->` on the line before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"(?P<run>^<!-- run -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """language: "" for a shell. marked: it is run by the tests."""

    language: str
    code: str
    marked: bool


def blocks(document: Path) -> list[Block]:
    """All fenced blocks that begin at the start of a line."""
    found = _BLOCK.finditer(document.read_text("utf-8"))
    return [Block(match["language"], match["code"], match["run"] is not None) for match in found]


def marked(document: Path, language: str = "") -> list[str]:
    """The code that is run, of one language."""
    return [block.code for block in blocks(document) if block.marked and block.language == language]
