from __future__ import annotations

import stat

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from lookalike.errors import BadSettings, TamperedData
from security.keys import open_key_ring
from security.makers import (
    OWN,
    new_maker_key,
    own_key,
    read_maker_key,
    read_public_key,
    require_signed,
    shipped_makers,
    trusted_makers,
)


def test_a_key_pair_comes_back_from_its_files_and_the_private_one_is_for_its_owner_alone(tmp_path):
    key = new_maker_key()
    public = key.write(tmp_path / "acme.pem")
    assert public == tmp_path / "acme.pem.pub"
    assert stat.S_IMODE((tmp_path / "acme.pem").stat().st_mode) == 0o600
    again = read_maker_key(tmp_path / "acme.pem")
    assert again.public_key == key.public_key == read_public_key(public)
    require_signed(key.public_key, again.sign(b"text"), b"text")


def test_a_key_is_never_written_over_another_file(tmp_path):
    (tmp_path / "here").write_text("something of value")
    with pytest.raises(FileExistsError):
        new_maker_key().write(tmp_path / "here")
    assert (tmp_path / "here").read_text() == "something of value"


def test_a_private_key_that_others_may_read_is_refused(tmp_path):
    new_maker_key().write(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)
    with pytest.raises(BadSettings, match="chmod 600"):
        read_maker_key(tmp_path / "key")


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", b"\x00" * 99]
)
def test_a_file_that_is_no_key_is_refused(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    for read in (read_maker_key, read_public_key):
        with pytest.raises(BadSettings, match="keygen"):
            read(path)


def test_a_key_of_another_kind_is_refused(tmp_path):
    other, path = Ed448PrivateKey.generate(), tmp_path / "key"
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(BadSettings, match="Ed25519"):
        read_maker_key(path)
    path.write_bytes(other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(BadSettings, match="Ed25519"):
        read_public_key(path)


def test_a_missing_key_is_named(tmp_path):
    with pytest.raises(BadSettings, match="absent"):
        read_maker_key(tmp_path / "absent")


def test_trusted_are_the_shipped_makers_those_of_the_files_and_the_deployment_itself(tmp_path, memory_keyring):
    key, own = new_maker_key(), own_key(memory_keyring)
    public = key.write(tmp_path / "acme")
    trusted = trusted_makers([public], own)
    assert trusted == {**shipped_makers(), key.public_key: "acme", own.public_key: OWN}


def test_a_deployments_own_key_is_always_the_same_and_not_the_one_that_signs_receipts(memory, memory_keyring, tmp_path):
    own = own_key(memory_keyring)
    assert own.public_key == own_key(open_key_ring("file:keys/root.key", tmp_path, memory)).public_key
    assert own.public_key != memory_keyring.public_key


def test_a_signature_of_another_key_or_text_is_refused():
    one, other = new_maker_key(), new_maker_key()
    for key, text in ((other.public_key, b"text"), (one.public_key, b"test"), (b"short", b"text")):
        with pytest.raises(TamperedData):
            require_signed(key, one.sign(b"text"), text)


def test_a_private_key_shows_nothing_of_itself(tmp_path):
    key = new_maker_key()
    key.write(tmp_path / "key")
    assert repr(key) == f"MakerKey({key.public_key.hex()[:16]})"
