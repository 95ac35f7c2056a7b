"""docker-compose.yml and the Dockerfile hold what they promise, and a file that does not is noticed.

No Docker engine is needed: the files are read as they stand. `docker compose config` does the rest where there is one.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lookalike.settings import Settings, read_settings
from tests.deploy.compose import FILE, PROFILES, ROOT, load, ours, services

KNOWN_KEYS = {
    *("build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image", "init"),
    *("logging", "mem_limit", "memswap_limit", "networks", "pids_limit", "ports", "profiles", "pull_policy"),
    *("read_only", "restart", "secrets", "security_opt", "shm_size", "stop_grace_period", "tmpfs", "ulimits"),
    *("user", "volumes"),
}
"""Those of the compose specification that we use: a misspelt one would be passed over in silence."""
BY_HAND = {"backup.pub", "metrics.key"}
"""Secrets that an operator puts there: the backup's key comes from elsewhere, the other from the running service."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return load()


def every_service() -> list[str]:
    return sorted(load()["services"])


def test_each_profile_has_services_and_each_service_one_profile(compose) -> None:
    assert [profile for profile in PROFILES if not services(compose, profile)] == []
    assert {name: one["profiles"] for name, one in compose["services"].items() if len(one["profiles"]) != 1} == {}
    for profile in PROFILES:
        here = services(compose, profile)
        assert {other for one in here.values() for other in one.get("depends_on", {})} <= set(here)


@pytest.mark.parametrize("name", every_service())
def test_no_service_has_more_rights_than_it_needs(compose, name: str) -> None:
    service = compose["services"][name]

    assert set(service) <= KNOWN_KEYS
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].partition(":")[0]) > 0
    assert service["ulimits"]["core"] == 0
    assert service["pids_limit"] > 0
    mounts = [mount if isinstance(mount, str) else mount["source"] for mount in service.get("volumes", [])]
    assert not any("docker.sock" in mount or mount.startswith(("/:", "/etc", "/proc", "/sys")) for mount in mounts)
    bound = [mount for mount in mounts if mount.startswith("./") and ":" in mount]
    assert all(mount.endswith(":ro") for mount in bound), "configuration is not for the container to write"


@pytest.mark.parametrize("name", every_service())
def test_each_image_has_a_version_and_no_registry_of_its_own(compose, name: str) -> None:
    repository, _, version = compose["services"][name]["image"].partition(":")

    assert re.fullmatch(r"[a-z0-9-]+(/[a-z0-9-]+)?", repository)
    assert re.fullmatch(r"v?\d[\w.-]*", version)


