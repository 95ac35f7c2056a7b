"""Identifications that wait, at rest: sealed, bound to their ids, changed in one piece, and in no backup."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from lookalike.domain import Subject
from lookalike.errors import CollectionNotFound, Conflict, TamperedData
from lookalike.four_eyes import NEEDED, Pending, PendingState, Suspect, confirmed, rejected
from lookalike.ports import collection_setting
from security.backup_records import SettingRecord, rows_of
from security.collection_keys import DUE
from security.sealed_pending import FACES, ROWS, SealedPending, decode, encode
from tests.security.conftest import ENTRY, new_collection

FACE = b"a face as JPEG " * 30


@pytest.fixture
def where(records):
    made = replace(new_collection("gate"), four_eyes_days=7)
    records.create_collection(made, ENTRY)
    return made


@pytest.fixture
def near(records, where) -> tuple[Suspect, ...]:
    """Two who are enrolled."""
    keys = [records.put_subject(where, Subject("", name, {}), ENTRY).key for name in ("anna", "bert")]
    return Suspect(keys[0], "s" * 32, 0.8125, None), Suspect(keys[1], "t" * 32, 0.5, 0.25)


@pytest.fixture
def row(near) -> Pending:
    return Pending("a" * 32, 1000.5, 7, "key:searcher", near)


@pytest.fixture
def other(row) -> Pending:
    return replace(row, id="b" * 32)


@pytest.fixture
def store(rows, keyring, audit):
    return SealedPending(rows, keyring, audit)


def test_a_row_comes_back_as_it_was(row) -> None:
    for each in (row, confirmed(row, "one", row.suspects[0].subject_key, 5.0), rejected(row, "one", 5.0)):
        assert decode(each.id, encode(each)) == each


def test_what_was_stored_is_read_and_nothing_of_it_is_readable(store, where, row, other, rows) -> None:
    store.put(where, [row], {"a" * 32: FACE}, ENTRY)
    assert store.one(where, "a" * 32) == row and store.rows(where) == [row]
    assert store.face(where, "a" * 32) == FACE
    kept = {n: v for n, v in rows.read().settings(collection_setting(where.id)).items() if "/pending" in n}
    assert len(kept) == 2
    assert not any(
        word in value
        for value in kept.values()
        for word in (b"searcher", row.suspects[0].subject_key.encode(), b"a face")
    )


def test_one_cannot_take_the_place_of_another(store, where, row, other, rows) -> None:
    store.put(where, [row, other], {"a" * 32: FACE, "b" * 32: FACE}, ENTRY)
    for kind in (ROWS, FACES):
        foreign = rows.read().get_setting(collection_setting(where.id, kind + "b" * 32))
        name = collection_setting(where.id, kind + "a" * 32)
        rows.write(lambda tx, name=name, foreign=foreign: tx.put_setting(name, foreign))
    with pytest.raises(TamperedData):
        store.one(where, "a" * 32)
    with pytest.raises(TamperedData):
        store.face(where, "a" * 32)


def test_a_decided_one_loses_its_face_and_the_key_is_due_for_rotation(store, where, row, other, rows) -> None:
    store.put(where, [row], {"a" * 32: FACE}, ENTRY)
    after = store.change(where, "a" * 32, lambda held: rejected(held, "one", 5.0), ENTRY)
    assert after is not None and store.one(where, "a" * 32) == after
    assert store.face(where, "a" * 32) is None
    assert rows.read().get_setting(DUE + where.id) is not None


def test_a_change_that_is_refused_changes_nothing_and_one_that_is_gone_is_none(store, where, row, other) -> None:
    store.put(where, [row], {}, ENTRY)
    with pytest.raises(Conflict):
        store.change(where, "a" * 32, lambda held: confirmed(held, "one", "nobody", 5.0), ENTRY)
    assert store.one(where, "a" * 32) == row
    assert store.change(where, "c" * 32, lambda held: held, ENTRY) is None


def test_of_many_at_once_two_count_and_no_one_twice(store, where, row, other) -> None:
    store.put(where, [row], {"a" * 32: FACE}, ENTRY)
    refused: list[Conflict] = []

    def confirm(who: str) -> None:
        try:
            store.change(where, "a" * 32, lambda held: confirmed(held, who, row.suspects[0].subject_key, 5.0), ENTRY)
        except Conflict as error:
            refused.append(error)

    threads = [threading.Thread(target=confirm, args=(f"person {i % 4}",)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = store.one(where, "a" * 32)
    assert after is not None and after.state is PendingState.CONFIRMED
    assert len({verdict.principal for verdict in after.verdicts}) == len(after.verdicts) == NEEDED
    assert len(refused) == 8 - NEEDED


def test_nothing_waits_in_a_collection_that_asks_for_one_person_or_is_gone(store, where, row, other, records) -> None:
    records.change_collection(where, lambda c: replace(c, four_eyes_days=None), ENTRY)
    with pytest.raises(CollectionNotFound):
        store.put(where, [row], {}, ENTRY)
    assert store.rows(where) == []
    with pytest.raises(CollectionNotFound):
        store.put(new_collection("elsewhere"), [row], {}, ENTRY)


def test_somebody_who_was_erased_meanwhile_is_not_named(store, where, records, row, other) -> None:
    records.erase_subject(where, "bert", ENTRY)
    with pytest.raises(Conflict, match="erased"):
        store.put(where, [row], {row.id: FACE}, ENTRY)
    assert (store.rows(where), store.face(where, row.id)) == ([], None)


def test_what_is_dropped_is_gone_with_its_face_and_no_backup_has_any(store, where, row, other, rows) -> None:
    store.put(where, [row, other], {"a" * 32: FACE, "b" * 32: FACE}, ENTRY)
    with rows.snapshot() as reader:
        backed = [record.name for record in rows_of(reader) if isinstance(record, SettingRecord)]
    assert not any("/pending" in name for name in backed)
    store.drop(where, ["a" * 32], ENTRY)
    assert [left.id for left in store.rows(where)] == ["b" * 32]
    assert (store.face(where, "a" * 32), store.face(where, "b" * 32)) == (None, FACE)
