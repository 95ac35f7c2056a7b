"""The rules and dashboards of deploy/monitoring ask for figures that there are, and each alert fires when it should."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.collector import collecting
from tests.deploy.compose import ROOT
from tests.deploy.conftest import Topology, free_port, soon
from tests.e2e.conftest import Installation

pytestmark = pytest.mark.service
MONITORING = ROOT / "deploy/monitoring"
WORDS = {
    *("sum", "rate", "by", "le", "min", "max", "time", "histogram_quantile", "changes", "absent", "or", "on", "and"),
    *("increase", "predict_linear", "job", "route", "status", "state", "proxy", "server", "method", "instance"),
    *("stage", "kind", "queue", "outcome", "answer", "version"),
}
"""What stands in our expressions and is no metric's name."""

CONDITIONAL = {"lookalike_trace_spans_total", "lookalike_authority_not_after_seconds"}
"""Told only by a service that sends traces, and by one that made its own authority."""


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((MONITORING / "alerts.yml").read_text("utf-8"))["groups"]
    return group["rules"]


def panels(dashboard: str = "*") -> dict[str, list[str]]:
    """The expressions of each panel of each dashboard, by its title."""
    found: dict[str, list[str]] = {}
    for file in sorted((MONITORING / "dashboards").glob(f"{dashboard}.json")):
        for panel in json.loads(file.read_text("utf-8"))["panels"]:
            assert panel["title"] not in found, "two panels of one title"
            found[panel["title"]] = [target["expr"] for target in panel["targets"]]
    return found


