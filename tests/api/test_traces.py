"""Traces that a real collector is sent, and requests that do not notice one that hangs, refuses or is gone."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

pytest.importorskip("opentelemetry.sdk", reason="left out: the extra `traces` is not installed")

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from api.app import create_app
from api.in_process import InProcessTransport
from api.traces import Traces, open_traces
from api.wiring import open_services
from lookalike.domain import Grant
from lookalike.errors import BadSettings
from lookalike.settings import Settings, read_settings
from tests.api import doubles
from tests.api.collector import Collector, Span, collecting
from tests.api.conftest import ADMIN

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
DEADLINE_S = 60


def soon(check: Callable[[], bool]) -> bool:
    """Whether it comes to hold within a minute."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.01)
    return False


def outcomes(traces: Traces) -> dict[str, float]:
    (family,) = traces.collect()
    return {sample.labels["outcome"]: sample.value for sample in family.samples}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as made:
        yield made


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Callable[..., tuple[httpx.Client, Traces]]]:
    """A client of an app over doubles whose traces go to a URL."""
    ends: list[Callable[[], None]] = []

    def make(url: str, **settings: object) -> tuple[httpx.Client, Traces]:
        services = doubles.services(tmp_path, traces_url=url, **settings)
        services.traces = open_traces(services.settings)
        transport = InProcessTransport(create_app(services))
        ends.extend((services.traces.close, transport.close))
        client = httpx.Client(transport=transport, base_url="http://edge", headers={"x-api-key": "admin"})
        return client, services.traces

    yield make
    for end in reversed(ends):
        end()


def test_an_identification_is_a_span_with_its_stages_under_it_and_no_name(
    tmp_path: Path, collector: Collector, portraits: dict[str, bytes]
) -> None:
    name, subject = f"canary-{secrets.token_hex(8)}", f"canary-{secrets.token_hex(8)}"
    services = open_services(Settings(data=tmp_path / "data", traces_url=collector.url), live=True)
    key = services.api_keys.create(ADMIN, "test", [Grant("admin")]).key
    with closing(InProcessTransport(create_app(services))) as transport:
        client = httpx.Client(transport=transport, base_url="http://edge", headers={"x-api-key": key})
        client.post("/v1/collections", json={"name": name})
        path = f"/v1/collections/{name}"
        client.post(f"{path}/subjects/{subject}/samples", files={"images": portraits["obama.jpg"]})
        answer = client.post(f"{path}/identify", files={"image": portraits["obama2.jpg"]})
        sent = client.post(
            f"{path}/identify",
            files={"image": portraits["biden.jpg"]},
            headers={"traceparent": f"00-{TRACE}-{SPAN}-01"},
        )
    services.close()

    (own,) = [s for s in collector.spans if s.trace == answer.headers["x-request-id"] and not s.parent]
    (callers,) = [s for s in collector.spans if s.trace == TRACE and s.parent == SPAN]
    for span, response in ((own, answer), (callers, sent)):
        assert span.name == "POST /v1/collections/{collection}/identify"
        assert span.attributes["http.response.status_code"] == 200
        assert span.attributes["lookalike.request_id"] == response.headers["x-request-id"]
        stages = [s for s in collector.spans if s.parent == span.id]
        assert {s.name for s in stages} >= {"authenticate", "queue", "decode", "detect", "embed", "search", "audit"}
        assert all(s.trace == span.trace for s in stages)
        assert all(span.began_ns - 1e6 <= s.began_ns <= s.ended_ns <= span.ended_ns + 1e6 for s in stages)
    assert (own.attributes["lookalike.faces.matched"], callers.attributes["lookalike.faces.unmatched"]) == (1, 1)
    assert collector.resources[0] == {"service.name": "lookalike", "service.version": "0.1.0"}
    for secret in (name, subject, key):
        assert secret.encode() not in collector.bytes


def test_an_error_of_the_service_is_a_span_in_error_without_its_text(traced, collector: Collector) -> None:
    client, traces = traced(collector.url)
    edge = client._transport._app.state.edge

    def fail() -> None:
        raise KeyError("canary")

    edge.services.gallery.before = fail
    assert client.post("/v1/detect", files={"image": b"x"}).status_code == 500
    traces.close()

    (span,) = [s for s in collector.spans if not s.parent]
    assert (span.name, span.status) == ("POST /v1/detect", 2)
    assert b"canary" not in collector.bytes


def test_what_a_caller_does_not_trace_and_what_the_ratio_leaves_out_is_not_sent(traced, collector: Collector) -> None:
    client, traces = traced(collector.url, traces_ratio=0.5)
    low, high = TRACE[:16] + "0" * 15 + "1", TRACE[:16] + "f" * 16

    for trace, sampled in ((low, "00"), (high, "01"), (low, "01")):
        client.get("/v1/limits", headers={"traceparent": f"00-{trace}-{SPAN}-{sampled}"})
    traces.close()

    assert {span.trace for span in collector.spans} == {low}
    assert len([span for span in collector.spans if span.parent == SPAN]) == 1


