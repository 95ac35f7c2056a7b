"""docker-compose.yml as a test reads it: variables put in, `<<` merged, and each service under its profile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
PROFILES = ("single", "scale", "onprem", "monitoring")
VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?::-(?P<default>[^}]*))?\}")


def load(text: str | None = None, **variables: str) -> dict[str, Any]:
    """The file with its variables replaced by these or by their defaults; one that has neither is an error."""

    def value(found: re.Match[str]) -> str:
        chosen = variables.get(found["name"], found["default"])
        assert chosen is not None, f"{found['name']} has no default"
        return chosen

    return yaml.safe_load(VARIABLE.sub(value, FILE.read_text("utf-8") if text is None else text))


def services(compose: dict[str, Any], profile: str) -> dict[str, dict[str, Any]]:
    """The services that `docker compose --profile PROFILE up` starts."""
    return {name: service for name, service in compose["services"].items() if profile in service["profiles"]}


def ours(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The services that run our image."""
    return {name: one for name, one in compose["services"].items() if one["image"].startswith("lookalike:")}


def environment_of(compose: dict[str, Any], service: str, secrets: Path) -> dict[str, str]:
    """A service's environment, for a process outside a container: secrets lie in this folder."""
    places = {
        f"/run/secrets/{name}": str(secrets / Path(secret["file"]).relative_to("secrets"))
        for name, secret in compose["secrets"].items()
    }
    given = compose["services"][service]["environment"]
    return {name: places.get(value, value) for name, value in given.items() if value is not None}
