"""kill -9 of backups, restores and erasures, at random moments; LOOKALIKE_KILLS says how many times (5 if not set)."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from api.backups import verify_backup
from lookalike.errors import RestoreUnfinished
from lookalike.settings import Settings
from security.ledger import read_ledger
from security.ledger_copy import lines_in
from security.recipient import new_recipient_key, read_recipient_key
from tests.api.backup.conftest import Deployment

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("LOOKALIKE_KILLS", "5"))
PADDING = 24 * 2**20
"""So that there is time to be killed in."""

ERASER = """
import sys
from pathlib import Path
from lookalike.settings import Settings
from tests.api.backup.conftest import Deployment
from tests.security.conftest import ENTRY, new_sample

folder, run = Path(sys.argv[1]), sys.argv[2]
with Deployment(Settings(data=folder / "data", ledger=folder / "ledger")).opened() as (_, records):
    where = Deployment.collection(records, "staff")
    for n in range(10_000):
        _, (sample,) = records.add_samples(where, f"{run}-{n}", [new_sample()], ENTRY)
        receipt = records.erase_subject(where, f"{run}-{n}", ENTRY)
        print(receipt.ledger, receipt.body, flush=True)
"""


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "data").mkdir()
    key = new_recipient_key(tmp_path / "offline.key")
    return Deployment(Settings(data=tmp_path / "data", ledger=tmp_path / "ledger"), key)


@pytest.fixture
def large(deployment: Deployment) -> Deployment:
    deployment.enrol("ann", "bob", "cleo")
    with deployment.opened() as (vault, _):
        for n in range(4):
            vault.rows.write(lambda tx, n=n: tx.put_setting(f"padding {n}", os.urandom(PADDING // 4)))
    return deployment


def killed(folder: Path, *arguments: object, after_s: float) -> int:
    """Run the command, and kill it so long after it began to write; its exit code, or minus the signal."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LOOKALIKE_")},
        "LOOKALIKE_DATA": str(folder / "data"),
        "LOOKALIKE_LEDGER": str(folder / "ledger"),
        "LOOKALIKE_BACKUP_KEY": str(folder / "offline.key.pub"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-P", "-m", "api.cli", "backup", *map(str, arguments)]
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL)
    while process.poll() is None and not (list(folder.glob("out/.*")) or (folder / "again" / "records.db").exists()):
        time.sleep(0.001)
    time.sleep(after_s)
    process.send_signal(signal.SIGKILL)
    return process.wait()


def test_a_backup_killed_at_any_moment_is_not_there_or_whole_and_the_next_one_sweeps_what_it_left(large, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    codes = [killed(tmp_path, "create", "--out", out, after_s=random.uniform(0, 0.25)) for _ in range(KILLS)]
    assert -signal.SIGKILL in codes
    for file in out.glob("*.backup"):
        verify_backup(file, large.settings, key=large.key)
    whole = large.back_up(out).file
    assert list(out.glob(".*")) == []
    assert verify_backup(whole, large.settings, key=large.key).found.counts["subjects"] == 3


def test_a_restore_killed_at_any_moment_is_not_opened_or_whole_and_can_be_run_again(large, tmp_path):
    file = large.back_up(tmp_path / "one.backup").file
    large.erase("ann")
    again = Deployment(large.settings.model_copy(update={"data": tmp_path / "again"}))
    unfinished = 0
    for _ in range(KILLS):
        code = killed(
            tmp_path,
            "restore",
            file,
            "--key",
            tmp_path / "offline.key",
            "--data",
            again.settings.data,
            after_s=random.uniform(0, 0.3),
        )
        if (again.settings.data / "restore.unfinished").exists():
            assert code == -signal.SIGKILL
            with pytest.raises(RestoreUnfinished):
                again.names()
            unfinished += 1
        elif again.settings.data.exists():
            break
    assert unfinished
    if (again.settings.data / "restore.unfinished").exists():
        large.restore(file, again.settings.data)
    assert again.names() == ["bob", "cleo"]


def test_every_erasure_that_was_acknowledged_before_a_kill_is_in_the_ledger_and_the_chain_goes_on(deployment, tmp_path):
    acknowledged = []
    for run in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-c", ERASER, str(tmp_path), str(run)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        enough = random.randint(1, 12)
        for line in process.stdout:
            if line.endswith("\n"):
                acknowledged.append(line.split(" ", 1))
            if len(acknowledged) % 12 == enough % 12:
                time.sleep(random.uniform(0, 0.01))
                process.send_signal(signal.SIGKILL)
                break
        acknowledged += [line.split(" ", 1) for line in process.stdout if line.endswith("\n")]
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()

        with deployment.opened() as (vault, _):  # the next start completes what a kill cut short
            signer = vault.keyring.deployment, vault.keyring.public_key
        lines = list(read_ledger(lines_in(tmp_path / "ledger"), *signer))
        erased = {line.facts["subject"] for line in lines}
        assert {state for state, _ in acknowledged} == {"written"}
        assert {json.loads(body)["subject"] for _, body in acknowledged} <= erased
        assert len(erased) == len(lines)
    assert read_recipient_key(tmp_path / "offline.key").recipient == deployment.key.recipient