def metrics_of(expression: str) -> set[str]:
    """The names of metrics in an expression: its words outside of braces and quotes that are not PromQL's."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', " ", re.sub(r'\{[^"}]*("[^"]*"[^"}]*)*\}', " ", expression))
    return set(re.findall(r"[a-z_][a-z0-9_]*", bare)) - WORDS


@pytest.fixture(scope="module")
def program() -> Path:
    """The folder of prometheus and promtool; the test is left out, and says so, where they are not."""
    found = os.environ.get("LOOKALIKE_TEST_PROMETHEUS")
    if found is None:
        pytest.skip("left out: there is no Prometheus (tests/services/start fetches it)")
    return Path(found)


def test_the_rules_are_sound_and_each_alert_fires_in_its_case_and_not_when_all_is_well(
    program: Path, tmp_path: Path
) -> None:
    shutil.copy(MONITORING / "alerts.yml", tmp_path)
    shutil.copy(ROOT / "tests/deploy/alerts.test.yml", tmp_path)

    done = subprocess.run([program / "promtool", "test", "rules", "alerts.test.yml"], cwd=tmp_path, capture_output=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_in_which_it_fires_and_a_section_of_the_runbook() -> None:
    cases = [
        (one["alertname"], bool(one["exp_alerts"]))
        for test in yaml.safe_load((ROOT / "tests/deploy/alerts.test.yml").read_text("utf-8"))["tests"]
        for one in test["alert_rule_test"]
    ]
    runbook = (ROOT / "docs/runbook.md").read_text("utf-8")
    for alert in alerts():
        name = alert["alert"]
        assert (name, True) in cases and (name, False) in cases
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
        assert f"\n### {name}\n" in runbook
        assert alert["labels"]["severity"] in ("page", "warn")
    assert set(re.findall(r"\n### (Lookalike\w+)\n", runbook)) == {alert["alert"] for alert in alerts()}


@contextmanager
def prometheus(
    program: Path, services: Sequence[Installation], ca: Path, folder: Path, haproxy: str | None = None
) -> Iterator[str]:
    """A Prometheus with our files, which asks services and HAProxy of the tests. Yields its URL."""
    settings = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    settings["rule_files"] = [str(MONITORING / "alerts.yml")]
    (folder / "metrics.key").write_text(services[0].key)
    for job in settings["scrape_configs"]:
        del job["dns_sd_configs"]
        if job["job_name"] == "haproxy":
            job["static_configs"] = [{"targets": [] if haproxy is None else [haproxy]}]
        else:
            job["static_configs"] = [{"targets": [one.url.removeprefix("https://") for one in services]}]
            job["tls_config"]["ca_file"] = str(ca)
            job["authorization"]["credentials_file"] = str(folder / "metrics.key")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    address = f"127.0.0.1:{free_port()}"
    command = [program / "prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], cwd=folder, stdout=log, stderr=log)
    try:
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


def asked(url: str, expression: str) -> list[dict[str, Any]]:
    """What Prometheus answers: the series that it finds now; none while it is not there yet."""
    query = urllib.parse.urlencode({"query": expression})
    try:
        with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=10) as answer:
            return json.load(answer)["data"]["result"]
    except OSError:
        return []


@pytest.mark.slow
def test_every_query_of_the_inside_finds_data_of_one_service_and_no_alert_fires(
    program: Path, portraits, tmp_path: Path
) -> None:
    with collecting() as collector:
        service = Installation(tmp_path, {"LOOKALIKE_TRACES_URL": collector.url})
        try:
            with service.start() as client:
                client.create_collection("watched")
                client.enrol("watched", "somebody", portraits["obama.jpg"])
                (tmp_path / "prometheus").mkdir()
                with prometheus(program, [service], service.data / "tls/ca.crt", tmp_path / "prometheus") as url:
                    log = tmp_path / "prometheus/log"
                    assert soon(lambda: asked(url, 'up{job="lookalike"} == 1') != []), log.read_text()
                    for name in ("obama2.jpg", "biden.jpg"):
                        client.identify("watched", portraits[name])

                    expressions = [expression for found in panels("inside").values() for expression in found]
                    for expression in expressions:
                        assert soon(lambda e=expression: asked(url, e) != []), f"no data: {expression}"
                    values = {e: float(asked(url, e)[0]["value"][1]) for e in expressions if "rate" not in e}
                    named = {name for alert in alerts() for name in metrics_of(alert["expr"])}
                    ours = sorted(name for name in named if name.startswith(("lookalike_", "process_")))
                    missing = [name for name in ours if not asked(url, f"{{__name__='{name}'}}")]
                    firing = asked(url, 'ALERTS{alertstate="firing"}')
        finally:
            if service.process is not None:
                service.stop(signal.SIGKILL)

    assert len(ours) > 20 and missing == [], "no running service has these"
    assert firing == []
    assert (values["max(lookalike_subjects)"], values["max(lookalike_collections)"]) == (1, 1)
    assert 0 < values["max(lookalike_root_key_age_seconds)"] < 3600
    assert collector.spans


@pytest.mark.slow
def test_every_query_finds_data_in_a_running_deployment_and_no_alert_fires(
    program: Path, topology: Topology, portraits, tmp_path: Path
) -> None:
    with topology.through() as client:
        if "watched" not in {one["name"] for one in client.collections()}:
            client.create_collection("watched")
        client.identify("watched", portraits["biden.jpg"])
        haproxy = topology.proxy.environment["LOOKALIKE_METRICS"]
        with prometheus(program, topology.replicas, topology.ca, tmp_path, haproxy) as url:
            assert soon(lambda: len(asked(url, 'up{job="lookalike"} == 1')) == 2), (tmp_path / "log").read_text()
            client.identify("watched", portraits["biden.jpg"])

            expressions = [expression for found in panels().values() for expression in found]
            for expression in expressions:
                assert soon(lambda e=expression: asked(url, e) != []), f"no data: {expression}"
            named = {name for expression in expressions for name in metrics_of(expression)}
            named |= {name for alert in alerts() for name in metrics_of(alert["expr"])}
            missing = [name for name in sorted(named - CONDITIONAL) if not asked(url, f"{{__name__='{name}'}}")]
            firing = asked(url, 'ALERTS{alertstate="firing"}')

    assert named >= {"lookalike_ready", "up", "haproxy_server_status", "lookalike_request_seconds_bucket"}
    assert missing == [], "no running service has these"
    assert firing == []
