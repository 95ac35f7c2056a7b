"""A key ring, an audit log and records over each kind of rows, and people to put into them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from index.sqlite_rows import SqliteRows
from lookalike.domain import AuditEntry, Box, Collection, Kind, NewSample, Quality, Space
from lookalike.ports import Rows
from security.audit import SealedAuditLog
from security.keys import KeyRing, open_key_ring
from security.sealed_records import SealedRecords
from tests.security.memory_rows import MemoryRows

ENTRY = AuditEntry("test", "key:tester", "ok", "request-1")
SPACE = Space("sface:1", 128, "v1")


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: float = 1_800_000_000.25

    def __call__(self) -> float:
        return self.now


def new_collection(name: str = "visitors") -> Collection:
    return Collection(secrets.token_hex(16), name, Kind.FACE, SPACE, created_at=1_800_000_000.125)


def new_sample(id: str | None = None, *, crop: bytes | None = None, image: bytes | None = None) -> NewSample:
    vector = np.random.default_rng(secrets.randbits(32)).normal(size=128).astype(np.float32)
    vector /= np.linalg.norm(vector)
    quality = Quality(0.875, ("blurred",), {"sharpness": 12.5, "yaw": -3.25})
    return NewSample(id or secrets.token_hex(16), Box(-1.5, 20.25, 100.0, 120.5), quality, vector, crop, image)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rows]:
    held: Rows
    if request.param == "memory":
        held = MemoryRows()
    elif request.param == "sqlite":
        held = SqliteRows(tmp_path / "records.db")
    else:
        schema = request.getfixturevalue("schema")
        held = request.getfixturevalue("postgresql").rows(schema)
    yield held
    held.close()


@pytest.fixture
def keyring(rows: Rows, tmp_path: Path) -> KeyRing:
    return open_key_ring("file:keys/root.key", tmp_path, rows)


@pytest.fixture
def audit(rows: Rows, keyring: KeyRing, clock: Clock) -> SealedAuditLog:
    return SealedAuditLog(rows, keyring, clock)


@pytest.fixture
def records(rows: Rows, keyring: KeyRing, audit: SealedAuditLog, clock: Clock) -> SealedRecords:
    return SealedRecords(rows, keyring, audit, clock)


@pytest.fixture
def collection(records: SealedRecords) -> Collection:
    made = new_collection()
    records.create_collection(made, ENTRY)
    return made


@pytest.fixture
def memory() -> MemoryRows:
    """Rows whose tables a test may reach into."""
    return MemoryRows()


@pytest.fixture
def memory_keyring(memory: MemoryRows, tmp_path: Path) -> KeyRing:
    return open_key_ring("file:keys/root.key", tmp_path, memory)


@pytest.fixture
def memory_records(memory: MemoryRows, memory_keyring: KeyRing, clock: Clock) -> SealedRecords:
    return SealedRecords(memory, memory_keyring, SealedAuditLog(memory, memory_keyring, clock), clock)
