"""Unknown faces over HTTP and by the client: real portraits through the real service."""

from __future__ import annotations

import pytest

from api.client import Client, ClientError
from lookalike.domain import Grant
from tests.api.conftest import ADMIN


@pytest.fixture
def gate(real, gallery, portraits):
    """A client, and the name of a collection that keeps unknown faces; one man was seen twice."""
    _, path = gallery
    key = real.services.api_keys.create(ADMIN, "test", (Grant("admin"),)).key
    client, name = Client("http://edge", api_key=key, transport=real.transport), path.rsplit("/", 1)[1]
    client.update_collection(name, keep_unknown_days=30)
    for picture in ("obama.jpg", "obama2.jpg"):
        assert client.identify(name, portraits[picture])["faces"][0]["candidates"] == []
    return client, name


def test_somebody_seen_twice_is_suggested_shown_and_enrolled(gate, portraits):
    client, name = gate
    (row,) = client.unknowns(name)
    assert (row["seen"], row["visits"], row["dismissed"], len(row["faces"])) == (2, 1, False, 2)
    assert row["first_seen"] < row["last_seen"] < row["expires_at"]
    assert client.unknown(name, row["id"]) == row
    crop = client.unknown_crop(name, row["id"], row["faces"][0]["id"])
    assert crop.startswith(b"\xff\xd8")
    done = client.enrol_unknown(name, row["id"], "visitor")
    assert done["subject"] == "visitor" and len(done["samples"]) == 2
    assert list(client.unknowns(name)) == []
    answer = client.identify(name, portraits["obama3.jpg"] if "obama3.jpg" in portraits else portraits["obama2.jpg"])
    assert answer["faces"][0]["candidates"][0]["subject"] == "visitor"


def test_dismissed_and_erased_ones_are_listed_no_more(gate, portraits):
    client, name = gate
    (row,) = client.unknowns(name)
    client.dismiss_unknown(name, row["id"])
    assert list(client.unknowns(name)) == []
    (hidden,) = client.unknowns(name, dismissed=True)
    assert (hidden["id"], hidden["faces"]) == (row["id"], [])
    client.erase_unknown(name, row["id"])
    assert list(client.unknowns(name, dismissed=True)) == []
    with pytest.raises(ClientError) as refused:
        client.unknown(name, row["id"])
    assert (refused.value.code, refused.value.status) == ("unknown_not_found", 404)


def test_the_policy_is_part_of_the_collection(gate):
    client, name = gate
    assert client.collection(name)["keep_unknown_days"] == 30
    assert client.update_collection(name, target_fpir=0.02)["keep_unknown_days"] == 30
    assert client.update_collection(name, keep_unknown_days=None)["keep_unknown_days"] is None
    assert list(client.unknowns(name)) == []
    with pytest.raises(ClientError, match="keep_unknown_days"):
        client.update_collection(name, keep_unknown_days=0)


def test_a_viewer_lists_and_sees_no_crop(real, gate):
    client, name = gate
    (row,) = client.unknowns(name)
    viewer = real.client(Grant("viewer", name))
    path = f"/v1/collections/{name}/unknowns"
    assert viewer.get(path).json()["items"] == [row]
    assert viewer.get(f"{path}/{row['id']}/faces/{row['faces'][0]['id']}/crop").status_code == 403
    assert real.client(Grant("enroller", name)).delete(f"{path}/{row['id']}").status_code == 403
    assert real.client(Grant("privacy", name)).delete(f"{path}/{row['id']}").status_code == 204


def test_a_body_or_a_query_that_is_not_one_is_refused(real, gate):
    client, name = gate
    (row,) = client.unknowns(name)
    admin, path = real.client(Grant("admin")), f"/v1/collections/{name}/unknowns"
    assert admin.post(f"{path}/{row['id']}/enrol", json={}).status_code == 422
    assert admin.post(f"{path}/{row['id']}/enrol", json={"subject": "a/b"}).json()["code"] == "invalid_input"
    assert admin.get(path, params={"cursor": "nonsense"}).json()["code"] == "invalid_input"
    assert admin.get(path, params={"limit": 0}).status_code == 422
    assert [r["id"] for r in client.unknowns(name)] == [row["id"]], "nothing was done by halves"
