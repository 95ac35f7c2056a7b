"""Events as programs get them: by a stream, by webhooks, by the command; out of the real service."""

from __future__ import annotations

import json
import secrets
import signal
import threading
from contextlib import closing

import pytest

from api.client import Client, ClientError
from tests.e2e.conftest import Installation
from tests.faults.receiver import Receiver


@pytest.fixture(scope="module")
def receiver():
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory, receiver):
    """A service whose events may be sent to the receiver."""
    made = Installation(tmp_path_factory.mktemp("events"))
    made.settings["LOOKALIKE_WEBHOOK_HOSTS"] = json.dumps([receiver.host])
    with made.start() as client:
        yield made, client
    assert made.stop() == 0


@pytest.fixture
def place(site):
    """The service, an admin's client, and a collection of its own."""
    made, client = site
    name = secrets.token_hex(6)
    client.create_collection(name)
    return made, client, name


@pytest.fixture
def key_for(site):
    """Makes a client with a key that has these grants, and gives the key's id too."""
    made, admin = site
    clients: list[Client] = []

    def make(*grants: dict) -> tuple[Client, str]:
        created = admin.create_api_key("test", list(grants))
        clients.append(Client(made.url, api_key=created["key"], ca=made.data / "tls" / "ca.crt", retries=0))
        return clients[-1], created["id"]

    yield make
    for client in clients:
        client.close()


def told(receiver: Receiver, collection: str, count: int) -> list[dict]:
    """The first events of a collection, once so many have come."""
    done = threading.Event()
    for _ in range(1200):
        found = [json.loads(body) for _, body in receiver.seen]
        found = [event for event in found if event["collection"] == collection]
        if len(found) >= count:
            return found
        done.wait(0.05)
    raise AssertionError(f"{len(found)} of {count} events came")


def test_a_webhook_is_told_who_came_who_was_unknown_and_who_is_to_be_forgotten(place, receiver, portraits):
    made, client, name = place
    hook = made.json("webhooks", "create", receiver.url, "-c", name, "--names", remote=True)
    assert hook["secret"].startswith("whsec_")
    tried = made.json("webhooks", "test", hook["id"], remote=True)
    assert (tried["status"], tried["error"]) == (204, None)
    client.enrol(name, "Zoë Example", portraits["obama.jpg"])
    client.identify(name, portraits["obama2.jpg"])
    client.identify(name, portraits["biden.jpg"])
    client.erase(name, "Zoë Example")
    enrolled, match, unknown, erased = told(receiver, name, 4)
    assert [e["type"] for e in (enrolled, match, unknown, erased)] == [
        "enrolment",
        "identification",
        "identification",
        "erasure",
    ]
    (subject,) = match["subjects"]
    assert subject["similarity"] > 0.5 and subject["fpir"] < 0.01 and match["unknown"] == 0
    assert (unknown["faces"], unknown["unknown"], unknown["subjects"]) == (1, 1, [])
    assert erased["subjects"][0]["key"] == subject["key"] and erased["subjects"][0]["id"] == "Zoë Example"
    listed = made.command("webhooks", "list", remote=True).stdout
    assert hook["id"] in listed and "well" in listed
    assert hook["secret"] not in listed
    assert made.command("webhooks", "delete", hook["id"], remote=True).returncode == 0
    assert client.webhooks() == []


def test_without_names_nobody_is_named(place, receiver, portraits):
    _, client, name = place
    hook = client.create_webhook(receiver.url, collections=[name])
    client.enrol(name, "canary-name", portraits["obama.jpg"])
    client.identify(name, portraits["obama2.jpg"])
    client.erase(name, "canary-name")
    enrolled, match, erased = told(receiver, name, 3)
    keys = {event["subjects"][0]["key"] for event in (match, erased)}
    assert len(keys) == 1 and enrolled["subjects"][0]["key"] in keys | {None}  # it may have been erased by then
    assert all(b"canary-name" not in body for _, body in receiver.seen)
    client.delete_webhook(hook["id"])


def test_the_command_tells_the_same_with_a_service_and_beside_it(place, portraits):
    made, client, name = place
    client.enrol(name, "alice", portraits["obama.jpg"])
    client.identify(name, portraits["obama2.jpg"])
    tail = ("events", "tail", "-c", name, "--after", "0", "--limit", "2", "--names", "--json")
    through = made.command(*tail, remote=True)
    assert through.returncode == 0, through.stderr
    beside = made.command(*tail)
    assert beside.stdout == through.stdout
    first, second = map(json.loads, through.stdout.splitlines())
    assert (first["type"], second["type"], second["subjects"][0]["id"]) == ("enrolment", "identification", "alice")
    assert "alice (0." in made.command(*tail[:-1], remote=True).stdout


