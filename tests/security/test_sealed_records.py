from __future__ import annotations

import concurrent.futures
import json
import threading
from dataclasses import replace

import numpy as np
import pytest

from lookalike.domain import AuditEntry, Consent, Keep, Op, Subject
from lookalike.errors import (
    CollectionExists,
    CollectionNotFound,
    Conflict,
    IdempotencyMismatch,
    InvalidInput,
    SampleNotFound,
    StorageFull,
    SubjectNotFound,
    TamperedData,
)
from security.receipts import check_receipt
from security.sealed_records import ANSWERS_KEPT_S
from tests.security.conftest import ENTRY, new_collection, new_sample

ALICE = Subject(
    "",
    "Alice Ångström 🙂",
    {"team": "harbour", "note": "a\nb\ud800"},
    Consent("contract", "no. 7", "2030-01-01"),
    "2026",
)


# -------------------------------------------------------------------------------------------- collections


def test_a_collection_comes_back_as_it_was_created(records):
    rules = {"retention_days": 30, "require_consent": True, "erase_expired_consent": True}
    made = replace(new_collection(), keep=Keep.IMAGE, target_fpir=0.003, **rules)
    records.create_collection(made, ENTRY)
    assert records.collection("visitors") == made
    assert records.collections() == [made]


def test_a_second_collection_of_the_same_name_is_refused_and_leaves_nothing(records, collection, audit):
    before = audit.verify().entries
    with pytest.raises(CollectionExists):
        records.create_collection(new_collection(), ENTRY)
    assert records.collections() == [collection]
    assert audit.verify().entries == before


def test_an_unknown_collection_is_not_found(records, collection):
    with pytest.raises(CollectionNotFound):
        records.collection("Visitors")


def test_a_changed_collection_keeps_its_people(records, collection):
    records.add_samples(collection, "alice", [new_sample()], ENTRY)
    changed = replace(collection, target_fpir=0.1, keep=Keep.NONE)
    records.change_collection(collection, lambda c: replace(c, target_fpir=0.1, keep=Keep.NONE), ENTRY)
    assert records.collection("visitors") == changed
    assert records.subject(changed, "alice").id == "alice"


def test_a_deleted_collection_is_gone_with_its_people_and_its_receipt_says_how_many(records, collection, keyring, rows):
    records.add_samples(collection, "alice", [new_sample(), new_sample()], ENTRY)
    records.add_samples(collection, "bob", [new_sample()], ENTRY)
    body = check_receipt(records.delete_collection(collection, ENTRY), keyring.public_key)
    assert (body["kind"], body["collection"], body["subjects"], body["samples"]) == ("collection", collection.id, 2, 3)
    assert body["seq"] == rows.read().last_seq()
    for gone in (
        lambda: records.collection("visitors"),
        lambda: records.put_subject(collection, ALICE, ENTRY),
        lambda: records.add_samples(collection, "carol", [new_sample()], ENTRY),
        lambda: records.change_collection(collection, lambda c: c, ENTRY),
        lambda: records.delete_collection(collection, ENTRY),
    ):
        with pytest.raises(CollectionNotFound):
            gone()


def test_a_write_for_a_deleted_collection_does_not_land_in_its_successor_of_the_same_name(records, collection):
    records.delete_collection(collection, ENTRY)
    successor = new_collection()
    records.create_collection(successor, ENTRY)
    with pytest.raises(CollectionNotFound):
        records.add_samples(collection, "alice", [new_sample()], ENTRY)
    assert records.count(successor) == (0, 0)


# ----------------------------------------------------------------------------------------------- subjects


def test_a_subject_comes_back_as_it_was_put(records, collection, clock):
    stored = records.put_subject(collection, ALICE, ENTRY)
    assert replace(stored, key="", created_at=0.0, updated_at=0.0) == ALICE
    assert stored.created_at == stored.updated_at == clock.now
    assert records.subject(collection, ALICE.id) == stored
    assert records.subjects(collection, [stored.key, "f" * 32]) == {stored.key: stored}


