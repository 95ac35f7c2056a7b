from __future__ import annotations

import threading

import numpy as np
import pytest

from lookalike.domain import GenerationState, Keep
from lookalike.errors import Conflict, InvalidInput, ModelNotAvailable, NoSuchGeneration, PermissionDenied
from lookalike.paired import Paired
from lookalike.reindex import BATCH, Reindexer
from lookalike.verification import recall_of
from tests.lookalike.conftest import DIMENSION, ScriptedEncoder

PEOPLE = 40


@pytest.fixture
def now():
    return [1_800_000_000.0]


@pytest.fixture
def indexer(house, now):
    return make(house, now)


def make(house, now):
    return Reindexer(house.records, house.audit, house.rosters, house.models, standby_s=3600, clock=lambda: now[0])


@pytest.fixture
def staff(gallery, admin, shoot, pictures):
    """Forty people of two pictures each."""
    gallery.create_collection(admin, "staff")
    for who in range(PEOPLE):
        gallery.enrol(admin, "staff", f"p{who}", pictures(shoot(who), shoot(who, shot=1)))
    return "staff"


def quiet(done: int, total: int) -> None:
    pass


class Killed(BaseException):
    pass


def killed_after(steps: int):
    left = [steps]

    def progress(done: int, total: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Killed

    return progress


def who_is(gallery, admin, shoot, who, shot=7):
    found = gallery.identify(admin, "staff", shoot(who, shot=shot))
    return [candidate.subject.id for candidate in found.faces[0].candidates], found.model


def test_a_collection_answers_through_another_model_with_the_same_people(gallery, indexer, admin, staff, shoot):
    indexer.begin(admin, staff, model="turned")
    report = indexer.run(admin, staff, quiet)

    assert report.promoted and (report.samples, report.left_behind, report.verdict) == (2 * PEOPLE, 0, "same")
    assert all(who_is(gallery, admin, shoot, who) == ([f"p{who}"], "turned") for who in range(PEOPLE))
    assert who_is(gallery, admin, shoot, 999) == ([], "turned")
    assert gallery.collection(admin, staff).samples == 2 * PEOPLE


def test_while_it_is_on_the_old_model_answers_and_enrolments_go_into_both(
    gallery, indexer, admin, staff, shoot, pictures
):
    indexer.begin(admin, staff, model="turned")
    gallery.enrol(admin, staff, "new", pictures(shoot(500)))
    assert who_is(gallery, admin, shoot, 500) == (["new"], "scripted")

    indexer.run(admin, staff, quiet)
    assert who_is(gallery, admin, shoot, 500) == (["new"], "turned")


def test_who_is_erased_meanwhile_is_not_in_the_new_generation(gallery, indexer, admin, staff, shoot):
    indexer.begin(admin, staff, model="turned")
    with pytest.raises(Killed):
        indexer.run(admin, staff, killed_after(2))
    gallery.erase_subject(admin, staff, "p3")
    indexer.run(admin, staff, quiet)

    assert who_is(gallery, admin, shoot, 3)[0] == []
    assert gallery.collection(admin, staff).samples == 2 * PEOPLE - 2


@pytest.mark.parametrize("steps", range(4))
def test_a_run_that_was_killed_anywhere_goes_on_and_does_nothing_twice(
    open_house, house, indexer, admin, staff, now, shoot, steps, monkeypatch
):
    indexer.begin(admin, staff, model="turned")
    encoded: list[bytes] = []
    before = ScriptedEncoder.encode_crops
    monkeypatch.setattr(
        ScriptedEncoder, "encode_crops", lambda self, crops, **kw: encoded.extend(crops) or before(self, crops, **kw)
    )
    with pytest.raises(Killed):
        indexer.run(admin, staff, killed_after(steps))
    ids = {s.id for p in range(PEOPLE) for s in house.records.samples(*subject(house, staff, f"p{p}"))}

    other = open_house()
    report = make(other, now).run(admin, staff, quiet)

    assert report.promoted and sorted(encoded) == sorted(set(encoded)) and len(encoded) == 2 * PEOPLE
    assert {s.id for p in range(PEOPLE) for s in other.records.samples(*subject(other, staff, f"p{p}"))} == ids
    assert all(who_is(other.gallery, admin, shoot, who)[0] == [f"p{who}"] for who in range(PEOPLE))
    assert all(who_is(house.gallery, admin, shoot, who)[0] == [f"p{who}"] for who in range(PEOPLE))


def subject(house, name, id):
    where = house.records.collection(name)
    return where, house.records.subject(where, id)


def test_one_can_roll_back_with_all_who_were_enrolled_since_until_the_grace_ends(
    gallery, indexer, admin, staff, shoot, pictures, now
):
    indexer.begin(admin, staff, model="turned")
    indexer.run(admin, staff, quiet)
    gallery.enrol(admin, staff, "new", pictures(shoot(500)))

    indexer.roll_back(admin, staff)
    assert who_is(gallery, admin, shoot, 500) == (["new"], "scripted")
    assert who_is(gallery, admin, shoot, 5) == (["p5"], "scripted")

    now[0] += 3601
    assert indexer.retire(admin, staff) == 1
    with pytest.raises(NoSuchGeneration):
        indexer.roll_back(admin, staff)


def test_once_its_grace_has_ended_nothing_of_the_old_model_is_kept(house, gallery, indexer, admin, staff, shoot, now):
    indexer.begin(admin, staff, model="turned")
    indexer.run(admin, staff, quiet)
    assert indexer.retire(admin, staff) == 0
    now[0] += 3601
    assert indexer.retire(admin, staff) == 1

    where = house.records.collection(staff)
    rows = house.rows.read().samples_page(where.id, 0, 1000)
    assert {row.space for row in rows} == {where.space.key} and len(rows) == 2 * PEOPLE
    assert house.rows.read().templates([row.number for row in rows], where.space.key) == {}
    assert who_is(gallery, admin, shoot, 5) == (["p5"], "turned")
    indexer.begin(admin, staff, model="scripted")
    assert indexer.run(admin, staff, quiet).promoted
    assert who_is(gallery, admin, shoot, 5) == (["p5"], "scripted")


def test_a_grace_can_be_ended_at_once(indexer, admin, staff):
    indexer.begin(admin, staff, model="turned")
    indexer.run(admin, staff, quiet)
    assert (indexer.retire(admin, staff), indexer.retire(admin, staff, now=True)) == (0, 1)
    with pytest.raises(NoSuchGeneration):
        indexer.roll_back(admin, staff)


def test_a_model_that_is_gone_is_told_and_one_can_go_back(house, gallery, indexer, admin, staff, shoot):
    indexer.begin(admin, staff, model="turned")
    indexer.run(admin, staff, quiet)
    del house.models.encoders["turned"]
    with pytest.raises(ModelNotAvailable):
        gallery.identify(admin, staff, shoot(5))
    assert gallery.overdue(1) == [] and gallery.collection(admin, staff).samples == 2 * PEOPLE
    indexer.roll_back(admin, staff)
    assert who_is(gallery, admin, shoot, 5) == (["p5"], "scripted")


def test_a_model_that_goes_in_the_middle_of_a_run_ends_it_and_the_old_one_answers(
    house, gallery, indexer, admin, staff, shoot
):
    indexer.begin(admin, staff, model="turned")
    turned = house.models.encoders["turned"]

    def take_away(done: int, total: int) -> None:
        house.models.encoders.pop("turned", None)

    with pytest.raises(ModelNotAvailable):
        indexer.run(admin, staff, take_away)
    assert who_is(gallery, admin, shoot, 5) == (["p5"], "scripted")

    house.models.encoders["turned"] = turned
    assert indexer.run(admin, staff, quiet).promoted
    assert who_is(gallery, admin, shoot, 5) == (["p5"], "turned")


def test_samples_without_a_picture_are_named_and_stay_known_to_the_records(
    house, gallery, indexer, admin, shoot, pictures, now
):
    gallery.create_collection(admin, "staff", keep=Keep.NONE)
    gallery.enrol(admin, "staff", "ann", pictures(shoot(1)))
    gallery.update_collection(admin, "staff", keep=Keep.CROP)
    gallery.enrol(admin, "staff", "ann", pictures(shoot(1, shot=1)))
    gallery.enrol(admin, "staff", "bob", pictures(shoot(2)))

    indexer.begin(admin, "staff", model="turned")
    report = indexer.run(admin, "staff", quiet)
    now[0] += 3601
    indexer.retire(admin, "staff")

    assert (report.left_behind, report.samples) == (1, 2)
    _, samples = gallery.subject(admin, "staff", "ann")
    assert report.left_behind_ids == (samples[0].id,) and len(samples) == 2
    assert who_is(gallery, admin, shoot, 1)[0] == ["ann"]


def test_a_model_that_no_longer_knows_the_enrolled_is_not_promoted(house, gallery, indexer, admin, staff, shoot):
    class Blurry(ScriptedEncoder):
        def _vector(self, who, shot):
            noise = np.random.default_rng([who, shot, 9]).standard_normal(DIMENSION)
            return np.asarray(noise / np.linalg.norm(noise), np.float32)

    house.models.encoders["worse"] = Blurry("worse")
    indexer.begin(admin, staff, model="worse")
    report = indexer.run(admin, staff, quiet)

    assert (report.verdict, report.promoted) == ("worse", False) and report.lost > 20
    assert who_is(gallery, admin, shoot, 5) == (["p5"], "scripted")
    indexer.abandon(admin, staff)
    assert house.records.collection(staff).others == ()
    assert who_is(gallery, admin, shoot, 6) == (["p6"], "scripted")


def test_a_generation_can_be_held_and_promoted_later(gallery, indexer, house, admin, staff, shoot):
    indexer.begin(admin, staff, model="turned")
    assert not indexer.run(admin, staff, quiet, hold=True).promoted
    assert house.records.collection(staff).others[0].state is GenerationState.READY
    assert who_is(gallery, admin, shoot, 5)[1] == "scripted"
    indexer.promote(admin, staff)
    assert who_is(gallery, admin, shoot, 5) == (["p5"], "turned")


def test_what_is_not_complete_cannot_be_promoted(indexer, admin, staff):
    with pytest.raises(NoSuchGeneration):
        indexer.promote(admin, staff)
    indexer.begin(admin, staff, model="turned")
    with pytest.raises(NoSuchGeneration):
        indexer.promote(admin, staff)


def test_two_re_indexings_at_once_are_refused(indexer, admin, staff):
    indexer.begin(admin, staff, model="turned")
    with pytest.raises(Conflict, match="already"):
        indexer.begin(admin, staff, model="scripted")


def test_two_that_run_the_same_re_indexing_at_once_end_with_one_that_is_whole(
    house, open_house, indexer, admin, staff, gallery, shoot, now
):
    """As when a lease ran out under a process that only stood still."""
    indexer.begin(admin, staff, model="turned")
    other = open_house()
    both = threading.Barrier(2, timeout=60)

    def together(done: int, total: int) -> None:
        if not done:
            both.wait()

    ends: list[object] = []

    def run(chosen: Reindexer) -> None:
        try:
            ends.append(chosen.run(admin, staff, together).promoted)
        except (Conflict, NoSuchGeneration) as error:
            ends.append(error)

    threads = [threading.Thread(target=run, args=(each,)) for each in (indexer, make(other, now))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ends) == 2 and True in ends
    house.rosters.catch_up()
    where = house.records.collection(staff)
    assert (where.space.model, house.rosters.of(where).samples) == ("turned", 2 * PEOPLE)
    assert [generation.state for generation in where.others] == [GenerationState.STANDBY]
    for who in range(PEOPLE):
        assert who_is(gallery, admin, shoot, who) == ([f"p{who}"], "turned")


def test_a_clock_that_is_set_back_loses_nobody_and_keeps_the_way_back_open(
    house, indexer, admin, staff, gallery, shoot, pictures, now
):
    indexer.begin(admin, staff, model="turned")
    indexer.run(admin, staff, quiet)
    now[0] -= 86_400.0
    assert indexer.retire(admin, staff) == 0
    gallery.enrol(admin, staff, "late", pictures(shoot(99)))
    gallery.erase_subject(admin, staff, "p0")

    indexer.roll_back(admin, staff)
    assert who_is(gallery, admin, shoot, 99) == (["late"], "scripted")
    assert who_is(gallery, admin, shoot, 0) == ([], "scripted")
    indexer.roll_back(admin, staff)
    assert who_is(gallery, admin, shoot, 99) == (["late"], "turned")
    house.audit.verify()


def test_an_unknown_model_is_refused_before_anything_changes(house, indexer, admin, staff):
    with pytest.raises(ModelNotAvailable):
        indexer.begin(admin, staff, model="nonsense")
    assert house.records.collection(staff).others == ()


def test_the_same_model_anew_rebuilds_the_index_without_embedding(indexer, admin, staff, gallery, shoot, monkeypatch):
    monkeypatch.setattr(ScriptedEncoder, "encode_crops", None)
    indexer.begin(admin, staff)
    assert indexer.run(admin, staff, quiet).promoted
    assert who_is(gallery, admin, shoot, 5) == (["p5"], "scripted")


def test_a_calibration_of_its_own_is_learned_anew_in_the_new_space(gallery, house, indexer, admin, staff):
    gallery.calibrate(admin, staff)
    old = house.records.calibration(house.records.collection(staff))
    indexer.begin(admin, staff, model="turned")
    indexer.run(admin, staff, quiet)
    new = house.records.calibration(house.records.collection(staff))
    assert new is not None and old is not None
    indexer.roll_back(admin, staff)
    assert house.records.calibration(house.records.collection(staff)) == old


@pytest.mark.parametrize("role", ["viewer", "identifier", "enroller", "auditor", "privacy"])
def test_only_those_who_run_jobs_may_re_index(indexer, as_role, staff, role):
    with pytest.raises(PermissionDenied):
        indexer.begin(as_role(role), staff, model="turned")
    with pytest.raises(PermissionDenied):
        indexer.roll_back(as_role(role), staff)


def test_an_index_that_loses_rows_is_not_promoted(house, indexer, admin, staff, monkeypatch):
    indexer.begin(admin, staff, model="turned")
    monkeypatch.setattr("lookalike.reindex.recall_of", lambda roster: 0.5)
    with pytest.raises(Conflict, match=r"50\.0%"):
        indexer.run(admin, staff, quiet)
    assert house.records.collection(staff).space.model == "scripted"


def test_an_index_that_lacks_rows_is_not_promoted(house, indexer, admin, staff, monkeypatch):
    indexer.begin(admin, staff)
    with pytest.raises(Killed):
        indexer.run(admin, staff, killed_after(0))
    where = house.records.collection(staff)
    roster = house.rosters.of(where.seen_as(where.others[0]))
    roster._drop([roster.numbers(house.records.subject(where, "p3").key)[0]])
    with pytest.raises(Conflict, match="79 rows where 80"):
        indexer.run(admin, staff, quiet)


def test_the_recall_of_an_exact_index_is_one(house, staff):
    assert recall_of(house.rosters.of(house.records.collection(staff))) == 1.0


@pytest.mark.parametrize(
    ("lost", "gained", "verdict"), [(0, 0, "same"), (3, 0, "same"), (12, 1, "worse"), (1, 12, "better"), (9, 8, "same")]
)
def test_worse_is_said_only_of_more_losses_than_chance_gives(lost, gained, verdict):
    assert Paired(100, lost, gained).verdict == verdict


def test_the_chance_is_that_of_a_fair_coin():
    assert Paired(10, 3, 1).chance == pytest.approx((4 + 1) / 16)


def test_a_rate_is_kept_by_pauses_in_which_the_run_can_be_given_up(house, admin, staff, now):
    passed, paused = [0.0], []

    def sleep(seconds):
        passed[0] += seconds
        paused.append(seconds)

    indexer = Reindexer(house.records, house.audit, house.rosters, house.models, timer=lambda: passed[0], sleep=sleep)
    indexer.begin(admin, staff, model="turned")
    with pytest.raises(Killed):
        indexer.run(admin, staff, killed_after(3), rate=10)
    assert paused == [0.5, 0.5, 0.5]

    before, left = passed[0], 2 * PEOPLE - BATCH
    assert indexer.run(admin, staff, quiet, rate=10).promoted
    assert passed[0] - before == pytest.approx(left / 10, abs=0.51)


def test_a_rate_of_nothing_is_refused(house, indexer, admin, staff):
    indexer.begin(admin, staff, model="turned")
    with pytest.raises(InvalidInput, match="rate"):
        indexer.run(admin, staff, quiet, rate=0)
