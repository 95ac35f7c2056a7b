"""The key at the top of the tree, from a file or a passphrase: one line of a table for each kind of place.

The root key wraps other keys and nothing else. It is never made anew for a data folder that has keys already: then a
missing one is an error, since a new one could open nothing.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from lookalike.errors import BadSettings, KeyUnavailable
from lookalike.ports import Rows, RowWriter
from security.secret_key import KEY_BYTES, SecretKey

MIN_PASSPHRASE = 12
_DERIVATION_SETTING = "root.passphrase"
_DERIVATION = {"kdf": "argon2id", "iterations": 3, "memory_kib": 262_144, "lanes": 4}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a root key is to be looked for. fresh: no key was ever wrapped by it, so it may be made."""

    name: str
    folder: Path
    rows: Rows
    fresh: bool
    passphrase_file: Path | None


def root_key(spec: str, folder: Path, rows: Rows, *, fresh: bool, passphrase_file: Path | None = None) -> SecretKey:
    """The root key that `spec` (LOOKALIKE_KEYS) names. folder: what a relative path is relative to.

    Raises: BadSettings, KeyUnavailable.
    """
    scheme, _, name = spec.partition(":")
    provider = PROVIDERS.get(scheme)
    if provider is None:
        raise BadSettings("LOOKALIKE_KEYS: 'file:PATH' or 'passphrase:' is allowed")
    return provider(Place(name, folder, rows, fresh, passphrase_file))


def root_key_file(spec: str, folder: Path) -> Path | None:
    """The file that holds the root key, None where it comes from elsewhere."""
    scheme, _, name = spec.partition(":")
    return folder / name if scheme == "file" and name else None


# --------------------------------------------------------------------------------------------------- file


def _from_file(place: Place) -> SecretKey:
    if not place.name:
        raise BadSettings("LOOKALIKE_KEYS: file: needs a path, such as file:/etc/lookalike/root.key")
    path = place.folder / place.name
    if place.fresh and not os.path.lexists(path):
        _create(path, secrets.token_bytes(KEY_BYTES))
    return SecretKey(read_secret_file(path, "the root key", exactly=KEY_BYTES))


def put_root_key(path: Path, material: bytes) -> None:
    """Put a root key in its place, for a data folder that is restored.

    Raises: KeyUnavailable where it cannot be written, or another key lies there.
    """
    if not os.path.lexists(path):
        _create(path, material)
    if read_secret_file(path, "the root key", exactly=KEY_BYTES) != material:
        raise KeyUnavailable(f"another root key lies there already: {path}")


def _create(path: Path, material: bytes) -> None:
    """Write a key under a temporary name, then link it: of two processes at once, one's key is used by both."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        try:
            os.write(descriptor, material)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with suppress(FileExistsError):
            os.link(temporary, path)
        temporary.unlink()
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise KeyUnavailable(f"the root key cannot be written: {error.strerror}") from error


def read_secret_file(path: Path, what: str, *, exactly: int | None = None, at_most: int = 65_536) -> bytes:
    """The bytes of a file that only its owner may read. what: as it is named in an error, such as "the root key".

    Raises: KeyUnavailable if it is missing, a link, not a plain file, someone else's, open to others, or of a wrong
    length.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise KeyUnavailable(f"{what} is missing: {path}") from None
    except OSError as error:
        reason = "it is a symbolic link" if path.is_symlink() else error.strerror
        raise KeyUnavailable(f"{what} cannot be read ({reason}): {path}") from error
    try:
        _require_private(os.fstat(descriptor), path, what)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(at_most + 1)
    finally:
        os.close(descriptor)
    if len(content) > at_most or (exactly is not None and len(content) != exactly):
        wanted = f"{exactly} bytes" if exactly is not None else f"at most {at_most} bytes"
        raise KeyUnavailable(f"{what} has a wrong length ({wanted} are expected): {path}")
    return content


def _require_private(facts: os.stat_result, path: Path, what: str) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise KeyUnavailable(f"{what} is not a plain file: {path}")
    if facts.st_uid not in (0, os.geteuid()):
        raise KeyUnavailable(f"{what} belongs to another user: {path}")
    if facts.st_mode & 0o077:
        raise KeyUnavailable(f"{what} is open to others than its owner (chmod 400 mends it): {path}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --------------------------------------------------------------------------------------------- passphrase


def _from_passphrase(place: Place) -> SecretKey:
    passphrase = _passphrase(place)
    asked = json.loads(_derivation(place))
    try:
        derived = Argon2id(
            salt=bytes.fromhex(asked["salt"]),
            length=KEY_BYTES,
            iterations=asked["iterations"],
            lanes=asked["lanes"],
            memory_cost=asked["memory_kib"],
        ).derive(passphrase)
    except (UnsupportedAlgorithm, MemoryError) as error:
        raise KeyUnavailable("Argon2id is not available, or there is too little memory for it") from error
    return SecretKey(derived)


def _passphrase(place: Place) -> bytes:
    if place.passphrase_file is None:
        raise BadSettings("LOOKALIKE_KEYS: passphrase: needs LOOKALIKE_PASSPHRASE_FILE, the file that holds it")
    passphrase = read_secret_file(place.passphrase_file, "the passphrase file").rstrip(b"\r\n")
    if len(passphrase) < MIN_PASSPHRASE:
        raise BadSettings(f"the passphrase has fewer than {MIN_PASSPHRASE} characters")
    return passphrase


def _derivation(place: Place) -> bytes:
    """Salt and costs, kept in the clear beside what they open; the first process to ask settles them for all."""
    kept = place.rows.read().get_setting(_DERIVATION_SETTING)
    if kept is not None:
        if _too_cheap(json.loads(kept)):
            raise KeyUnavailable("the passphrase's kept costs are below what is safe: the data folder was changed")
        return kept
    if not place.fresh:
        raise KeyUnavailable("this data folder was not made with a passphrase")
    proposal = json.dumps({**_DERIVATION, "salt": secrets.token_hex(16)}, sort_keys=True).encode()

    def settle(rows: RowWriter) -> bytes:
        there = rows.get_setting(_DERIVATION_SETTING)
        if there is None:
            rows.put_setting(_DERIVATION_SETTING, proposal)
        return there or proposal

    return place.rows.write(settle)


def _too_cheap(asked: dict[str, int]) -> bool:
    return any(asked[cost] < _DERIVATION[cost] for cost in ("iterations", "memory_kib"))  # type: ignore[operator]


# -------------------------------------------------------------------------------------------------- later


def _not_yet(place: Place) -> SecretKey:
    raise BadSettings("LOOKALIKE_KEYS: vault: and pkcs11: are not in this version; 'file:' and 'passphrase:' are")


PROVIDERS: dict[str, Callable[[Place], SecretKey]] = {
    "file": _from_file,
    "passphrase": _from_passphrase,
    "vault": _not_yet,
    "pkcs11": _not_yet,
}
