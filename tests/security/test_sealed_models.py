from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace

import pytest

from lookalike.domain import Kind
from lookalike.errors import BadModel, StorageFull, TamperedData
from lookalike.model_shelf import Shelf, ShelvedModel
from security.keys import open_key_ring
from security.sealed_models import SHELF_SETTING, SWEEP_AFTER_S, SealedModels
from tests.security.conftest import ENTRY

BUNDLE = b"a bundle with a canary name " * 60_000
MODEL = ShelvedModel(
    "canary-0123",
    "canary",
    Kind.IMAGE,
    "d" * 64,
    "acme",
    8,
    "MIT",
    False,
    "research",
    "Drawn.",
    9,
    1.5,
    True,
    ("a", "b"),
)
MODEL = replace(MODEL, metrics={"recall": {"value": 0.5, "on": "üs"}}, provenance={"seeds": [1, 2]})


@pytest.fixture
def models(rows, keyring, audit, tmp_path) -> SealedModels:
    return SealedModels(tmp_path / "bundles", rows, keyring, audit)


def test_a_bundle_comes_back_whole_and_lies_sealed_for_its_owner_alone(models, tmp_path):
    models.save(MODEL.digest, BUNDLE)
    assert models.load(MODEL.digest) == BUNDLE
    (path,) = (tmp_path / "bundles").iterdir()
    assert b"canary" not in path.read_bytes()
    assert MODEL.digest[:8] not in path.name
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("at", [0, 4, 5, 20, 60, 100, 300, 1_000_000, -1])
def test_a_file_with_one_other_bit_is_refused(models, tmp_path, at):
    models.save(MODEL.digest, BUNDLE)
    (path,) = (tmp_path / "bundles").iterdir()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(TamperedData):
        models.load(MODEL.digest)


def test_a_file_in_anothers_place_is_refused(models, tmp_path):
    models.save("a" * 64, b"one")
    (one,) = (tmp_path / "bundles").iterdir()
    models.save("b" * 64, b"other")
    (other,) = set((tmp_path / "bundles").iterdir()) - {one}
    other.write_bytes(one.read_bytes())
    with pytest.raises(TamperedData):
        models.load("b" * 64)


def test_a_file_that_is_gone_is_said_to_be(models):
    with pytest.raises(BadModel, match="No such file"):
        models.load(MODEL.digest)


def test_a_full_disk_leaves_the_old_file_and_nothing_half_done(models, tmp_path, monkeypatch):
    models.save(MODEL.digest, BUNDLE)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageFull):
            models.save(MODEL.digest, b"another")
    assert models.load(MODEL.digest) == BUNDLE
    assert len(list((tmp_path / "bundles").iterdir())) == 1


def test_the_list_outlives_the_process_is_sealed_and_each_change_is_on_record(models, rows, audit, tmp_path):
    changed = models.change(lambda shelf: shelf.with_model(MODEL).with_active(Kind.IMAGE, MODEL.model), ENTRY)
    again = SealedModels(tmp_path / "bundles", rows, open_key_ring("file:keys/root.key", tmp_path, rows), audit)
    assert again.shelf() == changed == Shelf((MODEL,), {Kind.IMAGE: (MODEL.model,)})
    assert b"canary" not in rows.read().get_setting(SHELF_SETTING)
    assert [entry.action for entry in audit.page(0, 10)] == [ENTRY.action]


def test_another_processs_change_is_seen_at_once_and_none_costs_no_opening(models, rows, keyring, audit, tmp_path):
    other = SealedModels(tmp_path / "bundles", rows, keyring, audit)
    assert models.shelf() == Shelf()
    other.change(lambda shelf: shelf.with_model(MODEL), ENTRY)
    first = models.shelf()
    assert first.models == (MODEL,)
    assert models.shelf() is first


def test_a_refused_change_leaves_list_and_log_as_they_were(models, audit):
    def refuse(shelf: Shelf) -> Shelf:
        raise BadModel("no")

    with pytest.raises(BadModel):
        models.change(refuse, ENTRY)
    assert models.shelf() == Shelf()
    assert audit.page(0, 10) == []


def test_what_a_killed_import_left_is_swept_away_and_what_is_named_or_young_is_not(models, tmp_path):
    folder = tmp_path / "bundles"
    models.save(MODEL.digest, BUNDLE)
    models.change(lambda shelf: shelf.with_model(MODEL), ENTRY)
    models.save("e" * 64, b"nobody names it")
    (folder / ".x.model.1234.writing").write_bytes(b"half")
    models.sweep()
    assert len(list(folder.iterdir())) == 3
    for path in folder.iterdir():
        os.utime(path, (0, path.stat().st_mtime - SWEEP_AFTER_S - 1))
    models.sweep()
    assert len(list(folder.iterdir())) == 1
    assert models.load(MODEL.digest) == BUNDLE