def test_putting_a_subject_again_replaces_what_is_known_and_keeps_its_key_and_samples(records, collection, clock):
    first = records.put_subject(collection, ALICE, ENTRY)
    _, samples = records.add_samples(collection, ALICE.id, [new_sample()], ENTRY)
    clock.now += 60
    second = records.put_subject(collection, Subject("ignored", ALICE.id, {"team": "night"}), ENTRY)
    assert (second.key, second.created_at, second.updated_at) == (first.key, first.created_at, clock.now)
    assert records.subject(collection, ALICE.id).metadata == {"team": "night"}
    assert records.subject(collection, ALICE.id).consent is None
    assert [s.id for s in records.samples(collection, second)] == [samples[0].id]
    assert records.count(collection) == (1, 1)


def test_the_same_id_in_two_collections_is_two_subjects(records, collection):
    other = new_collection("staff")
    records.create_collection(other, ENTRY)
    here, there = (records.put_subject(c, ALICE, ENTRY) for c in (collection, other))
    assert here.key != there.key
    assert records.subjects(other, [here.key]) == {}


def test_an_unknown_subject_is_not_found(records, collection):
    for ask in (
        lambda: records.subject(collection, "nobody"),
        lambda: records.subject(collection, "\ud800"),
        lambda: records.erase_subject(collection, "nobody", ENTRY),
    ):
        with pytest.raises(SubjectNotFound):
            ask()


def test_a_new_subject_put_by_many_at_once_is_one_subject(records, collection):
    start = threading.Barrier(8)

    def enrol(number: int) -> str:
        start.wait()
        if number % 2:
            return records.put_subject(collection, Subject("", "crowd", {"n": str(number)}), ENTRY).key
        return records.add_samples(collection, "crowd", [new_sample()], ENTRY)[0].key

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(enrol, range(8)))
    assert len(keys) == 1
    assert records.count(collection) == (1, 4)
    assert len(records.samples(collection, records.subject(collection, "crowd"))) == 4


def test_enrolling_while_others_erase_the_same_subject_leaves_only_what_opens(records, collection):
    stop = threading.Event()

    def erase_again_and_again() -> None:
        while not stop.is_set():
            try:
                records.erase_subject(collection, "fleeting", ENTRY)
            except SubjectNotFound:
                continue

    eraser = threading.Thread(target=erase_again_and_again)
    eraser.start()
    try:
        for _ in range(20):
            records.add_samples(collection, "fleeting", [new_sample()], ENTRY)
            records.put_subject(collection, Subject("", "fleeting", {}), ENTRY)
    finally:
        stop.set()
        eraser.join()
    left = [sample for batch in records.stream_samples(collection) for sample in batch]
    assert len(left) == records.count(collection)[1]
    assert sum(len(batch) for batch in records.stream_subjects(collection)) == records.count(collection)[0]


# --------------------------------------------------------------------------------------------------- lists


def all_pages(records, collection, limit, metadata):
    found, cursor = [], None
    while True:
        page = records.list_subjects(collection, limit, cursor, metadata)
        assert len(page.items) <= limit
        found += [subject.id for subject in page.items]
        if page.next_cursor is None:
            return found
        cursor = page.next_cursor


@pytest.mark.parametrize("limit", [1, 3, 7, 8, 100])
def test_pages_hold_every_subject_once(records, collection, limit):
    for n in range(7):
        records.put_subject(collection, Subject("", f"s{n}", {"parity": str(n % 2), "n": str(n)}), ENTRY)
    assert sorted(all_pages(records, collection, limit, {})) == [f"s{n}" for n in range(7)]
    assert sorted(all_pages(records, collection, limit, {"parity": "1"})) == ["s1", "s3", "s5"]
    assert all_pages(records, collection, limit, {"parity": "1", "n": "2"}) == []


