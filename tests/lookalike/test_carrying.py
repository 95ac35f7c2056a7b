from __future__ import annotations

import numpy as np
import pytest

from lookalike.carrying import LEAST_JUDGED, LEAST_PAIRS, Mapping, Pairs, judge
from lookalike.domain import GenerationState, Keep
from lookalike.fusion import Fusion
from lookalike.reindex import Reindexer
from tests.lookalike.conftest import DIMENSION, ScriptedEncoder, face_of

PEOPLE, SHOTS = 110, 2
UNSEEN = range(500, 510)
"""Whose pictures are not kept."""


@pytest.fixture
def indexer(house):
    return Reindexer(
        house.records, house.audit, house.rosters, house.models, standby_s=0.0, clock=lambda: 1_800_000_000.0
    )


@pytest.fixture
def staff(gallery, admin, shoot, pictures):
    """People of two kept pictures each, and ten whose pictures were not kept."""
    gallery.create_collection(admin, "staff", keep=Keep.NONE)
    for who in UNSEEN:
        gallery.enrol(admin, "staff", f"p{who}", pictures(shoot(who)))
    gallery.update_collection(admin, "staff", keep=Keep.CROP)
    for who in range(PEOPLE):
        gallery.enrol(admin, "staff", f"p{who}", pictures(*(shoot(who, shot=shot) for shot in range(SHOTS))))
    return "staff"


def quiet(done: int, total: int) -> None:
    pass


def found(gallery, admin, shoot, who):
    answer = gallery.identify(admin, "staff", shoot(who, shot=7))
    return [candidate.subject.id for candidate in answer.faces[0].candidates], answer.model


def marked(gallery, admin, who):
    return [sample.carried for sample in gallery.subject(admin, "staff", f"p{who}")[1]]


def test_people_whose_pictures_are_not_kept_are_known_to_another_model_and_marked(
    gallery, indexer, admin, staff, shoot
):
    indexer.begin(admin, staff, model="turned")
    report = indexer.run(admin, staff, quiet)

    assert (report.carried, report.left_behind, report.samples) == (len(UNSEEN), 0, PEOPLE * SHOTS + len(UNSEEN))
    assert report.carriage.pairs == PEOPLE * SHOTS and report.carriage.judged == PEOPLE
    assert (report.carriage.lost, report.carriage.why) == (0, "")
    assert all(found(gallery, admin, shoot, who) == ([f"p{who}"], "turned") for who in UNSEEN)
    assert all(marked(gallery, admin, who) == [True] for who in UNSEEN)
    assert marked(gallery, admin, 3) == [False, False]


def test_the_mark_stays_when_the_old_model_is_gone_and_nothing_is_learned_from_what_was_carried(
    house, gallery, indexer, admin, staff, shoot
):
    indexer.begin(admin, staff, model="turned")
    indexer.run(admin, staff, quiet)
    indexer.retire(admin, staff, now=True)
    assert all(marked(gallery, admin, who) == [True] for who in UNSEEN)

    indexer.begin(admin, staff, model="scripted")
    back = indexer.run(admin, staff, quiet)
    assert (back.carried, back.carriage.pairs) == (len(UNSEEN), PEOPLE * SHOTS)
    assert all(found(gallery, admin, shoot, who) == ([f"p{who}"], "scripted") for who in UNSEEN)
    assert all(marked(gallery, admin, who) == [True] for who in UNSEEN)


def test_a_run_that_was_killed_among_the_carried_carries_the_rest(house, gallery, indexer, admin, staff, monkeypatch):
    monkeypatch.setattr("lookalike.carrier.BATCH", 4)
    plain, told = house.records.put_templates, []

    def once(view, templates):
        if templates[0][0].carried and told:
            raise KeyboardInterrupt
        told.extend(templates if templates[0][0].carried else [])
        return plain(view, templates)

    monkeypatch.setattr(house.records, "put_templates", once)
    indexer.begin(admin, staff, model="turned")
    with pytest.raises(KeyboardInterrupt):
        indexer.run(admin, staff, quiet)
    monkeypatch.setattr(house.records, "put_templates", plain)

    report = indexer.run(admin, staff, quiet)
    assert (report.carried, report.left_behind) == (len(UNSEEN), 0) and len(told) == 4


def test_nobody_is_carried_by_a_mapping_that_loses_people(house, gallery, indexer, admin, staff, shoot):
    class Unlike(ScriptedEncoder):
        """Knows people as well as the other one, and by nothing that a linear mapping could find."""

        def _vector(self, who, shot):
            return face_of(who + 100_000, shot=shot)

    house.models.encoders["turned"] = Unlike("turned")
    indexer.begin(admin, staff, model="turned")
    report = indexer.run(admin, staff, quiet)

    assert report.carried == 0 and report.left_behind == len(UNSEEN) and "loses" in report.carriage.why
    assert report.promoted and house.records.collection(staff).others[0].state is not GenerationState.BUILDING
    assert found(gallery, admin, shoot, UNSEEN[0]) == ([], "turned")


def test_what_could_not_be_judged_is_not_used():
    few = pairs_of(LEAST_PAIRS // 4, 2)
    alone = pairs_of(LEAST_PAIRS, 1)
    assert f"{LEAST_PAIRS} are asked for" in judge(few, 0.5, Fusion.CENTROID).why
    assert f"{LEAST_JUDGED} are asked for" in judge(alone, 0.5, Fusion.CENTROID).why


def test_a_mapping_is_not_used_where_it_takes_people_for_one_another():
    pairs = pairs_of(150, 2)
    # The old model sees the main part of a face alone, the same in all: whoever is carried looks like everybody.
    same = np.ones(DIMENSION) / np.sqrt(DIMENSION)
    blind = pairs.old * 0.02 + same.astype(np.float32)
    blind /= np.linalg.norm(blind, axis=1, keepdims=True)
    near = pairs.new * 0.3 + same.astype(np.float32)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    found = judge(Pairs(np.round(blind, 2).astype(np.float32), near, pairs.owners), 0.95, Fusion.CENTROID)
    assert found.alarms[0] > found.alarms[1] and "somebody else" in found.why


def test_images_of_a_mapping_are_unit_vectors_of_the_other_space():
    random = np.random.default_rng(1)
    old, new = (
        random.standard_normal((300, 16)).astype(np.float32),
        random.standard_normal((300, 24)).astype(np.float32),
    )
    mapped = Mapping(old, new)(old[:5])
    assert mapped.shape == (5, 24) and mapped.dtype == np.float32
    assert np.allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)


def pairs_of(people: int, shots: int) -> Pairs:
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((DIMENSION, DIMENSION)))[0].astype(np.float32)
    rows = np.stack([face_of(who, shot=shot) for who in range(people) for shot in range(shots)])
    return Pairs(rows, rows @ turn, [f"p{who}" for who in range(people) for _ in range(shots)])
