"""API keys: made, listed, revoked, and turned into principals at a cost of one keyed hash.

A key is 256 random bits, so a slow password hash would protect nothing: what is kept is HMAC-SHA256 of it under a
pepper that is not in the database. Name, grants and dates are sealed. An answer is remembered for at most a second, so
a revocation by any process holds within that time.

A key may have a pair of secrets that sign requests as AWS's do. To check a signature takes the secret, so that is
sealed with the name rather than hashed. A setting named by a keyed hash of the access key id holds the key's own hash.
"""

from __future__ import annotations

import json
import secrets
import string
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike.answers import Caller
from lookalike.domain import AuditEntry, Grant, Permission, Principal
from lookalike.errors import (
    BadSettings,
    InvalidInput,
    KeyNotFound,
    PermissionDenied,
    TamperedData,
    Unauthenticated,
    UnknownAccessKey,
)
from lookalike.on_record import on_record
from lookalike.ports import Rows, RowWriter
from security.audit import SealedAuditLog
from security.envelope import open_sealed, seal
from security.keys import KeyRing
from security.ledger_copy import Ledger
from security.rbac import check_grantable, manages, principal_for
from security.sealed_codec import canonical, decode_grants, encode_grants
from security.sigv4 import Claim

REMEMBERED_S = 1.0
"""How long an authenticated key is trusted without asking the store: the longest that a revoked one lives on."""

MAX_REMEMBERED = 10_000
MAX_NAME = 256
MAX_EXPIRES_DAYS = 36_500
MIN_GIVEN = 32
_MAX_SECRET = 200
_DAY_S = 86_400.0
_BASE62 = string.ascii_letters + string.digits
_REFUSED = "the credential is missing, unknown, expired or revoked"
_BOOTSTRAP = "bootstrap"


@dataclass(frozen=True, slots=True)
class ApiKeyInfo:
    """What is known of a key; its secret is not. Times are in seconds since 1970."""

    id: str
    name: str
    grants: tuple[Grant, ...]
    created_at: float
    created_by: str
    expires_at: float | None
    aws_access_key_id: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class CreatedKey:
    """A key just made: the only time that its secrets are seen."""

    id: str
    key: str
    access_key_id: str | None = None
    secret_access_key: str | None = None

    def __repr__(self) -> str:
        return f"CreatedKey(id={self.id})"


@dataclass(frozen=True, slots=True)
class _Remembered:
    until: float
    expires_at: float | None
    principal: Principal


@dataclass(frozen=True, slots=True, repr=False)
class Signer:
    """Whoever holds a secret access key, until a request of theirs is verified."""

    secret: str
    principal: Principal
    until: float
    expires_at: float | None

    def verify(self, claim: Claim, body_sha256: str) -> Principal:
        """Who signed. Raises: SignatureMismatch."""
        claim.verify(self.secret, body_sha256)
        return self.principal


