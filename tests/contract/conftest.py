"""Makes each index backend, and each store of rows, empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from index.backends import BACKENDS
from index.sqlite_rows import SqliteRows
from lookalike.domain import Embeddings, Floats, Space
from lookalike.ports import Rows, VectorIndex

SPACE = Space("toy", 16, "none")

MakeIndex = Callable[[Space], VectorIndex]


@pytest.fixture
def space() -> Space:
    return SPACE


@pytest.fixture(params=[*BACKENDS, "faiss: with small segments"])
def make_index(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> MakeIndex:
    """Each backend; FAISS a second time with bounds so small that a few rows reach its codes, merges and widening."""
    name = request.param
    if name not in BACKENDS:
        from index import faiss_index, faiss_segment

        monkeypatch.setattr(faiss_segment, "CODES_FROM", 16)
        monkeypatch.setattr(faiss_segment, "LOOKS", (4, 8))
        monkeypatch.setattr(faiss_segment, "LOOK_SHARE", 1)
        monkeypatch.setattr(faiss_index, "SMALLEST_TAIL", 8)
        monkeypatch.setattr(faiss_index, "SELECTIVE_SHARE", 1000)
        name = "faiss:"
    return BACKENDS[name]


@pytest.fixture
def unit() -> Callable[..., Embeddings]:
    """unit(n, seed): n random unit vectors of the space."""

    def make(count: int, seed: int = 0) -> Embeddings:
        rows: Floats = np.random.default_rng(seed).standard_normal((count, SPACE.dimension)).astype(np.float32)
        return Embeddings(SPACE, rows / np.linalg.norm(rows, axis=1, keepdims=True))

    return make


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.service)])
def rows(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rows]:
    """Each store; one on PostgreSQL is in a schema of its own."""
    if request.param == "sqlite":
        store: Rows = SqliteRows(tmp_path / "data" / "records.db", busy_timeout_s=5.0)
    else:
        schema = request.getfixturevalue("schema")
        store = request.getfixturevalue("postgresql").rows(schema)
    yield store
    store.close()