def test_a_cursor_is_good_for_its_own_list_only(records, collection):
    other = new_collection("staff")
    records.create_collection(other, ENTRY)
    for n in range(3):
        records.put_subject(collection, Subject("", f"s{n}", {"a": "1"}), ENTRY)
    cursor = records.list_subjects(collection, 1, None, {"a": "1"}).next_cursor
    assert len(records.list_subjects(collection, 5, cursor, {"a": "1"}).items) == 2
    flipped = ("A" if cursor[0] != "A" else "B") + cursor[1:]
    for wrong in ("", "x", "ü", "=" * 9, flipped, cursor[:-4], cursor + "AAAA"):
        with pytest.raises(InvalidInput):
            records.list_subjects(collection, 5, wrong, {"a": "1"})
    with pytest.raises(InvalidInput):
        records.list_subjects(collection, 5, cursor, {"a": "2"})
    with pytest.raises(InvalidInput):
        records.list_subjects(other, 5, cursor, {"a": "1"})


def test_a_page_of_a_rare_filter_stops_looking_in_time_and_its_cursor_goes_on(records, collection, monkeypatch):
    monkeypatch.setattr("security.sealed_subjects.SCAN_LIMIT", 4)
    for n in range(11):
        records.put_subject(collection, Subject("", f"s{n}", {"rare": "yes" if n == 5 else "no"}), ENTRY)
    assert all_pages(records, collection, 10, {"rare": "yes"}) == ["s5"]


# ----------------------------------------------------------------------------------------------- samples


def test_samples_and_pictures_come_back_bit_by_bit(records, collection):
    new = [new_sample(crop=b"a crop", image=b"a picture"), new_sample()]
    subject, stored = records.add_samples(collection, "alice", new, ENTRY)
    assert [s.id for s in stored] == [n.id for n in new]
    assert stored[0].number < stored[1].number
    for read in (
        records.samples(collection, subject),
        records.samples_numbered(collection, [s.number for s in stored]),
    ):
        for sample, original in zip(read, new, strict=True):
            assert (sample.box, sample.quality, sample.subject_key) == (original.box, original.quality, subject.key)
            assert sample.vector.dtype == np.float32
            assert sample.vector.tobytes() == original.vector.tobytes()
    assert records.picture(collection, subject, new[0].id, Keep.CROP) == b"a crop"
    assert records.picture(collection, subject, new[0].id, Keep.IMAGE) == b"a picture"
    for id, kind in ((new[1].id, Keep.CROP), ("f" * 32, Keep.CROP)):
        with pytest.raises(SampleNotFound):
            records.picture(collection, subject, id, kind)


def test_samples_of_a_retry_are_not_doubled(records, collection):
    new = [new_sample(records.derived_id("retry-1", n)) for n in range(2)]
    _, first = records.add_samples(collection, "alice", new[:1], ENTRY)
    _, again = records.add_samples(collection, "alice", new, ENTRY)
    assert again[0].number == first[0].number
    assert records.count(collection) == (1, 2)
    assert records.derived_id("retry-1", 0) == new[0].id != records.derived_id("retry-2", 0)


def test_a_sample_id_of_another_subject_is_refused_and_nothing_of_the_call_stays(records, collection):
    taken = new_sample()
    records.add_samples(collection, "alice", [taken], ENTRY)
    with pytest.raises(Conflict):
        records.add_samples(collection, "bob", [new_sample(), taken], ENTRY)
    assert records.count(collection) == (1, 1)
    with pytest.raises(SubjectNotFound):
        records.subject(collection, "bob")


def test_a_deleted_sample_is_gone_and_only_its_own_subject_can_delete_it(records, collection, rows):
    alice, (one, two) = records.add_samples(collection, "alice", [new_sample(crop=b"c"), new_sample()], ENTRY)
    bob, _ = records.add_samples(collection, "bob", [new_sample()], ENTRY)
    with pytest.raises(SampleNotFound):
        records.delete_sample(collection, bob, one.id, ENTRY)
    records.delete_sample(collection, alice, one.id, ENTRY)
    assert [s.id for s in records.samples(collection, alice)] == [two.id]
    assert rows.read().blob(one.id, "crop") is None
    with pytest.raises(SampleNotFound):
        records.delete_sample(collection, alice, one.id, ENTRY)