def test_the_collector_is_told_by_a_header_who_sends(traced, collector: Collector, tmp_path: Path) -> None:
    file = tmp_path / "header"
    file.write_text("authorization: Bearer of-the-collector\n")
    client, traces = traced(collector.url, traces_header_file=file)

    client.get("/v1/limits")
    traces.close()

    assert collector.headers[0]["authorization"] == "Bearer of-the-collector"


def test_requests_are_answered_and_the_service_ends_while_the_collector_hangs(traced) -> None:
    with collecting(hangs=True) as collector:
        client, traces = traced(collector.url)
        client.get("/v1/limits")
        assert collector.asked.wait(DEADLINE_S)

        answers = [client.get("/v1/limits").status_code for _ in range(300)]
        traces.close()

        assert answers == [200] * 300
        assert not collector.release.is_set() and collector.spans == []


@pytest.mark.parametrize("answer", [400, 307])
def test_spans_that_are_refused_are_counted_as_lost_and_told_in_the_log_once(traced, caplog, answer: int) -> None:
    with collecting() as other, collecting(answer=answer, location=other.url) as collector:
        client, traces = traced(collector.url)
        for _ in range(2):
            before = outcomes(traces)["lost"]
            assert client.get("/v1/limits").status_code == 200
            assert soon(lambda b=before: outcomes(traces)["lost"] > b)

        assert outcomes(traces)["sent"] == 0 and other.spans == []
        said = [record.message for record in caplog.records if record.name == "lookalike.traces"]
        assert said == ["traces cannot be sent to the collector, and are lost"]


def test_a_collector_that_is_gone_costs_its_spans_until_it_is_back(traced) -> None:
    with collecting() as collector:
        url = collector.url
    client, traces = traced(url)

    assert client.get("/v1/limits").status_code == 200

    assert soon(lambda: outcomes(traces)["lost"] > 0)


class Hanging(SpanExporter):
    """Takes nothing until it is let go."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()

    def export(self, spans) -> SpanExportResult:
        self.asked.set()
        self.go.wait(DEADLINE_S)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        return


def test_what_finds_no_room_in_the_queue_is_lost_and_counted(tmp_path: Path) -> None:
    exporter = Hanging()
    services = doubles.services(tmp_path)
    services.traces = Traces(exporter, most_waiting=5)
    with closing(InProcessTransport(create_app(services))) as transport:
        client = httpx.Client(transport=transport, base_url="http://edge", headers={"x-api-key": "admin"})
        client.get("/v1/limits")
        assert exporter.asked.wait(DEADLINE_S)
        for _ in range(20):
            client.get("/v1/limits")

        text = client.get("/metrics").text
        lost = float(text.partition('lookalike_trace_spans_total{outcome="lost"} ')[2].split()[0])
        exporter.go.set()
        assert soon(lambda: outcomes(services.traces)["sent"] >= 5)
        services.traces.close()

    assert lost >= 15


def test_variables_of_the_environment_send_nothing_anywhere(collector: Collector, tmp_path: Path) -> None:
    base = collector.url.removesuffix("/v1/traces")
    environment = os.environ | {
        "FASTAPI_OTEL_AUTO_CONFIGURE": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": base,
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "10",
    }
    script = Path(__file__).with_name("serve_double.py")
    process = subprocess.Popen(
        [sys.executable, script, tmp_path, "off"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        url = process.stdout.readline().split()[1]
        assert httpx.get(f"{url}/v1/collections/canary", headers={"x-api-key": "admin"}).status_code == 404
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
        process.stdout.close()

    assert process.returncode == 0
    assert not collector.asked.is_set()


def test_without_the_setting_nothing_that_sends_traces_is_imported() -> None:
    script = (
        "import sys, api.app, api.wiring\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("url", "header", "said"),
    [
        ("http://collector.example.org/v1/traces", None, "https://"),
        ("file:///etc/passwd", None, "https://"),
        ("https://user:canary@collector.example.org/v1/traces", None, "no password"),
        ("https://collector.example.org/v1/traces", "no header", "name: value"),
        ("https://collector.example.org/v1/traces", "a: b\nc: d", "name: value"),
    ],
)
def test_an_address_or_a_header_that_is_not_allowed_ends_the_start(tmp_path, url, header, said) -> None:
    file = tmp_path / "header"
    if header is not None:
        file.write_text(header)

    with pytest.raises(BadSettings, match=said) as refusal:
        open_traces(read_settings(traces_url=url, traces_header_file=file if header is not None else None))

    assert "canary" not in str(refusal.value)


def test_spans_that_wait_are_sent_before_the_end(traced, collector: Collector) -> None:
    client, traces = traced(collector.url)
    for _ in range(10):
        client.get("/v1/limits")

    traces.close()

    assert len([span for span in collector.spans if isinstance(span, Span) and not span.parent]) == 10
