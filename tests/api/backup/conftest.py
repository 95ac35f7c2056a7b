"""A deployment without its models, on which backups are tried: a data folder, its records, a ledger, an offline key."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from api.backups import Made, Restored, create_backup, restore_backup
from api.commands.vault import Vault, open_vault
from lookalike.domain import Collection, Grant, Keep, Sample
from lookalike.settings import Settings
from security.rbac import principal_for
from security.recipient import RecipientKey
from security.sealed_records import SealedRecords
from security.tokens import ApiKeys
from tests.security.conftest import ENTRY, new_collection, new_sample

ADMIN = principal_for("local:test", [Grant("admin")])
CROP, IMAGE = b"\xff\xd8 canary crop 71d3 " * 40, b"\xff\xd8 canary image 0b5f " * 90


@dataclass
class Deployment:
    """A data folder; each call opens it anew, as the commands do."""

    settings: Settings
    key: RecipientKey = field(default_factory=lambda: RecipientKey(secrets.token_bytes(32)))

    @contextmanager
    def opened(self) -> Iterator[tuple[Vault, SealedRecords]]:
        with open_vault(self.settings) as vault:
            yield vault, SealedRecords(vault.rows, vault.keyring, vault.audit, ledger=vault.ledger)

    def enrol(self, *names: str, collection: str = "staff") -> None:
        """Two samples each, with pictures; the collection is made if it is new."""
        with self.opened() as (_, records):
            for name in names:
                records.add_samples(
                    self.collection(records, collection),
                    name,
                    [new_sample(crop=CROP, image=IMAGE), new_sample(crop=CROP)],
                    ENTRY,
                )

    @staticmethod
    def collection(records: SealedRecords, name: str) -> Collection:
        found = [held for held in records.collections() if held.name == name]
        if not found:
            records.create_collection(new_collection(name), ENTRY)
        return records.collection(name)

    def erase(self, name: str, collection: str = "staff"):
        with self.opened() as (_, records):
            return records.erase_subject(records.collection(collection), name, ENTRY)

    def names(self, collection: str = "staff") -> list[str]:
        """Who is enrolled, each with all samples and pictures opened."""
        with self.opened() as (_, records):
            where = records.collection(collection)
            found = records.list_subjects(where, 100, None, {}).items
            for subject in found:
                for sample in records.samples(where, subject):
                    assert records.picture(where, subject, sample.id, Keep.CROP) == CROP
            return sorted(subject.id for subject in found)

    def samples(self, name: str, collection: str = "staff") -> list[Sample]:
        with self.opened() as (_, records):
            where = records.collection(collection)
            return records.samples(where, records.subject(where, name))

    def api_keys(self) -> list[str]:
        with self.opened() as (vault, _):
            return [id for id, _, _ in vault.rows.read().api_keys()]

    def new_api_key(self) -> str:
        with self.opened() as (vault, _):
            return (
                ApiKeys(vault.rows, vault.keyring, vault.audit, ledger=vault.ledger)
                .create(ADMIN, "k", [Grant("viewer")])
                .id
            )

    def revoke(self, id: str) -> None:
        with self.opened() as (vault, _):
            ApiKeys(vault.rows, vault.keyring, vault.audit, ledger=vault.ledger).revoke(ADMIN, id)

    def back_up(self, out: Path, *, with_root_key: bool = True) -> Made:
        with self.opened() as (vault, _):
            return create_backup(vault, out, self.key.recipient, with_root_key=with_root_key)

    def restore(self, file: Path, data: Path, **options: object) -> tuple[Deployment, Restored]:
        """Into another folder; the ledger is this deployment's own unless `options` say otherwise."""
        settings = self.settings.model_copy(update={"data": data})
        if not options.get("accept_missing"):
            options.setdefault("ledger", self.settings.ledger)
        options.setdefault("ledger", None)
        restored = restore_backup(file, self.key, settings, **options)
        return Deployment(settings, self.key), restored


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    (tmp_path / "ledger").mkdir()
    (tmp_path / "data").mkdir()
    return Deployment(Settings(data=tmp_path / "data", ledger=tmp_path / "ledger"))


@pytest.fixture
def made(deployment: Deployment, tmp_path: Path) -> Path:
    """A backup of three people."""
    deployment.enrol("ann", "bob", "cleo")
    return deployment.back_up(tmp_path / "first.backup").file