def test_streams_give_everything_once_in_batches(records, collection):
    other = new_collection("staff")
    records.create_collection(other, ENTRY)
    records.add_samples(other, "zoe", [new_sample()], ENTRY)
    for n in range(5):
        records.add_samples(collection, f"s{n}", [new_sample(), new_sample()], ENTRY)
    batches = list(records.stream_samples(collection, batch=4))
    assert [len(b) for b in batches] == [4, 4, 2]
    assert len({s.number for b in batches for s in b}) == 10
    people = [s.id for b in records.stream_subjects(collection, batch=2) for s in b]
    assert sorted(people) == [f"s{n}" for n in range(5)]


# ----------------------------------------------------------------------------------------------- erasure


def test_erasing_destroys_the_key_and_all_records_and_signs_for_it(records, collection, keyring, rows, clock, audit):
    alice, samples = records.add_samples(collection, "alice", [new_sample(crop=b"c"), new_sample()], ENTRY)
    receipt = records.erase_subject(collection, "alice", AuditEntry("subject.erase", "key:officer", "ok", "r-9"))
    body = check_receipt(receipt, keyring.public_key)
    assert (body["subject"], body["samples"], body["by"], body["at"]) == (alice.key, 2, "key:officer", clock.now)
    assert (body["deployment"], body["seq"]) == (keyring.deployment, rows.read().last_seq())
    assert "alice" not in receipt.body
    reader = rows.read()
    assert reader.subjects([alice.key]) == reader.samples_of(alice.key) == []
    assert reader.blob(samples[0].id, "crop") is None
    assert reader.changes(body["seq"] - 1, 9)[0].op is Op.DELETE
    assert records.subjects(collection, [alice.key]) == {}
    noted = audit.page(0, 100)[-1]
    assert noted.details["subject"] == alice.key
    assert len(noted.details["receipt_sha256"]) == 64


def test_a_subject_enrolled_again_after_erasure_is_another_subject(records, collection):
    first, _ = records.add_samples(collection, "alice", [new_sample()], ENTRY)
    records.erase_subject(collection, "alice", ENTRY)
    second, _ = records.add_samples(collection, "alice", [new_sample()], ENTRY)
    assert second.key != first.key


def test_a_receipt_that_was_changed_is_refused(records, collection, keyring):
    records.add_samples(collection, "alice", [new_sample()], ENTRY)
    receipt = records.erase_subject(collection, "alice", ENTRY)
    body = json.loads(receipt.body)
    for forged in (
        replace(receipt, body=receipt.body.replace('"samples":1', '"samples":2')),
        replace(receipt, body=json.dumps(body)),
        replace(receipt, signature="00" * 64),
        replace(receipt, signature="nonsense"),
    ):
        with pytest.raises(TamperedData):
            check_receipt(forged, keyring.public_key)
    with pytest.raises(TamperedData):
        check_receipt(receipt, bytes(32))


# ------------------------------------------------------------------------- audit, calibration, idempotency


def test_every_write_stands_in_the_audit_log_with_the_record_it_wrote(records, collection, audit):
    subject, samples = records.add_samples(collection, "alice", [new_sample()], replace(ENTRY, action="enrol"))
    records.put_subject(collection, subject, replace(ENTRY, action="put"))
    records.put_calibration(collection, "{}", replace(ENTRY, action="calibrate"))
    records.delete_sample(collection, subject, samples[0].id, replace(ENTRY, action="unsample"))
    records.erase_subject(collection, "alice", replace(ENTRY, action="erase"))
    records.delete_collection(collection, replace(ENTRY, action="delete"))
    actions = [entry.action for entry in audit.page(0, 100)]
    assert actions == ["test", "enrol", "put", "calibrate", "unsample", "erase", "delete"]
    assert audit.verify().sound


def test_a_write_whose_audit_entry_cannot_be_written_does_not_happen(memory, memory_records, monkeypatch):
    collection = new_collection()
    memory_records.create_collection(collection, ENTRY)

    def full(self, row):
        raise StorageFull("the disk is full")

    monkeypatch.setattr("tests.security.memory_rows._Cursor.append_audit", full)
    with pytest.raises(StorageFull):
        memory_records.add_samples(collection, "alice", [new_sample()], ENTRY)
    assert memory_records.count(collection) == (0, 0)
    assert memory.tables.blobs == {}


