"""A collection's keys as values: their versions, what stands of them in its row, and what is on record of them.

In the row stand all versions, wrapped as one: for each its number (4 bytes, big-endian) and its key, oldest first.
There are two while the collection is being rotated, and one otherwise. On record, sealed beside the row, is the least
version that may stand there, so that a row of the time before a rotation is refused when it is put back.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lookalike.errors import TamperedData
from lookalike.ports import RowReader, RowWriter, collection_setting
from security.key_wrap import KeyWrapper
from security.sealed_codec import canonical
from security.secret_key import KEY_BYTES, SecretKey

HISTORY = "key"
"""The name of the setting that holds a collection's KeyHistory."""

DUE = "keys.due/"
"""Begins the names of the settings that say since when a collection has to be rotated."""

BEGUN = "keys.begun/"
"""Begins the names of the settings that say since when a rotation is unfinished."""

_VERSION_BYTES = 4
_AT = struct.Struct(">d")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a collection's key. number: from 1."""

    number: int
    key: SecretKey


@dataclass(frozen=True, slots=True)
class CollectionKeys:
    """A collection's keys, oldest first; the newest version seals, all of them open."""

    collection_id: str
    versions: tuple[Version, ...]
    by_id: Mapping[bytes, SecretKey]
    wrappers: Mapping[bytes, KeyWrapper]

    @property
    def newest(self) -> SecretKey:
        return self.versions[-1].key

    @property
    def order(self) -> tuple[int, int]:
        """Grows with every step of every rotation: the newest and the oldest version's number."""
        return self.versions[-1].number, self.versions[0].number


def keys_of(collection_id: str, versions: Sequence[Version]) -> CollectionKeys:
    """The keys of these versions, of which there is at least one."""
    return CollectionKeys(
        collection_id,
        tuple(versions),
        {version.key.id: version.key for version in versions},
        {version.key.id: KeyWrapper(version.key) for version in versions},
    )


def encode_versions(versions: Sequence[Version]) -> bytes:
    """As the row holds them, before they are wrapped."""
    return b"".join(v.number.to_bytes(_VERSION_BYTES, "big") + v.key.material for v in versions)


def decode_versions(plain: bytes) -> list[Version]:
    """Raises: TamperedData unless there are versions, in ascending order."""
    width = _VERSION_BYTES + KEY_BYTES
    if not plain or len(plain) % width:
        raise TamperedData("a collection's key has another layout than this release writes")
    found = [
        Version(
            int.from_bytes(plain[at : at + _VERSION_BYTES], "big"), SecretKey(plain[at + _VERSION_BYTES : at + width])
        )
        for at in range(0, len(plain), width)
    ]
    numbers = [version.number for version in found]
    if numbers[0] < 1 or numbers != sorted(set(numbers)):
        raise TamperedData("the versions of a collection's key are not in order")
    return found


# -------------------------------------------------------------------------------------- what is on record


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """minimum: no version below it may stand in the row; made: version → seconds since 1970, but for version 1.

    by: the request that the newest version was made for, so that a job which begins again makes no second one.
    """

    minimum: int = 1
    made: Mapping[int, float] = field(default_factory=dict)
    by: str = ""

    def encode(self) -> bytes:
        made = {str(number): at for number, at in self.made.items()}
        return canonical({"minimum": self.minimum, "made": made, "by": self.by})

    @classmethod
    def decode(cls, data: bytes) -> KeyHistory:
        held = json.loads(data)
        return cls(held["minimum"], {int(number): at for number, at in held["made"].items()}, held.get("by", ""))


def history_setting(collection_id: str) -> str:
    """The name of the setting that holds it; it goes with its collection."""
    return collection_setting(collection_id, HISTORY)


# ------------------------------------------------------------------------------------ what has to be rotated


def mark_due(rows: RowWriter, collection_id: str, at: float) -> None:
    """Have the collection's key rotated: something was erased that copies made before can open with it."""
    if rows.get_setting(DUE + collection_id) is None:
        rows.put_setting(DUE + collection_id, _AT.pack(at))


def note_begun(rows: RowWriter, collection_id: str, at: float) -> None:
    """What was due until now is being seen to; `note_finished` follows."""
    rows.delete_setting(DUE + collection_id)
    rows.put_setting(BEGUN + collection_id, _AT.pack(at))


def note_finished(rows: RowWriter, collection_id: str) -> None:
    """What was due when the rotation began is done; what became due since stays."""
    rows.delete_setting(BEGUN + collection_id)


def forget_due(rows: RowWriter, collection_id: str) -> None:
    """The collection is gone, and all of its keys with it."""
    rows.delete_setting(DUE + collection_id)
    rows.delete_setting(BEGUN + collection_id)


def since(rows: RowReader, kind: str) -> dict[str, float]:
    """Collection id → since when. kind: DUE or BEGUN; seconds since 1970."""
    return {name.removeprefix(kind): _AT.unpack(at)[0] for name, at in rows.settings(kind).items()}
