"""A restored folder holds what the backup held, but nobody who was erased since."""

from __future__ import annotations

import json
import secrets
import shutil

import pytest

from index.sqlite_rows import SqliteRows
from lookalike.answers import Caller
from lookalike.domain import Keep
from lookalike.errors import (
    Conflict,
    KeyUnavailable,
    LedgerMismatch,
    RestoreUnfinished,
    SubjectNotFound,
    TamperedData,
    Unauthenticated,
    UntrustedSender,
    WrongRecipient,
)
from security.blocks import Block, Blocks
from security.checkpoints import lines_of
from security.recipient import RecipientKey
from security.sealed_snapshots import SealedSnapshots
from tests.api.backup.conftest import ADMIN, IMAGE, Deployment
from tests.security.conftest import ENTRY


def test_all_that_was_enrolled_is_there_again_with_vectors_pictures_metadata_keys_and_the_audit_log(
    deployment, made, tmp_path
):
    key = deployment.new_api_key()
    with deployment.opened() as (_, records):
        where = records.collection("staff")
        vectors = [sample.vector for sample in records.samples(where, records.subject(where, "ann"))]
        records.put_calibration(where, '{"learned": 1}', ENTRY)
    file = deployment.back_up(tmp_path / "second.backup").file
    with deployment.opened() as (vault, _):
        before = vault.audit.page(0, 1000)

    again, restored = deployment.restore(file, tmp_path / "again")

    assert again.names() == ["ann", "bob", "cleo"]
    assert again.api_keys() == [key]
    assert [sample.vector.tolist() for sample in again.samples("ann")] == [vector.tolist() for vector in vectors]
    with again.opened() as (vault, records):
        where = records.collection("staff")
        assert records.count(where) == (3, 6)
        assert records.calibration(where) == '{"learned": 1}'
        subject = records.subject(where, "bob")
        sample = records.samples(where, subject)[0]
        assert records.picture(where, subject, sample.id, Keep.IMAGE) == IMAGE
        after = vault.audit.page(0, 1000)
        assert after[:-1] == before
        assert (after[-1].action, after[-1].details["backup"]) == ("backup.restore", restored.statement.id)
        assert vault.audit.verify().sound
    assert (restored.counts["subjects"], restored.left_out) == (3, {})


def test_a_backup_from_before_an_erasure_brings_nobody_back_nor_a_deleted_sample_collection_or_revoked_key(
    deployment, tmp_path
):
    deployment.enrol("ann", "bob", "cleo")
    deployment.enrol("dora", collection="visitors")
    kept, revoked = deployment.new_api_key(), deployment.new_api_key()
    gone, left = deployment.samples("bob")
    file = deployment.back_up(tmp_path / "old.backup").file
    with deployment.opened() as (vault, records):
        reader = vault.rows.read()
        ann = records.subject(records.collection("staff"), "ann")
        (row,) = reader.subjects([ann.key])
        remains = [row.wrapped_key[13:], row.payload[13:77], reader.samples_of(ann.key)[0].payload[13:77]]
        visitors = records.collection("visitors").id
        remains += [held.wrapped_key[13:] for held in reader.collections() if held.id == visitors]
        where = records.collection("staff")
        records.erase_subject(where, "ann", ENTRY)
        records.delete_sample(where, records.subject(where, "bob"), gone.id, ENTRY)
        records.delete_collection(records.collection("visitors"), ENTRY)
    deployment.revoke(revoked)

    again, restored = deployment.restore(file, tmp_path / "again")

    assert again.names() == ["bob", "cleo"]
    assert [sample.id for sample in again.samples("bob")] == [left.id]
    assert again.api_keys() == [kept]
    with again.opened() as (_, records):
        assert [held.name for held in records.collections()] == ["staff"]
        assert records.count(records.collection("staff")) == (2, 3)
        with pytest.raises(SubjectNotFound):
            records.subject(records.collection("staff"), "ann")
    assert restored.left_out == {"subjects": 2, "samples": 5, "collections": 1, "api_keys": 1}
    disk = b"".join(file.read_bytes() for file in (tmp_path / "again").rglob("*") if file.is_file())
    assert [part for part in remains if part in disk] == [], "of the erased not even sealed bytes were written"


