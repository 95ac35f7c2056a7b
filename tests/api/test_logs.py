"""The log as a collector and as a person reads it, and that nothing gets into it that a caller chose."""

from __future__ import annotations

import base64
import io
import json
import logging
import secrets
from collections.abc import Iterator
from datetime import datetime

import httpx
import pytest

from api import logs
from api.logs import fields, log_failure, start_logging
from lookalike.domain import Grant, Kind
from lookalike.errors import BadSettings
from lookalike.settings import read_settings
from tests.api import doubles
from tests.api.conftest import Real

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging is the process's own: what a test changes is put back."""
    root, ours = logging.getLogger(), logging.getLogger(logs.LOGGER)
    before = root.handlers, root.level, ours.level
    yield
    root.handlers, level, own = before
    root.setLevel(level)
    ours.setLevel(own)


def lines(written: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_a_request_is_a_line_in_fields_of_ecs(admin: httpx.Client) -> None:
    written = io.StringIO()
    start_logging("info", "ecs", written)

    answer = admin.get("/v1/collections/c", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})

    (line,) = lines(written)
    assert list(line)[:3] == ["@timestamp", "log.level", "message"]
    assert datetime.fromisoformat(str(line["@timestamp"])).utcoffset() is not None
    assert line["message"] == "GET /v1/collections/{collection} 404"
    wanted = {
        "log.level": "info",
        "service.name": "lookalike",
        "event.kind": "event",
        "event.category": ["web"],
        "event.type": ["access"],
        "event.action": "request",
        "event.dataset": "lookalike.request",
        "event.outcome": "failure",
        "http.request.method": "GET",
        "http.request.id": answer.headers["x-request-id"],
        "http.response.status_code": 404,
        "url.path": "/v1/collections/{collection}",
        "user.id": "key-admin",
        "trace.id": TRACE,
    }
    assert {name: line[name] for name in wanted} == wanted
    assert isinstance(line["event.duration"], int) and line["event.duration"] > 0


def test_without_a_caller_s_trace_the_request_s_id_is_the_trace_s(admin: httpx.Client) -> None:
    written = io.StringIO()
    start_logging("info", "ecs", written)

    admin.get("/v1/limits", headers={"traceparent": "00-canary-canary-01"})

    (line,) = lines(written)
    assert line["trace.id"] == line["http.request.id"]


def test_a_person_at_a_terminal_reads_text_and_a_machine_reads_ecs(admin: httpx.Client) -> None:
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        start_logging("info", "auto", stream)
        admin.get("/v1/limits")

    (text,) = terminal.getvalue().splitlines()
    assert "info" in text and "GET /v1/limits 200" in text and " ms  key-admin" in text
    assert lines(pipe)[0]["message"] == "GET /v1/limits 200"


def test_an_unforeseen_error_is_one_line_with_its_type_and_where_and_without_its_text(services, admin) -> None:
    def fail() -> None:
        raise KeyError("canary")

    services.gallery.before = fail
    for form in ("ecs", "text"):
        written = io.StringIO()
        start_logging("info", form, written)
        answer = admin.post("/v1/detect", files={"image": b"picture"})
        assert len(written.getvalue().splitlines()) == 2 and "canary" not in written.getvalue()
        assert "KeyError" in written.getvalue() and "test_logs.py" in written.getvalue()
    assert answer.status_code == 500


def test_what_a_library_says_is_left_out_and_so_are_fields_that_are_not_given_as_ours() -> None:
    written = io.StringIO()
    start_logging("info", "ecs", written)

    logging.getLogger("some.library").warning("canary", extra={"canary": "canary"})
    logging.getLogger("lookalike.part").warning("ours", extra=fields({"event.action": "part"}))
    log_failure("part", ValueError("canary"), "-")

    library, ours, failure = lines(written)
    assert (library["message"], library["log.logger"]) == ("message of some.library", "some.library")
    assert (ours["message"], ours["event.action"]) == ("ours", "part")
    assert (failure["log.level"], failure["error.type"]) == ("error", "ValueError")
    assert "canary" not in written.getvalue()


