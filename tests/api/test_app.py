"""What every request meets: who asks, what each answer carries, what is refused before any work."""

from __future__ import annotations

import json
import re

import pytest

from api.app import create_app
from tests.api import doubles


def test_without_a_credential_everything_but_health_and_the_description_is_401(stranger):
    assert stranger.get("/healthz").status_code == 200
    assert stranger.get("/readyz").status_code == 200
    assert stranger.get("/openapi.json").status_code == 200
    for path in ("/v1/limits", "/metrics", "/v1/collections", "/no/such/path"):
        answer = stranger.get(path)
        assert answer.status_code == 401, path
        assert answer.json()["code"] == "unauthenticated"
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_key_may_come_as_bearer_token_or_in_its_own_header(stranger):
    assert stranger.get("/v1/limits", headers={"authorization": "Bearer viewer"}).status_code == 200
    assert stranger.get("/v1/limits", headers={"x-api-key": "viewer"}).status_code == 200
    assert stranger.get("/v1/limits", headers={"authorization": "Basic viewer"}).status_code == 401
    assert stranger.get("/v1/limits", headers={"x-api-key": "x" * 600}).status_code == 401
    assert stranger.get("/v1/limits", headers={"x-api-key": "vi\xe9wer".encode("latin-1")}).status_code == 401


def test_a_key_in_the_url_is_never_read(stranger):
    assert stranger.get("/v1/limits?x-api-key=viewer&api_key=viewer&access_token=viewer").status_code == 401


def test_readiness_tells_a_stranger_only_the_status(services, stranger, connect):
    services.gallery.unready = "the index is being rebuilt"
    seen = stranger.get("/readyz")
    assert (seen.status_code, seen.json()) == (503, {"status": "not_ready"})
    told = connect(services, "viewer").get("/readyz").json()
    assert told == {
        "status": "not_ready",
        "reason": "the index is being rebuilt",
        "runtime": "double fp32",
        "model": "double",
    }