def test_without_the_ledger_nothing_is_restored_unless_that_is_accepted_and_put_on_record(deployment, made, tmp_path):
    deployment.erase("ann")
    for ledger in (None, tmp_path / "nowhere"):
        with pytest.raises(LedgerMismatch):
            deployment.restore(made, tmp_path / "again", ledger=ledger)
    assert not (tmp_path / "again").exists()

    again, _ = deployment.restore(made, tmp_path / "again", accept_missing=True)

    with pytest.raises(LedgerMismatch, match="another history"):
        again.names()
    alone = Deployment(again.settings.model_copy(update={"ledger": None}))
    assert alone.names() == ["ann", "bob", "cleo"]
    with alone.opened() as (vault, _):
        entry = vault.audit.page(0, 1000)[-1]
        assert (entry.action, entry.details["accepted_missing_erasures"]) == ("backup.restore", 1)
        line = json.loads(vault.rows.read().settings("ledger/").popitem()[1])
        assert line["facts"]["accepted_missing_erasures"] == 1


def test_a_ledger_that_is_older_than_the_backup_is_refused(deployment, tmp_path):
    deployment.enrol("ann", "bob")
    deployment.erase("ann")
    shutil.copytree(tmp_path / "ledger", tmp_path / "older")
    file = deployment.back_up(tmp_path / "new.backup").file
    with pytest.raises(LedgerMismatch, match="older copy"):
        deployment.restore(file, tmp_path / "again", ledger=tmp_path / "older")


def test_a_ledger_cut_short_is_refused_by_the_checkpoints_beside_it_and_an_older_one_by_those_kept_elsewhere(
    deployment, made, tmp_path
):
    shutil.copytree(tmp_path / "ledger", tmp_path / "older")
    deployment.erase("ann")
    lines = (tmp_path / "ledger" / "erasures.ledger").read_bytes().splitlines(keepends=True)
    shutil.copytree(tmp_path / "ledger", tmp_path / "cut")
    (tmp_path / "cut" / "erasures.ledger").write_bytes(b"".join(lines[:-1]))
    elsewhere = tmp_path / "elsewhere"
    with deployment.opened() as (vault, _):
        vault.audit.checkpoint(elsewhere)

    with pytest.raises(LedgerMismatch, match="cut short"):
        deployment.restore(made, tmp_path / "again", ledger=tmp_path / "cut")
    with pytest.raises(LedgerMismatch, match="cut short"):
        deployment.restore(made, tmp_path / "again", ledger=tmp_path / "older", checkpoints=[elsewhere])
    (tmp_path / "cut" / "audit.checkpoints").unlink()
    with pytest.raises(LedgerMismatch, match="is missing"):
        deployment.restore(made, tmp_path / "again", ledger=tmp_path / "cut")
    assert deployment.restore(made, tmp_path / "again", checkpoints=[elsewhere])[0].names() == ["bob", "cleo"]


@pytest.mark.parametrize("how", ["swapped", "left out", "doubled", "edited", "signed anew"])
def test_a_ledger_that_was_edited_or_reordered_is_refused(deployment, made, tmp_path, how):
    deployment.erase("ann")
    deployment.erase("bob")
    path = tmp_path / "ledger" / "erasures.ledger"
    first, second, third = path.read_bytes().splitlines(keepends=True)
    changed = json.loads(second)
    changed["facts"]["subject"] = "0" * 32
    forged = json.dumps(changed, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    other = json.dumps({**changed, "signature": json.loads(third)["signature"]}, sort_keys=True).encode() + b"\n"
    path.write_bytes(
        b"".join(
            {
                "swapped": [first, third, second],
                "left out": [first, third],
                "doubled": [first, second, second, third],
                "edited": [first, forged, third],
                "signed anew": [first, other, third],
            }[how]
        )
    )
    with pytest.raises(TamperedData):
        deployment.restore(made, tmp_path / "again")


def test_a_checkpoint_file_that_was_forged_is_refused(deployment, made, tmp_path):
    path = tmp_path / "ledger" / "audit.checkpoints"
    path.write_bytes(path.read_bytes().replace(b'"number":1', b'"number":0'))
    with pytest.raises(TamperedData):
        deployment.restore(made, tmp_path / "again")


def test_another_deployments_ledger_is_refused(deployment, made, tmp_path):
    (tmp_path / "b" / "ledger").mkdir(parents=True)
    (tmp_path / "b" / "data").mkdir()
    settings = deployment.settings.model_copy(
        update={"data": tmp_path / "b" / "data", "ledger": tmp_path / "b" / "ledger"}
    )
    other = Deployment(settings)
    other.enrol("zoe")
    other.erase("zoe")
    with pytest.raises(TamperedData):
        deployment.restore(made, tmp_path / "again", ledger=tmp_path / "b" / "ledger")
    (tmp_path / "b" / "ledger" / "audit.checkpoints").write_bytes(
        (tmp_path / "ledger" / "audit.checkpoints").read_bytes()
    )
    with pytest.raises(LedgerMismatch, match="another deployment"):
        deployment.restore(made, tmp_path / "again", ledger=tmp_path / "b" / "ledger")


def test_a_folder_that_holds_anything_is_never_restored_over(deployment, made, tmp_path):
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "notes.txt").write_text("mine")
    for folder in (tmp_path / "again", tmp_path / "data"):
        with pytest.raises(Conflict, match="not empty"):
            deployment.restore(made, folder)
    assert [file.name for file in (tmp_path / "again").iterdir()] == ["notes.txt"]
    assert deployment.names() == ["ann", "bob", "cleo"]


