"""The graphs that a million rows are compared with: hnswlib's and usearch's, kept as they grow: a cut build goes on.

    python benchmarks/graphs.py [--kind faces|items] [--rows 1000000] [--dimension 128] [--engines hnswlib usearch]

One row after the other goes in, on one thread, which takes a quarter of an hour and more for a million; every 50,000
rows the graph is written to bench-output/graphs/ with the processor time that it has cost. benchmarks/million.py
--graphs reads it there, or builds it. M is 16 and 100 candidates are looked at for each row, as both engines' own
examples do.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.galleries import ROOT, SEED, Gallery, gallery
from lookalike.domain import Floats, Labels

NEIGHBOURS, NEIGHBOURS_A_ROW, LOOKED_AT = 5, 16, 100
KEPT_EVERY, REPORTED_EVERY = 50_000, 10_000
FOLDER = ROOT / "bench-output" / "graphs"


def _hnswlib(rows: int, dimension: int, kept: Path | None) -> Any:
    import hnswlib

    graph = hnswlib.Index(space="ip", dim=dimension)
    if kept is None:
        graph.init_index(max_elements=rows, M=NEIGHBOURS_A_ROW, ef_construction=LOOKED_AT)
    else:
        graph.load_index(str(kept), max_elements=rows)
    graph.set_num_threads(1)
    return graph


def _usearch(rows: int, dimension: int, kept: Path | None) -> Any:
    from usearch.index import Index

    graph = Index(ndim=dimension, metric="ip", dtype="f32", connectivity=NEIGHBOURS_A_ROW, expansion_add=LOOKED_AT)
    if kept is not None:
        graph.load(str(kept))
    return graph


ENGINES: dict[str, Callable[[int, int, Path | None], Any]] = {"hnswlib": _hnswlib, "usearch": _usearch}
"""Of each engine: a graph for so many rows of a dimension, empty or from a file."""


def graph_of(engine: str, kind: str, held: Gallery) -> tuple[Any, float]:
    """The graph of all rows of a gallery, built on from where it was left, and the processor seconds it took."""
    rows, dimension = held.vectors.shape
    FOLDER.mkdir(parents=True, exist_ok=True)
    note = FOLDER / f"{engine}-{kind}-{dimension}-{rows}-{SEED}.json"
    facts = json.loads(note.read_text()) if note.exists() else {"rows": 0, "processor_s": 0.0}
    there = facts["rows"]
    graph = ENGINES[engine](rows, dimension, _file(note, there) if there else None)
    while there < rows:
        some = held.vectors[there : there + REPORTED_EVERY]
        spent, waited = time.process_time(), time.perf_counter()
        _add(engine, graph, there, some)
        spent, waited = time.process_time() - spent, time.perf_counter() - waited
        there += len(some)
        facts = {"rows": there, "processor_s": facts["processor_s"] + spent}
        print(
            f"{engine}: {there:,} of {rows:,} rows, {len(some) / spent:,.0f} a second of processor time; at this rate "
            f"{(rows - there) / len(some) * waited / 60:.0f} min are left",
            file=sys.stderr,
            flush=True,
        )
        if there % KEPT_EVERY == 0 or there == rows:
            _keep(engine, graph, facts, note)
    return graph, facts["processor_s"]


def _add(engine: str, graph: Any, start: int, rows: Floats) -> None:
    labels = np.arange(start, start + len(rows))
    if engine == "hnswlib":
        graph.add_items(rows, labels, num_threads=1)
    else:
        graph.add(labels, rows, threads=1)


def _file(note: Path, rows: int) -> Path:
    return note.with_suffix(f".{rows}")


def _keep(engine: str, graph: Any, facts: dict[str, Any], note: Path) -> None:
    """The graph, then how far it is, each in one step: after a kill the note names a graph that is whole."""
    fresh, fresh_note = note.with_suffix(".new"), note.with_suffix(".json.new")
    (graph.save_index if engine == "hnswlib" else graph.save)(str(fresh))
    fresh.rename(_file(note, facts["rows"]))
    fresh_note.write_text(json.dumps(facts))
    fresh_note.rename(note)
    for old in note.parent.glob(f"{note.stem}.[0-9]*"):
        if old != _file(note, facts["rows"]):
            old.unlink()


def searching(engine: str, graph: Any, breadth: int) -> Callable[[Floats], Labels]:
    """The five nearest of each query, this many candidates being kept."""
    if engine == "usearch":

        def search(queries: Floats) -> Labels:
            graph.expansion_search = breadth
            found = graph.search(queries, NEIGHBOURS, threads=1)
            return np.asarray(found.keys, dtype=np.int64).reshape(-1, NEIGHBOURS)
    else:

        def search(queries: Floats) -> Labels:
            graph.set_ef(breadth)
            return np.asarray(graph.knn_query(queries, k=NEIGHBOURS, num_threads=1)[0], dtype=np.int64)

    return search


def filtering(graph: Any, breadth: int, chosen: np.ndarray) -> Callable[[Floats], Labels]:
    """hnswlib's search among the rows whose flag is set, (N,); it asks Python about each row that it comes to."""
    allowed = chosen.tolist()

    def search(queries: Floats) -> Labels:
        graph.set_ef(breadth)
        found = graph.knn_query(queries, k=NEIGHBOURS, num_threads=1, filter=allowed.__getitem__)[0]
        return np.asarray(found, dtype=np.int64)

    return search


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("faces", "items"), default="faces")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--engines", nargs="+", choices=tuple(ENGINES), default=list(ENGINES))
    arguments = parser.parse_args()
    held = gallery(arguments.kind, arguments.rows, arguments.dimension)
    for engine in arguments.engines:
        _, spent = graph_of(engine, arguments.kind, held)
        print(f"{engine}: {spent:.0f} s of processor time in all")


if __name__ == "__main__":
    main()
