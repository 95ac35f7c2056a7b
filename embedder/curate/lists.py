"""Writes findings as CSV and JSON, and reads back the CSV that somebody has edited.

The files lie in a folder that only their owner can read: names of folders are often names of people.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embedder.curate.curation import Curation
from embedder.curate.findings import KEEP, LOOK, MOVE, REMOVE
from lookalike.errors import InvalidInput

COLUMNS = ("path", "fault", "action", "other", "confidence", "reason")
ALLOWED = "keep, remove, look, or move and a folder"

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Decision:
    """A row that somebody may have edited. path: of a picture, or of a whole folder; line: where it stands."""

    path: str
    action: str
    line: int


def make_private(folder: Path) -> None:
    """A folder that only its owner can read; one that is there is left as it is."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def write_private(path: Path, text: str) -> None:
    """The whole file or none of it, readable by its owner only."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        file.write(text)
    partial.replace(path)


def write_lists(found: Curation, out_dir: Path) -> list[Path]:
    """findings.csv and findings.json."""
    rows = [finding.to_dict() for finding in found.findings]
    table, document = out_dir / "findings.csv", out_dir / "findings.json"
    write_private(table, _as_csv(rows))
    write_private(document, json.dumps(summary(found) | {"findings": rows}, indent=1) + "\n")
    return [table, document]


def summary(found: Curation) -> dict[str, object]:
    """What was looked at and how much was found, as JSON has it."""
    return {
        "set": str(found.root),
        "against": None if found.against is None else str(found.against),
        "pictures": found.pictures,
        "folders": found.folders,
        "counts": found.counts(),
        "notes": list(found.notes),
    }


def _as_csv(rows: Sequence[dict[str, object]]) -> str:
    lines: list[str] = []

    class _Lines:
        def write(self, line: str) -> None:
            lines.append(line)

    writer = csv.DictWriter(_Lines(), COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        # A spreadsheet would run what starts like a formula; a path that does is written as ./path.
        writer.writerow({k: f"./{v}" if isinstance(v, str) and v.startswith(_FORMULA) else v for k, v in row.items()})
    return "".join(lines)


def read_decisions(path: Path) -> list[Decision]:
    """The rows of an edited findings.csv. Raises: InvalidInput, with the line, for what cannot be followed."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.DictReader(file)
            if not {"path", "action"} <= set(reader.fieldnames or ()):
                raise InvalidInput("the list needs the columns path and action, as findings.csv has them")
            return [_decision(row, reader.line_num) for row in reader if (row["path"] or "").strip()]
    except FileNotFoundError as error:
        raise InvalidInput("there is no findings.csv yet: curate without --apply first, then read the list") from error
    except csv.Error as error:
        raise InvalidInput("the list of findings is not CSV") from error


def _decision(row: dict[str, str], line: int) -> Decision:
    action = " ".join((row["action"] or LOOK).split())
    verb, _, target = action.partition(" ")
    verb = verb.lower()
    if not (verb in (KEEP, REMOVE, LOOK) and not target) and not (f"{verb} " == MOVE and target):
        raise InvalidInput(f"line {line} of the list: the action may be {ALLOWED}")
    return Decision(row["path"].removeprefix("./"), f"{MOVE}{target}" if target else verb, line)
