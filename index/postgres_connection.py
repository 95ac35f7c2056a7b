"""Opens a connection to PostgreSQL with the settings that durability rests on, and translates its errors.

Every connection waits for the disk at each commit (synchronous_commit), and is refused by a server that does not
(fsync off), by one that takes no writes, and off this machine by one whose certificate does not name it. No answer is
waited for longer than the connection's patience: a server that hangs, or a network that swallows everything, ends in
StorageUnavailable like one that is down. A password is never part of a URL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from lookalike.errors import (
    BadSettings,
    Conflict,
    LookalikeError,
    NotFound,
    StorageFull,
    StorageUnavailable,
    TamperedData,
    Unsafe,
)
from lookalike.settings import is_loopback

T = TypeVar("T")
Params = Mapping[str, str | int]

OLDEST_SERVER = 150000
PATIENCE_S = 3.0
"""How long an answer is waited for: an honest one takes milliseconds, and a caller must be answered within 5 s."""

LONG_S = 120.0
"""The same for the few statements whose cost grows with a collection."""

TURN_S = 3.5
"""How long a process waits for others that write; a lock's own timeout would count from anew for each before it."""

SAFE_MODES = ("verify-ca", "verify-full")
_IN_A_FILE = "no password in the URL: LOOKALIKE_POSTGRESQL_PASSWORD_FILE names a file that holds it"
_NOT_IN_URLS = {
    "password": _IN_A_FILE,
    "passfile": _IN_A_FILE,
    "sslpassword": "no password in the URL: keep the client's key unencrypted and readable by its owner alone",
    "service": "name the host, the user and the database in the URL, not a service",
}
_HOLD_S = 10
"""A transaction that its process does nothing in for so long is ended by the server, so that others can write."""

_SESSION = {
    "synchronous_commit": "on",
    "statement_timeout": f"{LONG_S:.0f}s",
    "lock_timeout": f"{TURN_S * 1000:.0f}ms",
    "idle_in_transaction_session_timeout": f"{_HOLD_S}s",
    "tcp_user_timeout": f"{_HOLD_S}s",
    "client_connection_check_interval": "1s",
    "default_transaction_isolation": "read committed",
    # Every query goes by a key, whatever the statistics say just after many rows came in.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
}
_FACTS = (
    "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('server_encoding'),"
    " current_setting('transaction_read_only'), current_setting('server_version_num')::integer"
)


class Silent(psycopg.OperationalError):
    """The server did not answer in time."""


