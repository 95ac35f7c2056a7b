"""Reads who belongs to which cohort: a CSV file with a column `person` or `picture`, then one for each division.

    person,sex,age
    Ann Example,f,30-44

A picture is named PERSON/FILE. An empty cell, like a person whom the file lacks, belongs to no cohort.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedder.evaluate.protocol import Picture
from lookalike.errors import InvalidInput

MOST_COHORTS = 20
UNKNOWN = ""


@dataclass(frozen=True, slots=True)
class Cohorts:
    """columns: name of a column → key → cohort. by: what the keys are, "person" or "picture" (PERSON/FILE)."""

    by: str
    columns: Mapping[str, Mapping[str, str]]

    def of(self, column: str, pictures: Sequence[Picture]) -> list[str]:
        """Each picture's cohort, `UNKNOWN` where the file does not say."""
        known = self.columns[column]
        keys = [p.person if self.by == "person" else f"{p.person}/{p.path.name}" for p in pictures]
        return [known.get(key, UNKNOWN) for key in keys]


def read_cohorts(path: Path) -> Cohorts:
    """Every column but the first divides people, or pictures, into cohorts.

    Raises: InvalidInput, naming the line but nobody.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file, strict=True) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"the cohorts file cannot be read as CSV in UTF-8: {type(error).__name__}") from error
    header = [name.strip() for name in rows[0]] if rows else []
    if len(header) < 2 or header[0] not in ("person", "picture") or len(set(header)) < len(header) or "" in header:
        raise InvalidInput("the cohorts file needs a header: person or picture, then a name for each other column")
    columns: dict[str, dict[str, str]] = {name: {} for name in header[1:]}
    for number, row in enumerate(rows[1:], 2):
        key, *cells = (cell.strip() for cell in row)
        if len(cells) != len(columns) or not key:
            raise InvalidInput(f"row {number} of the cohorts file has {len(row)} cells; the header has {len(header)}")
        for known, cell in zip(columns.values(), cells, strict=True):
            if known.setdefault(key, cell) != cell:
                raise InvalidInput(f"row {number} of the cohorts file contradicts an earlier one")
    for name, known in columns.items():
        found = len(set(known.values()) - {UNKNOWN})
        if not 2 <= found <= MOST_COHORTS:
            raise InvalidInput(f"the column {name!r} has {found} cohorts; from 2 to {MOST_COHORTS} can be compared")
    return Cohorts(header[0], columns)
