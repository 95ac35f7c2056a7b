"""What benchmarks/million.py sets side by side: ours, the flat index, codes alone, clusters, graphs, Elasticsearch."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import faiss
import numpy as np

from benchmarks import elastic_gallery, graphs
from benchmarks.galleries import Gallery
from index.codes import Codec
from index.elastic_index import ElasticIndex
from index.faiss_index import FaissIndex
from index.stored_rows import HeldRows, StoredRows
from lookalike.domain import Embeddings, Floats, Labels

NEIGHBOURS, NAMED = 5, 64
LISTS, PROBED = 1024, (16, 64, 256, 512)
FILTERED_BREADTHS = (64, 256)
CANDIDATES = (1000, 5000, 10_000)
ASKED_OF_ELASTIC = 128

Search = Callable[[Floats], Labels]
"""(Q, D) queries -> (Q, 5) positions in the gallery, best first; -1 names none."""


@dataclass(frozen=True)
class Contender:
    """filtered: makes a search among the rows that are chosen, (N,); clock: processor seconds so far.

    probes: so many are asked for recall.
    """

    search: Search
    filtered: Callable[[np.ndarray], Search] | None = None
    clock: Callable[[], float] = time.process_time
    probes: int = 1 << 30


class SharingIndex(FaissIndex):
    """Ours over the gallery's own memory: a million rows of 1280 dimensions do not fit twice."""

    def _stored(self, rows: Floats) -> StoredRows:
        return HeldRows(rows)


def ours(index: FaissIndex | ElasticIndex, allowed: Labels | None = None) -> Search:
    def search(queries: Floats) -> Labels:
        found = index.search(Embeddings(index.space, queries), NEIGHBOURS, allowed)
        return np.array([[hit.label for hit in row] + [-1] * (NEIGHBOURS - len(row)) for row in found])

    return search


def flat(held: Gallery, selector: Any = None) -> Search:
    """What IndexFlatIP does, over the gallery's own memory."""
    rows, dimension = held.vectors.shape

    def search(queries: Floats) -> Labels:
        asked = np.ascontiguousarray(queries)
        best, found = np.empty((len(asked), NEIGHBOURS), np.float32), np.empty((len(asked), NEIGHBOURS), np.int64)
        where = [faiss.swig_ptr(array) for array in (asked, held.vectors, best, found)]
        faiss.knn_inner_product(*where[:2], dimension, len(asked), rows, NEIGHBOURS, *where[2:], selector)
        return found

    return search


def flat_filtered(held: Gallery, chosen: np.ndarray) -> Search:
    bits = np.packbits(chosen, bitorder="little")
    selector = faiss.IDSelectorBitmap(bits)
    plain = flat(held, selector)

    def search(queries: Floats) -> Labels:
        assert len(bits)  # FAISS reads them, and does not keep them
        return plain(queries)

    return search


def codes_alone(held: Gallery, index: FaissIndex, named: int) -> Search:
    """So many rows that our codes name, ranked by their vectors, and never a further look."""

    together_bytes = sum(part.segment.codes.memory_bytes for part in index._state.parts if part.segment.codes)

    def search(queries: Floats) -> Labels:
        scores, labels = [], []
        turned: dict[Codec, Floats] = {}
        for part in index._state.parts:
            codes = part.segment.codes
            if codes is None:
                continue
            if codes.codec not in turned:
                turned[codes.codec] = np.ascontiguousarray(codes.codec.turned(queries))
            similarities, positions = codes.scan(turned[codes.codec], named, together_bytes)
            scores.append(similarities)
            labels.append(part.segment.labels[positions])
        together = np.concatenate(scores, axis=1)
        best = np.argpartition(-together, named - 1, axis=1)[:, :named]
        return reranked(np.take_along_axis(np.concatenate(labels, axis=1), best, axis=1), held, queries)

    return search


def reranked(named: Labels, held: Gallery, queries: Floats) -> Labels:
    """The five of the named rows that are most similar by the vectors; -1 names none."""
    rows = held.vectors[np.maximum(named, 0)]
    similarities = np.where(named >= 0, np.einsum("qld,qd->ql", rows, queries), -2)
    return np.take_along_axis(named, np.argsort(-similarities, axis=1)[:, :NEIGHBOURS], axis=1)


def clusters(held: Gallery, codec: Codec) -> dict[str, Contender]:
    """FAISS's inverted lists of the very codes that we scan, probed more and more, ranked by the vectors."""
    width = codec.dimensions
    coarse = faiss.IndexFlatIP(width)
    training = faiss.Clustering(width, LISTS)
    training.niter, training.spherical, training.max_points_per_centroid = 8, True, 64
    training.train(np.ascontiguousarray(codec.turned(held.vectors[:: max(1, len(held.vectors) // 65536)])), coarse)
    index = faiss.IndexIVFPQFastScan(coarse, width, LISTS, width, 4, faiss.METRIC_INNER_PRODUCT)
    index.by_residual = False
    levels = (np.arange(16, dtype=np.float32) + 0.5) / 15
    centroids = codec.lowest[:, None] + codec.span[:, None] * levels
    faiss.copy_array_to_vector(centroids.astype(np.float32).ravel(), index.pq.centroids)
    index.is_trained = True
    for start in range(0, len(held.vectors), 65536):
        index.add(np.ascontiguousarray(codec.turned(held.vectors[start : start + 65536])))

    def probing(probes: int) -> Search:
        def search(queries: Floats) -> Labels:
            index.nprobe = probes
            named = index.search(np.ascontiguousarray(codec.turned(queries)), NAMED)[1]
            return reranked(named, held, queries)

        return search

    return {f"{LISTS} clusters, {probes} probed": Contender(probing(probes)) for probes in PROBED}


def of_graphs(kind: str, held: Gallery, breadths: Sequence[int], built_s: dict[str, float]) -> dict[str, Contender]:
    """hnswlib and usearch, searched more and more broadly. usearch has no filter in its Python interface."""
    found = {}
    for engine in graphs.ENGINES:
        graph, built_s[engine] = graphs.graph_of(engine, kind, held)
        for breadth in breadths:
            filtered = None
            if engine == "hnswlib" and breadth in FILTERED_BREADTHS:

                def filtered(chosen: np.ndarray, graph: Any = graph, breadth: int = breadth) -> Search:
                    return graphs.filtering(graph, breadth, chosen)

            found[f"{engine}, ef {breadth}"] = Contender(graphs.searching(engine, graph, breadth), filtered)
    return found


def of_elastic(kind: str, held: Gallery, vectors: str, stack: ExitStack) -> dict[str, Contender]:
    """Our index in Elasticsearch; a graph with more and more candidates."""
    found = {}
    for candidates in CANDIDATES if vectors.endswith("hnsw") else CANDIDATES[:1]:
        index = stack.enter_context(elastic_gallery.opened(kind, held, vectors, candidates))
        if not found:
            elastic_gallery.fill(index, held)

        def filtered(chosen: np.ndarray, index: ElasticIndex = index) -> Search:
            return ours(index, np.flatnonzero(chosen))

        name = f"Elasticsearch {vectors}" + (f", {candidates}" if vectors.endswith("hnsw") else "")
        found[name] = Contender(ours(index), filtered, elastic_gallery.processor_s, ASKED_OF_ELASTIC)
    return found
