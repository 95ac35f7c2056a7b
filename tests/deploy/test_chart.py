"""The Helm chart: what it renders is sealed off, reaches nothing else, carries no secret, and is valid Kubernetes.

chart-rendered.yaml is what helm made of chart-values.yaml (deploy/render-chart); where LOOKALIKE_TEST_HELM names helm,
it is made anew and compared.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from lookalike.profiles import weaknesses
from lookalike.settings import read_settings
from security.secret_files import read_secret_file
from tests.deploy.compose import ROOT, load

CHART = ROOT / "deploy/helm/lookalike"
VALUES = ROOT / "tests/deploy/chart-values.yaml"
RENDERED = ROOT / "tests/deploy/chart-rendered.yaml"
RULES = ROOT / "deploy/monitoring/alerts.yml"
KUBERNETES = ("1.27", "1.31")
CUSTOM = {"ServiceMonitor", "PrometheusRule"}
"""Kinds of the Prometheus operator, which Kubernetes' own schemas do not have."""


@pytest.fixture(scope="module")
def objects() -> dict[str, dict[str, Any]]:
    """What was rendered, by kind: there is one of each."""
    found = [document for document in yaml.safe_load_all(RENDERED.read_text()) if document]
    assert len({document["kind"] for document in found}) == len(found)
    return {document["kind"]: document for document in found}


@pytest.fixture(scope="module")
def pod(objects) -> dict[str, Any]:
    return objects["Deployment"]["spec"]["template"]["spec"]


def test_the_kept_rendering_is_of_this_chart() -> None:
    inside = (path for path in CHART.rglob("*") if path.is_file() and not path.is_symlink())
    chosen = [*(path for path in inside if path.name != "NOTES.txt"), VALUES]
    files = sorted(chosen, key=lambda path: str(path).encode())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(ROOT)}\n" for path in files]

    assert RENDERED.read_text().splitlines()[0] == f"# {hashlib.sha256(''.join(lines).encode()).hexdigest()}", (
        "run deploy/render-chart tests/deploy/chart-rendered.yaml, with helm"
    )


@pytest.mark.service
def test_helm_finds_nothing_wrong_and_renders_the_same_and_refuses_what_is_not_said(tmp_path: Path) -> None:
    helm = os.environ.get("LOOKALIKE_TEST_HELM")
    if helm is None:
        pytest.skip("left out: LOOKALIKE_TEST_HELM does not name helm")
    made = tmp_path / "made.yaml"
    subprocess.run([ROOT / "deploy/render-chart", made], env=os.environ | {"HELM": helm}, check=True)
    assert made.read_text() == RENDERED.read_text()

    command = [helm, "template", "door", CHART, "--kube-version", "1.31.0"]
    shown = subprocess.run(
        [*command, "--values", VALUES, "--set", "monitoring.alerts=true", "--show-only", "templates/monitoring.yaml"],
        capture_output=True,
        text=True,
        check=True,
    )
    rules = next(each for each in yaml.safe_load_all(shown.stdout) if each and each["kind"] == "PrometheusRule")
    assert rules["spec"] == yaml.safe_load(RULES.read_text())

    for given, said in (
        ([], "records.url: which PostgreSQL"),
        (
            ["--values", VALUES, "--set", "secrets.rootKey.name="],
            "secrets.rootKey.name: the Secret that holds the root key",
        ),
        (["--values", VALUES, "--set", "index.volumeEncrypted="], "they can be turned into faces"),
        (["--values", VALUES, "--set", "networkPolicy.elasticsearch=null"], "where Elasticsearch is"),
        (["--values", VALUES, "--set", "autoscaling.minReplicas=9"], "not less than minReplicas"),
        (["--values", VALUES, "--set", "image.tag=latest"], "/image/tag"),
    ):
        refused = subprocess.run([*command, *given], capture_output=True, text=True)
        assert refused.returncode != 0 and said in refused.stderr


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_has_every_field_that_is_used(objects, version: str) -> None:
    validator = pytest.importorskip("kubernetes_validate", reason="left out: kubernetes-validate is not installed")

    for document in objects.values():
        if document["kind"] not in CUSTOM:
            validator.validate(document, version, strict=True)


def test_every_container_meets_the_restricted_pod_security_standard(pod) -> None:
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]
        assert not container["image"].endswith(":latest")
    assert all({"emptyDir", "projected", "persistentVolumeClaim"} & set(volume) for volume in pod["volumes"])


def test_secrets_are_files_in_memory_that_the_service_alone_may_read(pod) -> None:
    (init,), (service,) = pod["initContainers"], pod["containers"]
    mounts = {mount["name"]: mount for mount in service["volumeMounts"]}
    sources = next(volume for volume in pod["volumes"] if volume["name"] == "secrets")["projected"]["sources"]
    files = {item["path"] for source in sources for item in source["secret"]["items"]}

    assert "secrets" not in mounts, "links that the group may read are refused by the service"
    assert mounts["memory"]["readOnly"]
    assert next(v for v in pod["volumes"] if v["name"] == "memory")["emptyDir"]["medium"] == "Memory"
    named = {entry["value"].removeprefix("file:") for entry in service["env"]}
    assert files == {Path(path).name for path in named if path.startswith("/run/lookalike/secrets/")}
    assert not any("secretKeyRef" in str(entry) for entry in service["env"])
    assert "install -m 0400" in init["args"][0]


