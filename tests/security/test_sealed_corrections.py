"""Corrections over each store: nothing is lost, and nothing stays under the wrong name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lookalike.domain import Keep, Space, Subject
from lookalike.errors import LegalHold, SampleElsewhere, SampleNotFound, SubjectExists, SubjectNotFound
from lookalike.holds import Hold
from security.holds import SealedHolds
from security.ledger import LINES
from security.ledger_copy import Ledger
from security.sealed_corrections import SealedCorrections
from tests.security.conftest import ENTRY, SPACE, new_collection, new_sample

CROP, IMAGE = b"crop of ann", b"image of ann"
OTHER = Space("other:1", 4, "v1")


@pytest.fixture
def corrections(rows, keyring, audit, clock):
    return SealedCorrections(rows, keyring, audit, Ledger(rows, keyring, audit), clock)


@pytest.fixture
def sample(records, collection, clock):
    """Ann with a picture that is Ben's and one of her own, and Ben without any."""
    wrong = new_sample(crop=CROP, image=IMAGE)
    records.put_subject(collection, Subject("", "ann", {"site": "north"}), ENTRY)
    records.add_samples(collection, "ann", [wrong, new_sample()], ENTRY)
    records.put_subject(collection, Subject("", "ben", {"site": "south"}), ENTRY)
    clock.now += 100
    return wrong


def test_a_renamed_subject_keeps_all_and_is_found_by_the_new_name_alone(records, collection, corrections, sample):
    before = records.subject(collection, "ann")
    renamed = corrections.rename(collection, "ann", "anna", ENTRY)
    assert replace(renamed, id="ann", updated_at=before.updated_at) == before
    assert records.subject(collection, "anna") == renamed
    with pytest.raises(SubjectNotFound):
        records.subject(collection, "ann")
    assert records.picture(collection, renamed, sample.id, Keep.IMAGE) == IMAGE
    assert len(records.samples(collection, renamed)) == 2
    assert records.add_samples(collection, "ann", [new_sample()], ENTRY)[0].key != before.key


def test_a_name_that_is_taken_is_refused_and_the_own_one_is_no_harm(records, collection, corrections, sample):
    with pytest.raises(SubjectExists):
        corrections.rename(collection, "ann", "ben", ENTRY)
    with pytest.raises(SubjectNotFound):
        corrections.rename(collection, "nobody", "cat", ENTRY)
    assert corrections.rename(collection, "ann", "ann", ENTRY).metadata == {"site": "north"}


@pytest.mark.parametrize("to", ["ben", "new one"])
def test_a_moved_sample_keeps_its_vector_pictures_id_and_time_under_the_other_key(
    rows, records, collection, corrections, sample, to
):
    ann = records.subject(collection, "ann")
    before = records.samples(collection, ann)[0]
    moved = corrections.move(collection, "ann", sample.id, to, ENTRY)
    owner = records.subject(collection, to)
    (found,) = records.samples(collection, owner)
    assert (found.id, found.created_at, found.box, found.quality) == (
        before.id,
        before.created_at,
        before.box,
        before.quality,
    )
    assert np.array_equal(found.vector, before.vector)
    assert found.number == moved.number != before.number
    assert records.picture(collection, owner, sample.id, Keep.CROP) == CROP
    assert records.picture(collection, owner, sample.id, Keep.IMAGE) == IMAGE
    assert [s.id for s in records.samples(collection, ann)] != [sample.id]
    assert records.count(collection) == (3 if to == "new one" else 2, 2)
    with pytest.raises(SampleNotFound):
        records.picture(collection, ann, sample.id, Keep.CROP)
    records.erase_subject(collection, "ann", ENTRY)
    assert records.picture(collection, owner, sample.id, Keep.CROP) == CROP


def test_templates_of_other_models_move_too(rows, records, corrections):
    made = replace(new_collection(), past=(OTHER,))
    records.create_collection(made, ENTRY)
    vector = np.array([1, 0, 0, 0], np.float32)
    sample = replace(new_sample(), also=((OTHER, vector),))
    records.add_samples(made, "ann", [sample], ENTRY)
    moved = corrections.move(made, "ann", sample.id, "ben", ENTRY)
    view = replace(made, space=OTHER, first_space=SPACE)
    assert np.array_equal(records.samples_numbered(view, [moved.number])[0].vector, vector)


def test_the_changes_say_that_one_number_is_gone_and_another_is_there(records, collection, corrections, sample):
    before, seq = records.samples(collection, records.subject(collection, "ann"))[0].number, records.last_seq()
    moved = corrections.move(collection, "ann", sample.id, "ben", ENTRY)
    told = [(change.op.value, change.number) for change in records.changes(seq) if change.number is not None]
    assert told == [("delete", before), ("put", moved.number)]


def test_a_moved_sample_is_not_enrolled_for_the_wrong_subject_again(records, collection, corrections, sample):
    corrections.move(collection, "ann", sample.id, "ben", ENTRY)
    with pytest.raises(SampleElsewhere):
        records.add_samples(collection, "ann", [sample], ENTRY)


def test_that_it_left_its_place_stands_in_the_ledger_so_that_an_older_backup_does_not_put_it_back(
    rows, collection, corrections, sample
):
    corrections.move(collection, "ann", sample.id, "ben", ENTRY)
    (line,) = rows.read().settings(LINES).values()
    assert b'"kind":"sample"' in line and sample.id.encode() in line


def test_under_a_hold_nothing_is_renamed_and_nothing_taken_away_but_added(
    rows, keyring, audit, records, collection, corrections, sample
):
    holds = SealedHolds(rows, keyring, audit)
    holds.put(collection, Hold("0" * 16, "ann", "file 7", "dpo", 1.0), ENTRY)
    for attempt in (
        lambda: corrections.rename(collection, "ann", "anna", ENTRY),
        lambda: corrections.move(collection, "ann", sample.id, "ben", ENTRY),
    ):
        with pytest.raises(LegalHold):
            attempt()
    records.add_samples(collection, "ben", [other := new_sample()], ENTRY)
    corrections.move(collection, "ben", other.id, "ann", ENTRY)
    assert len(records.samples(collection, records.subject(collection, "ann"))) == 3


def test_a_sample_of_somebody_else_is_not_moved(records, collection, corrections, sample):
    for id, wanted, error in (("ben", sample.id, SampleNotFound), ("nobody", sample.id, SubjectNotFound)):
        with pytest.raises(error):
            corrections.move(collection, id, wanted, "cat", ENTRY)
    with pytest.raises(SubjectNotFound):
        records.subject(collection, "cat")
