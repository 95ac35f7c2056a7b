"""Faces one by one and users beside them, with scripted pictures over a real sealed store."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lookalike.corrections import Corrections
from lookalike.domain import Box, Kind, Subject
from lookalike.errors import (
    CollectionNotFound,
    Conflict,
    ConsentRequired,
    LegalHold,
    LimitExceeded,
    PermissionDenied,
    SubjectNotFound,
    WrongKind,
)
from lookalike.face_marks import USER_ID, face_of, marks, people_of
from lookalike.face_users import MAX_FACES_OF_USER, FaceUsers
from lookalike.faces import Faces, sample_id
from lookalike.holds import Holds
from security.holds import SealedHolds
from security.ledger_copy import Ledger
from security.sealed_corrections import SealedCorrections
from tests.lookalike.conftest import open_at

SIZE = (200.0, 100.0)
LOOSE = 0.5


@pytest.fixture
def house(tmp_path):
    opened = open_at(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def faces(house) -> Faces:
    return Faces(house.records, house.audit, house.models, house.gallery)


@pytest.fixture
def users(house, faces) -> FaceUsers:
    return FaceUsers(house.records, house.audit, house.gallery, faces)


@pytest.fixture
def gate(house, admin) -> str:
    house.gallery.create_collection(admin, "gate")
    return "gate"


def index(faces, caller, picture, **more):
    return [face for face, _ in faces.index(caller, "gate", picture, lambda _: SIZE, **more).indexed]


def test_each_face_is_a_subject_of_its_own_with_its_marks(house, faces, gate, admin, shoot):
    first, second = index(faces, admin, shoot(1, 2), external_image_id="party")
    assert first.id != second.id and first.image_id == second.image_id
    assert (first.box.x, first.box.width) == (0.0, 0.45) and first.box.height == 0.9
    subject, (sample,) = house.gallery.subject(admin, gate, str(uuid.UUID(first.id)))
    assert sample.id == first.id and subject.metadata["face.external_image_id"] == "party"
    (found,) = house.gallery.identify(admin, gate, shoot(2, shot=3)).faces[0].candidates
    assert found.subject.id == str(uuid.UUID(second.id)) and 0 < found.fmr < 1


def test_a_retry_finds_what_the_first_attempt_kept(faces, gate, admin, shoot):
    once = index(faces, admin, shoot(1, 2), external_image_id="a")
    again = index(faces, admin, shoot(1, 2), external_image_id="a")
    assert [f.id for f in once] == [f.id for f in again] and [f.number for f in once] == [f.number for f in again]
    assert len(faces.page(admin, gate, 10).faces) == 2


def test_two_at_once_keep_one_face(faces, gate, admin, shoot):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: index(faces, admin, shoot(1))[0].id, range(8)))
    assert len(set(found)) == 1 and len(faces.page(admin, gate, 10).faces) == 1


def test_faces_that_are_not_indexed_are_told_with_the_reason(faces, gate, admin, shoot):
    done = faces.index(admin, gate, shoot(1, 2, 3), lambda _: SIZE, max_faces=1)
    assert [why for _, why in done.unindexed] == [("exceeds_max_faces",)] * 2
    poor = faces.index(admin, gate, shoot(4, reasons=("blurred",)), lambda _: SIZE)
    assert (poor.indexed, [why for _, why in poor.unindexed]) == ((), [("blurred",)])
    assert len(faces.index(admin, gate, shoot(4, reasons=("blurred",)), lambda _: SIZE, min_quality=0).indexed) == 1


def test_pages_follow_each_other_without_a_gap_while_faces_come_and_go(faces, gate, admin, shoot):
    ids = [index(faces, admin, shoot(i))[0].id for i in range(6)]
    page = faces.page(admin, gate, 2)
    faces.delete(admin, gate, [ids[1], ids[3]])
    index(faces, admin, shoot(9))
    rest = faces.page(admin, gate, 10, page.next_number)
    assert [f.id for f in page.faces] == ids[:2]
    assert [f.id for f in rest.faces][:3] == [ids[2], ids[4], ids[5]] and len(rest.faces) == 4
    assert rest.next_number is None


def test_a_search_by_a_face_leaves_itself_out(faces, gate, admin, shoot):
    ids = [index(faces, admin, shoot(1, shot=shot))[0].id for shot in range(3)]
    index(faces, admin, shoot(2))
    found, _ = faces.search(admin, gate, ids[0], limit=10, fmr=1e-3)
    assert {m.face.id for m in found} == set(ids[1:])
    assert len(faces.search(admin, gate, ids[0], limit=1, fmr=1e-3)[0]) == 1


def test_compare_looks_at_each_face_of_the_other_picture(faces, admin, shoot):
    _, found = faces.compare(admin, shoot(1), shoot(2, 1, 3, shot=1), 1e-3)
    assert [f.match for f in found] == [True, False, False] and found[0].fmr < 1e-3 < found[1].fmr


def test_a_user_is_found_by_all_its_faces(users, faces, gate, admin, shoot):
    users.create(admin, gate, "one")
    users.create(admin, gate, "two")
    own = [index(faces, admin, shoot(1, shot=shot))[0].id for shot in range(3)]
    other = index(faces, admin, shoot(2))[0].id
    assert all(a.refused is None for a in users.associate(admin, gate, "one", own, fmr=1e-2))
    users.associate(admin, gate, "two", [other], fmr=1e-2)
    found = users.search(admin, gate, limit=5, fmr=1e-2, image=shoot(1, shot=9))
    assert [m.subject.id for m in found.matches] == ["one"]
    assert [m.subject.id for m in users.search(admin, gate, limit=5, fmr=1e-2, face=own[0]).matches] == ["one"]
    everybody = users.search(admin, gate, limit=5, fmr=1 - 1e-15, user="one").matches
    assert [m.subject.id for m in everybody] == ["two"]


def test_the_service_s_own_subjects_are_users_and_an_erased_one_is_none(
    house, users, faces, gate, admin, shoot, pictures
):
    house.gallery.enrol(admin, gate, "Zoë native", pictures(shoot(1)))
    id = index(faces, admin, shoot(1, shot=1))[0].id
    (done,) = users.associate(admin, gate, "Zoë native", [id], fmr=1e-2)
    assert done.refused is None
    assert [m.subject.id for m in users.search(admin, gate, limit=5, fmr=1e-2, image=shoot(1, shot=2)).matches] == [
        "Zoë native"
    ]
    house.gallery.erase_subject(admin, gate, "Zoë native")
    assert users.search(admin, gate, limit=5, fmr=1e-2, image=shoot(1, shot=2)).matches == ()
    assert faces.page(admin, gate, 10).faces == (), "what was given to the erased is the erased one's"


def test_a_face_that_is_unlike_the_user_s_is_refused_and_says_how_unlike(users, faces, gate, admin, shoot):
    users.create(admin, gate, "one")
    first, stranger = (index(faces, admin, shoot(who))[0].id for who in (1, 2))
    users.associate(admin, gate, "one", [first], fmr=1e-2)
    (done,) = users.associate(admin, gate, "one", [stranger], fmr=1e-2)
    assert done.refused == "low_match_confidence" and done.fmr > 1e-2


def test_only_one_of_many_at_once_gets_a_face(users, faces, gate, admin, shoot):
    for n in range(4):
        users.create(admin, gate, f"u{n}")
    id = index(faces, admin, shoot(1))[0].id
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda n: users.associate(admin, gate, f"u{n}", [id], fmr=LOOSE)[0].refused, range(4)))
    assert sorted(done, key=str) == sorted([None] + ["associated_to_a_different_user"] * 3, key=str)
    assert faces.page(admin, gate, 1).faces[0].user == f"u{done.index(None)}"


def test_a_user_has_at_most_a_hundred_faces(users, faces, gate, admin):
    users.create(admin, gate, "one")
    with pytest.raises(LimitExceeded):
        users.associate(admin, gate, "one", [f"{n:032x}" for n in range(MAX_FACES_OF_USER + 1)], fmr=LOOSE)


def test_a_deleted_user_leaves_its_faces(users, faces, gate, admin, shoot):
    users.create(admin, gate, "one")
    id = index(faces, admin, shoot(1))[0].id
    users.associate(admin, gate, "one", [id], fmr=LOOSE)
    users.delete(admin, gate, "one")
    assert [(f.id, f.user) for f in faces.page(admin, gate, 10).faces] == [(id, None)]
    assert users.page(admin, gate, 10) == ([], None)
    with pytest.raises(SubjectNotFound):
        users.delete(admin, gate, "one")


def test_marks_outlive_a_caller_s_own_metadata_and_cannot_be_forged(house, users, faces, gate, admin, shoot):
    users.create(admin, gate, "one")
    face = index(faces, admin, shoot(1), external_image_id="a")[0]
    users.associate(admin, gate, "one", [face.id], fmr=LOOSE)
    for id in (face.subject.id, "one"):
        house.gallery.put_subject(admin, gate, id, metadata={"team": "red", "face.user_id": "other"})
    (kept,) = faces.page(admin, gate, 10, user="one").faces
    assert (kept.external_image_id, kept.user, kept.subject.metadata["team"]) == ("a", "one", "red")
    house.gallery.erase_subject(admin, gate, "one")
    assert faces.page(admin, gate, 10).faces == ()


def test_a_user_cannot_have_a_face_s_id_nor_be_one(users, faces, gate, admin, shoot):
    id = str(uuid.UUID(index(faces, admin, shoot(1))[0].id))
    with pytest.raises(Conflict):
        users.create(admin, gate, id)
    with pytest.raises(SubjectNotFound):
        users.associate(admin, gate, id, [sample_id(id)], fmr=LOOSE)


def test_erasing_a_face_is_erasing_its_subject_with_a_receipt_s_entry(house, faces, gate, admin, shoot):
    kept = [index(faces, admin, shoot(who))[0] for who in range(3)]
    assert [erased for _, _, erased in faces.delete(admin, gate, [face.id for face in kept])] == [True] * 3
    *erased, last = house.audit.page(0, 100)[-4:]
    assert [(e.action, e.subject) for e in erased] == [("subject.erase", face.subject.id) for face in kept]
    assert all(e.details["receipt_sha256"] for e in erased)
    assert (last.action, last.details["faces"]) == ("face.delete", 3)
    with pytest.raises(SubjectNotFound):
        house.gallery.subject(admin, gate, kept[0].subject.id)
    assert len(house.gallery.identify(admin, gate, shoot(1), fpir=LOOSE).faces[0].candidates) == 0


def test_a_change_of_a_face_erased_meanwhile_brings_nothing_back(house, faces, gate, admin, shoot):
    face = index(faces, admin, shoot(1))[0]
    where = house.records.collection(gate)
    house.gallery.erase_subject(admin, gate, face.subject.id)
    with pytest.raises(SubjectNotFound):
        house.records.change_same(where, face.subject, lambda s: s, next(iter(house.audit.page(0, 1))))
    assert house.gallery.list_subjects(admin, gate, 10, None, {}).items == ()


def test_every_call_asks_for_its_right_before_it_looks(users, faces, as_role):
    viewer, nobody = as_role("viewer"), as_role("auditor")
    for call in (
        lambda: faces.index(viewer, "none", b"", lambda _: SIZE),
        lambda: faces.page(nobody, "none", 1),
        lambda: faces.delete(as_role("enroller"), "none", []),
        lambda: faces.search(viewer, "none", "0" * 32, limit=1, fmr=LOOSE),
        lambda: faces.compare(viewer, b"", b"", LOOSE),
        lambda: users.create(viewer, "none", "u"),
        lambda: users.page(nobody, "none", 1),
        lambda: users.count(nobody, "none"),
        lambda: users.delete(as_role("enroller"), "none", "u"),
        lambda: users.associate(viewer, "none", "u", [], fmr=LOOSE),
        lambda: users.disassociate(viewer, "none", "u", []),
        lambda: users.search(viewer, "none", limit=1, fmr=LOOSE, user="u"),
    ):
        with pytest.raises(PermissionDenied):
            call()
    with pytest.raises(CollectionNotFound):
        faces.page(viewer, "none", 1)


def test_collections_of_pictures_have_no_faces(house, faces, users, admin):
    house.models.uncalibrated.clear()
    house.gallery.create_collection(admin, "things", kind=Kind.IMAGE)
    for call in (
        lambda: faces.index(admin, "things", b"", lambda _: SIZE),
        lambda: faces.page(admin, "things", 1),
        lambda: users.create(admin, "things", "u"),
    ):
        with pytest.raises(WrongKind):
            call()


def test_marks_that_cannot_be_read_count_as_not_there():
    held = {"face.image_id": "x", "face.box": "1 2 nan 4", "face.confidence": "much"}
    face = face_of(Subject("k", "s", held), "0" * 32, 1)
    assert (face.alone, face.box, face.confidence, face.image_id) == (True, None, None, str(uuid.UUID(int=0)))


def test_who_belongs_to_whom():
    alone = marks(str(uuid.UUID(int=1)), None, Box(0, 0, 1, 1), 0.9)
    metadata = {"a": {}, "b": alone, "c": alone | {USER_ID: "A"}, "d": {"note": "x"}}
    people = people_of(metadata, lambda key: {"a": (4,), "b": (2,), "c": (1,), "d": ()}[key])
    assert (people.users, people.faces, people.user_of) == (("a", "d"), {"A": ("c",)}, {"c": "A"})
    assert people.labels.tolist() == [1, 4]


def test_nobody_is_indexed_or_made_a_user_without_consent_where_it_is_asked_for(
    house, faces, users, gate, admin, shoot
):
    house.records.change_collection(
        house.records.collection(gate), lambda c: replace(c, require_consent=True), next(iter(house.audit.page(0, 1)))
    )
    with pytest.raises(ConsentRequired):
        faces.index(admin, gate, shoot(1), lambda _: SIZE)
    with pytest.raises(ConsentRequired):
        users.create(admin, gate, "ann")
    assert house.gallery.list_subjects(admin, gate, 10, None, {}).items == ()


def test_whoever_is_no_longer_valid_is_found_by_no_search_of_faces_or_users(house, faces, users, gate, admin, shoot):
    one, other = (index(faces, admin, shoot(1, shot=shot))[0].id for shot in range(2))
    house.gallery.put_subject(admin, gate, sample_id_to_subject(one), metadata={}, valid_until="2020-01-01")
    assert faces.search(admin, gate, other, limit=5, fmr=LOOSE)[0] == []

    house.gallery.put_subject(admin, gate, "ann", metadata={}, valid_until="2020-01-01")
    users.associate(admin, gate, "ann", [other], fmr=LOOSE)
    assert users.search(admin, gate, limit=5, fmr=LOOSE, image=shoot(1, shot=5)).matches == ()


def test_a_legal_hold_on_one_face_of_a_user_keeps_the_user_and_all_its_faces(house, faces, users, gate, admin, shoot):
    ids = [index(faces, admin, shoot(1, shot=shot))[0].id for shot in range(3)]
    users.create(admin, gate, "ann")
    users.associate(admin, gate, "ann", ids, fmr=LOOSE)
    holds = Holds(house.records, house.audit, SealedHolds(house.rows, house.records._keyring, house.audit), house.clock)
    holds.set(admin, gate, sample_id_to_subject(ids[1]), "case 7")

    with pytest.raises(LegalHold):
        house.gallery.erase_subject(admin, gate, "ann")
    assert len(faces.page(admin, gate, 10).faces) == 3
    assert house.gallery.subject(admin, gate, "ann")[0].id == "ann"


def test_a_user_is_kept_as_long_as_the_faces_it_was_given(house, users, faces, gate, admin, shoot):
    users.create(admin, gate, "ann")
    before = house.gallery.subject(admin, gate, "ann")[0].renewed_at
    users.associate(admin, gate, "ann", [index(faces, admin, shoot(1))[0].id], fmr=LOOSE)
    assert before == 0 < house.gallery.subject(admin, gate, "ann")[0].renewed_at


def sample_id_to_subject(id: str) -> str:
    return str(uuid.UUID(id))


def test_a_user_whom_faces_name_and_a_single_face_keep_their_ids(house, faces, users, gate, admin, shoot):
    rows, keyring, audit = house.rows, house.records._keyring, house.audit
    store = SealedCorrections(rows, keyring, audit, Ledger(rows, keyring, audit))
    corrections = Corrections(house.records, audit, store, house.rosters)
    (face,) = index(faces, admin, shoot(1))
    users.create(admin, gate, "ann")
    users.associate(admin, gate, "ann", [face.id], fmr=LOOSE)
    for id in ("ann", face.subject.id):
        with pytest.raises(Conflict):
            corrections.rename(admin, gate, id, "anna")
    assert [face.user for face in faces.page(admin, gate, 10, user="ann").faces] == ["ann"]


def test_held_faces_are_not_deleted_with_others(house, faces, gate, admin, shoot):
    ids = [index(faces, admin, shoot(n))[0].id for n in range(3)]
    store = SealedHolds(house.rows, house.records._keyring, house.audit)
    Holds(house.records, house.audit, store, house.clock).set(admin, gate, sample_id_to_subject(ids[2]), "case 7")
    with pytest.raises(LegalHold):
        faces.delete(admin, gate, ids)
    assert len(faces.page(admin, gate, 10).faces) == 3