def test_a_restore_that_was_interrupted_is_never_opened_and_the_next_one_begins_anew(
    deployment, made, tmp_path, monkeypatch
):
    monkeypatch.setattr("api.backups._settle", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        deployment.restore(made, tmp_path / "again")
    monkeypatch.undo()
    half = Deployment(deployment.settings.model_copy(update={"data": tmp_path / "again"}))
    with pytest.raises(RestoreUnfinished):
        half.names()
    (tmp_path / "again" / "restore.unfinished").unlink()
    with pytest.raises(RestoreUnfinished):
        half.names()  # the rows themselves say it too
    (tmp_path / "again" / "restore.unfinished").touch()
    assert deployment.restore(made, tmp_path / "again")[0].names() == ["ann", "bob", "cleo"]


def test_the_wrong_offline_key_and_another_signer_than_the_one_named_are_refused(deployment, made, tmp_path):
    stranger = Deployment(deployment.settings, RecipientKey(bytes(range(32))))
    with pytest.raises(WrongRecipient):
        stranger.restore(made, tmp_path / "again")
    with pytest.raises(UntrustedSender):
        deployment.restore(made, tmp_path / "other", signer=bytes(32))


def test_without_the_root_key_inside_it_must_be_in_its_place_before_and_be_the_right_one(deployment, tmp_path):
    deployment.enrol("ann")
    file = deployment.back_up(tmp_path / "keyless.backup", with_root_key=False).file
    with pytest.raises(KeyUnavailable, match="put it at"):
        deployment.restore(file, tmp_path / "again")

    kept = tmp_path / "kept.key"
    settings = deployment.settings.model_copy(update={"keys": f"file:{kept}"})
    elsewhere = Deployment(settings, deployment.key)
    kept.write_bytes(bytes(32))
    kept.chmod(0o400)
    with pytest.raises(KeyUnavailable):
        elsewhere.restore(file, tmp_path / "again")
    kept.unlink()
    shutil.copy(tmp_path / "data" / "keys" / "root.key", kept)
    assert elsewhere.restore(file, tmp_path / "again")[0].names() == ["ann"]


def test_a_root_key_that_lies_there_is_never_replaced(deployment, made, tmp_path):
    kept = tmp_path / "kept.key"
    kept.write_bytes(bytes(32))
    kept.chmod(0o400)
    settings = deployment.settings.model_copy(update={"keys": f"file:{kept}"})
    with pytest.raises(KeyUnavailable, match="another root key"):
        Deployment(settings, deployment.key).restore(made, tmp_path / "again")
    assert kept.read_bytes() == bytes(32)


def test_no_number_of_the_time_that_was_lost_comes_to_mean_somebody_else(deployment, made, tmp_path):
    deployment.enrol("late")
    lost = {sample.number for name in deployment.names() for sample in deployment.samples(name)}
    with deployment.opened() as (vault, _):
        seq = vault.rows.read().last_seq()
    again, _ = deployment.restore(made, tmp_path / "again")
    again.enrol("new")

    assert not lost & {sample.number for name in again.names() for sample in again.samples(name)}
    with again.opened() as (vault, _):
        assert vault.rows.read().last_seq() > seq


def test_a_snapshot_of_the_time_before_does_not_open_in_a_restored_folder(deployment, made, tmp_path):
    with deployment.opened() as (vault, records):
        where = records.collection("staff")
        SealedSnapshots(tmp_path / "data" / "snapshots", vault.keyring).save(where, [b"erased faces"])
    again, _ = deployment.restore(made, tmp_path / "again")
    shutil.copytree(tmp_path / "data" / "snapshots", tmp_path / "again" / "snapshots")
    with again.opened() as (vault, records):
        there = SealedSnapshots(tmp_path / "again" / "snapshots", vault.keyring)
        with there.reading(where) as snapshot:
            assert snapshot is None


def test_the_ledger_goes_on_after_a_restore_and_the_folder_that_it_replaced_is_refused_from_then(
    deployment, made, tmp_path
):
    again, _ = deployment.restore(made, tmp_path / "again")
    again.erase("bob")
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "ledger" / "erasures.ledger").read_bytes().splitlines()]
    assert kinds == ["backup", "restore", "subject"]
    with pytest.raises(LedgerMismatch):
        deployment.names()

    third, _ = again.restore(made, tmp_path / "third")
    assert third.names() == ["ann", "cleo"]


