"""What `lookalike backup` and its neighbours print, and how they refuse."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from api.cli import build
from api.commands.doctor import CHECKS
from lookalike.errors import BadSettings, Conflict, InvalidInput, LedgerMismatch, UntrustedSender
from lookalike.settings import read_settings
from security.recipient import new_recipient_key
from tests.api.backup.conftest import Deployment


@pytest.fixture
def folder(deployment, tmp_path, monkeypatch):
    """A deployment with people, an offline key, and settings in the environment."""
    key = new_recipient_key(tmp_path / "offline.key")
    Deployment(deployment.settings, key).enrol("ann", "bob")
    monkeypatch.setenv("LOOKALIKE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("LOOKALIKE_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("LOOKALIKE_BACKUP_KEY", str(tmp_path / "offline.key.pub"))
    return tmp_path


def run(*arguments):
    """What the command printed; its error is raised here as it would be told."""
    return CliRunner().invoke(build(), [str(argument) for argument in arguments], catch_exceptions=False).output


def ran(*arguments):
    return json.loads(run(*arguments, "--json"))


def test_a_backup_is_made_looked_into_and_restored_with_an_account_of_each(folder):
    said = run("backup", "create", "--out", folder / "one.backup")
    assert "the root key is inside" in said
    signer = next(line.split()[-1] for line in said.splitlines() if line.startswith("signed by"))
    assert ran("backup", "verify", folder / "one.backup", "--signer", signer)["whole"] is True
    outside = run("backup", "verify", folder / "one.backup")
    assert "--key looks inside" in outside
    inside = ran("backup", "verify", folder / "one.backup", "--key", folder / "offline.key", "--every", 1)["inside"]
    assert (inside["counts"]["subjects"], inside["counts"]["samples"]) == (2, 4)
    assert inside["opened"] > 12

    run("backup", "restore", folder / "one.backup", "--key", folder / "offline.key", "--data", folder / "again")
    restored = ran(
        *("backup", "restore", folder / "one.backup", "--key", folder / "offline.key"), "--data", folder / "third"
    )
    assert restored["counts"]["subjects"] == 2
    assert restored["root_key"] == str(folder / "third" / "keys" / "root.key")


def test_without_the_root_key_inside_or_at_hand_nothing_is_opened_and_that_is_said(folder, monkeypatch):
    said = run("backup", "create", "--out", folder / "one.backup", "--without-root-key")
    assert "keep a copy of it elsewhere" in said
    key = ("--key", folder / "offline.key")
    assert ran("backup", "verify", folder / "one.backup", *key)["inside"]["opened"] > 0
    monkeypatch.setenv("LOOKALIKE_DATA", str(folder / "elsewhere"))
    assert ran("backup", "verify", folder / "one.backup", *key)["inside"]["opened"] is None
    assert "no record was opened" in run("backup", "verify", folder / "one.backup", *key)


def test_what_is_wrong_is_refused_with_its_reason(folder, monkeypatch):
    run("backup", "create", "--out", folder / "one.backup")
    restore = ("backup", "restore", folder / "one.backup", "--key", folder / "offline.key")
    for arguments, error in (
        (("backup", "verify", folder / "one.backup", "--signer", "00" * 32), UntrustedSender),
        (("backup", "verify", folder / "one.backup", "--signer", "zz"), BadSettings),
        (("backup", "verify", folder / "one.backup", "--key", folder / "offline.key.pub"), BadSettings),
        (("backup", "create", "--out", folder / "one.backup"), InvalidInput),
        (("backup", "keygen", folder / "offline.key"), BadSettings),
        (restore, Conflict),
        ((*restore, "--data", folder / "again", "--ledger", folder / "none"), LedgerMismatch),
    ):
        with pytest.raises(error):
            run(*arguments)
    both = (*restore, "--ledger", folder / "ledger", "--accept-missing-erasures")
    assert "exclude each other" in run(*both)
    monkeypatch.delenv("LOOKALIKE_BACKUP_KEY")
    with pytest.raises(BadSettings, match="keygen"):
        run("backup", "create", "--out", folder / "two.backup")
    monkeypatch.setenv("LOOKALIKE_URL", "https://localhost:1")
    with pytest.raises(BadSettings, match="LOOKALIKE_URL"):
        run("backup", "create", "--out", folder / "two.backup")


def test_where_no_ledger_is_kept_a_backup_says_so_and_a_restore_has_to_be_told_to_go_on(folder, monkeypatch):
    monkeypatch.delenv("LOOKALIKE_LEDGER")
    said = run("backup", "create", "--out", folder / "one.backup")
    assert "no ledger is kept" in said
    restore = ("backup", "restore", folder / "one.backup", "--key", folder / "offline.key", "--data", folder / "again")
    with pytest.raises(LedgerMismatch, match="--accept-missing-erasures"):
        run(*restore)
    assert "left out: nothing" in run(*restore, "--accept-missing-erasures")


def test_a_checkpoint_goes_to_the_file_that_was_named_and_to_the_ledger(folder):
    made = ran("audit", "checkpoint", "--out", folder / "elsewhere")
    assert made["ledger"] == "written"
    assert json.loads((folder / "elsewhere").read_text()) == made["checkpoint"]
    (line,) = (folder / "ledger" / "audit.checkpoints").read_text().splitlines()
    assert json.loads(line)["seq"] == made["seq"]


def findings():
    """What the doctor says of the ledger and of the backup key; what a check raises, it shows as wrong."""
    found = {}
    for check in CHECKS:
        if check.__name__ in ("_ledger", "_backup_key"):
            try:
                found[check.__name__.strip("_").replace("_", " ")] = check(read_settings())
            except BadSettings as error:
                found[check.__name__.strip("_").replace("_", " ")] = ("wrong", str(error))
    return found


def test_the_doctor_says_what_is_wrong_with_the_ledger_and_the_backup_key(folder, monkeypatch):
    assert findings()["ledger"] == ("note", f"{folder / 'ledger'} is on the disk of the data folder")
    assert findings()["backup key"][0] == "ok"
    inside = folder / "data" / "ledger"
    inside.mkdir()
    for place, state, said in ((inside, "wrong", "inside the data folder"), (folder / "none", "wrong", "no folder")):
        monkeypatch.setenv("LOOKALIKE_LEDGER", str(place))
        assert (findings()["ledger"][0], said in findings()["ledger"][1]) == (state, True)
    monkeypatch.setenv("LOOKALIKE_LEDGER", "")
    monkeypatch.setenv("LOOKALIKE_BACKUP_KEY", "")
    assert (findings()["ledger"][0], findings()["backup key"][0]) == ("note", "note")
    monkeypatch.setenv("LOOKALIKE_BACKUP_KEY", str(folder / "offline.key"))
    assert findings()["backup key"][0] == "wrong"
