"""Makes each index backend, and each store of rows, empty."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from index.backends import BACKENDS
from index.faiss_index import FaissIndex
from index.sqlite_rows import SqliteRows
from lookalike.domain import Embeddings, Floats, Space
from lookalike.ports import LocalIndex, RowFiles, Rows, SharedIndex
from security.row_files import SealedRowFiles
from tests import elastic
from tests.contract.small_faiss import shrink_faiss

SPACE = Space("toy", 16, "none")

MakeIndex = Callable[[Space], LocalIndex | SharedIndex]


@pytest.fixture
def space() -> Space:
    return SPACE


TINY, TINY_ON_DISK = "faiss: with tiny bounds", "faiss+disk: with tiny bounds"
ELASTIC = pytest.param("es+https:", marks=pytest.mark.service)


@pytest.fixture(params=[*BACKENDS, TINY, TINY_ON_DISK, ELASTIC])
def make_index(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[MakeIndex]:
    """Each backend; FAISS again with bounds so small that a few rows reach codes, merges, files and widening."""
    if request.param == "es+https:":
        with elastic.opened() as servers:
            yield lambda space: servers.open(elastic.url(), space, secrets.token_hex(16), "0")
        return
    files = SealedRowFiles(tmp_path / "rows")
    if request.param in BACKENDS:
        yield lambda space: BACKENDS[request.param](space, files)
        return
    shrink_faiss(monkeypatch)
    made: list[FaissIndex] = []
    where: RowFiles | None = files if request.param == TINY_ON_DISK else None

    def make(space: Space) -> LocalIndex:
        made.append(FaissIndex(space, where))
        return made[-1]

    yield make
    for index in made:
        index.settle()


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