class ApiKeys:
    """The deployment's API keys. Thread-safe, and several processes may share the rows."""

    def __init__(
        self,
        rows: Rows,
        keyring: KeyRing,
        audit: SealedAuditLog,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        ledger: Ledger | None = None,
    ) -> None:
        """ledger: where revocations are entered; by default one that has no copy outside the data folder."""
        self._rows = rows
        self._keyring = keyring
        self._audit = audit
        self._clock = clock
        self._timer = timer
        self._ledger = ledger or Ledger(rows, keyring, audit)
        self._sealing = keyring.derived_key("api keys")
        self._remembered: dict[bytes, _Remembered] = {}
        self._signers: dict[str, Signer] = {}
        self._lock = threading.Lock()
        self._decoy = self._seal("", ApiKeyInfo("", "", (), 0.0, "", 0.0), None)

    # ------------------------------------------------------------------------------------------- each request

    def authenticate(self, secret: str) -> Principal:
        """Who holds this key. Raises: Unauthenticated, alike for one unknown, expired or revoked."""
        if not 1 <= len(secret) <= _MAX_SECRET:
            raise Unauthenticated(_REFUSED)
        lookup = self._lookup(secret)
        remembered = self._remembered.get(lookup)
        if remembered is None or self._timer() >= remembered.until:
            remembered = self._read(lookup)
        if remembered.expires_at is not None and self._clock() >= remembered.expires_at:
            raise Unauthenticated(_REFUSED)
        return remembered.principal

    def _read(self, lookup: bytes) -> _Remembered:
        since = self._timer()
        row = self._rows.read().api_key_by_lookup(lookup)
        key = self._open(row[0], row[2]) if row is not None else self._open("", self._decoy)
        answer = _Remembered(since + REMEMBERED_S, key.expires_at, principal_for(f"key:{key.id}", key.grants))
        with self._lock:
            if row is None:
                self._remembered.pop(lookup, None)
                raise Unauthenticated(_REFUSED)
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[lookup] = answer
        return answer

    def signer(self, access_key_id: str) -> Signer:
        """Who may sign with this id. Raises: UnknownAccessKey, alike for one unknown, expired or revoked."""
        found = self._signers.get(access_key_id)
        if found is None or self._timer() >= found.until:
            found = self._read_signer(access_key_id)
        if found.expires_at is not None and self._clock() >= found.expires_at:
            raise UnknownAccessKey(_REFUSED)
        return found

    def _read_signer(self, access_key_id: str) -> Signer:
        since, rows = self._timer(), self._rows.read()
        lookup = rows.get_setting(self._signer_setting(access_key_id))
        row = rows.api_key_by_lookup(lookup) if lookup is not None else None
        with self._lock:
            self._signers.pop(access_key_id, None)
            if row is None:
                raise UnknownAccessKey(_REFUSED)
            key, secret = self._open(row[0], row[2]), self._open_secret(row[0], row[2])
            if secret is None or key.aws_access_key_id != access_key_id:
                raise TamperedData("an access key id leads to a key of another one")
            if len(self._signers) >= MAX_REMEMBERED:
                self._signers.clear()
            principal = principal_for(f"key:{key.id}", key.grants)
            found = self._signers[access_key_id] = Signer(secret, principal, since + REMEMBERED_S, key.expires_at)
        return found

    def principal(self, id: str) -> Principal:
        """Who the key of this id stands for. Raises: Unauthenticated once it is expired or revoked."""
        for held, _, payload in self._rows.read().api_keys():
            if held == id:
                key = self._open(held, payload)
                if key.expires_at is None or self._clock() < key.expires_at:
                    return principal_for(f"key:{key.id}", key.grants)
        raise Unauthenticated(_REFUSED)

    # ---------------------------------------------------------------------------------------------- managing

    def create(
        self,
        principal: Principal,
        name: str,
        grants: Sequence[Grant],
        expires_days: int | None = None,
        aws: bool = False,
        *,
        request_id: str = "-",
    ) -> CreatedKey:
        """Make a key with these grants. aws: also a pair of secrets that sign requests as AWS's do.

        Raises: InvalidInput, PermissionDenied for more than the principal holds.
        """
        with on_record(self._audit, Caller(principal, request_id), "api_key.create", None) as record:
            check_grantable(principal, grants)
            made = CreatedKey(secrets.token_hex(16), _random_key(), *(_aws_pair() if aws else ()))
            key = self._described(made, principal, name, tuple(grants), expires_days)
            record.details["api_key"] = key.id
            self._rows.write(self._putting(made, key, record.commit()))
            return made

    def list(self, principal: Principal, *, request_id: str = "-") -> list[ApiKeyInfo]:
        """The keys that this principal manages, oldest first. Raises: PermissionDenied if it manages none."""
        with on_record(self._audit, Caller(principal, request_id), "api_key.list", None):
            _require_manager(principal)
            keys = [self._open(id, payload) for id, _, payload in self._rows.read().api_keys()]
            return sorted((k for k in keys if manages(principal, k.grants)), key=lambda k: (k.created_at, k.id))

    def expiries(self) -> tuple[float | None, ...]:
        """When each key that is there expires, None for never; for figures, so that nothing is put on record."""
        return tuple(self._open(id, payload).expires_at for id, _, payload in self._rows.read().api_keys())

    def revoke(self, principal: Principal, id: str, *, request_id: str = "-") -> None:
        """Forget a key at once. Raises: PermissionDenied; KeyNotFound, also for one that others manage."""
        with on_record(self._audit, Caller(principal, request_id), "api_key.revoke", None) as record:
            _require_manager(principal)
            found = next((row for row in self._rows.read().api_keys() if row[0] == id), None)
            key = self._open(id, found[2]) if found is not None else None
            if found is None or key is None or not manages(principal, key.grants):
                raise KeyNotFound("there is no such key among those that this credential manages")
            access_key_id = key.aws_access_key_id
            record.details["api_key"] = id
            note = self._audit.prepare(record.entry())

            def delete(rows: RowWriter) -> None:
                if not rows.delete_api_key(id):
                    raise KeyNotFound("there is no such key among those that this credential manages")
                if access_key_id is not None:
                    rows.delete_setting(self._signer_setting(access_key_id))
                note(rows)
                self._ledger.enter(rows, "api_key", {"api_key": id}, self._clock())

            self._rows.write(delete)
            record.written = True
            self._ledger.publish()
            with self._lock:
                self._remembered.pop(found[1], None)
                self._signers.pop(access_key_id or "", None)

    def bootstrap(self, file: Path | None = None) -> str | None:
        """The first admin key, made only while no key exists; None where one does. file: holds the one to take.

        Raises: BadSettings unless the file holds 32-200 printable ASCII characters.
        """
        if self._rows.read().api_keys():
            return None
        made = CreatedKey(secrets.token_hex(16), _given_key(file) if file is not None else _random_key())
        key = ApiKeyInfo(made.id, _BOOTSTRAP, (Grant("admin"),), self._clock(), _BOOTSTRAP, None)
        entry = AuditEntry("api_key.bootstrap", _BOOTSTRAP, "ok", "-", details={"api_key": key.id})
        put = self._putting(made, key, entry)

        def first(rows: RowWriter) -> bool:
            if rows.api_keys():
                return False
            put(rows)
            return True

        return made.key if self._rows.write(first) else None

    # --------------------------------------------------------------------------------------------- one record

    def _described(
        self, made: CreatedKey, principal: Principal, name: str, grants: tuple[Grant, ...], expires_days: int | None
    ) -> ApiKeyInfo:
        if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
            raise InvalidInput(f"name: 1 to {MAX_NAME} printable characters are allowed")
        if expires_days is not None and not 1 <= expires_days <= MAX_EXPIRES_DAYS:
            raise InvalidInput(f"expires_days: 1 to {MAX_EXPIRES_DAYS} are allowed")
        now = self._clock()
        expires_at = now + expires_days * _DAY_S if expires_days is not None else None
        return ApiKeyInfo(made.id, name, grants, now, principal.id, expires_at, made.access_key_id)

    def _putting(self, made: CreatedKey, key: ApiKeyInfo, entry: AuditEntry) -> Callable[[RowWriter], None]:
        lookup, payload = self._lookup(made.key), self._seal(key.id, key, made.secret_access_key)
        note = self._audit.prepare(entry)

        def put(rows: RowWriter) -> None:
            rows.put_api_key(key.id, lookup, payload)
            if key.aws_access_key_id is not None:
                rows.put_setting(self._signer_setting(key.aws_access_key_id), lookup)
            note(rows)

        return put

    def _lookup(self, secret: str) -> bytes:
        return self._keyring.lookup("api key", secret.encode("utf-8", "surrogatepass"))

    def _signer_setting(self, access_key_id: str) -> str:
        return f"signer/{self._keyring.lookup('access key id', access_key_id.encode()).hex()}"

    def _seal(self, id: str, key: ApiKeyInfo, secret_access_key: str | None) -> bytes:
        held = {
            "name": key.name,
            "grants": encode_grants(key.grants),
            "created_at": key.created_at,
            "created_by": key.created_by,
            "expires_at": key.expires_at,
            "aws": [key.aws_access_key_id, secret_access_key] if secret_access_key is not None else None,
        }
        return seal(self._sealing, canonical(held), self._keyring.context("api-key", record=id))

    def _open(self, id: str, payload: bytes) -> ApiKeyInfo:
        held = self._opened(id, payload)
        return ApiKeyInfo(
            id=id,
            name=held["name"],
            grants=decode_grants(held["grants"]),
            created_at=held["created_at"],
            created_by=held["created_by"],
            expires_at=held["expires_at"],
            aws_access_key_id=held["aws"][0] if held["aws"] is not None else None,
        )

    def _open_secret(self, id: str, payload: bytes) -> str | None:
        """The secret access key, None of a key that has none."""
        held = self._opened(id, payload)["aws"]
        return None if held is None else str(held[1])

    def _opened(self, id: str, payload: bytes) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            open_sealed(self._sealing, payload, self._keyring.context("api-key", record=id))
        )
        return found


def _require_manager(principal: Principal) -> None:
    if not principal.may_anywhere(Permission.MANAGE_KEYS):
        raise PermissionDenied("this needs the permission 'manage_keys', which the credential lacks")


def _given_key(file: Path) -> str:
    try:
        key = file.read_bytes()[: 4 * _MAX_SECRET].decode("latin-1").rstrip("\r\n")
    except OSError as error:
        raise BadSettings(f"the bootstrap key file cannot be read: {error.strerror}") from error
    if not (MIN_GIVEN <= len(key) <= _MAX_SECRET and all(" " <= character <= "~" for character in key)):
        raise BadSettings(f"the bootstrap key must be {MIN_GIVEN}-{_MAX_SECRET} printable ASCII characters")
    return key


def _random_key() -> str:
    """256 bits, recognisable by scanners for secrets."""
    return f"lk_{_random_text(43)}"


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(length))


def _aws_pair() -> tuple[str, str]:
    """(access key id, secret access key) of the forms that AWS's clients expect."""
    id_alphabet = string.ascii_uppercase + "234567"
    return "LKIA" + "".join(secrets.choice(id_alphabet) for _ in range(16)), _random_text(40)
