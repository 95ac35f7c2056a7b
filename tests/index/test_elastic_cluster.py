from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from index.backends import index_factory
from index.elastic_cluster import ElasticCluster, ElasticOptions, address_of
from index.elastic_index import ElasticIndex
from lookalike.domain import Embeddings, Space
from lookalike.errors import BadSettings, IndexUnavailable, InvalidInput
from lookalike.settings import read_settings

SPACE = Space("toy", 4, "none")
OPTIONS = ElasticOptions(deployment="0" * 32, attested=True, timeout_s=0.5)
UNIT = Embeddings(SPACE, np.eye(4, dtype=np.float32))


# -------------------------------------------------------------------------------------- addresses and settings


def test_an_address_has_a_user_and_any_number_of_nodes() -> None:
    address = address_of("es+https://me@one:9200,[::1]:9201")
    assert address.nodes == ("https://one:9200", "https://[::1]:9201")
    assert address.user == "me"
    assert address_of("es+http://127.0.0.1:9201").nodes == ("http://127.0.0.1:9201",)


@pytest.mark.parametrize(
    "url",
    [
        "es+https:",
        "es+https://hidden",
        "es+https://hidden:port",
        "es+https://hidden:9200/index",
        "es+https://hidden:9200?x=1",
        "es+ftp://hidden:9200",
        "es+https://one:9200,two",
        "es+https://[::1:9200",
    ],
)
def test_an_address_that_is_none_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(BadSettings, match="HOST:PORT") as refusal:
        address_of(url)
    assert "hidden" not in str(refusal.value)


def test_plain_http_is_for_this_machine_alone() -> None:
    with pytest.raises(BadSettings, match="loopback"):
        address_of("es+http://search.example.org:9200")


def test_a_password_in_a_url_is_refused_and_told_to_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadSettings, match="PASSWORD_FILE"):
        address_of("es+https://me:hunter2@host:9200")
    monkeypatch.setenv("LOOKALIKE_INDEX", "es+https://me:hunter2@host:9200")
    with pytest.raises(BadSettings, match="PASSWORD_FILE") as refusal:
        read_settings()
    assert "hunter2" not in str(refusal.value)


def test_a_cluster_whose_volumes_nobody_attests_is_not_spoken_to() -> None:
    with pytest.raises(BadSettings, match="VOLUME_ENCRYPTED=attested"):
        ElasticCluster("es+http://127.0.0.1:9201", ElasticOptions(deployment="0" * 32))


@pytest.mark.parametrize(
    ("url", "files"),
    [
        ("es+https://host:9200", {}),
        ("es+https://me@host:9200", {}),
        ("es+https://me@host:9200", {"api_key_file": "secret"}),
        ("es+https://host:9200", {"password_file": "secret"}),
        ("es+https://me@host:9200", {"password_file": "missing"}),
        ("es+https://me@host:9200", {"password_file": "empty"}),
    ],
)
def test_credentials_are_a_user_with_a_password_or_a_key(tmp_path, url, files) -> None:
    (tmp_path / "secret").write_text("s3cret")
    (tmp_path / "empty").write_text("\n")
    options = ElasticOptions("0" * 32, attested=True, **{name: tmp_path / file for name, file in files.items()})
    with pytest.raises(BadSettings) as refusal:
        ElasticCluster(url, options)
    assert "s3cret" not in str(refusal.value)


def test_only_clusters_that_the_settings_name_are_spoken_to() -> None:
    backends = index_factory("faiss:", ["es+http://127.0.0.1:9201"], OPTIONS)
    assert backends.known("es+http://127.0.0.1:9201")
    with pytest.raises(BadSettings, match="LOOKALIKE_INDEXES"):
        backends.known("es+https://elsewhere:9200")
    backends.close()


# ------------------------------------------------------------------------------------------ answers of a node


