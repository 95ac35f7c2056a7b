"""Search among a million: ours beside FAISS's flat index, clusters, and graphs; filters; and the stalls of writes.

    python benchmarks/million.py [--kind faces|items] [--rows 1000000] [--dimension 128] [--graphs | --brief]

The galleries are those of benchmarks/galleries.py. Every round runs each contender once, in turn, so that a neighbour's
load falls on all of them; the least of the rounds counts. Milliseconds are of the process, on one thread. --graphs
builds hnswlib's and usearch's too, which takes an hour and more at a million rows; --brief leaves all but ours and the
flat index out. Prints a table, and writes JSON and
a curve of recall against time to bench-output/.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import faiss
import numpy as np

from benchmarks.embed import machine
from benchmarks.galleries import Gallery, gallery
from index.codes import Codec
from index.faiss_index import FaissIndex
from lookalike.domain import Embeddings, Floats, Labels, Space

NEIGHBOURS, BATCH, ALONE, NAMED = 5, 64, 32, 64
LISTS, PROBED = 1024, (16, 64, 256, 512)
BREADTHS = (64, 256, 1024)
ADDED = 20_000

Search = Callable[[Floats], Labels]
"""(Q, D) queries -> (Q, 5) positions in the gallery, best first."""


def reranked(named: Labels, held: Gallery, queries: Floats) -> Labels:
    """The five of the named rows that are most similar by the vectors; -1 names none."""
    rows = held.vectors[np.maximum(named, 0)]
    similarities = np.where(named >= 0, np.einsum("qld,qd->ql", rows, queries), -2)
    return np.take_along_axis(named, np.argsort(-similarities, axis=1)[:, :NEIGHBOURS], axis=1)


def ours(index: FaissIndex) -> Search:
    def search(queries: Floats) -> Labels:
        found = index.search(Embeddings(index.space, queries), NEIGHBOURS)
        return np.array([[neighbour.label for neighbour in row] for row in found])

    return search


def clusters(held: Gallery, codec: Codec) -> dict[str, Search]:
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

    return {f"{LISTS} clusters, {probes} probed": probing(probes) for probes in PROBED}


def graphs(held: Gallery) -> dict[str, Search]:
    """hnswlib and usearch with their usual M of 16, searched more and more broadly."""
    import hnswlib
    from usearch.index import Index

    dimension = held.vectors.shape[1]
    theirs = hnswlib.Index(space="ip", dim=dimension)
    theirs.init_index(max_elements=len(held.vectors), M=16, ef_construction=100)
    theirs.set_num_threads(1)
    theirs.add_items(held.vectors, num_threads=1)
    other = Index(ndim=dimension, metric="ip", dtype="f32", connectivity=16, expansion_add=100)
    other.add(np.arange(len(held.vectors)), held.vectors, threads=1)

    def of_hnswlib(breadth: int) -> Search:
        def search(queries: Floats) -> Labels:
            theirs.set_ef(breadth)
            return np.asarray(theirs.knn_query(queries, k=NEIGHBOURS, num_threads=1)[0], dtype=np.int64)

        return search

    def of_usearch(breadth: int) -> Search:
        def search(queries: Floats) -> Labels:
            other.expansion_search = breadth
            return np.asarray(other.search(queries, NEIGHBOURS, threads=1).keys, dtype=np.int64).reshape(-1, NEIGHBOURS)

        return search

    return {f"hnswlib, ef {b}": of_hnswlib(b) for b in BREADTHS} | {f"usearch, ef {b}": of_usearch(b) for b in BREADTHS}


def flat(held: Gallery) -> tuple[Any, Search]:
    index = faiss.IndexFlatIP(held.vectors.shape[1])
    index.add(held.vectors)
    return index, lambda queries: np.asarray(index.search(queries, NEIGHBOURS)[1])


def spent(search: Callable[[Floats], object], queries: Floats, batch: int) -> float:
    """Processor milliseconds a query."""
    started = time.process_time()
    for start in range(0, len(queries), batch):
        search(queries[start : start + batch])
    return (time.process_time() - started) * 1e3 / len(queries)


def exact_answers(held: Gallery) -> tuple[Labels, Floats]:
    positions, similarities = [], []
    for start in range(0, len(held.probes), 32):
        scores = held.probes[start : start + 32] @ held.vectors.T
        best = np.argpartition(-scores, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1), axis=1)
        positions.append(best)
        similarities.append(np.take_along_axis(scores, best, axis=1))
    return np.concatenate(positions), np.concatenate(similarities)


def quality(found: Labels, held: Gallery, true: Floats) -> dict[str, float]:
    """Recall, a row as similar as the k-th counting as one of the k; and whether the first is the same one's."""
    scores = np.where(found >= 0, np.einsum("qkd,qd->qk", held.vectors[np.maximum(found, 0)], held.probes), -2)
    return {
        "recall_at_1": float((scores.max(axis=1) >= true[:, 0] - 1e-5).mean()),
        "recall_at_5": float((scores >= true[:, -1:] - 1e-5).mean()),
        "rank_1": float((held.owners[found[:, 0]] == held.probe_owners).mean()),
    }