@pytest.mark.parametrize("name", every_service())
def test_secrets_are_files_that_something_makes(compose, name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    service = compose["services"][name]
    secret_names = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|(_|^)KEY")
    for variable, value in service.get("environment", {}).items():
        if secret_names.search(variable) and not isinstance(value, bool):
            assert value.startswith(("/run/secrets/", "file:/run/secrets/")), (
                f"{variable} holds more than a file's name"
            )
    given = set(service.get("secrets", []))

    assert given <= set(compose["secrets"])
    used = set(re.findall(r"/run/secrets/([\w.]+)", str(service)))
    assert used <= given


@pytest.mark.skipif(shutil.which("openssl") is None, reason="left out: there is no openssl")
def test_what_the_secrets_are_made_by_makes_all_of_them(compose, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    made = subprocess.run([ROOT / "deploy/make-secrets", "--mine", folder, "faces.example.org"], capture_output=True)
    assert made.returncode == 0, made.stderr
    assert made.stdout == b""

    for name, secret in compose["secrets"].items():
        file = folder / Path(secret["file"]).relative_to("secrets")
        assert file.is_file() or name in BY_HAND, name
        if file.is_file() and name != "ca.crt":
            assert file.stat().st_mode & 0o377 == 0, f"{name} is for its owner alone"
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    subprocess.run([ROOT / "deploy/make-secrets", "--mine", folder], capture_output=True, check=True)
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before, "what is there is kept"

    subprocess.run([ROOT / "deploy/make-secrets", "--renew", "--mine", folder], capture_output=True, check=True)
    changed = {str(file.relative_to(folder)) for file, content in before.items() if file.read_bytes() != content}
    pairs = {
        f"{stem}.{part}"
        for stem in ("lookalike/server", "lookalike/client", "postgresql/server", "elasticsearch/node")
        for part in ("crt", "key")
    }
    assert changed - {"ca.srl"} == pairs


def test_each_mounted_file_is_in_the_repository(compose) -> None:
    texts = [
        mount for one in compose["services"].values() for mount in one.get("volumes", []) if isinstance(mount, str)
    ]
    sources = {mount.partition(":")[0] for mount in texts}
    files = {source for source in sources if source.startswith("./")}

    assert [source for source in sorted(files) if not (ROOT / source).exists()] == []
    assert sources - files <= set(compose["volumes"])
    assert set(compose["volumes"]) <= sources, "a volume that nobody mounts"


@pytest.mark.parametrize("name", sorted(ours(load())))
def test_each_setting_of_our_services_exists_and_has_an_allowed_value(compose, name: str, monkeypatch) -> None:
    given = compose["services"][name]["environment"]
    assert set(given) <= {f"LOOKALIKE_{field.upper()}" for field in Settings.model_fields}
    for variable, value in given.items():
        monkeypatch.setenv(variable, "attested" if value is None else value)

    settings = read_settings()

    assert settings.tls == "on"


def test_the_service_of_onprem_has_no_way_out_and_leaves_nothing_in_swap_or_cores(compose) -> None:
    inner = {name for name, network in compose["networks"].items() if (network or {}).get("internal")}
    service = compose["services"]["onprem"]

    assert set(service["networks"]) <= inner
    assert "ports" not in service
    assert service["memswap_limit"] == service["mem_limit"]
    assert {one["pull_policy"] for one in services(compose, "onprem").values()} == {"never"}
    outside = {mount["target"] for mount in service["volumes"] if isinstance(mount, dict)}
    assert outside == {"/backups", "/ledger"}


def test_only_what_answers_callers_is_published_and_on_this_machine_alone_unless_said_otherwise(compose) -> None:
    published = {name: one["ports"] for name, one in compose["services"].items() if "ports" in one}

    assert set(published) == {"lookalike", "haproxy", "door", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_a_file_that_is_not_as_it_should_be_is_noticed() -> None:
    text = FILE.read_text("utf-8")

    weak = load(text.replace("read_only: true", "read_onyl: true"))
    assert set(weak["services"]["lookalike"]) - KNOWN_KEYS == {"read_onyl"}
    with pytest.raises(AssertionError, match="has no default"):
        load(text.replace("${LOOKALIKE_SECRETS:-./secrets}", "${LOOKALIKE_SECRETS}"))


# --------------------------------------------------------------------------------------------- Dockerfile


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines]


def test_the_image_runs_as_a_user_of_its_own_and_says_whether_it_is_well() -> None:
    said = instructions()
    last_stage = said[max(index for index, (word, _) in enumerate(said) if word == "FROM") :]
    words = dict(last_stage)

    assert int(words["USER"].partition(":")[0]) > 0
    assert [word for word, _ in last_stage].index("USER") > [word for word, _ in last_stage].index("RUN")
    assert "healthcheck.py" in words["HEALTHCHECK"]
    assert not any(word == "ADD" for word, _ in said)


def test_the_image_installs_what_the_lock_pins_and_no_torch() -> None:
    said = " ".join(rest for word, rest in instructions() if word == "RUN")
    pinned = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}

    assert "--require-hashes" in said and "-r requirements.lock" in said
    assert pinned.isdisjoint({"torch", "torchvision", "timm", "scipy", "matplotlib"})
    bases = [rest.split()[0] for word, rest in instructions() if word == "FROM"]
    assert set(bases) == {"${BASE}"} and ("ARG", "BASE=python:3.11-slim-bookworm") in instructions()


def test_only_what_the_wheel_is_made_of_gets_into_the_build() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]

    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {"api", "embedder", "index", "lookalike", "security", "pyproject.toml", "requirements.lock", "README.md"}
    assert copied <= allowed
    assert allowed.isdisjoint({"data", "secrets", ".git", "tests", ".cache"})