class PatientConnection(psycopg.Connection[TupleRow]):
    """A connection that is closed when an answer takes longer than `patience_s`. Raises then: Silent."""

    patience_s = PATIENCE_S

    def wait(self, gen: psycopg.abc.PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """As psycopg's own, and with an end."""
        try:
            return super().wait(gen, interval, self.patience_s if timeout is None else timeout)
        except psycopg.errors._WaitTimeout as error:
            self.pgconn.finish()
            raise Silent("no answer in time") from error

    @contextmanager
    def patient_for(self, seconds: float) -> Iterator[None]:
        """Wait this long for each answer meanwhile."""
        before, self.patience_s = self.patience_s, seconds
        try:
            yield
        finally:
            self.patience_s = before


def connection_params(url: str, ca: Path | None, shown: tuple[Path, Path] | None = None) -> Params:
    """What to connect with, from LOOKALIKE_RECORDS. ca: the authority to trust; None for the system's.

    shown: the certificate and key by which the server sees who connects, to a server alone that proves who it is.

    Raises: BadSettings.
    """
    try:
        given = cast("dict[str, str]", conninfo_to_dict(url))
    except psycopg.Error:
        raise BadSettings("LOOKALIKE_RECORDS: postgresql://USER@HOST:PORT/DATABASE is allowed") from None
    if refused := given.keys() & _NOT_IN_URLS.keys():
        raise BadSettings(f"LOOKALIKE_RECORDS: {_NOT_IN_URLS[min(refused)]}")
    hosts = f"{given.get('host', '')},{given.get('hostaddr', '')}".strip(",").split(",")
    if not all(hosts):
        raise BadSettings("LOOKALIKE_RECORDS: the URL must name the host: postgresql://USER@HOST:PORT/DATABASE")
    params: dict[str, str | int] = {"target_session_attrs": "read-write", "gssencmode": "disable"}
    if ca is not None:
        params["sslrootcert"] = str(ca)
    if all(_is_here(host) for host in hosts):
        params["sslmode"] = "verify-full" if ca is not None else "prefer"
    else:
        params["sslmode"] = "verify-full"
        params.setdefault("sslrootcert", "system")
        if (mode := given.get("sslmode", "verify-full")) not in SAFE_MODES:
            raise BadSettings(f"LOOKALIKE_RECORDS: sslmode={mode} is allowed on this machine only: use verify-full")
    if shown is not None:
        params = {**_showing(shown, given), **params, "sslmode": "verify-full"}
    session = " ".join(_option(name, value) for name, value in _SESSION.items())
    bounds = {"connect_timeout": 3 if len(hosts) == 1 else 2, "tcp_user_timeout": round(PATIENCE_S * 1000)}
    return {**params, **given, **bounds, "options": f"{given.get('options', '')} {session}".strip()}


def _showing(shown: tuple[Path, Path], given: Mapping[str, str]) -> Params:
    if given.keys() & {"sslcert", "sslkey"}:
        raise BadSettings("LOOKALIKE_RECORDS: LOOKALIKE_POSTGRESQL_CERTIFICATE is set, so no sslcert goes into the URL")
    if (mode := given.get("sslmode", "verify-full")) != "verify-full":
        raise BadSettings(
            f"LOOKALIKE_RECORDS: with LOOKALIKE_POSTGRESQL_CERTIFICATE sslmode is verify-full, not {mode}"
        )
    certificate, key = shown
    return {"sslrootcert": "system", "sslcert": str(certificate), "sslkey": str(key)}


def _is_here(host: str) -> bool:
    return host.startswith(("/", "@")) or is_loopback(host)


def _option(name: str, value: str) -> str:
    escaped = value.replace(" ", "\\ ")
    return f"-c {name}={escaped}"


def open_connection(params: Params, password: Callable[[], str | None], schema: str) -> PatientConnection:
    """A connection in autocommit mode whose tables are those of `schema`. password: read anew for each.

    Raises: StorageUnavailable, Unsafe, BadSettings.
    """
    secret = password()
    options = f"{params['options']} -c search_path={schema}"
    given = {
        "application_name": schema,
        **params,
        "options": options,
        **({} if secret is None else {"password": secret}),
    }
    try:
        connection = PatientConnection.connect(**given, autocommit=True)  # type: ignore[arg-type]
    except psycopg.Error as error:
        raise StorageUnavailable(f"PostgreSQL cannot be used: {_reason(error)}") from error
    try:
        with translated_errors():
            facts = connection.execute(_FACTS).fetchone()
        _require_safe(*cast("tuple[str, str, str, str, int]", facts))
    except BaseException:
        connection.close()
        raise
    return connection


def _require_safe(fsync: str, commit: str, encoding: str, read_only: str, version: int) -> None:
    """Raises: Unsafe, StorageUnavailable."""
    if version < OLDEST_SERVER:
        raise Unsafe(f"PostgreSQL {version // 10000} is too old: {OLDEST_SERVER // 10000} or newer is needed")
    if fsync != "on" or commit != "on":
        raise Unsafe(f"PostgreSQL has fsync={fsync}, synchronous_commit={commit}: it can lose what it has confirmed")
    if encoding != "UTF8":
        raise BadSettings(f"the database has the encoding {encoding}: make one with UTF8")
    if read_only != "off":
        raise StorageUnavailable("this PostgreSQL takes no writes: it is a standby, or was made read-only")


def _reason(error: psycopg.Error) -> str:
    """libpq's own words on why a connection failed, on one line; they name host, port and user, never a password."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return " ".join(line.strip() for line in lines)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn PostgreSQL's errors into ours."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error) from error


def translate(error: psycopg.Error) -> LookalikeError:
    """Our error for one of PostgreSQL's, by its SQLSTATE; its text holds no value of a row."""
    state = error.sqlstate or ""
    for prefix, make in _BY_SQLSTATE.items():
        if state.startswith(prefix):
            return make(error)
    if isinstance(error, Silent):
        return StorageUnavailable("the database does not answer")
    if not state:
        return StorageUnavailable("the connection to the database was lost")
    return StorageUnavailable(f"the database failed (SQLSTATE {state})")


def _constraint(error: psycopg.Error) -> str:
    return error.diag.constraint_name or error.diag.message_primary or "a constraint"


_BY_SQLSTATE: Mapping[str, Callable[[psycopg.Error], LookalikeError]] = {
    "53100": lambda _: StorageFull(
        "the disk of the database is full: nothing is stored or put on record until there is room"
    ),
    "53300": lambda _: StorageUnavailable("the database has no connection left: raise max_connections"),
    "57014": lambda _: StorageUnavailable("the database took too long over a statement"),
    "57P": lambda _: StorageUnavailable("the database is shutting down or starting"),
    "55P03": lambda _: StorageUnavailable("the database is busy: another process holds it for too long"),
    "25006": lambda _: StorageUnavailable("the database takes no writes: it is a standby, or was made read-only"),
    "25P03": lambda _: StorageUnavailable("a write took too long and was undone"),
    "42501": lambda _: StorageUnavailable("the database's user may not do this: it must own its schema"),
    "42P01": lambda _: StorageUnavailable("a table of the database is gone"),
    "XX001": lambda _: TamperedData("the database is damaged; restore it from a backup"),
    "XX002": lambda _: TamperedData("the database is damaged; restore it from a backup"),
    "23503": lambda _: NotFound("the collection or subject that this belongs to is gone"),
    "23": lambda error: Conflict(f"the database refused a write: {_constraint(error)}"),
    "08": lambda _: StorageUnavailable("the connection to the database was lost"),
}
"""The beginning of a SQLSTATE → our error; the first that fits. https://www.postgresql.org/docs/current/errcodes-appendix.html"""
