"""Legal holds over each store: while one is on, nothing of what it holds goes or changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lookalike.domain import AuditEntry, Consent, Subject
from lookalike.errors import CollectionNotFound, HoldNotFound, LegalHold, SubjectNotFound
from lookalike.holds import Hold
from security.holds import SealedHolds
from security.sealed_retention import SealedRetention
from tests.security.conftest import ENTRY, new_collection, new_sample


@pytest.fixture
def holds(rows, keyring, audit):
    return SealedHolds(rows, keyring, audit)


@pytest.fixture
def ann(records, collection):
    """Ann with two samples and a fact, and Ben beside her."""
    records.put_subject(collection, Subject("", "ann", {"site": "north"}), ENTRY)
    records.add_samples(collection, "ann", [new_sample(), new_sample()], ENTRY)
    records.add_samples(collection, "ben", [new_sample()], ENTRY)
    return records.subject(collection, "ann")


def on(subject: str | None, id: str = "0" * 16, at: float = 1.0) -> Hold:
    return Hold(id, subject, "file 7/26", "key:dpo", at)


def takings(records, collection, ann):
    """All that would take something away from Ann."""
    return {
        "erase": lambda: records.erase_subject(collection, "ann", ENTRY),
        "delete sample": lambda: records.delete_sample(collection, ann, records.samples(collection, ann)[0].id, ENTRY),
        "overwrite": lambda: records.put_subject(collection, Subject("", "ann", {}), ENTRY),
        "change": lambda: records.change_subject(collection, "ann", lambda s: replace(s, metadata={}), ENTRY),
        "other consent": lambda: records.add_samples(collection, "ann", [new_sample()], ENTRY, Consent("contract")),
        "delete collection": lambda: records.delete_collection(collection, ENTRY),
    }


@pytest.mark.parametrize("whom", ["ann", None])
@pytest.mark.parametrize("taking", takings(None, None, None))
def test_while_a_hold_is_on_nothing_is_erased_or_overwritten_and_afterwards_it_is(
    records, collection, holds, ann, whom, taking
):
    take = takings(records, collection, ann)[taking]
    holds.put(collection, on(whom), ENTRY)
    with pytest.raises(LegalHold):
        take()
    assert records.subject(collection, "ann") == ann
    assert len(records.samples(collection, ann)) == 2
    holds.lift(collection, on(whom).id, ENTRY)
    take()


def test_others_are_not_held_and_pictures_and_the_same_facts_are_still_taken(records, collection, holds, ann):
    holds.put(collection, on("ann"), ENTRY)
    records.add_samples(collection, "ann", [new_sample()], ENTRY)
    assert records.put_subject(collection, Subject("", "ann", {"site": "north"}), ENTRY).metadata == ann.metadata
    assert records.erase_subject(collection, "ben", ENTRY).signature


def test_of_two_holds_each_is_lifted_by_itself(records, collection, holds, ann):
    holds.put(collection, on("ann", "1" * 16, at=2.0), ENTRY)
    holds.put(collection, on("ann", "2" * 16, at=1.0), ENTRY)
    assert [(h.id[0], h.subject, h.reason, h.by) for h in holds.holds(collection)] == [
        ("2", "ann", "file 7/26", "key:dpo"),
        ("1", "ann", "file 7/26", "key:dpo"),
    ]
    holds.lift(collection, "1" * 16, ENTRY)
    with pytest.raises(LegalHold):
        records.erase_subject(collection, "ann", ENTRY)
    with pytest.raises(HoldNotFound):
        holds.lift(collection, "1" * 16, ENTRY)
    holds.lift(collection, "2" * 16, ENTRY)
    assert records.erase_subject(collection, "ann", ENTRY).signature


def test_nobody_who_is_not_there_is_held_and_no_collection(collection, holds):
    with pytest.raises(SubjectNotFound):
        holds.put(collection, on("nobody"), ENTRY)
    with pytest.raises(CollectionNotFound):
        holds.put(new_collection("other"), on(None), ENTRY)
    assert holds.holds(collection) == []


def test_a_hold_that_a_restore_brought_back_of_somebody_erased_since_holds_nobody(
    rows, records, collection, holds, ann
):
    before = rows.read().settings("collection/")
    holds.put(collection, on("ann"), ENTRY)
    brought_back = rows.read().settings("collection/").keys() - before.keys()
    holds.lift(collection, on("ann").id, ENTRY)
    records.erase_subject(collection, "ann", ENTRY)
    rows.write(lambda tx: [tx.put_setting(name, b"sealed") for name in brought_back])
    assert holds.holds(collection) == []
    assert records.delete_collection(collection, ENTRY).signature


def test_what_is_held_is_told_to_retention(rows, keyring, collection, holds, ann):
    looks = SealedRetention(rows, keyring)
    assert looks.held(collection) == frozenset()
    holds.put(collection, on("ann"), ENTRY)
    assert looks.held(collection) == {ann.key}
    holds.put(collection, on(None, "1" * 16), ENTRY)
    assert looks.held(collection) is None


def test_why_and_by_whom_is_sealed_and_setting_and_lifting_are_on_record(rows, audit, collection, holds, ann):
    holds.put(collection, on("ann"), AuditEntry("hold.set", "key:dpo", "ok", "r"))
    held = rows.read().settings("collection/")
    assert not any(b"file 7" in value or b"dpo" in value for value in held.values())
    assert not any("ann" in name for name in held)
    holds.lift(collection, on("ann").id, AuditEntry("hold.lift", "key:dpo", "ok", "r"))
    assert [e.action for e in audit.page(0, 100)][-2:] == ["hold.set", "hold.lift"]