def test_a_calibration_comes_back(records, collection):
    assert records.calibration(collection) is None
    records.put_calibration(collection, '{"a": 1}', ENTRY)
    records.put_calibration(collection, '{"a": 2}', ENTRY)
    assert records.calibration(collection) == '{"a": 2}'


def test_a_remembered_answer_is_given_again_for_the_same_body_only(records, clock):
    assert records.remembered("key-1", b"digest") is None
    records.remember("key-1", b"digest", b"the answer")
    assert records.remembered("key-1", b"digest") == b"the answer"
    assert records.remembered("key-2", b"digest") is None
    with pytest.raises(IdempotencyMismatch):
        records.remembered("key-1", b"another")
    clock.now += ANSWERS_KEPT_S + 1
    records.remember("key-2", b"digest", b"x")
    assert records.remembered("key-1", b"digest") is None


# ------------------------------------------------------------------------------ an attacker at the disk


def test_rows_swapped_between_subjects_or_changed_in_the_clear_are_refused(memory, memory_records):
    records, collection = memory_records, new_collection()
    records.create_collection(collection, ENTRY)
    alice, (a, _) = records.add_samples(collection, "alice", [new_sample(crop=b"A"), new_sample(crop=b"B")], ENTRY)
    bob, (b,) = records.add_samples(collection, "bob", [new_sample()], ENTRY)
    t = memory.tables
    rows = dict(t.subjects)
    ra, rb = rows[alice.key], rows[bob.key]
    for forged in (
        replace(ra, payload=rb.payload),
        replace(ra, wrapped_key=rb.wrapped_key),
        replace(ra, wrapped_key=rb.wrapped_key, payload=rb.payload),
        replace(ra, updated_at=ra.updated_at + 1),
        replace(ra, payload=b""),
        replace(ra, wrapped_key=b""),
    ):
        t.subjects[alice.key] = forged
        with pytest.raises(TamperedData):
            records.subject(collection, "alice")
    t.subjects[alice.key] = ra
    for forged in (
        replace(t.samples[a.number], payload=t.samples[b.number].payload),
        replace(t.samples[a.number], subject_key=bob.key),
        replace(t.samples[a.number], created_at=1.0),
        replace(t.samples[a.number], id="f" * 32),
    ):
        with pytest.raises(TamperedData):
            list(_open_all(records, collection, t, a.number, forged))


def _open_all(records, collection, tables, number, forged):
    original = tables.samples[number]
    tables.samples[number] = forged
    try:
        yield from records.stream_samples(collection)
    finally:
        tables.samples[number] = original


def test_a_picture_put_in_anothers_place_is_refused(memory, memory_records):
    collection = new_collection()
    memory_records.create_collection(collection, ENTRY)
    new = [new_sample(crop=b"first"), new_sample(crop=b"second", image=b"image")]
    alice, (one, two) = memory_records.add_samples(collection, "alice", new, ENTRY)
    blobs = memory.tables.blobs
    blobs[(one.id, "crop")] = blobs[(two.id, "crop")]
    with pytest.raises(TamperedData):
        memory_records.picture(collection, alice, one.id, Keep.CROP)
    blobs[(two.id, "crop")] = blobs[(two.id, "image")]
    with pytest.raises(TamperedData):
        memory_records.picture(collection, alice, two.id, Keep.CROP)


def test_collections_swapped_on_the_disk_are_refused(memory, memory_keyring, memory_records):
    one, two = new_collection("one"), new_collection("two")
    for made in (one, two):
        memory_records.create_collection(made, ENTRY)
    t = memory.tables
    t.collections[one.id] = replace(
        t.collections[one.id],
        wrapped_key=t.collections[two.id].wrapped_key,
        payload=t.collections[two.id].payload,
    )
    with pytest.raises(TamperedData):
        memory_records.collection("one")
