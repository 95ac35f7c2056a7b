"""Unknown faces, sealed under their collection's key, as settings that go with the collection.

In the clear stand the collection's random id, random ids of rows and kept faces, and how often something changed: not
when somebody was seen, nor how often. A row and a crop are bound to their ids, so that none can take another's place.
The key is the collection's: deleting a row overwrites it here, and a copy made before opens until the collection is
rotated, which is due from then on. They are left out of backups, whose ledger tells nothing of them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from lookalike.domain import AuditEntry, Box, Collection, Floats, Quality
from lookalike.errors import CollectionNotFound, TamperedData
from lookalike.ports import CollectionRow, RowReader, Rows, RowWriter, collection_setting
from lookalike.unknown_groups import Changes, KeptFace, Unknown
from lookalike.unknown_store import UnknownsMoved
from security.audit import SealedAuditLog
from security.collection_keys import mark_due
from security.erasure import scrub
from security.keys import KeyRing
from security.sealed_codec import canonical
from security.sealed_rows import RowSealer

ROWS, CROPS, _VERSION = "unknowns/", "unknown-crops/", "unknowns-version"
"""Begin, within a collection's own settings, the names of those that hold a row or a crop; its id follows."""

UNKNOWN, UNKNOWN_CROP = "unknown", "unknown crop"
"""What they are sealed as."""

_LENGTH_BYTES = 4
_VERSION_BYTES = 8


class SealedUnknowns:
    """The port UnknownStore."""

    def __init__(
        self, rows: Rows, keyring: KeyRing, audit: SealedAuditLog, clock: Callable[[], float] = time.time
    ) -> None:
        self._rows = rows
        self._audit = audit
        self._clock = clock
        self._sealer = RowSealer(keyring)

    def version(self, collection: Collection) -> int:
        return _version(self._rows.read(), collection)

    def rows(self, collection: Collection) -> tuple[int, list[Unknown]]:
        reader = self._rows.read()
        version = _version(reader, collection)
        prefix = collection_setting(collection.id, ROWS)
        held = reader.settings(prefix)
        return version, [self._open(collection, name.removeprefix(prefix), held[name]) for name in held]

    def count(self, collection: Collection) -> int:
        return self._rows.read().count_settings(collection_setting(collection.id, ROWS))

    def crop(self, collection: Collection, face_id: str) -> bytes | None:
        payload = self._rows.read().get_setting(collection_setting(collection.id, CROPS + face_id))
        return None if payload is None else self._sealer.open_of(collection, UNKNOWN_CROP, payload, face_id)

    def change(self, collection: Collection, changes: Changes, version: int, entry: AuditEntry | None) -> int:
        note = self._audit.prepare(entry) if entry is not None else None
        put = {id: encode(row) for id, row in changes.put.items()}

        def write(rows: RowWriter) -> int:
            owner = self._require(rows, collection, adding=entry is None and bool(put))
            if _version(rows, collection) != version:
                raise UnknownsMoved
            kept = {face.id for row in changes.put.values() for face in row.faces}
            dropped = self._faces_of(rows, collection, [*changes.put, *changes.gone]) - kept
            if dropped or changes.gone:
                mark_due(rows, collection.id, self._clock())
            for face_id in dropped:
                rows.delete_setting(collection_setting(collection.id, CROPS + face_id))
            for id in changes.gone:
                rows.delete_setting(collection_setting(collection.id, ROWS + id))
            for kind, type, plain in ((ROWS, UNKNOWN, put), (CROPS, UNKNOWN_CROP, changes.crops)):
                for id, data in plain.items():
                    sealed = self._sealer.seal_of(owner, type, data, id)
                    rows.put_setting(collection_setting(collection.id, kind + id), sealed)
            if put or changes.gone:
                counted = (version + 1).to_bytes(_VERSION_BYTES, "big")
                rows.put_setting(collection_setting(collection.id, _VERSION), counted)
            if note is not None:
                note(rows)
            return version + 1 if put or changes.gone else version

        found = self._rows.write(write)
        if entry is not None:
            scrub(self._rows)
        return found

    def _faces_of(self, rows: RowReader, collection: Collection, ids: Iterable[str]) -> set[str]:
        """The faces that these rows keep before the change."""
        found = set()
        for id in ids:
            payload = rows.get_setting(collection_setting(collection.id, ROWS + id))
            if payload is not None:
                found |= {face.id for face in self._open(collection, id, payload).faces}
        return found

    def _require(self, rows: RowReader, collection: Collection, *, adding: bool) -> CollectionRow:
        """Raises: CollectionNotFound if it is gone, or keeps unknown faces no more while some are being added."""
        row = rows.collection_by_lookup(self._sealer.collection_lookup(collection.name))
        if row is None or row.id != collection.id:
            raise CollectionNotFound("there is no such collection")
        if adding and self._sealer.open_collection(row).keep_unknown_days is None:
            raise CollectionNotFound("the collection keeps no unknown faces any more")
        return row

    def _open(self, collection: Collection, id: str, payload: bytes) -> Unknown:
        return decode(id, self._sealer.open_of(collection, UNKNOWN, payload, id))


def of_unknowns(setting: str) -> bool:
    """Whether a setting of this name is part of what is kept here."""
    return any(f"/{kind}" in setting for kind in (ROWS, CROPS, _VERSION))


def _version(rows: RowReader, collection: Collection) -> int:
    held = rows.get_setting(collection_setting(collection.id, _VERSION))
    return 0 if held is None else int.from_bytes(held, "big")


def encode(row: Unknown) -> bytes:
    """Length of the facts (4, little-endian), the facts as JSON, then the total and each face's vector, float32."""
    facts = canonical(
        {
            "v": 1,
            "space": row.space,
            "dimension": len(row.total),
            "seen": [row.seen, row.visits, row.first_seen, row.last_seen],
            "dismissed": row.dismissed,
            "faces": [_facts(face) for face in row.faces],
        }
    )
    vectors = np.stack([row.total, *(face.vector for face in row.faces)]).astype("<f4")
    return len(facts).to_bytes(_LENGTH_BYTES, "little") + facts + vectors.tobytes()


def decode(id: str, data: bytes) -> Unknown:
    """The row. Raises: TamperedData for a layout that this version does not write."""
    end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    held = json.loads(data[_LENGTH_BYTES:end])
    if held["v"] != 1:
        raise TamperedData("an unknown face has another layout than this version writes")
    vectors = np.frombuffer(data, "<f4", offset=end).reshape(-1, held["dimension"])
    faces = tuple(_face(facts, vector) for facts, vector in zip(held["faces"], vectors[1:], strict=True))
    seen, visits, first, last = held["seen"]
    return Unknown(id, held["space"], vectors[0], seen, visits, first, last, faces, held["dismissed"])


def _facts(face: KeptFace) -> dict[str, object]:
    box, quality = face.box, face.quality
    return {
        "id": face.id,
        "box": [float(side) for side in (box.x, box.y, box.width, box.height)],
        "score": float(quality.score),
        "reasons": list(quality.reasons),
        "measures": {name: float(value) for name, value in quality.measures.items()},
        "at": face.at,
        "crop": face.has_crop,
    }


def _face(held: Any, vector: Floats) -> KeptFace:
    quality = Quality(held["score"], tuple(held["reasons"]), held["measures"])
    return KeptFace(held["id"], Box(*held["box"]), quality, vector, held["at"], held["crop"])
