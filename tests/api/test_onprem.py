from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from api.onprem import Machine, findings, look, open_swaps, require_strong, wrong_with
from lookalike.errors import BadSettings
from lookalike.settings import Settings, read_settings

SOUND = Machine(uid=10001, open_swaps=(), files={}, certificate_days=200.0, ledger_apart=True, first_start=False)


def changed(**facts: object) -> Machine:
    return Machine(**{name: getattr(SOUND, name) for name in Machine.__slots__} | facts)


def test_a_machine_that_holds_all_that_is_asked_may_start() -> None:
    assert {text for _, text in findings(Settings(), SOUND)} == {None}
    require_strong(Settings(), SOUND)


@pytest.mark.parametrize(
    ("facts", "rule", "remedy"),
    [
        ({"uid": 0}, "user", "an account of its own"),
        ({"open_swaps": ("/dev/sda2",)}, "swap", "swapoff"),
        ({"files": {"LOOKALIKE_KEYS": "/k can be read by others: chmod 400"}}, "secret files", "chmod 400"),
        ({"certificate_days": 29.0}, "certificate", "put a new one"),
        ({"certificate_days": -1.0}, "certificate", "has ended"),
        ({"ledger_apart": False}, "ledger's disk", "mount another disk"),
        ({"first_start": True}, "first key", "LOOKALIKE_BOOTSTRAP_KEY_FILE"),
    ],
)
def test_each_weakness_of_the_machine_is_one_line_with_what_to_do(facts, rule: str, remedy: str) -> None:
    weak = {name: text for name, text in findings(Settings(), changed(**facts)) if text is not None}

    assert set(weak) == {rule}
    assert remedy in weak[rule] and "\n" not in weak[rule]
    with pytest.raises(BadSettings, match="onprem refuses to start"):
        require_strong(Settings(), changed(**facts))


def test_all_weaknesses_are_told_at_once() -> None:
    with pytest.raises(BadSettings) as refused:
        require_strong(Settings(), changed(uid=0, open_swaps=("/swapfile",)))

    assert "the user" in str(refused.value) and "/swapfile" in str(refused.value)


def test_swap_counts_unless_it_is_encrypted_or_stays_in_memory(tmp_path: Path) -> None:
    table = tmp_path / "swaps"
    table.write_text(
        "Filename\tType\tSize\tUsed\tPriority\n"
        "/dev/sda2 partition 1 0 -2\n/dev/dm-1 partition 1 0 -3\n/dev/dm-2 partition 1 0 -4\n"
        "/dev/zram0 partition 1 0 100\n/swapfile file 1 0 -5\n"
    )
    for name, uuid in (("dm-1", "CRYPT-PLAIN-swap"), ("dm-2", "LVM-abc")):
        (tmp_path / "sys/block" / name / "dm").mkdir(parents=True)
        (tmp_path / "sys/block" / name / "dm/uuid").write_text(uuid)

    assert open_swaps(table, tmp_path / "sys") == ("/dev/sda2", "/dev/dm-2", "/swapfile")


def test_a_file_of_a_secret_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "root.key"
    assert "cannot be read" in (wrong_with(file) or "")
    file.write_bytes(b"k" * 32)
    file.chmod(0o440)
    assert "chmod 400" in (wrong_with(file) or "")
    assert "not a plain file" in (wrong_with(tmp_path) or "")
    file.chmod(0o400)
    assert wrong_with(file) is None


def test_the_facts_name_files_by_the_settings_that_name_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    password = tmp_path / "password"
    password.write_text("p" * 40)
    password.chmod(0o644)

    machine = look(read_settings(data=tmp_path / "data", ledger=tmp_path, postgresql_password_file=password))

    assert set(machine.files) == {"LOOKALIKE_POSTGRESQL_PASSWORD_FILE"}
    assert (machine.ledger_apart, machine.first_start, machine.uid) == (False, True, os.geteuid())


def test_no_core_of_the_service_can_be_written_however_it_dies(tmp_path: Path) -> None:
    script = (
        "import ctypes, resource\nfrom api.onprem import forbid_core_dumps\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)\n"
        "forbid_core_dumps()\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "(0, 0) 0"
    assert resource.RLIMIT_CORE == 4


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Settings that onprem takes; the ledger is in memory, another disk than the data folder's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOOKALIKE_")}
    return kept | {
        "LOOKALIKE_PROFILE": "onprem",
        "LOOKALIKE_DATA": str(tmp_path / "data"),
        "LOOKALIKE_PORT": "0",
        "LOOKALIKE_LEDGER": str(tmp_path),
    }


def command(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "api.cli", *arguments],
        env=environment,
        cwd=environment["LOOKALIKE_LEDGER"],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_service_that_is_weak_somewhere_does_not_start_and_says_what_to_do(environment) -> None:
    refused = command(environment, "serve")

    assert refused.returncode == 1
    assert "LOOKALIKE_PROFILE=onprem refuses to start" in refused.stderr
    assert "LOOKALIKE_KEYS" in refused.stderr and "LOOKALIKE_BACKUP_KEY" in refused.stderr
    assert not Path(environment["LOOKALIKE_DATA"]).exists()


def test_doctor_judges_by_a_profile_and_gives_each_weakness_a_line(environment) -> None:
    done = command(environment | {"LOOKALIKE_PROFILE": "single"}, "doctor", "--profile", "onprem")

    lines = done.stdout.splitlines()
    assert done.returncode == 1
    for name in ("LOOKALIKE_KEYS", "LOOKALIKE_BACKUP_KEY", "onprem ledger's disk", "onprem first key"):
        assert any(name in line and "wrong" in line for line in lines), name
    assert any("onprem core dumps" in line and "ok" in line for line in lines)
