"""GitHub's Markdown made readable for Python-Markdown: lists and tables under a paragraph, lists in lists. Pure."""

from __future__ import annotations

import re

_ITEM = re.compile(r"^( *)([-*]|\d+\.) ")
_INDENT = 4
"""Python-Markdown takes a list for the child of another from so many spaces on."""


def for_python_markdown(markdown: str) -> str:
    """The same text with the empty lines and the indents that Python-Markdown asks for. Code is left as it is."""
    done: list[str] = []
    fenced = False
    for line in markdown.splitlines():
        before = done[-1] if done else ""
        fence = line.lstrip().startswith("```")
        item = None if fenced or fence else _ITEM.match(line)
        if item and 0 < len(item[1]) < _INDENT:
            line = " " * _INDENT + line.lstrip()
        begins_list = item is not None and not item[1] and _is_prose(before)
        begins_table = not fenced and line.startswith("|") and before.strip() and not before.startswith("|")
        if begins_list or begins_table:
            done.append("")
        fenced ^= fence
        done.append(line)
    return "\n".join(done) + "\n"


def _is_prose(line: str) -> bool:
    return bool(line.strip()) and not line.startswith((" ", "|", "#", "```")) and not _ITEM.match(line)
