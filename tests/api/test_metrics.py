"""What /metrics tells of a real service: each stage, each queue, nothing else, and what docs/watching.md says of it."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.in_process import InProcessTransport
from api.wiring import Services, open_services
from lookalike.domain import Grant
from lookalike.errors import StorageUnavailable
from lookalike.settings import Settings
from lookalike.stages import Stage
from tests.api.conftest import ADMIN, Real

ROOT = Path(__file__).resolve().parents[2]
CONDITIONAL = {
    *(
        f"lookalike_{which}_{end}_seconds"
        for which in ("certificate", "authority")
        for end in ("not_before", "not_after")
    ),
    "lookalike_certificate_refused",
    "lookalike_trace_spans",
}
"""Told only where there is TLS, and where there are traces."""


def told(client: httpx.Client) -> dict[str, Metric]:
    """The families of /metrics, but for when their counting began."""
    text = client.get("/metrics").text
    return {f.name: f for f in text_string_to_metric_families(text) if not f.name.endswith("_created")}


def soon(check: Callable[[], bool]) -> bool:
    """Whether it comes to hold within a minute."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.02)
    return False


def values(family: Metric, suffix: str = "") -> dict[str, float]:
    """A family's values by its only label."""
    return {next(iter(s.labels.values()), ""): s.value for s in family.samples if s.name == family.name + suffix}


@pytest.fixture
def site(real: Real) -> tuple[httpx.Client, str]:
    """An admin's client, and the path of a collection."""
    client, name = real.client(Grant("admin")), secrets.token_hex(6)
    assert client.post("/v1/collections", json={"name": name}).status_code == 201
    return client, f"/v1/collections/{name}"


def test_an_identification_is_counted_in_each_of_its_stages(site, portraits: dict[str, bytes]) -> None:
    client, path = site
    client.post(f"{path}/subjects/s/samples", files={"images": portraits["obama.jpg"]})
    before = told(client)

    assert client.post(f"{path}/identify", files={"image": portraits["obama2.jpg"]}).status_code == 200
    assert client.post(f"{path}/identify", files={"image": portraits["biden.jpg"]}).status_code == 200

    after = told(client)
    first, second = (values(f["lookalike_stage_seconds"], "_count") for f in (before, after))
    grown = {stage: second[stage] - first[stage] for stage in second}
    assert set(grown) == {stage.value for stage in Stage}
    assert all(grown[stage] == 2 for stage in ("queue", "decode", "detect", "embed", "batch", "search", "audit"))
    assert all(grown[stage] >= 2 for stage in ("authenticate", "records"))
    faces = [values(f["lookalike_faces"], "_total") for f in (before, after)]
    assert {answer: faces[1][answer] - faces[0][answer] for answer in faces[1]} == {"matched": 1, "unmatched": 1}


def test_a_stage_that_fails_is_counted(site) -> None:
    client, path = site
    before = values(told(client)["lookalike_stage_failures"], "_total")

    assert client.post(f"{path}/identify", files={"image": b"no picture"}).status_code == 415

    after = values(told(client)["lookalike_stage_failures"], "_total")
    assert after["decode"] == before["decode"] + 1
    assert after["audit"] == before["audit"]


def test_figures_of_keys_queues_and_the_index_are_told(site, real: Real) -> None:
    client, path = site
    client.put(f"{path}/subjects/s", json={"metadata": {}})
    client.delete(f"{path}/subjects/s")
    expiring = values(told(client)["lookalike_api_keys_expiring"])[""]
    real.services.api_keys.create(ADMIN, "soon", [Grant("viewer")], expires_days=3)

    found = told(client)

    one = {name: f.samples[0].value for name, f in found.items() if not f.samples[0].labels}
    assert one["lookalike_api_keys_expiring"] == expiring + 1
    assert one["lookalike_key_rotation_due_seconds"] > 0
    assert one["lookalike_collection_key_age_seconds"] >= one["lookalike_key_rotation_due_seconds"]
    assert one["lookalike_root_key_age_seconds"] >= one["lookalike_collection_key_age_seconds"]
    assert one["lookalike_index_behind_seconds"] < 60
    assert one["lookalike_index_owed_erasures"] == one["lookalike_index_unsettled"] == 0
    assert set(values(found["lookalike_jobs_waiting"])) >= {"calibrate", "import", "reindex", "rotate"}