class Node:
    """Answers each request by the next of `answers`, (status, JSON); the last one again and again."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, object]] = []
        self.asked: list[str] = []
        node = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                node.asked.append(body.decode())
                status, answer = node.answers.pop(0) if len(node.answers) > 1 else node.answers[0]
                sent = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("x-elastic-product", "Elasticsearch")
                self.send_header("content-type", "application/vnd.elasticsearch+json;compatible-with=9")
                self.send_header("content-length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            do_PUT = do_GET = do_POST

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def node():
    made = Node()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def index(node):
    cluster = ElasticCluster(f"es+http://127.0.0.1:{node.server.server_port}", OPTIONS)
    yield ElasticIndex(cluster, SPACE, "alias", "alias-00000000", "int8_flat")
    cluster.close()


def items(*statuses: int, kind: str = "es_rejected_execution_exception") -> tuple[int, object]:
    def one(status: int) -> dict[str, object]:
        return {"index": {"status": status} | ({"error": {"type": kind}} if status >= 400 else {})}

    return 200, {"errors": any(s >= 400 for s in statuses), "items": [one(status) for status in statuses]}


REFRESHED = 200, {"_shards": {"total": 1, "successful": 1, "failed": 0}}


def test_rows_that_a_busy_node_refused_are_sent_again_and_no_others(node, index) -> None:
    node.answers = [items(201, 429, 201, 429), items(201, 201), REFRESHED]
    index.put(np.arange(4), UNIT)

    assert [body.count('"_id"') for body in node.asked] == [4, 2, 0]
    assert '"_id":"1"' in node.asked[1] and '"_id":"3"' in node.asked[1]
    index.settle()


def test_a_node_that_is_busy_as_a_whole_is_asked_again(node, index) -> None:
    node.answers = [(429, {"error": {"type": "circuit_breaking_exception"}, "status": 429}), items(201), REFRESHED]
    index.put(np.arange(1), Embeddings(SPACE, UNIT.vectors[:1]))

    assert len(node.asked) == 3


def test_a_node_that_stays_busy_is_unavailable_and_what_it_refused_is_owed(node, index) -> None:
    node.answers = [items(429)]
    index.put(np.arange(1), Embeddings(SPACE, UNIT.vectors[:1]))
    with pytest.raises(IndexUnavailable, match="busy"):
        index.settle()

    node.answers = [items(201), REFRESHED]
    index.settle()
    asked = len(node.asked)
    index.settle()
    assert len(node.asked) == asked


def test_a_conflict_says_that_somebody_was_earlier_and_is_no_error(node, index) -> None:
    node.answers = [items(409, kind="version_conflict_engine_exception"), REFRESHED]
    index.put(np.arange(1), Embeddings(SPACE, UNIT.vectors[:1]))
    index.settle()
    assert len(node.asked) == 2


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (items(403, kind="cluster_block_exception"), "no writes"),
        (items(429, kind="cluster_block_exception"), "no writes"),
        (items(400, kind="document_parsing_exception"), "refused a row"),
        (items(), "fewer rows"),
        ((200, {}), "what became"),
        ((503, {"error": {"type": "master_not_discovered_exception"}}), "503"),
        ((401, {"error": {"type": "security_exception"}}), "credentials"),
        ((403, {"error": {"type": "security_exception"}}), "does not allow"),
    ],
)
def test_what_waiting_does_not_mend_is_told_at_once(node, index, answer, why) -> None:
    node.answers = [answer]
    with pytest.raises(IndexUnavailable, match=why):
        index.add(np.arange(1), Embeddings(SPACE, UNIT.vectors[:1]))
    assert len(node.asked) == 1


WHOLE = {"_shards": {"total": 2, "successful": 2, "failed": 0}, "timed_out": False}


@pytest.mark.parametrize(
    "part",
    [
        {"_shards": {"total": 2, "successful": 1, "failed": 1}, "timed_out": False},
        {"_shards": {"total": 0, "successful": 0, "failed": 0}, "timed_out": False},
        {"_shards": {"total": 2, "successful": 2, "failed": 0}, "timed_out": True},
        {"_shards": {"total": 2, "successful": 2, "failed": 0}},
        {"error": {"type": "search_phase_execution_exception"}, "status": 503},
        {},
    ],
)
def test_the_answer_of_a_part_of_the_index_is_an_error(node, index, part) -> None:
    node.answers = [(200, {"took": 1, "responses": [part]})]
    with pytest.raises(IndexUnavailable):
        index.search(Embeddings(SPACE, UNIT.vectors[:1]), 3)


def test_fewer_answers_than_searches_are_an_error(node, index) -> None:
    node.answers = [(200, {"took": 1, "responses": [WHOLE]})]
    with pytest.raises(IndexUnavailable, match="fewer"):
        index.search(UNIT, 3)


def test_a_score_becomes_a_cosine(node, index) -> None:
    hits = [{"_id": "7", "_score": 1.0}, {"_id": "8", "_score": 0.5}, {"_id": "9", "_score": 0.0}]
    node.answers = [(200, {"took": 1, "responses": [WHOLE | {"hits": {"hits": hits}}]})]
    found = index.search(Embeddings(SPACE, UNIT.vectors[:1]), 3)[0]
    assert [(n.label, n.similarity) for n in found] == [(7, 1.0), (8, 0.0), (9, -1.0)]


def test_while_a_node_does_not_answer_callers_are_told_at_once(node, index) -> None:
    """One tries; the others do not queue behind it."""
    node.server.shutdown()
    node.server.server_close()
    with pytest.raises(IndexUnavailable, match="cannot be reached"):
        index.search(UNIT, 1)
    with pytest.raises(IndexUnavailable, match="cannot be reached"):
        index.settle()
    with pytest.raises(InvalidInput):
        index.search(UNIT, 0)
