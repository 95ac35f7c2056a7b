"""The root key in force: what it wraps opens through here, also after it was moved to another root meanwhile.

When the root is moved (root_move.py) everything that it wrapped is wrapped anew in one transaction. A process that
still has the old root in memory finds the new one in a handover: the new root sealed under the old one, which stands
among the settings for some minutes only.

    "root.handover/" old root's id, hex  →  until 8, IEEE 754 big-endian | envelope under the old root
"""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from lookalike.errors import KeyMoved, KeyUnavailable, TamperedData
from lookalike.ports import CollectionRow, RowReader, RowWriter
from security.envelope import Context, key_id_of, open_sealed, seal
from security.secret_key import SecretKey

T = TypeVar("T")

HANDOVER = "root.handover/"
"""Begins the names of the settings that lead from an old root to the new one."""

DEPLOYMENT_SETTING = "deployment"
PROBE_SETTING = "key.lookup"
"""A setting that the root in force has wrapped, which therefore tells its id."""

PAST_S = 5.0
"""Longer than anyone takes from reading a row to opening it."""

_UNTIL = struct.Struct(">d")


class KeyReader(Protocol):
    """What a key ring reads of a store of rows."""

    def get_setting(self, name: str) -> bytes | None: ...
    def collections(self) -> list[CollectionRow]: ...


class KeyStore(Protocol):
    """What a key ring needs of a store of rows: Rows, or what a backup holds."""

    def read(self) -> KeyReader: ...
    def write(self, work: Callable[[RowWriter], T]) -> T: ...


class Root:
    """Seals and opens under the root key. Thread-safe."""

    def __init__(self, rows: KeyStore, key: SecretKey, clock: Callable[[], float] = time.time) -> None:
        self._rows = rows
        self._key = key
        self._clock = clock
        self._lock = threading.Lock()
        self._past: dict[bytes, tuple[SecretKey, float]] = {}

    def __repr__(self) -> str:
        return f"Root({self.id.hex()})"

    @property
    def id(self) -> bytes:
        return self._key.id

    def seal(self, plain: bytes, context: Context) -> bytes:
        """An envelope under the root key."""
        return seal(self._key, plain, context)

    def open(self, blob: bytes, context: Context) -> bytes:
        """Raises: TamperedData; KeyUnavailable if the root was moved too long ago for this process to follow."""
        id = key_id_of(blob)
        past = self._past.get(id)
        if past is not None and time.monotonic() < past[1]:
            return open_sealed(past[0], blob, context)
        if id != self._key.id:
            self._follow(id)
        return open_sealed(self._key, blob, context)

    def require_current(self, rows: KeyReader, wrapped: bytes) -> None:
        """Have what is about to be written be wrapped by the root in force. rows: as the transaction sees them.

        Raises: KeyMoved; then the caller wraps again. KeyUnavailable if the root cannot be followed.
        """
        probe = rows.get_setting(PROBE_SETTING)
        if probe is not None and key_id_of(probe) != key_id_of(wrapped):
            self._follow(key_id_of(probe))
            raise KeyMoved("the root key was moved meanwhile")

    def hand_over(self, rows: RowWriter, deployment: str, new: SecretKey, until: float) -> None:
        """Let processes that have this root go on with the new one, until a time in seconds since 1970."""
        held = _UNTIL.pack(until)
        rows.put_setting(
            HANDOVER + self.id.hex(), held + seal(self._key, new.material, _context(deployment, self.id, held))
        )

    def replace(self, new: SecretKey) -> None:
        """Go on with this one; what was read just before still opens for some seconds."""
        with self._lock:
            self._take(new)

    def _take(self, new: SecretKey) -> None:
        if new.id != self._key.id:
            self._past = {self._key.id: (self._key, time.monotonic() + PAST_S)}
            self._key = new

    def _follow(self, wanted: bytes) -> None:
        """Take the root of this id, by the handovers that lead there."""
        with self._lock:
            key, seen = self._key, set[bytes]()
            while key.id != wanted and key.id not in seen:
                seen.add(key.id)
                key = self._successor(key) or key
            if key.id != wanted:
                raise KeyUnavailable(
                    "a key is wrapped by another root than the one this process has: if the root was moved, start it "
                    "again with LOOKALIKE_KEYS naming the new one"
                )
            self._take(key)

    def _successor(self, key: SecretKey) -> SecretKey | None:
        reader = self._rows.read()
        held, deployment = reader.get_setting(HANDOVER + key.id.hex()), reader.get_setting(DEPLOYMENT_SETTING)
        if held is None or deployment is None:
            return None
        until, envelope = held[: _UNTIL.size], held[_UNTIL.size :]
        if len(until) < _UNTIL.size or self._clock() > _UNTIL.unpack(until)[0]:
            return None
        try:
            return SecretKey(open_sealed(key, envelope, _context(deployment.decode("ascii"), key.id, until)))
        except TamperedData:
            return None


def handovers(rows: RowReader) -> dict[str, float]:
    """Setting → until when the old root that it names can still be followed to the new one."""
    return {name: _UNTIL.unpack(held[: _UNTIL.size])[0] for name, held in rows.settings(HANDOVER).items()}


def _context(deployment: str, old: bytes, until: bytes) -> Context:
    return Context(deployment, "root-handover", record=f"{old.hex()}/{until.hex()}")