def test_no_label_holds_what_somebody_chose(site, portraits: dict[str, bytes]) -> None:
    client, path = site
    name, subject = path.rpartition("/")[2], f"canary {secrets.token_hex(8)}"
    client.post(f"{path}/subjects/{subject}/samples", files={"images": portraits["obama.jpg"]})
    client.post(f"{path}/identify?metadata.canary=canary", files={"image": portraits["obama.jpg"]})
    client.request("CANARY", "/canary/canary")

    text = client.get("/metrics").text

    assert subject not in text and name not in text and "canary" not in text.lower()
    labels = {label for family in told(client).values() for sample in family.samples for label in sample.labels}
    assert labels == {
        "method",
        "route",
        "status",
        "stage",
        "answer",
        "version",
        "le",
        "queue",
        "kind",
        "outcome",
        "reason",
    }


def documented() -> dict[str, tuple[str, str]]:
    """Name → type and labels, as the table of docs/watching.md has them."""
    text = (ROOT / "docs/watching.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| (?:process|store) \|", text, re.MULTILINE)
    return {name: (kind, labels.strip()) for name, kind, labels in rows}


def test_the_table_of_figures_is_what_a_service_tells(site) -> None:
    families = told(site[0])

    found = {}
    for name, family in families.items():
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        full = f"{name}_total" if family.type == "counter" else name
        found[full] = (family.type, ", ".join(labels) or "–")
    table = documented()
    assert {name: row for name, row in table.items() if name.removesuffix("_total") not in CONDITIONAL} == {
        name: row for name, row in found.items() if not name.startswith("process_")
    }
    assert {name.removesuffix("_total") for name in table} >= CONDITIONAL


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Services], list[httpx.Client]]]:
    """Two processes' worth of services over one data folder, and a client of each."""
    opened, folder = [], tmp_path_factory.mktemp("two") / "data"
    for _ in range(2):
        services = open_services(Settings(data=folder), live=True)
        opened.append((services, InProcessTransport(create_app(services))))
    key = opened[0][0].api_keys.create(ADMIN, "test", [Grant("admin")]).key
    clients = [httpx.Client(transport=t, base_url="http://edge", headers={"x-api-key": key}) for _, t in opened]
    yield [services for services, _ in opened], clients
    for services, transport in opened:
        transport.close()
        services.close()


def test_replicas_tell_the_store_s_figures_alike_and_each_its_own_requests(two) -> None:
    (services, _), (first, second) = two
    for name in ("a", "b", "c"):
        first.post("/v1/collections", json={"name": name})
    services.api_keys.create(ADMIN, "soon", [Grant("viewer")], expires_days=3)

    one, other = told(first), told(second)

    for name in (
        "lookalike_api_keys",
        "lookalike_api_keys_expiring",
        "lookalike_jobs_waiting",
        "lookalike_jobs_failed",
    ):
        assert values(one[name]) == values(other[name])
    created = [
        sum(s.value for s in f["lookalike_requests"].samples if s.labels.get("status") == "201") for f in (one, other)
    ]
    assert created == [3, 0]


def test_where_the_store_cannot_be_asked_the_other_figures_are_told(two, monkeypatch) -> None:
    (services, _), (first, _) = two

    def away() -> None:
        raise StorageUnavailable("the database does not answer")

    monkeypatch.setattr(services.rotation, "ages", away)
    found = told(first)

    assert "lookalike_root_key_age_seconds" not in found
    assert {"lookalike_jobs_waiting", "lookalike_index_behind_seconds", "lookalike_ready"} <= set(found)


def test_a_replica_that_cannot_follow_says_how_far_it_is_behind_and_catches_up(two) -> None:
    (_, behind), (first, second) = two

    with behind.rosters._lock:  # its follower waits for it
        first.post("/v1/collections", json={"name": "new"})
        first.put("/v1/collections/new/subjects/s", json={"metadata": {}})
        assert soon(lambda: values(told(second)["lookalike_index_behind_seconds"])[""] > 0.2)
        assert values(told(second)["lookalike_index_behind_changes"])[""] > 0

    assert soon(lambda: values(told(second)["lookalike_index_behind_changes"])[""] == 0)
    assert values(told(second)["lookalike_index_behind_seconds"])[""] == 0


def test_a_job_that_fails_is_told_by_its_kind_for_a_day(two) -> None:
    (services, _), (first, second) = two
    info = first.post("/v1/collections", json={"name": "empty"}).json()
    (collection,) = [c for c in services.answers.collections() if c.name == info["name"]]

    services.jobs.submit("calibrate", ADMIN, (collection.name, collection.id))

    assert soon(lambda: values(told(first)["lookalike_jobs_failed"])["calibrate"] == 1)
    assert values(told(second)["lookalike_jobs_failed"])["calibrate"] == 1