def answers(search: Search, held: Gallery) -> Labels:
    return np.concatenate([search(held.probes[i : i + 64]) for i in range(0, len(held.probes), 64)])


def filtered(held: Gallery, index: FaissIndex, theirs: Any, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds a query, alone, when a filter leaves one row of a hundred, and of two."""
    found = {}
    for name, step in (("1 %", 100), ("50 %", 2)):
        allowed = np.arange(0, len(held.vectors), step)
        chosen = np.zeros(len(held.vectors), dtype=bool)
        chosen[allowed] = True
        selector = faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))
        parameters = faiss.SearchParameters(sel=selector)
        ways: dict[str, Callable[[Floats], object]] = {
            "ours": lambda q, a=allowed: index.search(Embeddings(index.space, q), NEIGHBOURS, a),
            "FlatIP": lambda q, p=parameters: theirs.search(q, NEIGHBOURS, params=p),
        }
        found[name] = {
            way: min(spent(search, held.probes[:ALONE], 1) for _ in range(rounds)) for way, search in ways.items()
        }
    return found


def stalls(held: Gallery, index: FaissIndex) -> dict[str, float]:
    """Add rows one by one while another thread searches; worst waits in milliseconds, and what memory grew by."""
    waits: list[float] = []
    stop = threading.Event()

    def searching() -> None:
        i = 0
        while not stop.is_set():
            query = held.probes[i % len(held.probes)][None, :]
            began = time.perf_counter()
            index.search(Embeddings(index.space, query), NEIGHBOURS)
            waits.append((time.perf_counter() - began) * 1e3)
            i += 1

    rng = np.random.default_rng(1)
    fresh = held.vectors[rng.integers(0, len(held.vectors), ADDED)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    searcher = threading.Thread(target=searching)
    searcher.start()
    adds = []
    for i in range(ADDED):
        began = time.perf_counter()
        index.add(np.array([10**9 + i]), Embeddings(index.space, fresh[i : i + 1]))
        adds.append((time.perf_counter() - began) * 1e3)
    index.settle()
    stop.set()
    searcher.join()
    alone = time.process_time()
    for i in range(ADDED, ADDED + 2000):
        index.add(np.array([10**9 + i]), Embeddings(index.space, fresh[i - ADDED : i - ADDED + 1]))
    alone = (time.process_time() - alone) / 2000 * 1e3
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "add_ms_of_processor": alone,
        "add_ms_median": float(np.median(adds)),
        "add_ms_worst": max(adds),
        "search_ms_median": float(np.median(waits)),
        "search_ms_worst": max(waits),
        "peak_memory_grew_mb": grown / 1e3,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("faces", "items"), default="faces")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--brief", action="store_true", help="ours beside the flat index alone")
    arguments = parser.parse_args()
    dimension = arguments.dimension or {"faces": 128, "items": 1280}[arguments.kind]
    faiss.omp_set_num_threads(1)
    held = gallery(arguments.kind, arguments.rows, dimension)
    index = FaissIndex(Space("benchmark", dimension, "none"))
    began = time.process_time()
    index.add(np.arange(len(held.vectors)), Embeddings(index.space, held.vectors))
    loaded_s = time.process_time() - began
    theirs, flat_search = flat(held)
    table: dict[str, Search] = {"FlatIP": flat_search, "ours": ours(index)}
    codec = index._codec
    if codec is not None and not arguments.brief:
        table |= clusters(held, codec)
    if arguments.graphs:
        table |= graphs(held)
    times = {name: {1: float("inf"), BATCH: float("inf")} for name in table}
    for _ in range(arguments.rounds):
        for name, search in table.items():
            for batch, queries in ((1, held.probes[:ALONE]), (BATCH, held.probes[:BATCH])):
                times[name][batch] = min(times[name][batch], spent(search, queries, batch))
    truth, true = exact_answers(held)
    report: dict[str, Any] = {
        "machine": machine(),
        "kind": arguments.kind,
        "rows": len(held.vectors),
        "real": held.real,
        "dimension": dimension,
        "probes": len(held.probes),
        "rank_1_exact": float((held.owners[truth[:, 0]] == held.probe_owners).mean()),
        "loaded_s_of_processor": loaded_s,
        "index": {name: getattr(index.describe(), name) for name in ("structure", "why", "parts", "memory_bytes")},
        "contenders": {
            name: {"ms_alone": times[name][1], "ms_of_64": times[name][BATCH], **quality(found, held, true)}
            for name, search in table.items()
            for found in [truth if name == "FlatIP" else answers(search, held)]
        },
        "filters": filtered(held, index, theirs, arguments.rounds),
        "writes": stalls(held, index),
    }
    show(report)
    out = Path(__file__).resolve().parent.parent / "bench-output" / f"million-{arguments.kind}-{dimension}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n")
    draw(report, out.with_suffix(".png"))


def show(report: dict[str, Any]) -> None:
    print(
        f"{report['rows']:,} {report['kind']} of {report['dimension']} dimensions, {report['real']:,} of them real; "
        f"{report['probes']:,} probes, all real; exact rank-1 {report['rank_1_exact']:.4f}"
    )
    print(
        f"{report['index']['why']}; {report['index']['memory_bytes'] / 1e6:.0f} MB, {report['index']['parts']} parts, "
    )
    print(f"made in {report['loaded_s_of_processor']:.1f} s of processor time")
    base = report["contenders"]["FlatIP"]["ms_alone"]
    print(f"{'':26}{'alone, ms':>10}{'':8}{'of 64, ms':>10}{'':8}{'recall@1':>10}{'recall@5':>10}{'rank-1':>10}")
    for name, its in report["contenders"].items():
        print(
            f"{name:26}{its['ms_alone']:10.3f}{base / its['ms_alone']:7.1f}×{its['ms_of_64']:10.3f}"
            f"{base / its['ms_of_64']:7.1f}×{its['recall_at_1']:10.4f}{its['recall_at_5']:10.4f}{its['rank_1']:10.4f}"
        )
    for name, ways in report["filters"].items():
        print(f"a filter that leaves {name}: " + ", ".join(f"{way} {ms:.2f} ms" for way, ms in ways.items()))
    print("; ".join(f"{name} {value:.3f}" for name, value in report["writes"].items()))


def draw(report: dict[str, Any], path: Path) -> None:
    """Recall@5 against milliseconds, one line for each way that has several settings."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines: dict[str, list[tuple[float, float]]] = {}
    for name, its in report["contenders"].items():
        lines.setdefault(name.split(",")[0], []).append((its["ms_alone"], its["recall_at_5"]))
    figure, axes = pyplot.subplots(figsize=(8, 5))
    for name, points in lines.items():
        xs, ys = zip(*sorted(points), strict=True)
        axes.plot(xs, ys, marker="o", markersize=9 if name == "ours" else 5, label=name)
    axes.set(
        xscale="log",
        xlabel="milliseconds of one core a query, alone",
        ylabel="recall@5",
        title=f"{report['rows']:,} {report['kind']}, {report['dimension']} dimensions",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
