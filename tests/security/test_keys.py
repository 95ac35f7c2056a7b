from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from lookalike.errors import CollectionNotFound, KeyUnavailable, TamperedData
from security.keys import KeyRing, open_key_ring
from security.secret_key import SecretKey
from tests.security.conftest import ENTRY, new_collection


def test_a_second_start_finds_the_same_keys(rows, keyring, tmp_path):
    again = open_key_ring("file:keys/root.key", tmp_path, rows)
    assert again.deployment == keyring.deployment
    assert again.public_key == keyring.public_key
    assert again.lookup("purpose", b"value") == keyring.lookup("purpose", b"value")
    assert again.audit_key.material == keyring.audit_key.material


def test_two_deployments_share_nothing(memory_keyring, rows, keyring):
    assert memory_keyring.deployment != keyring.deployment
    assert memory_keyring.lookup("p", b"v") != keyring.lookup("p", b"v")


def test_another_root_key_is_told_at_the_start(rows, keyring):
    with pytest.raises(KeyUnavailable, match="not the key this data folder is sealed by"):
        KeyRing(rows, SecretKey.generate())


@pytest.mark.parametrize("name", ["key.audit", "key.lookup", "key.model", "key.signing"])
def test_a_deployment_key_that_was_changed_swapped_or_removed_is_refused(memory, memory_keyring, tmp_path, name):
    settings = memory.tables.settings
    original = settings[name]
    other = settings["key.audit" if name != "key.audit" else "key.model"]
    for wrong in (original[:-1] + bytes([original[-1] ^ 1]), other, b"", None):
        settings[name] = wrong
        with pytest.raises((TamperedData, KeyUnavailable)):
            open_key_ring("file:keys/root.key", tmp_path, memory)


def test_a_public_key_that_is_not_the_signing_keys_is_refused(memory, memory_keyring, tmp_path):
    memory.tables.settings["signing.public"] = bytes(32)
    with pytest.raises(TamperedData):
        open_key_ring("file:keys/root.key", tmp_path, memory)


def test_keys_show_nothing_of_themselves(keyring):
    key = SecretKey(b"\x5a" * 32)
    for text in (repr(key), str(key), f"{key}", repr([key]), repr(keyring), repr(vars(keyring).get("_root"))):
        assert "5a5a" not in text and "ZZ" not in text
    assert "material" not in repr(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_a_wrong_length_is_refused(length):
    with pytest.raises(ValueError, match="32 bytes"):
        SecretKey(b"x" * length)


def test_lookups_of_different_parts_and_purposes_never_meet(keyring):
    found = {
        keyring.lookup("a", b"bc"),
        keyring.lookup("a", b"b", b"c"),
        keyring.lookup("ab", b"c"),
        keyring.lookup("a", b"", b"bc"),
        keyring.lookup("abc"),
        keyring.derived_key("a", b"bc").material,
    }
    assert len(found) == 6


def test_a_subjects_key_does_not_unwrap_in_another_collection_or_for_another_subject(rows, keyring, records):
    one, two = new_collection("one"), new_collection("two")
    records.create_collection(one, ENTRY)
    records.create_collection(two, ENTRY)
    key, wrapped = keyring.new_subject_key(one.id, "a" * 32)
    assert keyring.subject_key(one.id, "a" * 32, wrapped).material == key.material
    for collection, subject in ((one.id, "b" * 32), (two.id, "a" * 32)):
        with pytest.raises(TamperedData):
            keyring.subject_key(collection, subject, wrapped)
    with pytest.raises(TamperedData):
        keyring.segment_key(one.id, wrapped)


def test_a_collections_key_is_read_again_by_another_process_and_gone_once_it_is_deleted(
    rows, keyring, records, tmp_path
):
    made = new_collection()
    records.create_collection(made, ENTRY)
    _, wrapped = keyring.new_subject_key(made.id, "a" * 32)
    other = open_key_ring("file:keys/root.key", tmp_path, rows)
    assert other.subject_key(made.id, "a" * 32, wrapped)
    records.delete_collection(made, ENTRY)
    with pytest.raises(CollectionNotFound):
        keyring.subject_key(made.id, "a" * 32, wrapped)


def test_a_collections_wrapped_key_does_not_open_for_another_collection(
    memory, memory_keyring, memory_records, tmp_path
):
    one, two = new_collection("one"), new_collection("two")
    memory_records.create_collection(one, ENTRY)
    memory_records.create_collection(two, ENTRY)
    held = memory.tables.collections
    held[one.id] = replace(held[one.id], wrapped_key=held[two.id].wrapped_key)
    fresh = open_key_ring("file:keys/root.key", tmp_path, memory)
    with pytest.raises(TamperedData):
        fresh.collection_keys(one.id)
