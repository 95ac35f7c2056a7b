"""The table of stores: the scheme of LOOKALIKE_RECORDS to what opens one, imported only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lookalike.errors import BadSettings
from lookalike.ports import Rows


@dataclass(frozen=True, slots=True)
class Place:
    """Where records are kept. folder: the data folder; made_by: this release; password, ca: of a server.

    certificate, key: by which a server is shown who we are.
    """

    url: str
    folder: Path
    made_by: str
    password: Callable[[], str | None]
    ca: Path | None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def shown(self) -> tuple[Path, Path] | None:
        return None if self.certificate is None or self.key is None else (self.certificate, self.key)


@dataclass(frozen=True, slots=True)
class Store:
    """open: the port Rows while the context lasts. look: what it runs on, in words, without changing anything."""

    open: Callable[[Place], AbstractContextManager[Rows]]
    look: Callable[[Place], str]


@contextmanager
def _open_sqlite(place: Place) -> Iterator[Rows]:
    from index.data_format import DataFolder
    from index.sqlite_rows import SqliteRows

    with DataFolder(place.folder, place.made_by) as held:
        rows = SqliteRows(held.records)
        try:
            yield rows
        finally:
            rows.close()


def _look_at_sqlite(place: Place) -> str:
    import apsw

    from index.sqlite_connection import require_safe_sqlite

    require_safe_sqlite(apsw.sqlite_lib_version())
    return f"SQLite {apsw.sqlite_lib_version()}"


@contextmanager
def _open_postgresql(place: Place) -> Iterator[Rows]:
    from index.data_format import RECORDS
    from index.postgres_connection import connection_params
    from index.postgres_rows import PostgresRows

    if (place.folder / RECORDS).exists():
        raise BadSettings(
            f"LOOKALIKE_RECORDS names PostgreSQL, but the data folder has records of its own ({RECORDS}), which would "
            "not be seen: set LOOKALIKE_DATA to another folder"
        )
    rows = PostgresRows(connection_params(place.url, place.ca, place.shown), place.password)
    try:
        yield rows
    finally:
        rows.close()


def _look_at_postgresql(place: Place) -> str:
    from index.postgres_connection import connection_params, open_connection
    from index.postgres_rows import describe
    from index.postgres_schema import SCHEMA

    with open_connection(connection_params(place.url, place.ca, place.shown), place.password, SCHEMA) as connection:
        return describe(connection)


STORES: dict[str, Store] = {
    "sqlite": Store(_open_sqlite, _look_at_sqlite),
    "postgresql": Store(_open_postgresql, _look_at_postgresql),
}


def store_of(url: str) -> Store:
    """Raises: BadSettings for a URL whose scheme is not in the table."""
    scheme = url.partition(":")[0]
    if scheme not in STORES:
        raise BadSettings(f"LOOKALIKE_RECORDS: allowed are {', '.join(f'{name}:' for name in sorted(STORES))}")
    return STORES[scheme]