def test_a_listener_hears_what_happens_while_it_listens_and_nothing_of_others(place, portraits, key_for):
    _, client, name = place
    client.create_collection(f"{name}-other")
    mine, _ = key_for({"role": "operator", "collection": name})
    stream = mine.events(after=0)
    heard: list[dict] = []
    listening = threading.Thread(target=lambda: heard.append(next(stream)), daemon=True)
    listening.start()
    client.enrol(f"{name}-other", "somebody", portraits["biden.jpg"])
    client.enrol(name, "alice", portraits["obama.jpg"])
    listening.join(60)
    assert [event["collection"] for event in heard] == [name]
    assert heard[0]["subjects"][0]["id"] is None
    stream.close()
    with pytest.raises(ClientError) as refused:
        next(mine.events(f"{name}-other", after=0))
    assert refused.value.status == 403


def test_a_listener_who_comes_back_misses_nothing(place, portraits):
    _, client, name = place
    client.enrol(name, "alice", portraits["obama.jpg"])
    stream = client.events(name, after=0)
    first = next(stream)
    stream.close()
    client.identify(name, portraits["biden.jpg"])
    with closing(client.events(name, after=first["seq"])) as stream:
        second = next(stream)
    assert second["seq"] > first["seq"] and second["unknown"] == 1
    client.identify(name, portraits["obama2.jpg"])
    with closing(client.events(name, kinds=["match"], after=0)) as stream:
        assert next(stream)["subjects"][0]["key"]


def test_a_key_that_is_revoked_hears_no_more(place, portraits, key_for):
    _, client, name = place
    listener, id = key_for({"role": "operator", "collection": name})
    client.enrol(name, "alice", portraits["obama.jpg"])
    stream = listener.events(after=0)
    next(stream)
    client.revoke_api_key(id)
    with pytest.raises(ClientError) as refused:
        next(stream)
    assert refused.value.status == 401


@pytest.mark.parametrize("url", ["https://elsewhere.internal/", "http://127.0.0.1:1/", "ftp://127.0.0.1/", ""])
def test_only_the_hosts_of_the_settings_are_allowed(place, url):
    _, client, _ = place
    with pytest.raises(ClientError) as refused:
        client.create_webhook(url)
    assert (refused.value.status, refused.value.code) == (422, "invalid_input")


def test_an_admin_of_one_collection_manages_no_webhook_of_all(place, receiver, key_for):
    _, client, name = place
    hook = client.create_webhook(receiver.url)
    mine, _ = key_for({"role": "admin", "collection": name})
    assert mine.webhooks() == []
    for call in (mine.webhook, mine.delete_webhook, mine.try_webhook, mine.replay_webhook):
        with pytest.raises(ClientError) as refused:
            call(hook["id"])
        assert refused.value.code == "webhook_not_found"
    with pytest.raises(ClientError) as refused:
        mine.create_webhook(receiver.url)
    assert refused.value.status == 403
    own = mine.create_webhook(receiver.url, collections=[name])
    assert [w["id"] for w in mine.webhooks()] == [own["id"]]
    assert {w["id"] for w in client.webhooks()} == {hook["id"], own["id"]}
    for made_hook in (hook, own):
        client.delete_webhook(made_hook["id"])


def test_a_service_that_ends_ends_its_streams_and_the_listener_goes_on_with_the_next(tmp_path, portraits):
    made = Installation(tmp_path)
    made.settings["LOOKALIKE_PORT"] = "0"
    with made.start() as client:
        client.create_collection("gate")
        heard, ended = [], threading.Event()

        def listen():
            heard.extend(map(json.loads, client._sender.listen("/v1/events", {"after": 0, "collection": "gate"})))
            ended.set()

        threading.Thread(target=listen, daemon=True).start()
        client.enrol("gate", "alice", portraits["obama.jpg"])
        for _ in range(600):
            if heard:
                break
            ended.wait(0.1)
        assert made.stop(signal.SIGTERM) == 0
        assert ended.wait(60), "the stream did not end with the service"
    assert [event["type"] for event in heard] == ["enrolment"]
