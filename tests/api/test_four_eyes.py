"""Identifications that wait for two people, over HTTP and by the client: real portraits through the real service."""

from __future__ import annotations

import json
import secrets
import zipfile

import pytest

from api.client import Client, ClientError
from lookalike.domain import Grant
from tests.api.conftest import ADMIN


class People:
    """A collection that asks for two people, and somebody for each key."""

    def __init__(self, real, name: str) -> None:
        self.real, self.name = real, name

    def client(self, role: str = "identifier") -> Client:
        key = self.real.services.api_keys.create(ADMIN, role, (Grant(role, self.name),)).key
        return Client("http://edge", api_key=key, transport=self.real.transport)


@pytest.fixture
def people(real, portraits) -> People:
    made = People(real, secrets.token_hex(6))
    admin = made.client("admin")
    admin.create_collection(made.name)
    admin.enrol(made.name, "Barack", portraits["obama.jpg"])
    admin.put_subject(made.name, "Barack", metadata={"post": "president"})
    admin.enrol(made.name, "Joe", portraits["biden.jpg"])
    assert admin.set_retention(made.name, four_eyes_days=7)["four_eyes_days"] == 7
    return made


@pytest.fixture
def held(people, portraits):
    """The searcher's client, and what they were told."""
    searcher = people.client()
    return searcher, searcher.identify(people.name, portraits["obama2.jpg"])


def refusal(call) -> tuple[int, str]:
    with pytest.raises(ClientError) as refused:
        call()
    return refused.value.status, refused.value.code


def test_whoever_searches_learns_that_a_face_waits_and_nothing_of_whose_it_may_be(people, held) -> None:
    searcher, told = held
    assert set(told) == {"state", "pending", "request_id"} and told["state"] == "pending"
    (row,) = told["pending"]
    assert (row["state"], row["confirmations"], row["needed"]) == ("pending", 0, 2)
    seen = json.dumps([told, searcher.one_pending(people.name, row["id"]), searcher.pending(people.name)])
    assert not any(word in seen for word in ("Barack", "president", "similarity", "box"))
    for call in (
        lambda: searcher.review_pending(people.name, row["id"]),
        lambda: searcher.pending_face(people.name, row["id"]),
        lambda: searcher.pending_face(people.name, row["id"], "Barack"),
        lambda: searcher.confirm_pending(people.name, row["id"], "Barack"),
        lambda: searcher.reject_pending(people.name, row["id"]),
    ):
        assert refusal(call) == (403, "permission_denied")


def test_two_others_who_name_the_same_give_the_answer(people, held) -> None:
    searcher, told = held
    id = told["pending"][0]["id"]
    one, two = people.client(), people.client()
    review = one.review_pending(people.name, id)
    assert [(c["subject"], c["metadata"]) for c in review["candidates"]] == [("Barack", {"post": "president"})]
    assert one.pending_face(people.name, id).startswith(b"\xff\xd8")
    assert one.pending_face(people.name, id, "Barack").startswith(b"\xff\xd8")
    first = one.confirm_pending(people.name, id, "Barack")
    assert (first["state"], first["confirmations"], "subject" in first) == ("pending", 1, False)
    assert refusal(lambda: one.confirm_pending(people.name, id, "Barack")) == (409, "conflict")
    assert "subject" not in searcher.one_pending(people.name, id)
    two.confirm_pending(people.name, id, "Barack")
    answer = searcher.one_pending(people.name, id)
    assert (answer["state"], answer["subject"], answer["metadata"]) == ("confirmed", "Barack", {"post": "president"})
    assert answer["similarity"] > 0.3
    assert refusal(lambda: two.pending_face(people.name, id)) == (404, "pending_not_found")


def test_one_who_rejects_it_ends_it_without_a_name(people, held) -> None:
    searcher, told = held
    id = told["pending"][0]["id"]
    people.client().confirm_pending(people.name, id, "Barack")
    assert people.client().reject_pending(people.name, id)["state"] == "rejected"
    assert "subject" not in searcher.one_pending(people.name, id)
    assert refusal(lambda: people.client().confirm_pending(people.name, id, "Barack")) == (409, "conflict")


def test_only_a_candidate_can_be_confirmed_and_only_by_who_may(people, held) -> None:
    id = held[1]["pending"][0]["id"]
    assert refusal(lambda: people.client().confirm_pending(people.name, id, "Joe")) == (409, "conflict")
    assert refusal(lambda: people.client().confirm_pending(people.name, id, "Nobody")) == (404, "subject_not_found")
    assert refusal(lambda: people.client().review_pending(people.name, "0" * 32)) == (404, "pending_not_found")
    for role in ("viewer", "operator", "privacy", "auditor"):
        assert refusal(lambda role=role: people.client(role).review_pending(people.name, id))[0] == 403


