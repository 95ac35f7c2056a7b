"""The pages themselves: what they say, what they escape, what they refuse, and the headers of each."""

from __future__ import annotations

import json
import re
from html import unescape
from urllib.parse import quote, unquote

import pytest

from lookalike.domain import Grant, Receipt
from security.receipts import check_receipt
from tests.console.conftest import Console, Visitor
from tests.embedder.pictures import encoded, gradient

HOSTILE = "<script>alert(1)<script>\"'&{{7*7}}"


def path(collection: str, *rest: str) -> str:
    return "/console/collections/" + "/".join(quote(part, safe="") for part in (collection, *rest))


@pytest.fixture
def person(admin: Visitor, collection: str, portraits: dict[str, bytes]) -> str:
    """A subject with one sample; its name is hostile."""
    answer = admin.send(path(collection, "subjects", HOSTILE, "samples"), {"images": portraits["obama.jpg"]})
    assert answer.status_code == 201, answer.text
    return HOSTILE


# ---------------------------------------------------------------------------------------------- every page


def test_pages_allow_no_inline_script_or_style_and_nothing_from_elsewhere(admin: Visitor, collection: str):
    for where in ("/", path(collection), path(collection, "threshold"), "/console/keys", "/console/nowhere"):
        answer = admin.get(where)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self';" in policy and "style-src 'self';" in policy
        assert "unsafe" not in policy and "http" not in policy and "data:" not in policy
        assert "frame-ancestors 'none'" in policy and "form-action 'self'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"<script(?![^>]* src=\"/console/static/)", answer.text)
        assert not re.search(r"\s(style|on[a-z]+)=", answer.text)
        assert not re.search(r"(src|href|action)=\"(https?:)?//", answer.text)


def test_the_first_view_is_small(console: Console, admin: Visitor):
    page = admin.get("/")
    files = re.findall(r"(?:src|href)=\"(/console/static/[^\"]+)\"", page.text)
    answers = [admin.client.get(file) for file in [*files, "/console/static/shared.js"]]
    assert {answer.status_code for answer in answers} == {200}
    assert len(page.content) + sum(len(answer.content) for answer in answers) < 300_000


def test_a_file_that_is_no_asset_is_not_served(admin: Visitor):
    for name in ("..%2ftexts%2fen.toml", "en.toml", "%2e%2e%2fpages.py", ""):
        assert admin.client.get(f"/console/static/{name}").status_code in (404, 422)


def test_a_page_that_is_not_there_says_so_in_words(admin: Visitor):
    answer = admin.get("/console/nowhere/at/all")
    assert answer.status_code == 404 and "There is nothing here" in answer.text
    assert admin.get(path("never-made")).status_code == 404