def test_checkpoints_of_what_a_restore_left_behind_are_told_from_a_log_that_was_cut(deployment, made, tmp_path):
    deployment.enrol("late")
    deployment.erase("ann")
    checkpoints = tmp_path / "ledger" / "audit.checkpoints"
    again, _ = deployment.restore(made, tmp_path / "again")
    again.erase("bob")
    with again.opened() as (vault, _):
        report = vault.audit.verify(lines_of(checkpoints))
        assert (report.sound, report.lost) == (True, 1)
        assert report.checkpoints >= 3

    second, _ = again.restore(made, tmp_path / "second")
    second.erase("cleo")
    with second.opened() as (vault, _):
        report = vault.audit.verify(lines_of(checkpoints))
        assert (report.sound, report.lost) == (True, 3), "the first restore's own time was left behind as well"

    rows = SqliteRows(tmp_path / "second" / "records.db")
    try:
        rows.write(lambda tx: [tx.delete_setting(name) for name in tx.settings("restore/")])
    finally:
        rows.close()
    with pytest.raises(TamperedData), second.opened() as (vault, _):
        vault.audit.verify(lines_of(checkpoints))


def test_two_restored_copies_are_told_apart(deployment, made, tmp_path):
    one, first = deployment.restore(made, tmp_path / "one")
    two, second = deployment.restore(made, tmp_path / "two")
    assert first.epoch != second.epoch
    assert one.names() == ["ann", "bob", "cleo"]
    with pytest.raises(LedgerMismatch, match="another history"):
        two.names()


@pytest.mark.service
def test_a_backup_moves_from_sqlite_into_an_empty_postgresql_and_back_out_of_it(deployment, made, tmp_path, postgresql):
    database = f"test_{secrets.token_hex(8)}"
    postgresql.run(f"CREATE DATABASE {database}")
    there = {
        "records": postgresql.database(database),
        "postgresql_password_file": postgresql.password_file,
        "keys": f"file:{tmp_path / 'root.key'}",
    }
    moved = Deployment(deployment.settings.model_copy(update=there), deployment.key)

    on_postgresql, restored = moved.restore(made, tmp_path / "replica", ledger=deployment.settings.ledger)
    assert on_postgresql.names() == ["ann", "bob", "cleo"]
    on_postgresql.enrol("dora")
    on_postgresql.erase("bob")
    assert not (tmp_path / "replica" / "records.db").exists()
    with pytest.raises(Conflict):
        moved.restore(made, tmp_path / "other", ledger=deployment.settings.ledger)

    file = on_postgresql.back_up(tmp_path / "second.backup").file
    back = Deployment(on_postgresql.settings.model_copy(update={"records": "sqlite:"}), deployment.key)
    again, _ = back.restore(file, tmp_path / "again")
    assert again.names() == ["ann", "cleo", "dora"]
    assert restored.counts["samples"] == 6
    postgresql.run(f"DROP DATABASE {database} WITH (FORCE)")


def test_whoever_was_blocked_since_the_backup_stays_so_and_whoever_was_let_in_again_is_in(deployment, made, tmp_path):
    ann, bob, cleo = (f"oidc:{letter * 32}" for letter in "abc")
    admin = Caller(ADMIN, "request-1")

    def blocks_of(vault):
        return Blocks(vault.rows, vault.keyring, vault.audit, vault.ledger)

    with deployment.opened() as (vault, _):
        blocks_of(vault).block(admin, bob, "before the backup")
    file = deployment.back_up(tmp_path / "second.backup").file
    with deployment.opened() as (vault, _):
        blocks_of(vault).block(admin, ann, "after it")
        blocks_of(vault).lift(admin, bob)
        blocks_of(vault).block(admin, cleo)
        blocks_of(vault).lift(admin, cleo)
    again, _ = deployment.restore(file, tmp_path / "again")
    with again.opened() as (vault, _):
        blocks = blocks_of(vault)
        assert blocks.all() == [Block(ann)]
        with pytest.raises(Unauthenticated):
            blocks.require_free(ann)
        blocks.require_free(bob, cleo)
        blocks.lift(admin, ann)
        blocks.require_free(ann)
