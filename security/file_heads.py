"""Wraps the keys at the heads of sealed files anew, so that the files open after their collection was rotated.

Snapshots and what imports keep begin alike: magic 4 | length of the wrapped key 2, big-endian | wrapped segment key. A
wrapped key has always the same length, so a new one is written over the old in one write; all else stays as it is.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from lookalike.errors import LookalikeError
from security.key_wrap import WRAPPED_BYTES, wrapping_key_id
from security.keys import KeyRing

_LENGTH_AT, _KEY_AT = 4, 6

log = logging.getLogger(__name__)


def rewrap_heads(keyring: KeyRing, paths: Iterable[Path]) -> int:
    """Bring the heads of these files to the newest version of their collections' keys. Returns how many were changed.

    A file that is not of this kind, that goes meanwhile, or whose key does not open is left as it is: whoever reads it
    says so.
    """
    changed = 0
    for path in paths:
        try:
            changed += _rewrap(keyring, path)
        except FileNotFoundError:
            continue
        except (OSError, LookalikeError) as error:
            log.warning("the key of a sealed file stays as it is: %s", type(error).__name__)
    return changed


def _rewrap(keyring: KeyRing, path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        head = os.pread(descriptor, _KEY_AT + WRAPPED_BYTES, 0)
        wrapped = head[_KEY_AT:]
        if int.from_bytes(head[_LENGTH_AT:_KEY_AT], "big") != WRAPPED_BYTES or len(wrapped) != WRAPPED_BYTES:
            return False
        id = wrapping_key_id(wrapped)
        keys = keyring.owner_of(id)
        if keys is None or keys.newest.id == id:
            return False
        os.pwrite(descriptor, keyring.rewrapped_segment_key(keys, wrapped), _KEY_AT)
        os.fsync(descriptor)
        return True
    finally:
        os.close(descriptor)
