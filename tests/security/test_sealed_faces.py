"""Faces one by one, as the sealed records keep them: over each store, all or nothing, and safe beside others."""

from __future__ import annotations

import concurrent.futures
from dataclasses import replace

import pytest

from lookalike.domain import Subject
from lookalike.errors import CollectionNotFound, Conflict, SampleNotFound, SubjectNotFound
from security.receipts import check_receipt
from security.sealed_faces import SealedFaceRecords
from tests.security.conftest import ENTRY, new_collection, new_sample


@pytest.fixture
def records(rows, keyring, audit, clock) -> SealedFaceRecords:
    return SealedFaceRecords(rows, keyring, audit, clock)


def face(n: int, **metadata: str) -> tuple:
    return Subject("", f"face {n}", {"n": str(n), **metadata}), new_sample(f"{n:032x}")


def test_subjects_added_together_are_each_their_own(records, collection):
    added = records.add_subjects(collection, [face(1), face(2)], ENTRY)
    assert [(s.id, s.metadata["n"], sample.id) for s, sample in added] == [
        ("face 1", "1", f"{1:032x}"),
        ("face 2", "2", f"{2:032x}"),
    ]
    assert records.count(collection) == (2, 2)
    assert records.sample(collection, f"{2:032x}")[0] == records.subject(collection, "face 2")


def test_those_that_are_there_are_returned_as_they_are(records, collection):
    (first,) = records.add_subjects(collection, [face(1)], ENTRY)
    again, new = records.add_subjects(collection, [face(1, other="x"), face(3)], ENTRY)
    assert (again[0], again[1].number) == (first[0], first[1].number) and new[0].id == "face 3"


def test_one_that_cannot_be_added_leaves_nothing_of_the_others(records, collection, audit):
    records.add_samples(collection, "somebody", [new_sample(f"{2:032x}")], ENTRY)
    before = audit.verify().entries
    with pytest.raises(Conflict):
        records.add_subjects(collection, [face(1), face(2)], ENTRY)
    assert records.count(collection) == (1, 1) and audit.verify().entries == before


def test_a_sample_of_another_collection_is_not_found(records, collection):
    other = new_collection("staff")
    records.create_collection(other, ENTRY)
    records.add_subjects(other, [face(1)], ENTRY)
    with pytest.raises(SampleNotFound):
        records.sample(collection, f"{1:032x}")


def test_a_change_sees_the_newest_state_and_none_is_lost(records, collection):
    ((subject, _),) = records.add_subjects(collection, [face(1)], ENTRY)

    def count(n: int) -> None:
        records.change_same(collection, subject, lambda s: replace(s, metadata={**s.metadata, str(n): "x"}), ENTRY)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(12)))
    assert set(records.subject(collection, "face 1").metadata) == {"n", *map(str, range(12))}


def test_a_change_of_one_erased_or_made_anew_is_refused(records, collection):
    ((subject, _),) = records.add_subjects(collection, [face(1)], ENTRY)
    records.erase_subject(collection, "face 1", ENTRY)
    with pytest.raises(SubjectNotFound):
        records.change_same(collection, subject, lambda s: s, ENTRY)
    records.add_subjects(collection, [face(1)], ENTRY)
    with pytest.raises(SubjectNotFound):
        records.change_same(collection, subject, lambda s: s, ENTRY)


def test_a_change_that_is_refused_writes_nothing(records, collection, audit):
    ((subject, _),) = records.add_subjects(collection, [face(1)], ENTRY)
    before = audit.verify().entries

    def refuse(_: Subject) -> Subject:
        raise Conflict("no")

    with pytest.raises(Conflict):
        records.change_same(collection, subject, refuse, ENTRY)
    assert audit.verify().entries == before


def test_many_are_erased_together_each_with_a_receipt_and_an_entry(records, collection, audit, keyring):
    records.add_subjects(collection, [face(n) for n in range(3)], ENTRY)
    receipts = records.erase_subjects(collection, ["face 0", "nobody", "face 2"], ENTRY)
    assert list(receipts) == ["face 0", "face 2"] and records.count(collection) == (1, 1)
    for receipt in receipts.values():
        check_receipt(receipt, keyring.public_key)
    assert [entry.subject for entry in audit.page(0, 100)][-2:] == ["face 0", "face 2"]
    with pytest.raises(SampleNotFound):
        records.sample(collection, f"{0:032x}")


def test_a_collection_that_is_gone_takes_no_faces(records, collection):
    records.delete_collection(collection, ENTRY)
    with pytest.raises(CollectionNotFound):
        records.add_subjects(collection, [face(1)], ENTRY)