def canaries(client: httpx.Client, path: str, word: str, photo: bytes) -> list[httpx.Response]:
    """Requests, most of which fail, that hold a word wherever a caller can put one."""
    broken = photo[:2000] + word.encode() + photo[2000:4000]
    there = f"{path}/subjects/{word}"
    return [
        client.put(there, json={"metadata": {word: word}}),
        client.put(there, json={"metadata": word}),
        client.put(there, content=f'{{"{word}": '.encode(), headers={"content-type": word}),
        client.put(there, json={}, headers={"idempotency-key": word}),
        client.post(f"{there}/samples", files={"images": (word, broken)}),
        client.post(f"{there}/samples", files={word: (word, photo)}),
        client.post(f"{there}/samples", files={"images": (word, photo)}, data={"consent": word}),
        client.post(f"{path}/identify", files={"image": (word, broken, word)}),
        client.post(f"{path}/identify?{word}={word}", files={"image": photo}),
        client.post(f"{path}/identify?metadata.{word}={word}", files={"image": photo}),
        client.post(f"{path}/identify", files={"image": photo}),
        client.post(f"{path}/identify?threshold={word}", files={"image": photo}),
        client.get(f"{path}/subjects?cursor={word}"),
        client.get(f"/{word}/{word}?{word}"),
        client.request(word.replace("-", ""), path),
        client.post("/v1/collections", json={"name": word, "kind": word}),
        client.post("/v1/api-keys", json={"name": word, "grants": [{"role": word}]}),
        client.get("/v1/limits", headers={"x-api-key": word}),
        client.get("/v1/limits", headers={"authorization": f"Bearer {word}"}),
        client.get("/v1/limits", headers={"authorization": f"{word} {word}"}),
        client.get("/v1/limits", headers={"authorization": f"AWS4-HMAC-SHA256 Credential={word}/x"}),
        client.get("/v1/limits", headers={"traceparent": f"00-{word}-{word}-01", "user-agent": word, "x-y": word}),
        client.post("/", content=word, headers={"x-amz-target": f"RekognitionService.{word}"}),
        client.get("/console/", headers={"cookie": f"session={word}", "host": word}),
        client.delete(there),
    ]


@pytest.mark.parametrize("form", ["ecs", "text"])
def test_names_keys_and_pictures_of_requests_that_fail_are_nowhere_in_the_log(
    real: Real, portraits: dict[str, bytes], form: str
) -> None:
    written, word = io.StringIO(), f"canary-{secrets.token_hex(8)}"
    client, name = real.client(Grant("admin")), f"canary-{secrets.token_hex(8)}"
    photo, key = portraits["obama.jpg"], client.headers["authorization"].removeprefix("Bearer ")
    start_logging("debug", form, written)

    assert client.post("/v1/collections", json={"name": name}).status_code == 201
    answers = canaries(client, f"/v1/collections/{name}", word, photo)
    vector = real.services.models.encoder(real.services.models.default(Kind.FACE)).encode(photo)[0].vector

    said = written.getvalue()
    assert len(said.splitlines()) > len(answers)
    assert len({answer.status_code for answer in answers}) >= 6
    for secret in (word, name, key, word.upper(), word.replace("-", "")):
        assert secret not in said
    assert base64.b64encode(photo[:300]).decode()[:40] not in said
    assert not any(f"{number:.4f}" in said for number in vector[:8])


def test_a_wrong_format_of_the_log_is_refused_by_name(tmp_path) -> None:
    with pytest.raises(BadSettings, match="LOOKALIKE_LOG_FORMAT"):
        read_settings(data=tmp_path, log_format="xml")
    assert doubles.services(tmp_path).settings.log_format == "auto"
