"""What is remembered of a collection's retention looks, sealed under its key, as a setting that goes with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict

from lookalike.domain import Collection
from lookalike.errors import CollectionNotFound
from lookalike.ports import RowReader, Rows, RowWriter, collection_setting
from lookalike.retention import RetentionState
from security.holds import ALL, held_keys
from security.keys import KeyRing
from security.sealed_codec import canonical
from security.sealed_rows import RowSealer

RETENTION = "retention"
"""The name of the setting, and what it is sealed as."""


class SealedRetention:
    """The port RetentionStore."""

    def __init__(self, rows: Rows, keyring: KeyRing) -> None:
        self._rows = rows
        self._sealer = RowSealer(keyring)

    def state(self, collection: Collection) -> RetentionState:
        return self._read(self._rows.read(), collection)

    def change(self, collection: Collection, change: Callable[[RetentionState], RetentionState]) -> RetentionState:
        def write(rows: RowWriter) -> RetentionState:
            row = rows.collection_by_lookup(self._sealer.collection_lookup(collection.name))
            if row is None or row.id != collection.id:
                raise CollectionNotFound("there is no such collection")
            changed = change(self._read(rows, collection))
            sealed = self._sealer.seal_of(row, RETENTION, canonical(asdict(changed)))
            rows.put_setting(collection_setting(collection.id, RETENTION), sealed)
            return changed

        return self._rows.write(write)

    def held(self, collection: Collection) -> frozenset[str] | None:
        keys = held_keys(self._rows.read(), collection.id)
        return None if ALL in keys else frozenset(keys)

    def _read(self, rows: RowReader, collection: Collection) -> RetentionState:
        sealed = rows.get_setting(collection_setting(collection.id, RETENTION))
        if sealed is None:
            return RetentionState()
        return RetentionState(**json.loads(self._sealer.open_of(collection, RETENTION, sealed)))
