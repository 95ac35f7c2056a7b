"""What deploy/install lays out on a plain server: units that systemd takes, sealed off, and settings."""

from __future__ import annotations

import json
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from lookalike.settings import read_settings
from tests.deploy.compose import ROOT

INSTALL = ROOT / "deploy/install"
MOST_EXPOSED = 20
"""Of systemd-analyze's hundred (2.0 of its ten): "OK"."""


def install(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([INSTALL, *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A server's files, below a folder."""
    for name in ("ledger", "backups"):
        (tmp_path / name).mkdir()
    (tmp_path / "offline.pub").write_text("public")
    folders = ("--ledger", tmp_path / "ledger", "--backups", tmp_path / "backups")
    options = ("--root", tmp_path / "root", "--profile", "onprem", *folders, "--backup-key", tmp_path / "offline.pub")
    done = install(*options, "faces.example.org")
    assert done.returncode == 0, done.stderr
    return tmp_path / "root"


def settings_of(server: Path) -> dict[str, str]:
    lines = (server / "etc/lookalike/lookalike.env").read_text().splitlines()
    return {name: "".join(shlex.split(value)) for name, _, value in (line.partition("=") for line in lines)}


def test_the_settings_are_allowed_and_the_certificate_names_what_clients_call_it(server, monkeypatch) -> None:
    given = settings_of(server)
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    settings = read_settings()

    assert settings.profile.value == "onprem"
    assert "faces.example.org" in settings.hosts
    assert settings.hosts == tuple(json.loads(given["LOOKALIKE_HOSTS"]))
    assert settings.ledger is not None and settings.backup_key is not None


def test_keys_are_the_services_alone_are_never_printed_and_are_kept(server: Path, tmp_path: Path) -> None:
    keys = [server / "etc/lookalike" / name for name in ("root.key", "admin.key")]
    before = [key.read_bytes() for key in keys]
    assert [stat.S_IMODE(key.stat().st_mode) for key in keys] == [0o400, 0o400]
    assert [len(content) for content in before] == [32, 48]

    again = install("--root", server)

    assert [key.read_bytes() for key in keys] == before
    assert before[1].decode() not in again.stdout + again.stderr
    assert settings_of(server)["LOOKALIKE_PROFILE"] == "onprem", "an upgrade changes no setting"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="left out: there is no systemd-analyze")
def test_systemd_takes_the_units_and_finds_the_service_sealed_off(server: Path) -> None:
    for program in ("opt/lookalike/bin/python", "opt/lookalike/bin/lookalike"):
        (server / program).parent.mkdir(parents=True, exist_ok=True)
        (server / program).write_text("#!/bin/sh\n")
        (server / program).chmod(0o755)
    units = sorted((server / "etc/systemd/system").glob("lookalike*.*"))
    named = [unit for unit in units if unit.is_file()]
    text = {unit: unit.read_text().replace("/opt/lookalike", f"{server}/opt/lookalike") for unit in named}
    for unit, content in text.items():
        unit.write_text(content)

    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", *named], capture_output=True, text=True)
    exposed = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", named[-1]],
        capture_output=True,
        text=True,
    )

    ours = [line for line in verified.stderr.splitlines() if "lookalike" in line]
    assert ours == []
    assert named[-1].name == "lookalike.service"
    assert exposed.returncode == 0, exposed.stdout[-200:]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--profile", "scale"], "single or onprem"),
        (["--backups", "/tmp"], "needs --backup-key"),
        (["--ledger", "/no/such/folder"], "mount what it lies on"),
        (["--root"], "needs a value"),
        (["a;reboot"], "a name is a host name"),
        (["--wrong"], "NAME: what clients call the server"),
    ],
)
def test_wrong_use_is_said_and_nothing_is_laid_out(arguments: list[str], said: str, tmp_path: Path) -> None:
    refused = install("--root", tmp_path / "root", *arguments)

    assert refused.returncode != 0
    assert said in refused.stderr
    assert not (tmp_path / "root").exists()
