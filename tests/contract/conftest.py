"""Makes each index backend, and an empty store of rows."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from index.backends import BACKENDS
from index.sqlite_rows import SqliteRows
from lookalike.domain import Embeddings, Floats, Space
from lookalike.ports import Rows, VectorIndex
from tests import elastic

SPACE = Space("toy", 16, "none")

MakeIndex = Callable[[Space], VectorIndex]


@pytest.fixture
def space() -> Space:
    return SPACE


ELASTIC = pytest.param("es+https:", marks=pytest.mark.service)


@pytest.fixture(params=[*BACKENDS, "faiss: with small segments", ELASTIC])
def make_index(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeIndex]:
    """Each backend; FAISS a second time with bounds so small that a few rows reach its codes, merges and widening."""
    name = request.param
    if name == "es+https:":
        with elastic.opened() as servers:
            yield lambda space: servers.open(elastic.url(), space, secrets.token_hex(16), "0")
        return
    if name not in BACKENDS:
        from index import faiss_index, faiss_segment

        monkeypatch.setattr(faiss_segment, "CODES_FROM", 16)
        monkeypatch.setattr(faiss_segment, "LOOKS", (4, 8))
        monkeypatch.setattr(faiss_segment, "LOOK_SHARE", 1)
        monkeypatch.setattr(faiss_index, "SMALLEST_TAIL", 8)
        monkeypatch.setattr(faiss_index, "SELECTIVE_SHARE", 1000)
        name = "faiss:"
    yield BACKENDS[name]


@pytest.fixture
def turns(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """How often a test does a thing that it would do `n` times: fewer where each is a call to a server."""
    in_server = request.node.get_closest_marker("service") is not None
    return lambda n: max(n // 10, 1) if in_server else n


@pytest.fixture
def unit() -> Callable[..., Embeddings]:
    """unit(n, seed): n random unit vectors of the space."""

    def make(count: int, seed: int = 0) -> Embeddings:
        rows: Floats = np.random.default_rng(seed).standard_normal((count, SPACE.dimension)).astype(np.float32)
        return Embeddings(SPACE, rows / np.linalg.norm(rows, axis=1, keepdims=True))

    return make


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[Rows]:
    store = SqliteRows(tmp_path / "data" / "records.db", busy_timeout_s=5.0)
    yield store
    store.close()
