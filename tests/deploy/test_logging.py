"""The log as Elasticsearch takes it: its fields, the dashboard's questions, and the files that ship it.

Filebeat, Logstash and Kibana are not run here, nor has the test server data streams, lifecycles or Zstandard, whose
modules are not published: lines of a real service are sent by bulk, with the same fields and template.
"""

from __future__ import annotations

import io
import json
import logging
import re
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from elasticsearch import Elasticsearch

from api.client_sending import ClientError
from api.logs import EcsLines, log_failure, log_request
from tests import elastic
from tests.deploy.compose import ROOT
from tests.e2e.conftest import Installation

LOGGING = ROOT / "deploy/logging"
STREAM = "logs-lookalike-default"


def file(name: str) -> dict[str, Any]:
    return json.loads((LOGGING / name).read_text("utf-8"))


def saved_objects() -> dict[tuple[str, str], dict[str, Any]]:
    """What Kibana imports, by type and id."""
    lines = (LOGGING / "kibana.ndjson").read_text("utf-8").splitlines()
    return {(one["type"], one["id"]): one for one in map(json.loads, lines)}


def mapped(properties: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Field → type of a mapping."""
    found = {}
    for name, field in properties.items():
        inner = field.get("properties")
        found.update(mapped(inner, f"{prefix}{name}.") if inner else {prefix + name: field["type"]})
    return found


FIELDS = mapped(file("fields.json")["template"]["mappings"]["properties"])


def names_of(line: dict[str, Any], prefix: str = "") -> set[str]:
    return {
        name
        for key, value in line.items()
        for name in (names_of(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key})
    }


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory, portraits: dict[str, bytes]) -> list[dict[str, Any]]:
    """The log of a service that was asked a few things, some of them in vain."""
    service = Installation(tmp_path_factory.mktemp("logged"))
    with service.start() as client:
        client.create_collection("canary")
        client.enrol("canary", "Canary", portraits["obama.jpg"])
        client.identify("canary", portraits["obama2.jpg"])
        for name in ("none", "neither"):
            with pytest.raises(ClientError):
                client.collection(name)
    assert service.stop(signal.SIGTERM) == 0
    return [json.loads(line) for line in (service.folder / "service.log").read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def shipped(lines: list[dict[str, Any]]) -> Iterator[tuple[Elasticsearch, str]]:
    """The lines in an index that our template made, and a client."""
    client, mark = elastic.client(), secrets.token_hex(4)
    template = file("template.json")
    assert template.pop("data_stream") == {}
    del template["template"]["settings"]["index.lifecycle.name"], template["template"]["settings"]["index.codec"]
    index = STREAM.replace("default", f"test{mark}")
    try:
        client.cluster.put_component_template(name="lookalike-fields", **_known(file("fields.json"), "template"))
        client.indices.put_index_template(
            name="lookalike-logs", **_known(template, "index_patterns", "priority", "composed_of", "template")
        )
        operations = [part for line in lines for part in ({"create": {"_index": index}}, line)]
        answer = client.bulk(operations=operations, refresh=True)
        assert not answer["errors"], answer
        yield client, index
    finally:
        client.indices.delete(index=index, ignore_unavailable=True)
        client.indices.delete_index_template(name="lookalike-logs")
        client.cluster.delete_component_template(name="lookalike-fields")
        client.close()


def _known(body: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: body[name] for name in names}


@pytest.mark.service
@pytest.mark.slow
def test_the_log_reaches_elasticsearch_with_its_fields(shipped: tuple[Elasticsearch, str], lines) -> None:
    client, index = shipped

    found = mapped(client.indices.get_mapping(index=index)[index]["mappings"]["properties"])

    sent = {name for line in lines for name in names_of(line)}
    assert sent <= set(found), "each field that the service writes has a type"
    assert found == FIELDS
    types = {"@timestamp": "date", "event.duration": "long", "http.response.status_code": "long", "url.path": "keyword"}
    assert {name: found[name] for name in types} == types
    assert client.count(index=index)["count"] == len(lines)


@pytest.mark.service
@pytest.mark.slow
def test_a_request_is_found_by_its_id_its_time_and_what_it_took(shipped: tuple[Elasticsearch, str], lines) -> None:
    client, index = shipped
    asked = next(line for line in lines if line.get("url.path") == "/v1/collections/{collection}/identify")

    query = [
        {"term": {"http.request.id": asked["http.request.id"]}},
        {"term": {"url.path": asked["url.path"]}},
        {"range": {"event.duration": {"gt": 1_000_000}}},
        {"range": {"@timestamp": {"gte": "now-1h", "lte": "now"}}},
        {"match": {"message": "identify"}},
        {"term": {"event.category": "web"}},
        {"prefix": {"user.id": "key:"}},
    ]
    hits = client.search(index=index, query={"bool": {"filter": query}})["hits"]["hits"]

    assert [hit["_source"]["http.request.id"] for hit in hits] == [asked["http.request.id"]]


@pytest.mark.service
@pytest.mark.slow
def test_each_question_of_the_dashboard_is_answered_from_the_log(shipped: tuple[Elasticsearch, str]) -> None:
    client, index = shipped
    asked = [one["attributes"] for (kind, _), one in saved_objects().items() if kind == "visualization"]

    for visualization in asked:
        query, aggregations = question(visualization)
        if "log.level" in str(query):
            continue  # nothing unforeseen happened, so there is no error to count
        answer = client.search(index=index, size=0, query=query, aggs=aggregations)
        level: Any = answer["aggregations"]
        while level is not None:
            (name,) = level.keys() & {"bucket", "metric"}
            buckets = level[name].get("buckets")
            assert buckets != [], visualization["title"]
            level = {k: v for k, v in buckets[0].items() if k in ("bucket", "metric")} or None if buckets else None

    assert len(asked) >= 7


def question(visualization: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Kibana would ask Elasticsearch: buckets within buckets, the metric innermost."""
    text = json.loads(visualization["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]["query"]
    query = {
        "query_string": {
            "query": text.replace(" : ", ":").replace(" >= ", ":>=").replace(" < ", ":<").replace(" and ", " AND ")
        }
    }
    inner: dict[str, Any] = {}
    for aggregation in reversed(json.loads(visualization["visState"])["aggs"]):
        given, kind = aggregation["params"], aggregation["type"]
        if kind == "count":
            continue
        if kind == "percentiles":
            inner = {"metric": {"percentiles": {"field": given["field"], "percents": given["percents"]}}, **inner}
            continue
        wanted = {"field": given["field"]}
        wanted |= {"fixed_interval": "1m"} if kind == "date_histogram" else {"size": given["size"]}
        inner = {"bucket": {kind: wanted, **({"aggs": inner} if inner else {})}}
    if "metric" in inner and "bucket" in inner:
        inner = {"bucket": inner["bucket"] | {"aggs": {"metric": inner["metric"]}}}
    return query, inner


def test_every_field_that_the_service_can_write_is_mapped() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(EcsLines())
    logger = logging.getLogger("lookalike")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel("INFO")
    try:
        log_failure("part", ValueError("canary"), "a" * 32)
        log_request(
            method="GET", route="/", status=200, seconds=1.0, request_id="a" * 32, trace_id="b" * 32, principal="key:1"
        )
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)

    lines = [json.loads(line) for line in written.getvalue().splitlines()]

    assert len(lines) == 2
    assert {name for line in lines for name in names_of(line)} <= set(FIELDS)


def test_the_dashboard_asks_only_for_fields_that_there_are_and_names_nothing_that_is_missing() -> None:
    objects = saved_objects()
    for (kind, id), one in objects.items():
        assert all((ref["type"], ref["id"]) in objects for ref in one["references"]), id
        source = json.loads(one["attributes"].get("kibanaSavedObjectMeta", {}).get("searchSourceJSON", "{}"))
        asked = set(re.findall(r"([a-z@_.]+) (?::|>=|<)", source.get("query", {}).get("query", "")))
        state = json.loads(one["attributes"].get("visState", '{"aggs": []}'))
        asked |= {a["params"]["field"] for a in state["aggs"] if "field" in a["params"]}
        asked |= set(one["attributes"].get("columns", []))
        assert asked <= set(FIELDS), id
        if kind == "dashboard":
            panels = json.loads(one["attributes"]["panelsJSON"])
            named = {f"{panel['panelIndex']}:{panel['panelRefName']}" for panel in panels}
            assert named == {ref["name"] for ref in one["references"]}
    view = objects["index-pattern", "lookalike-logs"]["attributes"]["title"]
    assert [view] == file("template.json")["index_patterns"]


def test_what_ships_the_log_writes_to_the_stream_that_the_template_is_for_and_holds_no_secret() -> None:
    filebeat = yaml.safe_load((LOGGING / "filebeat.yml").read_text("utf-8"))
    logstash = (LOGGING / "logstash.conf").read_text("utf-8")
    template = file("template.json")

    assert filebeat["output.elasticsearch"]["index"] == STREAM
    named = dict(re.findall(r'data_stream_(\w+) => "(\w+)"', logstash))
    assert "-".join((named["type"], named["dataset"], named["namespace"])) == STREAM
    assert all(re.fullmatch(p.replace("*", ".*"), STREAM) for p in template["index_patterns"])
    assert f"_ilm/policy/{template['template']['settings']['index.lifecycle.name']}" in (LOGGING / "setup").read_text()
    assert all(f"_component_template/{name} " in (LOGGING / "setup").read_text() for name in template["composed_of"])
    assert filebeat["output.elasticsearch"]["api_key"] == "${ELASTICSEARCH_API_KEY}"
    assert 'api_key => "${ELASTICSEARCH_API_KEY}"' in logstash
    for parsers in (one["parsers"] for one in filebeat["filebeat.inputs"]):
        assert parsers[-1]["ndjson"]["expand_keys"] and parsers[-1]["ndjson"]["target"] == ""


@contextmanager
def answering(status: int) -> Iterator[tuple[str, list[tuple[str, str, str, bytes]]]]:
    """A server that notes what it is asked: method, path, authorization and body. Yields its URL and the notes."""
    asked: list[tuple[str, str, str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            asked.append((self.command, self.path, self.headers["authorization"], body))
            self.send_response(status)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_POST = do_PUT

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run_setup(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "key").write_text("an-api-key\n")
    environment = {
        "PATH": "/usr/bin:/bin",
        "ELASTICSEARCH_KEY_FILE": str(folder / "key"),
        "ELASTICSEARCH_CA": "/dev/null",
    }
    return subprocess.run([LOGGING / "setup", url, url], env=environment, capture_output=True, text=True, timeout=60)


def test_setup_makes_the_policy_the_fields_the_template_and_the_dashboard(tmp_path: Path) -> None:
    with answering(200) as (url, asked):
        done = run_setup(url, tmp_path)

    assert done.returncode == 0, done.stderr
    assert [(method, path) for method, path, _, _ in asked] == [
        ("PUT", "/_ilm/policy/lookalike-logs"),
        ("PUT", "/_component_template/lookalike-fields"),
        ("PUT", "/_index_template/lookalike-logs"),
        ("POST", "/api/saved_objects/_import?overwrite=true"),
    ]
    assert {key for _, _, key, _ in asked} == {"ApiKey an-api-key"}
    sent = [json.loads(body) for _, _, _, body in asked[:3]]
    assert sent == [file("lifecycle.json"), file("fields.json"), file("template.json")]
    assert (LOGGING / "kibana.ndjson").read_bytes().strip() in asked[3][3]


def test_setup_ends_with_an_error_at_the_first_refusal(tmp_path: Path) -> None:
    with answering(403) as (url, asked):
        done = run_setup(url, tmp_path)

    assert done.returncode != 0
    assert len(asked) == 1