def test_each_answer_has_an_own_request_id_and_a_client_s_is_ignored(admin):
    ids = {admin.get("/healthz", headers={"x-request-id": "mine"}).headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5 and all(re.fullmatch("[0-9a-f]{32}", id) for id in ids)
    refused = admin.get("/nowhere")
    assert refused.json()["request_id"] == refused.headers["x-request-id"]


def test_answers_carry_security_headers(admin):
    headers = admin.get("/nowhere").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "max-age" in headers["strict-transport-security"]
    assert headers["cache-control"] == "no-store"
    assert headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "/v1/collections/", 404, "not_found"),
        ("PUT", "/v1/collections", 405, "method_not_allowed"),
        ("GET", "/v1/collections/c/subjects/a%2Fb", 422, "invalid_input"),
        ("GET", "/v1/collections/c/subjects?limit=0", 422, "invalid_input"),
        ("GET", "/v1/collections/c/subjects?limit=101", 422, "invalid_input"),
        ("GET", "/v1/collections/c/subjects?limit=ten", 422, "invalid_input"),
        ("GET", "/v1/collections/c/subjects?limit=5&limit=6", 422, "invalid_input"),
        ("GET", "/v1/collections/c/subjects?metadata.=x", 422, "invalid_input"),
        ("GET", "/v1/collections/c/subjects?page=2", 422, "invalid_input"),
        ("GET", "/v1/audit?cursor=-1", 422, "invalid_input"),
        ("GET", "/v1/jobs/none", 404, "job_not_found"),
        ("POST", "/v1/jobs/none/cancel", 404, "job_not_found"),
    ],
)
def test_a_wrong_request_is_a_problem_with_a_stable_code(admin, method, path, status, code):
    answer = admin.request(method, path)
    body = answer.json()
    assert (answer.status_code, body["code"], body["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(body) >= {"type", "title", "status", "detail", "code", "request_id"}


def test_a_wrong_query_names_the_parameter_and_what_is_allowed(admin):
    body = admin.get("/v1/collections/c/subjects?limit=500").json()
    assert body["errors"] == [{"field": "limit", "message": "Input should be less than or equal to 100"}]
    unknown = admin.get("/v1/collections/c/subjects?page=2").json()
    assert unknown["detail"].endswith("allowed: cursor, limit, metadata.KEY")


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ("threshold=62", "did you mean 0.62?"),
        ("threshold=-0.1", "0 to 1"),
        ("threshold=nan", "0 to 1"),
        ("threshold=inf", "0 to 1"),
        ("threshold=high", "number"),
        ("threshold=0.5&fpir=0.01", "not both"),
        ("fpir=0", "between 0 and 1"),
        ("fpir=1", "between 0 and 1"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("faces=some", "'all' or 'largest'"),
        ("fmr=0.1", "allowed: faces, fpir, limit, threshold, metadata.KEY"),
    ],
)
def test_a_wrong_bar_for_identify_is_refused_with_a_hint(admin, query, hint):
    answer = admin.post(f"/v1/collections/c/identify?{query}", files={"image": b"picture"})
    assert answer.status_code == 422
    assert hint in answer.json()["detail"]


def test_an_unforeseen_failure_tells_nothing_but_the_request_id(services, admin, caplog):
    def fail() -> None:
        raise KeyError("Ada Lovelace")

    services.gallery.before = fail
    answer = admin.post("/v1/detect", files={"image": b"picture"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "Ada" not in answer.text
    told = [record.__dict__ for record in caplog.records if record.levelname == "ERROR"]
    fields = told[0]["ecs"]
    assert (fields["error.type"], fields["http.request.id"]) == ("KeyError", answer.json()["request_id"])
    assert "Ada" not in json.dumps([told[0]["msg"], fields])


def test_a_given_principal_needs_no_credential(services):
    import httpx

    from api.in_process import InProcessTransport
    from lookalike.domain import Grant
    from security.rbac import principal_for

    app = create_app(services, principal_for("local:0", [Grant("viewer")]))
    with httpx.Client(transport=InProcessTransport(app), base_url="http://edge") as client:
        assert client.get("/v1/limits").status_code == 200
        assert client.post("/v1/detect", files={"image": b"x"}).status_code == 403


def test_openapi_describes_every_route_its_bodies_and_its_refusals(services, stranger):
    document = stranger.get("/openapi.json").json()
    identify = document["paths"]["/v1/collections/{collection}/identify"]["post"]
    body = identify["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert body["required"] == ["image"] and body["properties"]["image"]["format"] == "binary"
    assert set(identify["responses"]) >= {"200", "401", "403", "404", "413", "415", "422", "503"}
    assert "application/problem+json" in identify["responses"]["422"]["content"]
    assert "NewCollection" in document["components"]["schemas"]
    assert "HTTPValidationError" not in json.dumps(document)
    for name in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)):
        assert name in document["components"]["schemas"], name


def test_metrics_hold_templates_and_no_values(services, admin):
    admin.get("/v1/collections/canary-collection")
    admin.get("/v1/collections/c/subjects/canary-subject?canary=1")
    text = admin.get("/metrics").text
    assert 'route="/v1/collections/{collection}"' in text
    assert "canary" not in text
    assert "lookalike_queue_depth" in text


def test_log_lines_hold_templates_and_no_values(services, admin, caplog):
    caplog.set_level("INFO", logger="lookalike")
    admin.get("/v1/collections/canary-collection/subjects/canary?canary=1", headers={"x-canary": "canary"})
    admin.post("/v1/collections", json={"name": "canary", "keep": "canary"})
    lines = [record.__dict__ for record in caplog.records if record.name == "lookalike"]
    assert {line["ecs"]["url.path"] for line in lines} == {
        "/v1/collections/{collection}/subjects/{subject}",
        "/v1/collections",
    }
    assert all("canary" not in str([line["msg"], line["args"], line["ecs"]]) for line in lines)
    assert lines[0]["ecs"]["user.id"] == "key-admin"


def test_limits_in_force_are_told(admin, services):
    told = admin.get("/v1/limits").json()
    assert told["max_image_bytes"] == services.settings.max_image_bytes
    assert told["formats"] == ["jpeg", "png", "webp"]


def test_a_websocket_is_refused(services):
    import asyncio

    sent = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message["type"])

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    scope = {"type": "websocket", "path": "/", "headers": [], "query_string": b"", "subprotocols": []}
    asyncio.run(create_app(doubles.services(services.settings.data))(scope, receive, send))
    assert sent == ["websocket.close"]
