"""A root that a PKCS#11 token wraps, against SoftHSM2: the key stays there, and a wrong PIN never locks the token."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lookalike.errors import BadSettings, KeyUnavailable
from security.keys import open_key_ring
from security.root_key import root_key
from security.root_pkcs11 import REFUSED, SETTING, read_spec
from security.root_places import RootAccess
from tests.conftest import ROOT

PIN = "1234-not-so-secret"
MODULE = os.environ.get("LOOKALIKE_TEST_PKCS11_MODULE")

pytest.importorskip("pkcs11", reason="left out: python-pkcs11, the extra pkcs11, is not installed")
needs_module = pytest.mark.service

MAKE_KEY = """
import sys, pkcs11
module, token, pin, label, bits, extractable = sys.argv[1:]
lib = pkcs11.lib(module)
with lib.get_token(token_label=token).open(rw=True, user_pin=pin) as session:
    session.generate_key(pkcs11.KeyType.AES, int(bits), label=label, store=True, template={
        pkcs11.Attribute.EXTRACTABLE: extractable == "1", pkcs11.Attribute.SENSITIVE: extractable != "1"})
"""
OPEN = """
import pathlib, sys
from index.sqlite_rows import SqliteRows
from lookalike.errors import LookalikeError
from security.keys import open_key_ring
from security.root_places import RootAccess
folder, spec = pathlib.Path(sys.argv[1]), sys.argv[2]
rows = SqliteRows(folder / "records.db")
try:
    print(open_key_ring(spec, folder, rows, access=RootAccess(pkcs11_pin_file=folder / "pin")).root.id.hex())
except LookalikeError as error:
    print(error.code, error)
"""


class Token:
    """A token of its own. Each use is a process of its own, as each start of the service is."""

    def __init__(self, folder: Path) -> None:
        if MODULE is None:
            pytest.skip("left out: there is no SoftHSM2 (tests/services/start installs one)")
        self.folder = folder
        (folder / "tokens").mkdir()
        (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\n")
        self.environment = {**os.environ, "SOFTHSM2_CONF": str(folder / "softhsm2.conf"), "PYTHONPATH": str(ROOT)}
        self.run("softhsm2-util", "--init-token", "--free", "--label", "test", "--pin", PIN, "--so-pin", "so-pin-123")
        self.make_key("root")
        self.pin(PIN)

    def run(self, *command: str) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def make_key(self, label: str, bits: int = 256, extractable: bool = False) -> None:
        self.run(sys.executable, "-c", MAKE_KEY, MODULE, "test", PIN, label, str(bits), str(int(extractable)))

    def pin(self, pin: str) -> None:
        file = self.folder / "pin"
        file.unlink(missing_ok=True)
        file.write_text(pin + "\n")
        file.chmod(0o400)

    def spec(self, object: str = "root", token: str = "test") -> str:
        return f"pkcs11:token={token};object={object}?module-path={MODULE}"

    def open(self, **spec: str) -> str:
        """The root's id, or the refusal."""
        return self.run(sys.executable, "-c", OPEN, str(self.folder), self.spec(**spec))

    def flags(self) -> str:
        code = "import pkcs11, sys; print(pkcs11.lib(sys.argv[1]).get_token(token_label='test').flags)"
        return self.run(sys.executable, "-c", code, MODULE)


@pytest.fixture
def token(tmp_path: Path) -> Token:
    return Token(tmp_path)


@needs_module
def test_a_first_start_wraps_a_root_and_the_next_one_unwraps_it(token):
    first = token.open()
    assert len(first) == 16
    assert token.open() == first


@needs_module
def test_a_wrong_pin_is_tried_once_however_often_the_service_starts(token):
    right = token.open()
    token.pin("wrong-wrong")

    assert "refuses the PIN" in token.open()
    for _ in range(12):
        assert "so it is not tried again" in token.open()
    assert "LOCKED" not in token.flags()

    token.pin(PIN)
    assert token.open() == right
    assert "COUNT_LOW" not in token.flags()


@needs_module
def test_a_wrong_pin_at_the_first_start_keeps_nothing(token):
    token.pin("wrong-wrong")
    assert "refuses the PIN" in token.open()
    token.pin(PIN)
    assert len(token.open()) == 16


@needs_module
def test_a_key_that_can_leave_the_token_or_is_too_short_is_refused(token):
    token.make_key("leaves", extractable=True)
    token.make_key("short", bits=128)
    assert "can be taken out" in token.open(object="leaves")
    assert "256 bits" in token.open(object="short")
    assert len(token.open()) == 16


@needs_module
def test_another_key_or_token_opens_nothing_and_says_so(token):
    token.open()
    token.make_key("other")
    assert "not wrapped by this key" in token.open(object="other")
    assert "no secret key 'none'" in token.open(object="none")
    assert "no token 'gone'" in token.open(token="gone")
    assert "nothing that is stored can be read" in token.open(object="none")


@needs_module
def test_two_keys_of_one_label_are_not_guessed_between(token):
    token.make_key("root")
    assert "several keys" in token.open()


def test_a_module_that_is_none_is_told(memory, tmp_path):
    pin = tmp_path / "pin"
    pin.write_text(PIN)
    pin.chmod(0o400)
    (tmp_path / "none.so").write_bytes(b"no library")
    for module in (tmp_path / "none.so", tmp_path / "missing.so"):
        with pytest.raises(KeyUnavailable, match="cannot be used"):
            spec = f"pkcs11:token=test;object=root?module-path={module}"
            root_key(spec, tmp_path, memory, fresh=True, access=RootAccess(pkcs11_pin_file=pin))


@pytest.mark.parametrize(
    "name",
    [
        "", "token=a;object=b", "token=a?module-path=/x", "object=b?module-path=/x", "token=;object=b?module-path=/x",
        "token=a;token=b;object=b?module-path=/x", "token=a;object=b;slot-id=1?module-path=/x", "a;b?c",
    ],
)  # fmt: skip
def test_a_uri_that_names_no_key_is_a_bad_setting(name):
    with pytest.raises(BadSettings, match="LOOKALIKE_KEYS"):
        read_spec(name)


def test_a_pin_in_the_uri_is_refused_and_not_repeated():
    with pytest.raises(BadSettings, match="PIN_FILE") as refused:
        read_spec("token=a;object=b?module-path=/x&pin-value=4711")
    assert "4711" not in str(refused.value)


def test_labels_may_be_percent_encoded():
    assert read_spec("token=my%20token;object=a%3Bb?module-path=/x").token == "my token"


@pytest.mark.parametrize("held", [b"{}", b"null", json.dumps({"nonce": "zz", "wrapped": ""}).encode()])
def test_what_is_kept_of_it_is_checked(memory, tmp_path, held):
    memory.tables.settings[SETTING] = held
    with pytest.raises(KeyUnavailable, match="damaged"):
        root_key("pkcs11:token=a;object=b?module-path=/x", tmp_path, memory, fresh=False)
    assert REFUSED not in memory.tables.settings


def test_a_folder_that_has_another_root_is_told_so(memory, tmp_path):
    open_key_ring("file:keys/root.key", tmp_path, memory)
    with pytest.raises(KeyUnavailable, match="not wrapped by a PKCS#11 token"):
        open_key_ring("pkcs11:token=a;object=b?module-path=/x", tmp_path, memory)
