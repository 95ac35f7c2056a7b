from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from index.sqlite_rows import SqliteRows
from lookalike.errors import BadSettings, KeyUnavailable
from security import root_passphrase as module
from security.keys import open_key_ring
from security.root_key import root_key, root_key_file
from security.root_places import RootAccess

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cheap(monkeypatch):
    """Argon2id at a cost that a test can pay."""
    monkeypatch.setattr(module, "_DERIVATION", {"kdf": "argon2id", "iterations": 1, "memory_kib": 64, "lanes": 1})


@pytest.fixture
def passphrase(tmp_path):
    path = tmp_path / "passphrase"
    path.write_text("correct horse battery\n")
    path.chmod(0o400)
    return path


def test_the_first_start_makes_a_key_that_only_its_owner_can_read(memory, tmp_path):
    first = root_key("file:keys/root.key", tmp_path, memory, fresh=True)
    path = tmp_path / "keys" / "root.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert path.read_bytes() == first.material
    assert [p.name for p in path.parent.iterdir()] == ["root.key"]
    assert root_key("file:keys/root.key", tmp_path, memory, fresh=False).material == first.material
    assert root_key_file("file:keys/root.key", tmp_path) == path


def test_an_absolute_path_lies_outside_the_data_folder(memory, tmp_path):
    outside = tmp_path / "elsewhere" / "root.key"
    root_key(f"file:{outside}", tmp_path / "data", memory, fresh=True)
    assert outside.exists()
    assert root_key_file(f"file:{outside}", tmp_path / "data") == outside
    assert root_key_file("passphrase:", tmp_path) is None


def test_a_missing_key_of_a_folder_that_has_keys_is_not_made_anew(memory, tmp_path):
    open_key_ring("file:root.key", tmp_path, memory)
    (tmp_path / "root.key").unlink()
    with pytest.raises(KeyUnavailable, match="missing"):
        open_key_ring("file:root.key", tmp_path, memory)
    assert not (tmp_path / "root.key").exists()


@pytest.mark.parametrize("mode", [0o440, 0o404, 0o420, 0o644, 0o666])
def test_a_key_file_open_to_others_is_refused_and_the_mend_is_told(memory, tmp_path, mode):
    root_key("file:root.key", tmp_path, memory, fresh=True)
    (tmp_path / "root.key").chmod(mode)
    with pytest.raises(KeyUnavailable, match="chmod 400"):
        root_key("file:root.key", tmp_path, memory, fresh=False)


def test_a_key_file_behind_a_link_is_refused_even_at_the_first_start(memory, tmp_path):
    root_key("file:real.key", tmp_path, memory, fresh=True)
    (tmp_path / "root.key").symlink_to("real.key")
    (tmp_path / "dangling.key").symlink_to("nowhere.key")
    for name in ("root.key", "dangling.key"):
        with pytest.raises(KeyUnavailable, match="symbolic link"):
            root_key(f"file:{name}", tmp_path, memory, fresh=True)
    assert not (tmp_path / "nowhere.key").exists()


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33, b"x" * 70_000])
def test_a_key_file_of_a_wrong_length_is_refused(memory, tmp_path, content):
    (tmp_path / "root.key").write_bytes(content)
    (tmp_path / "root.key").chmod(0o400)
    with pytest.raises(KeyUnavailable, match="wrong length"):
        root_key("file:root.key", tmp_path, memory, fresh=True)


def test_what_is_not_a_plain_file_is_refused_without_waiting_for_it(memory, tmp_path):
    os.mkfifo(tmp_path / "pipe", 0o400)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("pipe", "folder"):
        with pytest.raises(KeyUnavailable, match="not a plain file"):
            root_key(f"file:{name}", tmp_path, memory, fresh=True)


@pytest.mark.parametrize("spec", ["", "file", "file:", "vault:transit/x", "pkcs11:", "env:KEY", "passphrase:"])
def test_a_place_that_is_not_offered_is_a_bad_setting(memory, tmp_path, spec):
    with pytest.raises(BadSettings, match="LOOKALIKE_KEYS"):
        root_key(spec, tmp_path, memory, fresh=True)


def test_a_passphrase_gives_the_same_key_again_and_another_one_another_key(memory, tmp_path, cheap, passphrase):
    first = root_key("passphrase:", tmp_path, memory, fresh=True, access=RootAccess(passphrase_file=passphrase))
    again = root_key("passphrase:", tmp_path, memory, fresh=False, access=RootAccess(passphrase_file=passphrase))
    assert first.material == again.material
    passphrase.chmod(0o600)
    passphrase.write_text("correct horse batterz")
    other = root_key("passphrase:", tmp_path, memory, fresh=False, access=RootAccess(passphrase_file=passphrase))
    assert other.material != first.material


def test_a_wrong_passphrase_is_told_at_the_start(memory, tmp_path, cheap, passphrase):
    open_key_ring("passphrase:", tmp_path, memory, access=RootAccess(passphrase_file=passphrase))
    passphrase.chmod(0o600)
    passphrase.write_text("a wrong passphrase")
    with pytest.raises(KeyUnavailable, match="not the key this data folder is sealed by"):
        open_key_ring("passphrase:", tmp_path, memory, access=RootAccess(passphrase_file=passphrase))


def test_a_short_passphrase_is_refused(memory, tmp_path, cheap, passphrase):
    passphrase.chmod(0o600)
    passphrase.write_text("short\n")
    with pytest.raises(BadSettings, match="fewer than 12"):
        root_key("passphrase:", tmp_path, memory, fresh=True, access=RootAccess(passphrase_file=passphrase))


def test_the_costs_of_the_derivation_cannot_be_lowered_by_changing_the_folder(memory, tmp_path, cheap, passphrase):
    root_key("passphrase:", tmp_path, memory, fresh=True, access=RootAccess(passphrase_file=passphrase))
    name = "root.passphrase"
    memory.tables.settings[name] = memory.tables.settings[name].replace(b'"memory_kib": 64', b'"memory_kib": 8')
    with pytest.raises(KeyUnavailable, match="below what is safe"):
        root_key("passphrase:", tmp_path, memory, fresh=False, access=RootAccess(passphrase_file=passphrase))


def test_the_derivation_costs_at_least_what_the_design_asks():
    assert module._DERIVATION["kdf"] == "argon2id"
    assert module._DERIVATION["iterations"] >= 3
    assert module._DERIVATION["memory_kib"] >= 256 * 1024


START = """
import pathlib, sys
from index.sqlite_rows import SqliteRows
from security.keys import open_key_ring
folder = pathlib.Path(sys.argv[1])
rows = SqliteRows(folder / "records.db")
print("here", flush=True)
sys.stdin.readline()
ring = open_key_ring("file:keys/root.key", folder, rows)
print(ring.deployment, ring.public_key.hex(), ring.lookup("x").hex(), flush=True)
rows.close()
"""


def test_processes_that_start_at_once_agree_on_every_key(tmp_path):
    SqliteRows(tmp_path / "records.db").close()
    command = [sys.executable, "-c", START, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    processes = [subprocess.Popen(command, **pipes) for _ in range(3)]
    assert [process.stdout.readline() for process in processes] == ["here\n"] * 3
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = {process.communicate(timeout=60)[0] for process in processes}
    assert len(answers) == 1
    assert len(answers.pop().split()) == 3
