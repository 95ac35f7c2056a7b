"""Files that hold a secret: read if nobody but their owner may read them, written whole and for the owner alone."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from lookalike.errors import KeyUnavailable


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


def create_secret_file(path: Path, material: bytes) -> None:
    """Write a secret under a temporary name, then link it: of two processes at once, one's is used by both.

    One that lies there already stays. Raises: KeyUnavailable.
    """
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
        raise KeyUnavailable(f"a key cannot be written: {error.strerror}") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
