from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.client import Client, ClientError
from api.in_process import InProcessTransport

Handler = Callable[[Request], Response]
Connect = Callable[..., tuple[Client, list[float]]]

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """A client of an application that answers every call by the handler; and the list of pauses that it makes."""
    opened: list[Client] = []

    def connected(handler: Handler, **options: object) -> tuple[Client, list[float]]:
        async def answer(request: Request) -> Response:
            await request.body()
            return handler(request)

        pauses: list[float] = []
        app = Starlette(routes=[Route("/{path:path}", answer, methods=METHODS)])
        client = Client(
            "http://service", api_key="lk_secret", transport=InProcessTransport(app), sleep=pauses.append, **options
        )
        opened.append(client)
        return client, pauses

    yield connected
    for client in opened:
        client.close()


def problem(status: int, code: str, **more: object) -> JSONResponse:
    body = {"title": "no", "status": status, "code": code, "detail": "because", "request_id": "r1", **more}
    return JSONResponse(body, status, media_type="application/problem+json")


class Recorder:
    """Answers in turn, keeping what was asked."""

    def __init__(self, *answers: Response) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []

    def __call__(self, request: Request) -> Response:
        self.requests.append(request)
        return self.answers.pop(0)


def test_a_busy_service_is_asked_again_after_the_time_that_it_names(connect: Connect) -> None:
    busy = problem(503, "overloaded")
    busy.headers["retry-after"] = "3"
    client, pauses = connect(Recorder(busy, JSONResponse({"max_images": 32})))

    assert client.limits()["max_images"] == 32
    assert len(pauses) == 1
    assert 2 < pauses[0] < 4


def test_pauses_grow_and_the_last_refusal_is_raised(connect: Connect) -> None:
    client, pauses = connect(lambda _: problem(429, "overloaded"), retries=4)

    with pytest.raises(ClientError) as refused:
        client.limits()

    assert refused.value.code == "overloaded"
    assert len(pauses) == 4
    assert pauses[0] < pauses[2] < 20


def test_a_write_that_is_sent_again_carries_the_same_idempotency_key(connect: Connect) -> None:
    answers = Recorder(problem(503, "overloaded"), JSONResponse({"name": "c"}, 201), JSONResponse({"name": "d"}, 201))
    client, _ = connect(answers)

    client.create_collection("c")
    client.create_collection("d")

    keys = [request.headers["idempotency-key"] for request in answers.requests]
    assert keys[0] == keys[1] != keys[2]


def test_the_making_of_an_api_key_is_never_sent_again_by_itself(connect: Connect) -> None:
    answers = Recorder(problem(503, "overloaded"), JSONResponse({"id": "1", "key": "k"}, 201))
    client, pauses = connect(answers)

    with pytest.raises(ClientError):
        client.create_api_key("gate", [{"role": "viewer"}])

    assert len(answers.requests) == 1
    assert "idempotency-key" not in answers.requests[0].headers
    assert pauses == []


def test_a_refusal_carries_its_code_status_and_request_id(connect: Connect) -> None:
    client, pauses = connect(lambda _: problem(422, "all_samples_rejected", rejected=[{"reasons": ["blurred"]}]))

    with pytest.raises(ClientError, match=re.escape("because (all_samples_rejected)")) as refused:
        client.enrol("staff", "alice", b"picture")

    assert (refused.value.status, refused.value.request_id) == (422, "r1")
    assert refused.value.problem["rejected"] == [{"reasons": ["blurred"]}]
    assert pauses == []


def test_an_answer_that_is_not_ours_is_a_client_error_too(connect: Connect) -> None:
    client, _ = connect(lambda _: Response("<html>bad gateway</html>", 502))

    with pytest.raises(ClientError, match="502"):
        client.limits()


def test_a_broken_connection_is_tried_again_and_then_named() -> None:
    class Broken(httpx.BaseTransport):
        calls = 0

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            self.calls += 1
            raise httpx.ReadError("connection reset")

    transport = Broken()
    with (
        Client("https://service", transport=transport, retries=2, sleep=lambda _: None) as client,
        pytest.raises(ClientError, match="connection reset") as failed,
    ):
        client.limits()

    assert transport.calls == 3
    assert (failed.value.code, failed.value.status) == ("unreachable", 0)


@pytest.mark.parametrize("subject", ["Zoë/..", "..", ".", "a?b#c d%2F", "李明"])
def test_a_subject_arrives_as_it_was_named(connect: Connect, subject: str) -> None:
    answers = Recorder(JSONResponse({"id": subject}))
    client, _ = connect(answers)

    client.subject("staff", subject)

    assert answers.requests[0].url.path.startswith("/v1/collections/staff/subjects/")
    assert answers.requests[0].scope["path"] == f"/v1/collections/staff/subjects/{subject}"


def test_lists_are_read_page_by_page(connect: Connect) -> None:
    answers = Recorder(
        JSONResponse({"items": [{"id": "a"}], "next_cursor": "x&y"}),
        JSONResponse({"items": [{"id": "b"}], "next_cursor": None}),
    )
    client, _ = connect(answers)

    found = [subject["id"] for subject in client.subjects("staff", metadata={"site": "Łódź"})]

    assert found == ["a", "b"]
    assert [dict(request.query_params) for request in answers.requests] == [
        {"limit": "100", "metadata.site": "Łódź"},
        {"limit": "100", "metadata.site": "Łódź", "cursor": "x&y"},
    ]


def test_pictures_travel_as_named_parts_without_their_file_names(connect: Connect, tmp_path) -> None:
    file = tmp_path / "Alice Example.jpg"
    file.write_bytes(b"\xff\xd8 picture")
    bodies = []

    def answer(request: Request) -> Response:
        bodies.append(request._body)
        return JSONResponse({"match": True})

    client, _ = connect(answer)
    client.compare(file, b"other")

    assert b'name="image_a"' in bodies[0]
    assert b'name="image_b"' in bodies[0]
    assert b"\xff\xd8 picture" in bodies[0]
    assert b"Alice" not in bodies[0]


def test_the_key_is_sent_and_shown_to_nobody(connect: Connect) -> None:
    answers = Recorder(JSONResponse({}))
    client, _ = connect(answers)
    client.limits()

    assert answers.requests[0].headers["authorization"] == "Bearer lk_secret"
    assert "lk_secret" not in repr(client) + repr(vars(client)) + str(vars(client))


def test_retention_for_ever_is_sent_as_null_and_left_out_when_not_said(connect: Connect) -> None:
    bodies = []

    def answer(request: Request) -> Response:
        bodies.append(json.loads(request._body))
        return JSONResponse({})

    client, _ = connect(answer)
    client.update_collection("staff", retention_days=None)
    client.update_collection("staff", target_fpir=0.1)

    assert bodies == [{"retention_days": None}, {"target_fpir": 0.1}]


def test_a_job_that_fails_says_why(connect: Connect) -> None:
    job = {"id": "1", "kind": "calibrate", "state": "running", "progress": {"done": 0, "total": 1}}
    failed = {**job, "state": "failed", "error": {"code": "not_calibratable", "detail": "too few subjects"}}
    client, _ = connect(Recorder(JSONResponse(job, 202), JSONResponse(job), JSONResponse(failed)))

    with pytest.raises(ClientError, match="too few subjects"):
        client.wait(client.calibrate("staff"))
