"""Model bundles over HTTP: imported, activated, used, rolled back, removed; and what is wrong with one is refused."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.client import Client, ClientError
from api.in_process import InProcessTransport
from api.wiring import Services, local_principal, open_services
from embedder.bundles import parts_named, read_export
from lookalike.domain import Grant
from lookalike.settings import Settings
from security.bundle_file import Maker, new_maker, read_maker, write_bundle
from tests.api.conftest import Served
from tests.embedder.pictures import encoded, scene
from tests.embedder.small_bundles import bundle_fields, export, face_fields

LIMIT = 3_000_000
ACTIONS = ("model.import", "model.activate", "model.rollback")


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("maker") / "acme"
    new_maker(path)
    return path


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, maker: Path) -> Settings:
    data = tmp_path_factory.mktemp("service") / "data"
    return Settings(data=data, model_signers=(Path(f"{maker}.pub"),), max_bundle_bytes=LIMIT)


@pytest.fixture(scope="module")
def shared(settings: Settings) -> Iterator[Served]:
    made = open_services(settings, live=True)
    transport = InProcessTransport(create_app(made))
    yield Served(made, transport)
    transport.close()
    made.close()


@pytest.fixture
def service(shared: Served) -> Iterator[Served]:
    """The service as at its first start: no collection and no bundle."""
    yield shared
    client = shared.client(Grant("admin"))
    for collection in client.get("/v1/collections").json()["items"]:
        client.delete(f"/v1/collections/{collection['name']}")
    bundles = [model["name"] for model in client.get("/v1/models").json()["items"] if model["bundle"]]
    while any(client.post(f"/v1/models/{name}/rollback").status_code == 200 for name in bundles):
        continue
    for name in bundles:
        assert client.delete(f"/v1/models/{name}").status_code == 204


@pytest.fixture
def admin(service: Served) -> httpx.Client:
    return service.client(Grant("admin"))


def bundle(folder: Path, key: Path | Maker, fields: dict[str, object] | None = None, **options: object) -> bytes:
    place = folder / secrets.token_hex(4)
    manifest, parts = read_export(export(place, fields, **options))  # type: ignore[arg-type]
    return write_bundle(manifest.text, parts, key if isinstance(key, Maker) else read_maker(key))


def send(client: httpx.Client, data: bytes, query: str = "") -> httpx.Response:
    return client.post(f"/v1/models{query}", files={"bundle": ("b", data)})


def imported(client: httpx.Client, data: bytes, query: str = "") -> str:
    answer = send(client, data, query)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["name"])


def defaults(client: httpx.Client, kind: str) -> list[str]:
    return [m["name"] for m in client.get("/v1/models").json()["items"] if m["kind"] == kind and m["default"]]


@pytest.fixture
def audited(admin: httpx.Client) -> Callable[[str], list[dict[str, object]]]:
    """Entries of an action that this test brought about."""

    def entries(action: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        cursor: str | None = "0"
        while cursor is not None:
            page = admin.get("/v1/audit", params={"cursor": cursor, "limit": 100}).json()
            found += [entry for entry in page["items"] if entry["action"] == action]
            cursor = page["next_cursor"]
        return found

    before = {action: len(entries(action)) for action in ACTIONS}
    return lambda action: entries(action)[before[action] :]


# ------------------------------------------------------------------------------------------ the main job


def test_a_bundle_goes_from_a_makers_hands_to_a_search(admin, tmp_path, maker):
    name = imported(admin, bundle(tmp_path, maker))
    assert admin.post(f"/v1/models/{name}/activate", json={}).json() == {"kind": "image", "model": name, "others": []}
    assert admin.post("/v1/collections", json={"name": "shop", "kind": "image"}).json()["model"] == name
    for thing in (1, 2, 3):
        files = [("images", ("p.png", encoded(scene(thing), "PNG")))]
        assert admin.post(f"/v1/collections/shop/subjects/t{thing}/samples", files=files).status_code == 201
    answer = admin.post("/v1/collections/shop/search", files={"image": encoded(scene(2), "PNG")}).json()
    assert answer["faces"][0]["candidates"][0]["subject"] == "t2"
    assert answer["model"] == name


def test_what_is_known_of_a_bundle_is_shown(admin, tmp_path, maker):
    name = imported(admin, bundle(tmp_path, maker))
    found = admin.get("/v1/models/things").json()
    assert found == admin.get(f"/v1/models/{name}").json()
    assert (found["name"], found["kind"], found["default"]) == (name, "image", False)
    held = found["bundle"]
    assert (held["licence"], held["commercial"], held["maker"]) == ("MIT", True, "acme")
    assert held["metrics"]["recall@1"]["low"] == 0.85
    assert held["parts"] == ["card.md", "network.onnx"]


def test_an_import_alone_changes_nothing_for_new_collections(admin, tmp_path, maker):
    imported(admin, bundle(tmp_path, maker))
    imported(admin, bundle(tmp_path, maker, face_fields(), calibrated=True))
    assert defaults(admin, "image") == ["bundle:items-1"]
    assert defaults(admin, "face") == ["sface-int8"]


def test_activating_says_which_collections_still_use_another_model_and_one_can_be_moved(admin, tmp_path, maker):
    admin.post("/v1/collections", json={"name": "staff"})
    name = imported(admin, bundle(tmp_path, maker, face_fields(), calibrated=True))
    answer = admin.post(f"/v1/models/{name}/activate", json={}).json()
    assert answer["others"] == [{"collection": "staff", "model": "sface-int8"}]
    assert defaults(admin, "face") == [name]
    job = admin.post("/v1/collections/staff/reindex", json={"model": "faces"}).json()
    while job["state"] in ("queued", "running"):
        time.sleep(0.05)
        job = admin.get(f"/v1/jobs/{job['id']}").json()
    assert job["state"] == "done", job
    assert admin.get("/v1/collections/staff").json()["model"] == name


def test_rolling_back_returns_to_what_was_active_before_and_then_to_the_settings(admin, tmp_path, maker):
    one, two = (imported(admin, bundle(tmp_path, maker, face_fields(), seed=s, calibrated=True)) for s in (1, 2))
    for name in (one, two):
        assert admin.post(f"/v1/models/{name}/activate", json={}).status_code == 200
    assert admin.post(f"/v1/models/{two}/rollback").json()["model"] == one
    assert admin.post(f"/v1/models/{one}/rollback").json()["model"] == "sface-int8"
    answer = admin.post(f"/v1/models/{one}/rollback")
    assert (answer.status_code, answer.json()["code"]) == (409, "no_earlier_model")
    assert defaults(admin, "face") == ["sface-int8"]


def test_two_bundles_of_one_name_are_two_models_and_the_name_alone_says_too_little(admin, tmp_path, maker):
    one, two = (imported(admin, bundle(tmp_path, maker, seed=seed)) for seed in (1, 2))
    assert one != two
    answer = admin.get("/v1/models/things")
    assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")
    assert one in answer.json()["detail"] and two in answer.json()["detail"]
    answer = admin.post("/v1/collections", json={"name": "shop", "kind": "image", "model": "things"})
    assert answer.json()["code"] == "model_not_available"
    assert admin.post("/v1/collections", json={"name": "shop", "kind": "image", "model": two}).json()["model"] == two


def test_a_model_in_use_is_not_removed_and_one_that_is_not_is_gone_with_its_file(admin, tmp_path, maker, settings):
    name = imported(admin, bundle(tmp_path, maker))
    admin.post("/v1/collections", json={"name": "shop", "kind": "image", "model": name})
    answer = admin.delete(f"/v1/models/{name}")
    assert (answer.status_code, answer.json()["code"]) == (409, "model_in_use")
    assert "shop" in answer.json()["detail"]
    admin.delete("/v1/collections/shop")
    assert admin.delete(f"/v1/models/{name}").status_code == 204
    assert admin.get(f"/v1/models/{name}").status_code == 404
    assert list((settings.data / "bundles").iterdir()) == []


def test_a_model_that_a_collection_is_being_moved_to_is_in_use(admin, tmp_path, maker):
    now, new = (imported(admin, bundle(tmp_path, maker, seed=seed)) for seed in (1, 2))
    admin.post("/v1/collections", json={"name": "shop", "kind": "image", "model": now})
    assert admin.post("/v1/collections/shop/reindex", json={"model": new, "hold": True}).status_code == 202
    answer = admin.delete(f"/v1/models/{new}")
    assert (answer.status_code, answer.json()["code"]) == (409, "model_in_use")

    assert admin.delete("/v1/collections/shop/reindex").status_code == 200
    assert admin.delete(f"/v1/models/{new}").status_code == 204


def test_every_step_is_on_record_with_who_signed_and_what_was_accepted(admin, tmp_path, maker, audited):
    name = imported(admin, bundle(tmp_path, maker, research()))
    assert admin.post(f"/v1/models/{name}/activate", json={"accept_licence": True}).status_code == 200
    admin.post(f"/v1/models/{name}/rollback")
    (added,), (activated,), (rolled,) = (audited(f"model.{a}") for a in ("import", "activate", "rollback"))
    assert added["details"] == {"licence": "CC-BY-NC-4.0", "licence_accepted": 0, "maker": "acme", "model": name}
    assert activated["details"] == {"licence": "CC-BY-NC-4.0", "licence_accepted": 1, "model": name}
    assert rolled["details"] == {"model": name}


# ---------------------------------------------------------------------------------------------- licences


def research() -> dict[str, object]:
    return bundle_fields(licence={"id": "CC-BY-NC-4.0", "commercial": False, "note": "For research."})


def test_a_model_that_is_not_for_commercial_use_is_used_in_no_way_before_someone_accepts_that(admin, tmp_path, maker):
    data = bundle(tmp_path, maker, research())
    name = imported(admin, data)
    answer = admin.post(f"/v1/models/{name}/activate", json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "licence_not_accepted")
    assert "CC-BY-NC-4.0" in answer.json()["detail"] and "For research." in answer.json()["detail"]
    by_name = {"name": "shop", "kind": "image", "model": name}
    assert admin.post("/v1/collections", json=by_name).json()["code"] == "licence_not_accepted"
    imported(admin, data, "?accept_licence=true")
    assert admin.post("/v1/collections", json=by_name).status_code == 201
    assert admin.post(f"/v1/models/{name}/activate", json={}).status_code == 200


def test_faces_without_a_calibration_are_not_given_to_new_collections(admin, tmp_path, maker):
    name = imported(admin, bundle(tmp_path, maker, face_fields()))
    answer = admin.post(f"/v1/models/{name}/activate", json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_calibrated")
    assert defaults(admin, "face") == ["sface-int8"]


# ---------------------------------------------------------------------------------------- what is refused


def spoilt(folder: Path, maker: Path) -> Iterator[tuple[str, str, bytes]]:
    """What is wrong, a word of the reason, and the bytes."""
    good = bundle(folder, maker)
    key = read_maker(maker)
    manifest, parts = read_export(export(folder / "good"))
    body = parts["card.md"] + parts["network.onnx"]
    yield "cut short", "cut short", good[:-1]
    yield "more at its end", "behind its last part", good + b"x"
    yield "another maker", "not trusted", bundle(folder, new_maker(folder / "stranger"))
    yield "a flipped bit", "network.onnx", good[:-9] + bytes([good[-9] ^ 1]) + good[-8:]
    yield "a pickle", "pickle", b"\x80\x04K\x01." * 100
    yield "a zip", "zip", b"PK\x03\x04" + bytes(1000)
    yield "no bytes", "no model bundle", b""
    yield "a manifest with spaces", "canonical", signed(manifest.text.replace(b":", b": ", 1), body, key)
    twice = manifest.text.replace(b'{"centre"', b'{"name":"other","centre"', 1)
    yield "a key that is given twice", "canonical", signed(twice, body, key)
    yield "no manifest", "format", signed(b"{}", b"", key)
    yield "another dimension", "not (2, 64)", bundle(folder, maker, bundle_fields(dimension=64))
    yield "no network at all", "ONNX", signed_parts(folder, key, {"network.onnx": b"\x80\x04K\x01."})
    damaged = {"network.onnx": parts["network.onnx"], "calibration.json": b"{}"}
    yield "a damaged calibration", "calibration", signed_parts(folder, key, damaged)
    yield "beyond the limit", "at most", b"LKB1" + bytes(LIMIT + 1)


def signed(manifest: bytes, parts: bytes, key: Maker) -> bytes:
    """Whatever it says, signed well."""
    head = b"LKB1" + len(manifest).to_bytes(4, "big") + key.public_key
    return head + key.sign(b"lookalike model bundle\n" + manifest) + manifest + parts


def signed_parts(folder: Path, key: Maker, parts: dict[str, bytes]) -> bytes:
    return write_bundle(parts_named(bundle_fields(), parts), parts, key)


def test_whatever_is_wrong_with_a_bundle_is_said_and_nothing_of_it_is_kept(admin, tmp_path, maker, settings, audited):
    before = admin.get("/v1/models").json()
    for what, word, data in spoilt(tmp_path, maker):
        answer = send(admin, data)
        assert answer.status_code in (413, 422), (what, answer.text)
        assert answer.json()["code"] in ("bad_bundle", "untrusted_bundle", "request_too_large", "invalid_input"), what
        assert word in answer.json()["detail"], (what, answer.text)
    assert admin.get("/v1/models").json() == before
    assert list((settings.data / "bundles").glob("*")) == []
    outcomes = {entry["outcome"] for entry in audited("model.import")}
    assert outcomes == {"bad_bundle", "untrusted_bundle"}


def test_another_field_or_kind_of_body_is_refused(admin):
    answer = admin.post("/v1/models", files={"image": ("b", b"x")})
    assert (answer.status_code, answer.json()["code"]) == (422, "missing_field")
    assert admin.post("/v1/models", content=b"LKB1").status_code == 415


def test_the_same_import_sent_twice_is_one(admin, tmp_path, maker, audited):
    data, key = bundle(tmp_path, maker), {"idempotency-key": "the-same-import"}
    for replayed in (None, "true"):
        answer = admin.post("/v1/models", files={"bundle": ("b", data)}, headers=key)
        assert answer.status_code == 201
        assert answer.headers.get("idempotency-replayed") == replayed
    assert len(audited("model.import")) == 1


# ----------------------------------------------------------------------------------- other processes, rest


def test_what_another_process_imports_and_activates_is_at_hand_without_a_restart(admin, settings, tmp_path, maker):
    other = open_services(settings)
    try:
        with Client("http://localhost", transport=local(other)) as client:
            name = client.import_model(bundle(tmp_path, maker))["name"]
            client.activate_model(name)
    finally:
        other.close()
    assert defaults(admin, "image") == [name]
    assert admin.post("/v1/collections", json={"name": "shop", "kind": "image"}).json()["model"] == name


def local(services: Services) -> InProcessTransport:
    """The way in of the command, without a key."""
    return InProcessTransport(create_app(services, principal=local_principal()))


def test_a_damaged_file_of_the_active_model_leaves_others_answering_also_after_a_restart(
    admin, settings, tmp_path, maker, caplog
):
    name = imported(admin, bundle(tmp_path, maker, face_fields(), calibrated=True))
    admin.post(f"/v1/models/{name}/activate", json={})
    (path,) = (settings.data / "bundles").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    again = open_services(settings)
    try:
        assert again.gallery.model == "sface-int8"
        assert f"the model {name} cannot be loaded" in caplog.text
    finally:
        again.close()


def test_a_bundle_whose_maker_is_not_trusted_any_more_is_loaded_no_more(admin, settings, tmp_path, maker):
    name = imported(admin, bundle(tmp_path, maker))
    admin.post("/v1/collections", json={"name": "shop", "kind": "image", "model": name})
    without = open_services(settings.model_copy(update={"model_signers": ()}))
    try:
        with Client("http://localhost", transport=local(without)) as client, pytest.raises(ClientError) as refused:
            client.search("shop", encoded(scene(1), "PNG"))
        assert refused.value.code == "model_not_available"
    finally:
        without.close()


def test_nothing_of_a_bundle_lies_on_the_disk_in_the_clear(admin, settings, tmp_path, maker):
    fields = bundle_fields(name="canary-of-a-name", data="A canary sentence about its training data.")
    imported(admin, bundle(tmp_path, maker, fields))
    for path in settings.data.rglob("*"):
        if path.is_file():
            held = path.read_bytes()
            assert b"canary-of-a-name" not in held and b"canary sentence" not in held, path


def test_only_who_manages_models_everywhere_imports_one(service, tmp_path, maker):
    data = bundle(tmp_path, maker)
    for grant in (Grant("enroller"), Grant("operator", "shop")):
        assert send(service.client(grant), data).status_code == 403
    assert send(service.client(Grant("operator")), data).status_code == 201
