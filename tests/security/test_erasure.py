from __future__ import annotations

import json

import pytest

from lookalike.errors import SubjectNotFound
from security.elsewhere import note_backup
from tests.security.conftest import ENTRY, new_collection, new_sample


@pytest.fixture
def held(memory_records):
    collection = new_collection()
    memory_records.create_collection(collection, ENTRY)
    memory_records.add_samples(collection, "alice", [new_sample(), new_sample()], ENTRY)
    return collection


def test_a_scrub_that_readers_stood_in_the_way_of_is_tried_again(memory, memory_records, held, monkeypatch, caplog):
    answers = [False, False, True]
    monkeypatch.setattr("security.erasure._BETWEEN_SCRUBS_S", 0.0)
    monkeypatch.setattr(memory, "scrub", lambda: answers.pop(0))
    memory_records.erase_subject(held, "alice", ENTRY)
    assert answers == []
    assert caplog.text == ""


def test_an_erasure_holds_and_is_signed_for_even_if_the_log_cannot_be_emptied_and_that_is_told(
    memory, memory_records, held, monkeypatch, caplog
):
    monkeypatch.setattr("security.erasure._PATIENCE_S", 0.0)
    monkeypatch.setattr(memory, "scrub", lambda: False)
    assert memory_records.erase_subject(held, "alice", ENTRY).signature
    assert "write-ahead log" in caplog.text
    assert "alice" not in caplog.text
    with pytest.raises(SubjectNotFound):
        memory_records.subject(held, "alice")


def test_erasing_deleting_a_sample_and_deleting_a_collection_each_scrub(memory, memory_records, held):
    subject = memory_records.subject(held, "alice")
    sample = memory_records.samples(held, subject)[0]
    for number, erase in enumerate(
        (
            lambda: memory_records.delete_sample(held, subject, sample.id, ENTRY),
            lambda: memory_records.erase_subject(held, "alice", ENTRY),
            lambda: memory_records.delete_collection(held, ENTRY),
        ),
        start=1,
    ):
        erase()
        assert memory.scrubbed == number


def test_a_receipt_names_backups_that_may_still_hold_the_erased_and_no_earlier_ones(
    memory, memory_records, held, clock
):
    memory.write(lambda tx: note_backup(tx, clock.now + 10))
    clock.now += 20
    memory_records.add_samples(held, "later", [new_sample()], ENTRY)
    alice, later = (memory_records.erase_subject(held, id, ENTRY) for id in ("alice", "later"))
    assert (alice.pending, json.loads(alice.body)["backed_up_until"]) == (("backups",), int(clock.now - 10))
    assert later.pending == () and "backed_up_until" not in json.loads(later.body)
    assert memory_records.delete_collection(held, ENTRY).pending == ("backups",)
