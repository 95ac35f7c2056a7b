"""How a command prints: one JSON document, a table for a terminal, or plain lines for a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from api.client_shapes import ReceiptJson

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def print_json(document: object) -> None:
    """One document on stdout; characters that stdout cannot carry are escaped."""
    readable = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    print(json.dumps(document, ensure_ascii=not readable, indent=2 if sys.stdout.isatty() else None))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """A drawn table on a terminal; elsewhere a line of column names and one a row, parted by tabs."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print("\t".join(_flat(cell) for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(_flat(cell)) for cell in row))
    Console().print(table)


def print_receipt(receipt: ReceiptJson) -> None:
    """A signed receipt of an erasure, and what of it is still to come."""
    print(f"receipt {receipt['body']}\nsignature {receipt['signature']}\npublic key {receipt['public_key']}")
    for where in receipt.get("pending", []):
        complain(_PENDING.get(where, f"something of it is still in: {where}"))


_PENDING = {
    "index": "the index server cannot be reached: it still has vectors of theirs, deleted as soon as it answers",
    "exports": "copies went to others before, the receipt says which: ask their holders to erase there too",
    "backups": "backups made before hold it, sealed; a restore leaves it out: destroy them when their time is over",
}


def complain(line: str) -> None:
    """One line on stderr."""
    print(f"lookalike: {' '.join(line.split())}", file=sys.stderr)


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr when that is a terminal; what it yields is told how many are done, of how many."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _flat(cell: object) -> str:
    if cell is None:
        return "–"
    text = f"{cell:.3f}" if isinstance(cell, float) else str(cell)
    return "".join(c if c.isprintable() else " " for c in text)
