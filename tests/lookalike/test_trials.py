from __future__ import annotations

import numpy as np
import pytest

from lookalike.domain import TrialMode
from lookalike.errors import Conflict, InvalidInput, NoSuchGeneration, StorageUnavailable
from lookalike.reindex import Reindexer
from lookalike.trials import QUEUE, Seen, Tally, Trials
from tests.lookalike.conftest import DIMENSION, ScriptedEncoder

PEOPLE = 30


class Blurry(ScriptedEncoder):
    """Knows nobody again: every picture of a person gives a vector of its own."""

    def _vector(self, who, shot):
        noise = np.random.default_rng([who, shot, 9]).standard_normal(DIMENSION)
        return np.asarray(noise / np.linalg.norm(noise), np.float32)


@pytest.fixture
def held(house, admin, shoot, pictures):
    """Re-indexes thirty people of one picture each to a model of that name, and holds it."""
    house.models.encoders["worse"] = Blurry("worse")
    house.gallery.create_collection(admin, "staff")
    for who in range(PEOPLE):
        house.gallery.enrol(admin, "staff", f"p{who}", pictures(shoot(who)))
    indexer = Reindexer(house.records, house.audit, house.rosters, house.models)

    def hold(model: str) -> Reindexer:
        indexer.begin(admin, "staff", model=model)
        report = indexer.run(admin, "staff", lambda done, total: None, hold=True)
        assert report.judged == 0, "people of one picture say nothing beforehand"
        return indexer

    return hold


def ask(house, admin, shoot, who):
    found = house.gallery.identify(admin, "staff", shoot(who, shot=3))
    return found.model, [candidate.subject.id for candidate in found.faces[0].candidates]


def counted(house) -> Tally:
    house.trials.settle()
    return house.trials.tally(house.records.collection("staff"))


def test_in_shadow_the_old_model_answers_and_both_are_compared(house, held, admin, shoot):
    held("turned").try_out(admin, "staff", TrialMode.SHADOW, 1.0)
    for who in (1, 2, 3, 999):
        assert ask(house, admin, shoot, who) == ("scripted", [f"p{who}"] if who < PEOPLE else [])
    tally = counted(house)
    assert (tally.compared, tally.same, tally.lost, tally.gained, tally.failed) == (4, 4, 0, 0, 0)
    assert tally.active_ms > 0 and tally.tried_ms > 0


def test_a_canary_answers_its_share(house, held, admin, shoot):
    held("turned").try_out(admin, "staff", TrialMode.CANARY, 0.5)
    assert ask(house, admin, shoot, 1) == ("turned", ["p1"])
    house.trials._draw = lambda: 0.7
    assert ask(house, admin, shoot, 1) == ("scripted", ["p1"])
    assert counted(house).compared == 1


@pytest.mark.parametrize("mode", list(TrialMode))
def test_a_worse_model_is_taken_off_by_itself_and_not_promoted_without_insisting(house, held, admin, shoot, mode):
    indexer = held("worse")
    indexer.try_out(admin, "staff", mode, 1.0)
    for who in range(PEOPLE):
        ask(house, admin, shoot, who)
        house.trials.settle()

    trial = house.records.collection("staff").trial
    assert trial is not None and trial.share == 0.0 and "lost" in trial.worse
    assert counted(house).compared < 15, "it does not take the whole crowd to see it"
    assert ask(house, admin, shoot, 5) == ("scripted", ["p5"])
    with pytest.raises(Conflict, match="worse"):
        indexer.promote(admin, "staff")
    assert indexer.promote(admin, "staff", insist=True).space.model == "worse"


def test_where_the_canary_fails_the_old_model_answers(house, held, admin, shoot, monkeypatch):
    held("turned").try_out(admin, "staff", TrialMode.CANARY, 1.0)

    def broken(image, **named):
        raise StorageUnavailable("gone")

    monkeypatch.setattr(house.models.encoders["turned"], "encode", broken)
    assert ask(house, admin, shoot, 4) == ("scripted", ["p4"])
    assert counted(house).failed == 1


def test_a_canary_whose_model_is_gone_leaves_the_answer_to_the_old_one(house, held, admin, shoot):
    held("turned").try_out(admin, "staff", TrialMode.CANARY, 1.0)
    del house.models.encoders["turned"]
    assert ask(house, admin, shoot, 4) == ("scripted", ["p4"])
    assert counted(house).failed == 1


def test_a_picture_that_is_none_is_the_caller_s_fault_and_no_failure(house, held, admin):
    held("turned").try_out(admin, "staff", TrialMode.CANARY, 1.0)
    with pytest.raises(InvalidInput):
        house.gallery.identify(admin, "staff", b"no picture")
    assert counted(house) == Tally()


def test_an_explicit_threshold_is_not_tried(house, held, admin, shoot):
    held("turned").try_out(admin, "staff", TrialMode.CANARY, 1.0)
    assert house.gallery.identify(admin, "staff", shoot(1, shot=3), threshold=0.5).model == "scripted"


def test_only_what_is_complete_can_be_tried_and_a_share_of_zero_ends_it(house, held, admin, shoot):
    indexer = Reindexer(house.records, house.audit, house.rosters, house.models)
    house.gallery.create_collection(admin, "others")
    with pytest.raises(NoSuchGeneration):
        indexer.try_out(admin, "others", TrialMode.SHADOW, 0.1)
    indexer = held("turned")
    with pytest.raises(InvalidInput, match="share"):
        indexer.try_out(admin, "staff", TrialMode.SHADOW, 1.5)
    indexer.try_out(admin, "staff", TrialMode.SHADOW, 1.0)
    assert indexer.try_out(admin, "staff", TrialMode.SHADOW, 0.0).trial is None
    ask(house, admin, shoot, 1)
    assert counted(house) == Tally()


def test_comparisons_that_find_no_room_are_skipped(house, held, admin):
    held("turned").try_out(admin, "staff", TrialMode.SHADOW, 1.0)
    import threading

    gate = threading.Event()
    trials, where = Trials(lambda collection, tally: None), house.records.collection("staff")
    for _ in range(QUEUE + 4):
        trials.compare(where, lambda: Seen("a", 1.0), lambda: gate.wait(10) and Seen("a", 1.0))
    gate.set()
    trials.settle()
    tally = trials.tally(where)
    assert tally.skipped >= 3 and tally.compared + tally.skipped == QUEUE + 4
    trials.close()


def test_a_tally_counts_each_way_in_which_answers_differ():
    tally = Tally()
    for old, new in (("a", "a"), (None, None), ("a", None), (None, "a"), ("a", "b")):
        tally = tally.with_pair(Seen(old, 10.0), Seen(new, 20.0))
    assert (tally.compared, tally.same, tally.lost, tally.gained, tally.other) == (5, 2, 1, 1, 1)
    assert (tally.active_ms, tally.tried_ms) == (10.0, 20.0)