def test_the_first_container_makes_files_that_the_service_takes(pod, tmp_path: Path) -> None:
    """The command itself, on what a kubelet lays out: links to files that the group may read."""
    for name in ("secrets/..data", "data", "run"):
        (tmp_path / name).mkdir(parents=True)
    kept = tmp_path / "secrets" / "..data" / "root.key"
    kept.write_bytes(bytes(32))
    kept.chmod(0o440)
    (tmp_path / "secrets" / "root.key").symlink_to("..data/root.key")
    script = re.sub(r"(?<![\w])/(secrets|data|run)", rf"{tmp_path}/\1", pod["initContainers"][0]["args"][0])

    subprocess.run(["/bin/sh", "-euc", script], check=True)

    made = tmp_path / "run/lookalike/secrets/root.key"
    assert read_secret_file(made, "the root key", exactly=32) == bytes(32)
    assert (tmp_path / "data/own/bundles").stat().st_mode & 0o777 == 0o700


def test_the_service_starts_with_these_settings_in_the_profile_scale(pod, monkeypatch) -> None:
    for name in [name for name in os.environ if name.startswith("LOOKALIKE_")]:
        monkeypatch.delenv(name)
    for entry in pod["containers"][0]["env"]:
        monkeypatch.setenv(entry["name"], entry["value"])

    settings = read_settings()

    assert settings.profile.value == "scale"
    assert weaknesses(settings) == ()
    assert settings.hosts == ("faces.example.org",)


def test_it_says_as_much_as_the_compose_files_replicas_do(pod) -> None:
    """So that a setting which replicas need is not forgotten in one of the two."""
    compose = load(LOOKALIKE_VOLUME_ENCRYPTED="attested")["services"]["api-1"]["environment"]
    here = {entry["name"] for entry in pod["containers"][0]["env"]}

    assert set(compose) <= here


def test_probes_ask_what_the_service_answers_and_a_slow_start_is_no_death(pod) -> None:
    (service,) = pod["containers"]
    asked = {kind: service[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}

    assert {kind: (probe["path"], probe["scheme"]) for kind, probe in asked.items()} == {
        "startup": ("/healthz", "HTTPS"),
        "liveness": ("/healthz", "HTTPS"),
        "readiness": ("/readyz", "HTTPS"),
    }
    assert service["startupProbe"]["periodSeconds"] * service["startupProbe"]["failureThreshold"] >= 600
    assert pod["terminationGracePeriodSeconds"] > 30 + 5, "SIGTERM drains within 30 s, after the pause before it"


def test_only_postgresql_elasticsearch_and_dns_may_be_reached(objects) -> None:
    policy = objects["NetworkPolicy"]["spec"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert all(rule["to"] and rule["ports"] for rule in policy["egress"])
    assert [[port["port"] for port in rule["ports"]] for rule in policy["egress"]] == [[53, 53], [5432], [9243]]
    (door,) = policy["ingress"]
    assert [port["port"] for port in door["ports"]] == [8443] and len(door["from"]) == 2
    labels = objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
    for chosen in (policy["podSelector"]["matchLabels"], objects["Service"]["spec"]["selector"]):
        assert chosen.items() <= labels.items()


def test_one_replica_is_always_left_and_they_are_spread(objects, pod) -> None:
    assert objects["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert objects["HorizontalPodAutoscaler"]["spec"]["minReplicas"] >= 2
    assert "replicas" not in objects["Deployment"]["spec"], "the autoscaler alone says how many"
    assert objects["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    keys = {spread["topologyKey"] for spread in pod["topologySpreadConstraints"]}
    assert keys == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}


def test_prometheus_asks_for_what_the_alert_rules_are_about(objects) -> None:
    (endpoint,) = objects["ServiceMonitor"]["spec"]["endpoints"]

    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "lookalike"}], "the rules ask for this job"
    assert (endpoint["scheme"], endpoint["tlsConfig"]["serverName"]) == ("https", "faces.example.org")
    assert (CHART / "files/alerts.yml").samefile(RULES), "one file for all deployments"


def merged(**changes: Any) -> dict[str, Any]:
    """The tests' values over the chart's, and these changes over both; a path's parts are joined by __."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    given = yaml.safe_load(VALUES.read_text())
    for path, value in changes.items():
        parts = path.split("__")
        place = given
        for part in parts[:-1]:
            place = place.setdefault(part, {})
        place[parts[-1]] = value

    def over(below: Any, above: Any) -> Any:
        if not (isinstance(below, dict) and isinstance(above, dict)):
            return above
        return below | {key: over(below.get(key), value) for key, value in above.items()}

    return over(values, given)


def valid(values: dict[str, Any]) -> bool:
    schema = json.loads((CHART / "values.schema.json").read_text())
    return jsonschema.Draft7Validator(schema).is_valid(values)


def test_the_schema_takes_the_defaults_and_what_the_documents_show() -> None:
    assert valid(yaml.safe_load((CHART / "values.yaml").read_text()))
    assert valid(merged())
    assert valid(merged(image__digest=f"sha256:{'0' * 64}", service__type="LoadBalancer", replicas=5))
    shown = re.search(r"```yaml\n(.*?)```", (ROOT / "docs/kubernetes.md").read_text(), re.DOTALL)[1]
    assert valid(merged(**yaml.safe_load(shown)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"image__tag": "latest"},
        {"image__digest": "sha256:abc"},
        {"records__url": "postgresql://lookalike:secret@db/lookalike"},
        {"records__url": "sqlite:"},
        {"index__url": "es+http://search:9200"},
        {"index__url": "faiss:"},
        {"index__volumeEncrypted": "yes"},
        {"secrets__rootKey": {"name": "root", "key": "root.key", "value": "secret"}},
        {"replicas": 0},
        {"settings": {"LOOKALIKE_PROFILE": "single"}},
        {"settings": {"PATH": "/tmp"}},
        {"data__sizeLimit": "lots"},
        {"netwrokPolicy": {"enabled": False}},
        {"networkPolicy__postgresql": [{}]},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_the_schema_refuses(wrong: dict[str, Any]) -> None:
    assert not valid(merged(**wrong))
