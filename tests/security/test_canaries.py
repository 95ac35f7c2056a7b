"""What an attacker finds who reads the whole disk: no name, no vector, no picture; after erasure, no key either."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from index.sqlite_rows import SqliteRows
from lookalike.domain import Box, Consent, Grant, Quality, Subject
from lookalike.ports import collection_setting
from lookalike.unknown_groups import Bars, Changes, Groups, Sighting
from security.audit import SealedAuditLog
from security.keys import open_key_ring
from security.rbac import principal_for
from security.sealed_records import SealedRecords
from security.sealed_snapshots import SealedSnapshots
from security.sealed_unknowns import SealedUnknowns
from security.tls import server_context
from security.tokens import ApiKeys
from tests.security.conftest import ENTRY, new_collection, new_sample

NAME, TEAM, REFERENCE, COLLECTION = "Canary Zyxwvut", "team-qwhzrt", "consent-kjvbnx", "collection-plmokn"
CROP = bytes(range(7, 250)) * 3


class Store:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = SqliteRows(folder / "records.db")
        self.keyring = open_key_ring("file:keys/root.key", folder, self.rows)
        self.audit = SealedAuditLog(self.rows, self.keyring)
        self.records = SealedRecords(self.rows, self.keyring, self.audit)
        self.snapshots = SealedSnapshots(folder / "snapshots", self.keyring)

    def disk(self) -> bytes:
        return b"\x00".join(path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file())


@pytest.fixture
def store(tmp_path) -> Iterator[Store]:
    held = Store(tmp_path)
    yield held
    held.rows.close()


def disguises(canary: bytes) -> set[bytes]:
    """The canary as it is, in hex, and in base64 at each of the three offsets at which it may stand."""
    found = {canary, canary.hex().encode(), canary.hex().upper().encode()}
    for offset in range(3):
        encoded = base64.b64encode(b"\x00" * offset + canary)
        found.add(encoded[4 if offset else 0 : -4])
        found.add(base64.urlsafe_b64encode(b"\x00" * offset + canary)[4 if offset else 0 : -4])
    return found


def text_canaries(text: str) -> set[bytes]:
    encodings = [text.encode(e) for e in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le")]
    return {form for data in encodings for form in disguises(data)}


def vector_canaries(vector: np.ndarray) -> set[bytes]:
    """Eight numbers from the middle, in each width and byte order."""
    part = vector[40:48]
    kinds = ("<f4", ">f4", "<f2", ">f2", "<f8", ">f8")
    return {form for kind in kinds for form in disguises(part.astype(kind).tobytes())}


def test_neither_names_nor_vectors_nor_pictures_lie_on_the_disk(store):
    collection = new_collection(COLLECTION)
    store.records.create_collection(collection, ENTRY)
    sample = new_sample(crop=CROP, image=CROP[::-1])
    subject = Subject("", NAME, {"team": TEAM}, Consent("contract", REFERENCE))
    store.records.put_subject(collection, subject, ENTRY)
    found, _ = store.records.add_samples(collection, NAME, [sample], ENTRY)
    store.snapshots.save(collection, [sample.vector.tobytes() * 50, NAME.encode()])
    store.records.remember("idem-uqxzvk", b"body", f"answer about {NAME}".encode())
    store.audit.append(ENTRY.__class__("identify", "key:1", "ok", "r", COLLECTION, NAME, {"matched": TEAM}))
    keys = ApiKeys(store.rows, store.keyring, store.audit)
    made = keys.create(principal_for("p", [Grant("admin")]), TEAM, [Grant("viewer", COLLECTION)], aws=True)
    server_context(store.folder / "tls", store.keyring)

    secrets = (NAME, TEAM, REFERENCE, COLLECTION, "idem-uqxzvk", made.key, made.secret_access_key)
    canaries = {form for text in secrets for form in text_canaries(text)}
    canaries |= vector_canaries(sample.vector)
    canaries |= disguises(CROP[100:120]) | disguises(CROP[::-1][100:120])
    disk = store.disk()
    assert [canary for canary in canaries if canary in disk] == []
    assert found.key.encode() in disk, "the search itself works: random ids stand in the clear"


def test_unknown_faces_are_not_readable_on_the_disk_and_once_erased_not_even_sealed(store):
    collection = replace(new_collection(COLLECTION), keep_unknown_days=30)
    store.records.create_collection(collection, ENTRY)
    unknowns = SealedUnknowns(store.rows, store.keyring, store.audit)
    vector = new_sample().vector
    sighting = Sighting(Box(1, 2, 3, 4), Quality(0.5), vector, 1_772_366_400.125, CROP)
    done = Groups(collection.space.key, ()).take([sighting], Bars(0.9, 0.9))
    unknowns.change(collection, done, 0, None)
    moment = {np.float64(sighting.at).tobytes(), repr(sighting.at).encode()}
    canaries = vector_canaries(vector) | disguises(CROP[100:120]) | text_canaries(COLLECTION) | moment
    disk = store.disk()
    assert [canary for canary in canaries if canary in disk] == []
    held = store.rows.read().settings(collection_setting(collection.id))
    sealed = [value[13:77] for name, value in held.items() if not name.endswith("version")]
    assert len(sealed) == 2 and all(part in disk for part in sealed)
    unknowns.change(collection, Changes(gone=set(done.put)), 1, ENTRY)
    disk = store.disk()
    assert [part for part in sealed if part in disk] == []


def test_the_search_for_canaries_would_find_each_of_them():
    vector = new_sample().vector
    plain = b"|".join(
        (
            NAME.encode(),
            NAME.encode("utf-16-le"),
            base64.b64encode(b"xy" + NAME.encode()),
            vector.astype("<f2").tobytes(),
        )
    )
    assert sum(canary in plain for canary in text_canaries(NAME)) >= 3
    assert any(canary in plain for canary in vector_canaries(vector))


def test_after_erasure_the_wrapped_key_and_the_records_are_in_no_file(store):
    collection = new_collection()
    store.records.create_collection(collection, ENTRY)
    for n in range(30):  # neighbours, so that the erased rows are amid others
        store.records.add_samples(collection, f"s{n}", [new_sample(crop=CROP)], ENTRY)
    erased, (sample,) = store.records.add_samples(collection, NAME, [new_sample(crop=CROP)], ENTRY)
    for n in range(30, 60):
        store.records.add_samples(collection, f"s{n}", [new_sample(crop=CROP)], ENTRY)
    reader = store.rows.read()
    (row,) = reader.subjects([erased.key])
    remains = {
        "wrapped key": row.wrapped_key[13:],
        "record": row.payload[13:77],
        "sample": reader.samples_of(erased.key)[0].payload[13:77],
        "crop": reader.blob(sample.id, "crop")[13:77],
    }
    before = store.disk()
    assert all(part in before for part in remains.values())
    store.records.erase_subject(collection, NAME, ENTRY)
    disk = store.disk()
    assert [name for name, part in remains.items() if part in disk] == []


def test_after_a_collection_is_deleted_its_wrapped_key_is_in_no_file(store):
    collection = new_collection()
    store.records.create_collection(collection, ENTRY)
    store.records.add_samples(collection, NAME, [new_sample()], ENTRY)
    wrapped = store.rows.read().collections()[0].wrapped_key[13:]
    assert wrapped in store.disk()
    store.records.delete_collection(collection, ENTRY)
    assert wrapped not in store.disk()