def test_whoever_matches_nobody_is_told_at_once(people, portraits) -> None:
    stranger = people.client().identify(people.name, portraits["astronaut.png"])
    assert [face["candidates"] for face in stranger["faces"]] == [[]]


def test_no_other_call_tells_one_person_alone(people, held, portraits) -> None:
    searcher = held[0]
    picture = portraits["obama2.jpg"]
    assert refusal(lambda: searcher.verify(people.name, "Barack", picture)) == (409, "four_eyes_required")
    by_metadata = {"post": "president"}
    assert refusal(lambda: searcher.identify(people.name, picture, metadata=by_metadata))[1] == "four_eyes_required"
    enrolled = people.client("enroller").enrol(people.name, "probe", picture)
    assert "Barack" not in json.dumps(enrolled)
    assert enrolled["samples"][0]["conflict"]["kind"] == "matches_other_subject"


def test_the_protocols_of_others_refuse_it_too(people, real, portraits) -> None:
    from lookalike.answers import Caller
    from lookalike.errors import FourEyesRequired

    caller, services = Caller(ADMIN, "-"), real.services
    (face,) = services.faces.page(caller, people.name, 10, user=None).faces[:1]
    for call in (
        lambda: services.gallery.identify(caller, people.name, portraits["obama2.jpg"]),
        lambda: services.faces.search(caller, people.name, face.id, limit=5, fmr=0.001),
        lambda: services.faces.verify(caller, people.name, face.id, portraits["obama2.jpg"]),
        lambda: services.face_users.search(caller, people.name, limit=5, fmr=0.001, image=portraits["obama2.jpg"]),
    ):
        with pytest.raises(FourEyesRequired):
            call()


def test_an_operator_cannot_do_away_with_it_and_a_privacy_officer_can(people) -> None:
    operator = people.client("operator")
    assert refusal(lambda: operator.set_retention(people.name, four_eyes_days=None))[0] == 403
    assert operator.update_collection(people.name, target_fpir=0.02)["name"] == people.name
    assert people.client("privacy").set_retention(people.name, four_eyes_days=None)["four_eyes_days"] is None


@pytest.mark.parametrize("days", [0, 91, True, "7"])
def test_days_that_are_none_are_refused(people, days) -> None:
    assert refusal(lambda: people.client("privacy").set_retention(people.name, four_eyes_days=days))[0] == 422


def test_erasing_a_person_takes_what_names_them_along(people, held, real) -> None:
    _, told = held
    id = told["pending"][0]["id"]
    people.client("privacy").erase(people.name, "Barack")
    assert refusal(lambda: people.client().one_pending(people.name, id)) == (404, "pending_not_found")
    assert people.client().pending(people.name) == []


def test_whoever_asks_what_is_kept_of_them_is_told_of_it_without_the_face(people, held, tmp_path) -> None:
    _, told = held
    privacy = people.client("privacy")
    out = tmp_path / "kept.zip"
    out.write_bytes(privacy.export_subject(people.name, "Barack"))
    with zipfile.ZipFile(out) as kept:
        document = json.loads(kept.read("data.json"))
        assert "Searches that may have found this person" in kept.read("index.html").decode()
    (row,) = document["identifications_that_name_it"]
    assert (row["id"], row["state"]) == (told["pending"][0]["id"], "pending")


def test_each_step_is_on_record_with_who_took_it(people, held) -> None:
    _, told = held
    id = told["pending"][0]["id"]
    one, two = people.client(), people.client()
    one.review_pending(people.name, id)
    one.confirm_pending(people.name, id, "Barack")
    two.confirm_pending(people.name, id, "Barack")
    key = people.real.services.audit.page(0, 100_000)
    mine = [entry for entry in key if entry.collection == people.name]
    steps = [entry.action for entry in mine if entry.action.startswith(("identify", "pending."))]
    assert steps == ["identify.pending", "pending.review", "pending.confirm", "pending.confirm"]
    confirmers = {entry.principal for entry in mine if entry.action == "pending.confirm"}
    assert len(confirmers) == 2


def test_nothing_readable_lies_in_the_store(people, held, real) -> None:
    rows = real.services.gallery.pending._store._rows.read()
    kept = {name: value for name, value in rows.settings("").items() if "/pending" in name}
    assert len(kept) >= 2
    assert not any(word in value for value in kept.values() for word in (b"Barack", b"JFIF", b"pending", b"suspects"))
