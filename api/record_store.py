"""Opens the store of records that the settings name; a password comes from its file."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from importlib.metadata import version

from index.stores import Place, store_of
from lookalike.ports import Rows
from lookalike.settings import Settings
from security.client_pair import require_client_pair
from security.secret_files import read_secret_file


def open_rows(settings: Settings) -> AbstractContextManager[Rows]:
    """The store that LOOKALIKE_RECORDS names, open while the context lasts.

    Raises: BadSettings, DataTooNew, Unsafe, StorageFull, StorageUnavailable, TamperedData.
    """
    return store_of(settings.records).open(store_place(settings))


def store_place(settings: Settings) -> Place:
    """What a store is opened with. Raises: BadSettings, KeyUnavailable for a certificate that cannot be shown."""
    file = settings.postgresql_password_file

    def password() -> str | None:
        if file is None:
            return None
        return (
            read_secret_file(file, "the password file of PostgreSQL", at_most=1024)
            .decode(errors="replace")
            .rstrip("\r\n")
        )

    certificate, key = settings.postgresql_certificate, settings.postgresql_key
    if certificate is not None and key is not None and settings.records != "sqlite:":
        require_client_pair(certificate, key, "PostgreSQL", datetime.now(UTC))
    folder = settings.data.absolute()
    return Place(settings.records, folder, version("lookalike"), password, settings.postgresql_ca, certificate, key)
