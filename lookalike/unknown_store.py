"""Unknown faces as they are stored: the port of what keeps them, and a collection's rows as of one version."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Protocol

from lookalike.domain import (
    AuditEntry,
    Collection,
)
from lookalike.unknown_groups import Changes, Groups, Unknown


class UnknownsMoved(Exception):
    """Another process changed a collection's unknown faces in between."""


class UnknownStore(Protocol):
    """Rows of unknown faces with their crops, by collection. Thread-safe, and several processes may share one.

    What belongs to a collection goes with it.
    """

    def version(self, collection: Collection) -> int:
        """Grows with every change by any process; 0 at first."""
        ...

    def rows(self, collection: Collection) -> tuple[int, list[Unknown]]:
        """A version, and all rows as they are then or later."""
        ...

    def count(self, collection: Collection) -> int:
        """How many rows there are, without opening any."""
        ...

    def crop(self, collection: Collection, face_id: str) -> bytes | None:
        """A kept face's picture."""
        ...

    def change(self, collection: Collection, changes: Changes, version: int, entry: AuditEntry | None) -> int:
        """Store all changes or none, with an audit entry where somebody asked for them. Returns the new version.

        Crops of faces that no row keeps any more go too.
        Raises: UnknownsMoved unless the version is still this one; CollectionNotFound.
        """
        ...


@dataclass(slots=True)
class Known:
    """A collection's rows as of a version: those in its present space, and others, which no sighting can join."""

    version: int
    groups: Groups
    others: dict[str, Unknown]

    @property
    def rows(self) -> dict[str, Unknown]:
        return {row.id: row for row in self.groups.rows} | self.others

    def without(self, ids: Set[str]) -> Changes:
        """Forget these rows."""
        gone = ids & self.rows.keys()
        if gone:
            self.groups.forget(gone)
        self.others = {id: row for id, row in self.others.items() if id not in gone}
        return Changes(gone=set(gone))

    def replaced(self, row: Unknown) -> Changes:
        """Put a row in the place of the one of its id."""
        self.groups.put(row)
        self.others = {id: row if id == row.id else other for id, other in self.others.items()}
        return Changes(put={row.id: row})
