from __future__ import annotations

from security.bundle_file import new_maker
from security.keys import open_key_ring
from security.makers import OWN, own_maker, shipped_makers, trusted_makers


def test_trusted_are_the_shipped_makers_those_of_the_files_and_the_deployment_itself(tmp_path, memory_keyring):
    maker, own = new_maker(tmp_path / "acme"), own_maker(memory_keyring)
    trusted = trusted_makers([tmp_path / "acme.pub"], own)
    assert trusted == {**shipped_makers(), maker.public_key: "acme", own.public_key: OWN}
    assert own.public_key not in trusted_makers([])


def test_a_deployments_own_key_is_always_the_same_and_not_the_one_that_signs_receipts(memory, memory_keyring, tmp_path):
    own = own_maker(memory_keyring)
    assert own.public_key == own_maker(open_key_ring("file:keys/root.key", tmp_path, memory)).public_key
    assert own.public_key != memory_keyring.public_key


def test_a_maker_shows_nothing_of_its_key(memory_keyring):
    assert own_maker(memory_keyring).public_key.hex() not in repr(own_maker(memory_keyring))
