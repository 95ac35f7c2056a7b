"""What index servers must still be told of erasures, for indexes that no roster of this process follows.

A debt is kept until it is paid or the process ends; then the next roster that loads the index, or the next sweep, finds
what is in it and on no record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from lookalike.errors import IndexUnavailable
from lookalike.ports import IndexServers


class Debts:
    """Owed by one process; paid under the lock of whoever follows the changes. servers: None owes nothing ever."""

    def __init__(self, servers: IndexServers | None) -> None:
        self._servers = servers
        self._forgotten: set[str] = set()
        self._dropped: dict[str, set[int]] = {}
        self._why = ""

    def forget(self, collection_id: str) -> None:
        """A collection was deleted."""
        if self._servers is not None:
            self._forgotten.add(collection_id)
            self._dropped.pop(collection_id, None)

    def drop(self, collection_id: str, labels: Iterable[int]) -> None:
        """Samples of a collection were erased."""
        if self._servers is not None:
            self._dropped.setdefault(collection_id, set()).update(labels)

    def pay(self, loaded: Callable[[str], Sequence[str]]) -> None:
        """Tell the servers, as far as they listen. loaded: a collection's generations that follow by themselves."""
        if self._servers is None:
            return
        try:
            for collection_id in list(self._forgotten):
                self._servers.forget(collection_id)
                self._forgotten.discard(collection_id)
            for collection_id, labels in list(self._dropped.items()):
                self._servers.drop(collection_id, sorted(labels), loaded(collection_id))
                del self._dropped[collection_id]
        except IndexUnavailable as error:
            self._why = str(error)

    def of(self, collection_id: str) -> bool:
        """Whether anything is owed for a collection."""
        return collection_id in self._forgotten or collection_id in self._dropped

    @property
    def total(self) -> int:
        """How many deleted collections and erased samples are owed."""
        return len(self._forgotten) + sum(len(labels) for labels in list(self._dropped.values()))

    def require_paid(self) -> None:
        """Raises: IndexUnavailable while anything is owed."""
        if self._forgotten or self._dropped:
            raise IndexUnavailable(self._why or "Elasticsearch was not told of an erasure yet")