@pytest.mark.parametrize("query", ["?cursor=rubbish", "?key=" + "x" * 65])
def test_a_wrong_query_is_refused_in_words(admin: Visitor, collection: str, query: str):
    answer = admin.get(path(collection, "subjects") + query)
    assert answer.status_code == 422 and "Something is not allowed" in answer.text


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a=%ff", b"&".join([b"a=1"] * 600), b"x" * 300_000])
def test_a_form_that_cannot_be_read_is_refused(admin: Visitor, body: bytes):
    answer = admin.client.post(
        "/console/new-collection", content=body, headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code in (403, 413, 422)


# ------------------------------------------------------------------------------------------------- journeys


def test_a_hostile_name_is_text_wherever_it_stands(console: Console, admin: Visitor, collection: str, person: str):
    where = path(collection, "subjects", person)
    page = admin.get(where)
    stamp = re.search(r'name="updated_at" value="([^"]+)"', page.text).group(1)
    saved = admin.post(where, updated_at=stamp, metadata=f"{HOSTILE} = {HOSTILE}\nroom = 4")
    assert saved.status_code == 303, saved.text
    pages = [where, path(collection, "subjects"), "/console/audit", "/"]
    pages += [path(collection, "subjects") + f"?key=room&value={quote(HOSTILE)}"]
    for shown in pages:
        text = admin.get(shown).text
        assert "alert(1)<script" not in text and "49" not in re.findall(r"&amp;\{?\{?(\d\d)", text)
    assert HOSTILE in unescape(admin.get(where).text)
    missing = admin.post(path(collection, "find"), id="<img src=x onerror=alert(1)>")
    assert missing.status_code == 404 and "<img src=x" not in missing.text


def test_a_subject_is_found_by_its_id_and_by_its_metadata(admin: Visitor, collection: str, person: str):
    found = admin.post(path(collection, "find"), id=person)
    assert unquote(found.headers["location"]).endswith(person)
    where = path(collection, "subjects", person)
    stamp = re.search(r'name="updated_at" value="([^"]+)"', admin.get(where).text).group(1)
    admin.post(where, updated_at=stamp, metadata="room = 4")
    assert quote(person, safe="") in admin.get(path(collection, "subjects") + "?key=room&value=4").text
    assert "No subject has this metadata" in admin.get(path(collection, "subjects") + "?key=room&value=5").text


def test_the_second_of_two_who_edit_one_subject_is_told(admin: Visitor, collection: str, person: str):
    where = path(collection, "subjects", person)
    stamp = re.search(r'name="updated_at" value="([^"]+)"', admin.get(where).text).group(1)
    assert admin.post(where, updated_at=stamp, metadata="room = 4").status_code == 303
    second = admin.post(where, updated_at=stamp, metadata="room = 5")
    assert second.status_code == 409 and "Somebody else was quicker" in second.text
    assert "room = 4" in admin.get(where).text


def test_consent_and_validity_stay_when_the_form_is_sent_as_it_was(admin: Visitor, collection: str, person: str):
    where = path(collection, "subjects", person)
    stamp = re.search(r'name="updated_at" value="([^"]+)"', admin.get(where).text).group(1)
    sent = {"basis": "contract", "reference": "r", "expires_at": "2031-01-01", "valid_until": "2030-12-31"}
    assert admin.post(where, updated_at=stamp, **sent).status_code == 303
    page = admin.get(where).text
    again = dict(re.findall(r'<input[^>]*? name="(\w+)"[^>]*? value="([^"]*)"', page))
    assert {name: again[name] for name in sent} == sent


def test_a_collection_is_made_and_a_wrong_name_comes_back_with_what_is_wrong(admin: Visitor, collection: str):
    again = admin.post("/console/new-collection", name=collection, target_fpir="0.01", retention_days="30")
    assert again.status_code == 422 and 'role="alert"' in again.text and 'value="30"' in again.text
    for wrong in ({"name": ".dot"}, {"name": "n", "target_fpir": "2"}, {"name": "n", "retention_days": "soon"}):
        answer = admin.post("/console/new-collection", **{"target_fpir": "0.01", **wrong})
        assert answer.status_code == 422 and 'role="alert"' in answer.text, wrong


def test_settings_are_changed_and_shown(admin: Visitor, collection: str):
    where = path(collection, "settings")
    assert admin.post(where, keep="none", retention_days="90", keep_unknown_days="").status_code == 303
    page = admin.get(where).text
    assert 'value="none" checked' in page and 'value="90"' in page
    assert "90 days" in admin.get(path(collection)).text
    assert admin.post(where, keep="everything").status_code == 422


def test_erasing_takes_the_name_typed_and_gives_a_receipt_that_verifies(
    console: Console, admin: Visitor, collection: str, person: str
):
    where = path(collection, "subjects", person)
    assert admin.post(where + "/erase", typed="somebody else").status_code == 422
    assert admin.get(where).status_code == 200
    erased = admin.post(where + "/erase", typed=person)
    assert erased.status_code == 200, erased.text
    link = re.search(r'href="data:application/json;charset=utf-8,([^"]+)"', erased.text).group(1)
    receipt = json.loads(unquote(unescape(link)))
    signed = Receipt(receipt["body"], receipt["signature"], receipt["public_key"])
    check_receipt(signed, console.services.sender.public_key)
    assert admin.get(where).status_code == 404


def test_deleting_a_collection_takes_its_name_typed(admin: Visitor, collection: str):
    assert admin.post(path(collection, "delete"), typed="").status_code == 422
    assert "was deleted" in admin.post(path(collection, "delete"), typed=collection).text
    assert admin.get(path(collection)).status_code == 404


def test_a_picture_without_a_face_is_refused_in_words(admin: Visitor, collection: str):
    answer = admin.send(path(collection, "subjects", "ann", "samples"), {"images": encoded(gradient(), "JPEG")})
    assert answer.status_code == 422 and "No face was found" in answer.text
    rubbish = admin.send(path(collection, "subjects", "ann", "samples"), {"images": b"rubbish"})
    assert rubbish.status_code >= 415 and 'role="alert"' in rubbish.text and "<html" not in rubbish.text


def test_a_retry_of_one_picture_enrols_it_once(admin: Visitor, collection: str, portraits: dict[str, bytes]):
    where = path(collection, "subjects", "ann", "samples")
    for _ in range(2):
        answer = admin.send(where, {"images": portraits["obama.jpg"]}, **{"idempotency-key": "one"})
        assert answer.status_code == 201
    assert "1 sample" in admin.get(path(collection, "subjects", "ann")).text


def test_someone_enrolled_is_named_and_a_stranger_is_said_to_be_unknown(
    console: Console, admin: Visitor, collection: str, person: str, portraits: dict[str, bytes]
):
    where = path(collection, "identify")
    known = admin.send(where, {"image": portraits["obama2.jpg"]}).text
    assert HOSTILE in unescape(known) and "one candidate" in known
    assert "Hardly any stranger scores so high" in known or "About 1 stranger in" in known
    unknown = admin.send(where, {"image": portraits["astronaut.png"]}).text
    assert "unknown" in unknown and "Nobody enrolled here is alike enough" in unknown
    identifier = console.visitor(Grant("identifier"))
    seen = identifier.send(where, {"image": portraits["obama2.jpg"]}).text
    assert "/crop" not in seen and "Your key does not show enrolled pictures" in seen
    assert "/crop" in known


def test_hints_before_the_camera_say_what_would_be_better(admin: Visitor, portraits: dict[str, bytes]):
    nobody = admin.send("/console/detect", {"image": encoded(gradient(), "JPEG")}).json()
    assert nobody == {"good": False, "hints": ["No face is in view."], "box": None}
    somebody = admin.send("/console/detect", {"image": portraits["obama.jpg"]}).json()
    assert somebody["good"] and len(somebody["box"]) == 4


def test_the_threshold_page_says_what_a_rate_means_and_saves_it(admin: Visitor, collection: str, person: str):
    where = path(collection, "threshold")
    page = admin.get(where).text
    assert "About 1 false alarm in 100 visitors who are not enrolled." in page
    assert "With one person enrolled, a match needs a similarity of" in page
    assert "cannot be told yet: it takes 20 subjects" in page
    choices = json.loads(unescape(re.search(r'data-choices="([^"]+)"', page).group(1)))
    bars = [choice["similarity"] for choice in choices]
    assert bars == sorted(bars) and len(choices) > 10
    rate = next(choice["rate"] for choice in choices if choice["many"] == "300")
    assert admin.post(where, rate=repr(rate)).status_code == 303
    assert '<p class="says" id="alarms">About 1 false alarm in 300 visitors' in admin.get(where).text
    for wrong in ("", "x", "0", "1", "nan", "-1"):
        assert admin.post(where, rate=wrong).status_code == 422


def test_a_collection_of_things_without_a_calibration_promises_no_rate(admin: Visitor):
    admin.post("/console/new-collection", name="things", kind="image", target_fpir="0.01")
    page = admin.get(path("things", "threshold"))
    assert page.status_code == 200 and "No rate can be promised here yet" in page.text
    assert admin.send(path("things", "identify"), {"image": b"x"}).status_code == 422


def test_a_new_key_is_shown_once_and_can_sign_in(console: Console, admin: Visitor):
    made = admin.post("/console/keys", name="door <3>", role="viewer", collection="", expires_days="30")
    assert made.status_code == 201
    key = re.search(r'id="secret">([^<]+)<', made.text).group(1)
    listed = admin.get("/console/keys").text
    assert key not in listed and "door &lt;3&gt;" in listed
    assert console.visitor(key=key).get("/console/models").status_code == 200
    wrong = admin.post("/console/keys", name="", role="viewer")
    assert wrong.status_code == 422 and 'role="alert"' in wrong.text


def test_the_audit_log_is_read_backwards_without_a_gap(console: Console, admin: Visitor):
    for _ in range(30):
        admin.get("/console/keys")
    numbers: list[int] = []
    address = "/console/audit"
    for _ in range(3):
        page = admin.get(address).text
        numbers += [int(n) for n in re.findall(r'<th scope="row">(\d+)</th>', page)]
        older = re.search(r'href="([^"]+)" rel="next"', page)
        address = unescape(older.group(1))
    assert numbers == list(range(numbers[0], numbers[0] - len(numbers), -1)) and len(numbers) == 150


def test_unknown_faces_are_shown_and_named(console: Console, admin: Visitor, portraits: dict[str, bytes]):
    admin.post("/console/new-collection", name="gate", target_fpir="0.01", keep_unknown_days="7")
    admin.send(path("gate", "identify"), {"image": portraits["obama.jpg"]})
    console.services.gallery.unknowns.flush()
    page = admin.get(path("gate", "unknowns")).text
    row = re.search(r'action="([^"]+)/enrol"', page).group(1)
    assert "Came once" in page
    named = admin.post(row + "/enrol", subject="Barack Obama")
    assert named.headers["location"].endswith("/subjects/Barack%20Obama")
    assert "Nobody unknown has been seen" in admin.get(path("gate", "unknowns")).text
