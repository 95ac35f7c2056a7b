"""The port of what keeps identifications that wait for two people."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from lookalike.domain import AuditEntry, Collection
from lookalike.four_eyes import Pending


class PendingStore(Protocol):
    """Pending identifications with the face that was seen, by collection. Thread-safe; processes may share one.

    What belongs to a collection goes with it.
    """

    def put(
        self, collection: Collection, rows: Sequence[Pending], faces: Mapping[str, bytes], entry: AuditEntry
    ) -> None:
        """Keep these, with their faces (JPEG) by id.

        Raises: CollectionNotFound if it asks for two people no more; Conflict if somebody in it was erased meanwhile.
        """
        ...

    def rows(self, collection: Collection) -> list[Pending]:
        """All of a collection, in no order."""
        ...

    def one(self, collection: Collection, id: str) -> Pending | None: ...

    def face(self, collection: Collection, id: str) -> bytes | None:
        """The face that was seen, until it is decided whose it is."""
        ...

    def change(
        self, collection: Collection, id: str, change: Callable[[Pending], Pending], entry: AuditEntry
    ) -> Pending | None:
        """Change one in a transaction, with its audit entry; a decided one loses its face. None if it is gone.

        Raises: what `change` raises, and then nothing is changed.
        """
        ...

    def drop(self, collection: Collection, ids: Sequence[str], entry: AuditEntry | None) -> None:
        """Delete these with their faces."""
        ...
