"""Backups beside rotated keys: an older one is restored with its older keys, and nothing of a handover travels."""

from __future__ import annotations

import secrets
import time

import pytest

from lookalike.answers import Caller
from lookalike.errors import KeyUnavailable, TamperedData
from security import rotation as rotation_module
from security.ledger import KEY
from security.root_key import new_root
from security.root_move import move_root
from security.root_places import RootAccess
from security.rotation import KeyRotation
from tests.api.backup.conftest import ADMIN, Deployment
from tests.security.conftest import ENTRY


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation_module, "SETTLE_S", 0.0)


def rotate(deployment: Deployment) -> None:
    with deployment.opened() as (vault, _):
        rotation = KeyRotation(vault.rows, vault.keyring, vault.audit, vault.ledger)
        rotation.run(Caller(ADMIN, secrets.token_hex(8)), None, lambda *_: None)


def minimum(deployment: Deployment) -> int:
    with deployment.opened() as (vault, _):
        rotation = KeyRotation(vault.rows, vault.keyring, vault.audit, vault.ledger)
        return rotation.status(Caller(ADMIN, "-")).collections[0].minimum


def test_a_backup_from_before_rotations_and_erasures_is_restored_with_its_keys_and_without_the_erased(
    deployment, made, tmp_path
):
    rotate(deployment)
    deployment.erase("bob")
    rotate(deployment)
    assert minimum(deployment) == 3

    again, _ = deployment.restore(made, tmp_path / "again")

    assert again.names() == ["ann", "cleo"]
    assert minimum(again) == 1
    rotate(again)
    assert (again.names(), minimum(again)) == (["ann", "cleo"], 2)


def test_a_backup_made_in_the_middle_of_a_rotation_opens_and_the_rotation_is_ended_there(
    deployment, made, tmp_path, monkeypatch
):
    def stop(self: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(rotation_module._Rotating, "_settle", stop)
        with pytest.raises(KeyboardInterrupt):
            rotate(deployment)
    file = deployment.back_up(tmp_path / "middle.backup").file

    again, _ = deployment.restore(file, tmp_path / "again")

    assert again.names() == ["ann", "bob", "cleo"]
    rotate(again)
    assert (again.names(), minimum(again)) == (["ann", "bob", "cleo"], 2)


def test_a_rotation_is_a_line_of_the_ledger_and_an_older_data_folder_is_refused_by_it(deployment, made, tmp_path):
    with deployment.opened() as (vault, _):
        (row,) = vault.rows.read().collections()
    rotate(deployment)
    lines = (deployment.settings.ledger / "erasures.ledger").read_text().splitlines()
    assert f'"kind":"{KEY}"' in lines[-1]

    with deployment.opened() as (vault, _):  # as one who can write to the database would
        vault.rows.write(lambda tx: tx.put_collection(row))
        vault.rows.write(lambda tx: tx.delete_setting(f"collection/{row.id}/key"))
    with pytest.raises(TamperedData, match="an old row was put back"):
        deployment.names()


def test_a_backup_holds_the_root_of_its_time(deployment, made, tmp_path):
    with deployment.opened() as (vault, _):
        new = new_root("file:second.key", deployment.settings.data, vault.rows, RootAccess())
        move_root(vault.rows, vault.keyring, vault.audit, new, ENTRY, until=time.time() + 600)
    moved = Deployment(deployment.settings.model_copy(update={"keys": "file:second.key"}), deployment.key)
    file = moved.back_up(tmp_path / "second.backup").file

    assert moved.restore(file, tmp_path / "one")[0].names() == ["ann", "bob", "cleo"]
    assert deployment.restore(made, tmp_path / "two")[0].names() == ["ann", "bob", "cleo"]
    with pytest.raises(KeyUnavailable, match=r"comes from file:second.key"):
        deployment.names()
