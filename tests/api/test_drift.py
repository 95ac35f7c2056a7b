from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from api.drift_look import DriftLook
from lookalike.domain import Grant
from lookalike.probe_counts import Counts

TODAY = datetime.now(UTC).date()


@pytest.fixture
def site(real, gallery):
    """An admin's client, the path of a collection's drift, and what puts probes into one of its days."""
    client, path = gallery
    where = real.services.answers.collection(path.rpartition("/")[2])

    def day_of(days_ago: int, light: float, size: int = 1200) -> str:
        day = (TODAY - timedelta(days=days_ago)).isoformat()
        found, rng = Counts.none(), np.random.default_rng(days_ago)
        for value in rng.normal(light, 20, size):
            quarter = int(rng.integers(0, 4))
            found.add("brightness", value, quarter)
            found.add("quality", 0.95, quarter)
            found.add("refused", 0.0, quarter)
        real.services.drift._store.add(where, where.space.key, {day: found})
        return day

    return client, f"{path}/drift", day_of


def test_a_collection_without_probes_waits_for_a_baseline(site):
    client, path, _ = site
    answer = client.get(path).json()
    assert (answer["drifting"], answer["baseline"], answer["now"], answer["findings"]) == (False, None, None, [])
    assert answer["waiting_for"] == 1000


def test_what_moved_is_told_with_its_bins_and_what_to_do(site):
    client, path, day_of = site
    first, *_ = (day_of(ago, light=120.0) for ago in (7, 6, 5))
    today = day_of(0, light=80.0, size=300)
    answer = client.get(path).json()
    assert (answer["drifting"], answer["baseline"]["first"], answer["now"]["first"]) == (True, first, today)
    assert answer["baseline"]["source"] == "first_days" and answer["now"]["source"] is None
    (moved,) = [finding for finding in answer["findings"] if finding["verdict"] == "moved"]
    assert moved["statistic"] == "brightness" and moved["now"] < moved["baseline"] and moved["psi"] > 0.2
    assert len(moved["bins"]["now"]) == len(moved["bins"]["edges"]) + 1
    assert sum(moved["bins"]["now"]) == pytest.approx(1) == sum(moved["bins"]["baseline"])
    assert "darker" in answer["advice"][0]


def test_an_operator_chooses_the_days_to_compare_with(site):
    client, path, day_of = site
    for ago in (7, 6, 5):
        day_of(ago, light=120.0)
    chosen = day_of(3, light=80.0)
    day_of(0, light=80.0)
    answer = client.put(f"{path}/baseline", json={"first": chosen, "last": chosen})
    assert (answer.status_code, answer.json()["drifting"], answer.json()["baseline"]["source"]) == (
        200,
        False,
        "chosen",
    )
    assert client.get(path, params={"days": 2}).json()["baseline"]["first"] == chosen


@pytest.mark.parametrize("body", [{"first": "2020-01-01"}, {"first": "x", "last": "y"}, {"first": 1, "last": 2}, {}])
def test_a_baseline_that_cannot_be_meant_is_422(site, body):
    client, path, _ = site
    assert client.put(f"{path}/baseline", json=body).status_code == 422


@pytest.mark.parametrize("days", ["0", "-1", "91", "many"])
def test_a_wrong_number_of_days_is_422(site, days):
    client, path, _ = site
    assert client.get(path, params={"days": days}).status_code == 422


def test_an_identification_is_counted_when_one_asks(site, real, portraits):
    client, path, _ = site
    assert client.post(path.replace("drift", "identify"), files={"image": portraits["obama.jpg"]}).status_code == 200
    now = client.get(path).json()["now"]
    assert (now["pictures"], now["faces"], now["first"]) == (1, 1, datetime.now(UTC).date().isoformat())


def test_metrics_count_the_collections_that_drift_and_name_none(site, real):
    _, path, day_of = site
    for ago in (7, 6, 5, 0):
        day_of(ago, light=120.0 if ago else 80.0)
    real.services.drift_look.look()
    text = real.client(Grant("viewer")).get("/metrics").text
    (line,) = [line for line in text.splitlines() if line.startswith("lookalike_collections_drifting")]
    assert float(line.split()[1]) >= 1
    assert path.split("/")[3] not in text


def test_a_drift_is_logged_once_when_it_begins_without_a_name_or_a_figure(site, real, caplog):
    _, _, day_of = site
    look = DriftLook(real.services.drift, real.services.drift_look._probes)
    look.look()
    for ago in (7, 6, 5, 0):
        day_of(ago, light=120.0 if ago else 80.0)
    before = look.drifting
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            look.look()
    said = [record.getMessage() for record in caplog.records if record.name == "lookalike.drift"]
    assert look.drifting == before + 1
    assert said == ["a collection's probes have begun to drift: `lookalike drift` tells what moved"]
