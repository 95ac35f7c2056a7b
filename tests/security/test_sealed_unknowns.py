"""Unknown faces at rest: sealed, bound to their ids, stored all or none, gone with their crops and their collection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lookalike.domain import Box, Quality
from lookalike.errors import CollectionNotFound, TamperedData
from lookalike.ports import collection_setting
from lookalike.unknown_groups import Bars, Changes, Groups, KeptFace, Sighting, Unknown
from lookalike.unknown_store import UnknownsMoved
from security.backup_records import SettingRecord, rows_of
from security.sealed_unknowns import SealedUnknowns, decode, encode
from tests.security.conftest import ENTRY, new_collection

SPACE = "0123456789abcdef"
CROP = bytes(range(7, 250)) * 3


@pytest.fixture
def where(records):
    made = replace(new_collection("gate"), keep_unknown_days=30)
    records.create_collection(made, ENTRY)
    return made


@pytest.fixture
def store(rows, keyring, audit):
    return SealedUnknowns(rows, keyring, audit)


def vector(seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal(128).astype(np.float32)
    return found / np.linalg.norm(found)


def seen(*seeds: int) -> Changes:
    quality = Quality(0.5, (), {"turn": 0.1})
    sightings = [Sighting(Box(1, 2, 3, 4), quality, vector(s), float(s), CROP + bytes([s])) for s in seeds]
    return Groups(SPACE, ()).take(sightings, Bars(0.9, 0.9))


def same(a: Unknown, b: Unknown) -> bool:
    plain = [
        replace(row, total=None, faces=tuple(replace(face, vector=None) for face in row.faces))  # type: ignore[arg-type]
        for row in (a, b)
    ]
    vectors = zip((a.total, *(f.vector for f in a.faces)), (b.total, *(f.vector for f in b.faces)), strict=True)
    return plain[0] == plain[1] and all(np.array_equal(x, y) for x, y in vectors)


def test_a_row_comes_back_as_it_was():
    (row,) = seen(1).put.values()
    row = replace(row, seen=14, visits=3, dismissed=True)
    assert same(decode(row.id, encode(row)), row)
    without = replace(row, faces=())
    assert same(decode(row.id, encode(without)), without)


def test_what_was_stored_is_read_with_its_version(store, where):
    done = seen(1, 2)
    assert store.version(where) == 0
    assert store.change(where, done, 0, None) == 1
    version, rows = store.rows(where)
    assert version == 1 and all(same(row, done.put[row.id]) for row in rows) and len(rows) == 2
    for row in rows:
        assert store.crop(where, row.faces[0].id) == done.crops[row.faces[0].id]
    assert store.crop(where, "f" * 32) is None


def test_a_change_on_top_of_another_version_is_refused_and_stores_nothing(store, where):
    store.change(where, seen(1), 0, None)
    with pytest.raises(UnknownsMoved):
        store.change(where, seen(2), 0, None)
    assert len(store.rows(where)[1]) == 1


def test_a_change_of_nothing_keeps_the_version(store, where):
    assert store.change(where, Changes(), 0, None) == 0
    assert store.version(where) == 0


def test_crops_go_with_the_faces_that_kept_them(store, where, rows):
    done = seen(1, 2)
    store.change(where, done, 0, None)
    first, second = done.put.values()
    store.change(where, Changes(put={first.id: replace(first, faces=())}, gone={second.id}), 1, ENTRY)
    assert [name for name in rows.read().settings(collection_setting(where.id)) if "crops" in name] == []
    assert [row.id for row in store.rows(where)[1]] == [first.id]


def test_a_row_or_a_crop_in_another_s_place_is_refused(store, where, rows):
    done = seen(1, 2)
    store.change(where, done, 0, None)
    held = rows.read().settings(collection_setting(where.id))
    for kind in ("unknowns/", "unknown-crops/"):
        one, other = (name for name in held if kind in name)
        rows.write(lambda tx, one=one, other=other: tx.put_setting(one, held[other]))
    with pytest.raises(TamperedData):
        store.rows(where)
    for row in done.put.values():
        rows.write(lambda tx: [tx.put_setting(n, p[:-1] + bytes([p[-1] ^ 1])) for n, p in held.items() if "crops" in n])
        with pytest.raises(TamperedData):
            store.crop(where, row.faces[0].id)


def test_neither_faces_nor_counts_nor_times_are_readable_in_the_rows(store, where, rows):
    done = seen(1)
    store.change(where, done, 0, None)
    held = rows.read().settings(collection_setting(where.id))
    disk = b"|".join(name.encode() + value for name, value in held.items())
    assert vector(1)[40:48].tobytes() not in disk and CROP[100:120] not in disk
    assert b'"seen"' not in disk and SPACE.encode() not in disk
    (row,) = done.put.values()
    assert row.id.encode() in disk, "random ids stand in the clear"


def test_a_collection_takes_them_along(store, where, records, rows):
    other = replace(new_collection("other"), keep_unknown_days=1)
    records.create_collection(other, ENTRY)
    for each in (where, other):
        store.change(each, seen(1), 0, None)
    records.delete_collection(where, ENTRY)
    assert all(name.startswith(collection_setting(other.id)) for name in rows.read().settings("collection/"))
    with pytest.raises(CollectionNotFound):
        store.change(where, seen(2), 1, None)


def test_none_are_added_once_the_collection_keeps_none(store, where, records):
    store.change(where, seen(1), 0, None)
    records.change_collection(where, lambda c: replace(c, keep_unknown_days=None), ENTRY)
    with pytest.raises(CollectionNotFound, match="any more"):
        store.change(where, seen(2), 1, None)
    (row,) = store.rows(where)[1]
    store.change(where, Changes(gone={row.id}), 1, ENTRY)
    assert store.rows(where)[1] == []


def test_they_are_left_out_of_backups_and_what_else_is_set_is_not(store, where, rows):
    rows.write(lambda tx: tx.put_setting(collection_setting(where.id, "probes/x"), b"kept"))
    store.change(where, seen(1), 0, None)
    names = [record.name for record in rows_of(rows.read()) if isinstance(record, SettingRecord)]
    assert collection_setting(where.id, "probes/x") in names
    assert not any("unknown" in name for name in names)


def test_the_audit_entry_is_committed_with_the_change(store, where, audit):
    before = len(audit.page(0, 100))
    store.change(where, seen(1), 0, ENTRY)
    with pytest.raises(UnknownsMoved):
        store.change(where, seen(2), 0, ENTRY)
    assert len(audit.page(0, 100)) == before + 1


def test_kept_faces_and_rows_show_no_vector():
    (row,) = seen(1).put.values()
    assert "vector" not in repr(row) and "total" not in repr(row)
    assert repr(row.faces[0]) == f"KeptFace(id={row.faces[0].id})"
    assert isinstance(row.faces[0], KeptFace)
