from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.errors import BadSettings
from lookalike.profiles import require_profile, weaknesses
from lookalike.settings import read_settings

SOUND = {
    "profile": "scale",
    "data": Path("/srv/lookalike"),
    "records": "postgresql://lookalike@db.example.org/lookalike",
    "index": "es+https://lookalike@search.example.org:9200",
    "volume_encrypted": "attested",
    "keys": "file:/etc/lookalike/root.key",
}


@pytest.mark.parametrize("keys", ["file:/etc/lookalike/root.key", "passphrase:", "file:../root.key"])
def test_records_an_index_and_a_key_that_replicas_can_share_are_taken(keys):
    require_profile(read_settings(**SOUND | {"keys": keys}))


@pytest.mark.parametrize(
    ("weak", "named"),
    [
        ({"records": "sqlite:"}, "LOOKALIKE_RECORDS"),
        ({"index": "faiss:"}, "LOOKALIKE_INDEX"),
        ({"index": "exact:"}, "LOOKALIKE_INDEX"),
        ({"index": "es+http://localhost:9200"}, "LOOKALIKE_INDEX"),
        ({"indexes": ("es+http://localhost:9200",)}, "LOOKALIKE_INDEX"),
        ({"volume_encrypted": None}, "LOOKALIKE_VOLUME_ENCRYPTED"),
        ({"image_decoding": "in-process"}, "LOOKALIKE_IMAGE_DECODING"),
        ({"keys": "file:keys/root.key"}, "LOOKALIKE_KEYS"),
        ({"keys": "file:/srv/lookalike/keys/root.key"}, "LOOKALIKE_KEYS"),
        ({"keys": "file:../lookalike/root.key"}, "LOOKALIKE_KEYS"),
        ({"records": "postgresql://u@db.example.org/f?sslmode=verify-ca"}, "LOOKALIKE_RECORDS"),
        ({"records": "postgresql://u@127.0.0.1/f?sslmode=disable"}, "LOOKALIKE_RECORDS"),
        ({"records": "postgresql://u@db.example.org/f?sslcert=/c&sslkey=/k"}, "LOOKALIKE_RECORDS"),
    ],
)
def test_each_setting_that_is_too_weak_for_many_machines_is_named_in_one_line(weak, named):
    (found,) = weaknesses(read_settings(**SOUND | weak))

    assert found.startswith(named) and "\n" not in found
    with pytest.raises(BadSettings, match="LOOKALIKE_PROFILE=scale refuses to start"):
        require_profile(read_settings(**SOUND | weak))


def test_all_weaknesses_are_told_at_once():
    found = weaknesses(read_settings(profile="scale"))
    assert [line.partition(":")[0] for line in found] == [
        "LOOKALIKE_RECORDS",
        "LOOKALIKE_INDEX",
        "LOOKALIKE_VOLUME_ENCRYPTED",
        "LOOKALIKE_KEYS",
    ]


def test_one_machine_may_do_what_is_allowed_at_all():
    require_profile(read_settings())


def test_a_profile_of_a_later_version_is_refused_with_those_that_there_are():
    with pytest.raises(BadSettings, match="single, scale, onprem"):
        require_profile(read_settings(profile="edge"))


ONPREM = {
    "profile": "onprem",
    "data": Path("/srv/lookalike"),
    "keys": "file:/etc/lookalike/root.key",
    "ledger": Path("/mnt/nas/ledger"),
    "backup_key": Path("/etc/lookalike/backup.pub"),
}


def test_a_vault_on_premises_that_is_sound_starts():
    require_profile(read_settings(**ONPREM))


@pytest.mark.parametrize(
    ("weak", "named"),
    [
        ({"tls": "off"}, "LOOKALIKE_TLS"),
        ({"keys": "file:keys/root.key"}, "LOOKALIKE_KEYS"),
        ({"ledger": None}, "LOOKALIKE_LEDGER"),
        ({"ledger": Path("/srv/lookalike/ledger")}, "LOOKALIKE_LEDGER"),
        ({"backup_key": None}, "LOOKALIKE_BACKUP_KEY"),
        ({"index": "es+https://search.example.org:9200"}, "LOOKALIKE_VOLUME_ENCRYPTED"),
        ({"indexes": ("es+http://localhost:9200",)}, "LOOKALIKE_INDEX"),
        ({"log_level": "debug"}, "LOOKALIKE_LOG_LEVEL"),
        ({"records": "postgresql://u@db.example.org/f?application_name=x&sslmode=verify-ca"}, "LOOKALIKE_RECORDS"),
    ],
)
def test_on_premises_each_weak_setting_is_named_in_one_line_with_what_to_do(weak, named):
    (found,) = weaknesses(read_settings(**ONPREM | weak))

    assert found.startswith(named) and "\n" not in found
