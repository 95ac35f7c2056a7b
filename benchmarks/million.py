"""Search among a million: ours beside FAISS's flat index, clusters, graphs, Elasticsearch; filters; stalls of writes.

    python benchmarks/million.py [--kind faces|items] [--rows 1000000] [--dimension 128] [--graphs] [--elastic flat]

The galleries are those of benchmarks/galleries.py. Every round runs each contender once, in turn, so that a neighbour's
load falls on all of them; the least of the rounds counts. Milliseconds are of the processor, on one thread; those of
Elasticsearch are the node's and its client's together. --graphs builds hnswlib's and usearch's first (benchmarks/
graphs.py, half an hour and more at a million rows), --elastic fills an index of each kind named (benchmarks/
elastic_gallery.py); both go on where they were cut. --brief leaves all but ours and the flat index out. What was
measured is kept as it comes: the same command goes on where it was cut, and --anew begins again. Prints a table, and
writes JSON and a curve of recall against time to bench-output/.
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
from contextlib import ExitStack
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import faiss
import numpy as np

from benchmarks import elastic_gallery
from benchmarks.contenders import (
    NEIGHBOURS,
    Contender,
    Search,
    SharingIndex,
    clusters,
    codes_alone,
    flat,
    flat_filtered,
    of_elastic,
    of_graphs,
    ours,
)
from benchmarks.embed import machine
from benchmarks.galleries import Gallery, gallery
from index.faiss_index import FaissIndex
from lookalike.domain import Embeddings, Floats, Labels, Space

BATCH, ALONE = 64, 32
NAMED_ALONE = (16, 64, 256, 1024)
BREADTHS = (64, 256, 1024, 4096)
FILTERS = {"1 %": 100, "50 %": 2}
"""What a filter leaves: every 100th row, every second."""

FILTERED_PROBES, ADDED = 64, 20_000


def spent(
    search: Callable[[Floats], object], queries: Floats, batch: int, clock: Callable[[], float] = time.process_time
) -> float:
    """Processor milliseconds a query."""
    started = clock()
    for start in range(0, len(queries), batch):
        search(queries[start : start + batch])
    return (clock() - started) * 1e3 / len(queries)


def exact_answers(held: Gallery, probes: Floats, chosen: np.ndarray | None = None) -> tuple[Labels, Floats]:
    """Positions and similarities of the five nearest, (Q, 5) twice. chosen: which rows count, (N,)."""
    positions, similarities = [], []
    for start in range(0, len(probes), 32):
        scores = probes[start : start + 32] @ held.vectors.T
        if chosen is not None:
            scores[:, ~chosen] = -2
        best = np.argpartition(-scores, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1), axis=1)
        positions.append(best)
        similarities.append(np.take_along_axis(scores, best, axis=1))
    return np.concatenate(positions), np.concatenate(similarities)


def quality(found: Labels, held: Gallery, true: Floats) -> dict[str, float]:
    """Recall, a row as similar as the k-th counting as one of the k; and whether the first is the same one's.

    found: (Q, 5) for the first Q probes.
    """
    probes, true = held.probes[: len(found)], true[: len(found)]
    scores = np.where(found >= 0, np.einsum("qkd,qd->qk", held.vectors[np.maximum(found, 0)], probes), -2)
    return {
        "probes": len(found),
        "recall_at_1": float((scores.max(axis=1) >= true[:, 0] - 1e-5).mean()),
        "recall_at_5": float((scores >= true[:, -1:] - 1e-5).mean()),
        "rank_1": float((held.owners[found[:, 0]] == held.probe_owners[: len(found)]).mean()),
    }


def answers(search: Search, probes: Floats) -> Labels:
    return np.concatenate([search(probes[i : i + 64]) for i in range(0, len(probes), 64)])


class Kept:
    """What was measured so far, in a file of its own, so that a run that is cut goes on."""

    def __init__(self, path: Path, anew: bool) -> None:
        self._path = path
        path.parent.mkdir(exist_ok=True)
        self.found: dict[str, Any] = {} if anew or not path.exists() else json.loads(path.read_text())

    def of(self, what: str, measure: Callable[[], Any]) -> Any:
        """What was measured under this name, now or before."""
        if what not in self.found:
            began = time.perf_counter()
            self.found[what] = measure()
            fresh = self._path.with_suffix(".new")
            fresh.write_text(json.dumps(self.found))
            fresh.rename(self._path)
            print(f"{what}: measured in {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        return self.found[what]


def one_round(table: dict[str, Contender], held: Gallery) -> dict[str, list[float]]:
    """Of each contender milliseconds a query, alone and of a batch, one after the other."""
    return {
        name: [
            spent(contender.search, held.probes[:ALONE], 1, contender.clock),
            spent(contender.search, held.probes[:BATCH], BATCH, contender.clock),
        ]
        for name, contender in table.items()
    }


def filtered(table: dict[str, Contender], held: Gallery, step: int, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds a query, alone, and recall, when a filter leaves one row of `step`."""
    chosen = np.arange(len(held.vectors)) % step == 0
    probes = held.probes[:FILTERED_PROBES]
    _, true = exact_answers(held, probes, chosen)
    searches = {name: (one.filtered(chosen), one.clock) for name, one in table.items() if one.filtered is not None}
    found = {}
    for name, (search, _) in searches.items():
        found[name] = {k: v for k, v in quality(answers(search, probes), held, true).items() if k != "rank_1"}
    for _ in range(rounds):
        for name, (search, clock) in searches.items():
            found[name]["ms_alone"] = min(
                found[name].get("ms_alone", float("inf")), spent(search, held.probes[: ALONE // 2], 1, clock)
            )
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


# ------------------------------------------------------------------------------------------------ the report


def contenders(
    arguments: argparse.Namespace, held: Gallery, index: FaissIndex, built_s: dict[str, float], stack: ExitStack
) -> dict[str, Contender]:
    table = {
        "FlatIP": Contender(flat(held), lambda chosen: flat_filtered(held, chosen)),
        "ours": Contender(ours(index), lambda chosen: ours(index, np.flatnonzero(chosen))),
    }
    codec = index._codec
    if codec is not None and not arguments.brief:
        table |= {f"our codes, {n} ranked": Contender(codes_alone(held, index, n)) for n in NAMED_ALONE}
        table |= clusters(held, codec)
    if arguments.graphs:
        table |= of_graphs(arguments.kind, held, arguments.breadths, built_s)
    for vectors in arguments.elastic:
        table |= of_elastic(arguments.kind, held, vectors, stack)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("faces", "items"), default="faces")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--breadths", nargs="+", type=int, default=BREADTHS, help="candidates that graphs keep")
    parser.add_argument("--elastic", nargs="+", default=[], help="kinds as in index/elastic_mapping.py")
    parser.add_argument("--brief", action="store_true", help="ours beside the flat index alone")
    parser.add_argument("--anew", action="store_true", help="forget what a run that was cut measured")
    arguments = parser.parse_args()
    if arguments.elastic and not elastic_gallery.is_there():
        sys.exit("no Elasticsearch was started (tests/services/start does)")
    dimension = arguments.dimension or {"faces": 128, "items": 1280}[arguments.kind]
    faiss.omp_set_num_threads(1)
    held = gallery(arguments.kind, arguments.rows, dimension)
    out = Path(__file__).resolve().parent.parent / "bench-output" / f"million-{arguments.kind}-{dimension}.json"
    kept = Kept(out.with_name(f"{out.stem}-{len(held.vectors)}.kept"), arguments.anew)
    index = SharingIndex(Space("benchmark", dimension, "none"))
    began = time.process_time()
    index.add(np.arange(len(held.vectors)), Embeddings(index.space, held.vectors))
    loaded_s = time.process_time() - began
    built_s: dict[str, float] = {}
    with ExitStack() as stack:
        table = contenders(arguments, held, index, built_s, stack)
        report = measured(arguments, held, index, table, kept)
    report |= {"loaded_s_of_processor": loaded_s, "graphs_built_s": built_s}
    show(report)
    out.write_text(json.dumps(report, indent=2) + "\n")
    draw(report, out.with_suffix(".png"))


def measured(
    arguments: argparse.Namespace, held: Gallery, index: FaissIndex, table: dict[str, Contender], kept: Kept
) -> dict[str, Any]:
    rounds = [
        kept.of(f"round {i + 1} of {', '.join(table)}", lambda: one_round(table, held)) for i in range(arguments.rounds)
    ]
    exact = kept.of("exact answers", lambda: [array.tolist() for array in exact_answers(held, held.probes)])
    truth, true = np.array(exact[0]), np.array(exact[1], dtype=np.float32)

    def quality_of(name: str) -> dict[str, float]:
        contender = table[name]
        found = truth if name == "FlatIP" else answers(contender.search, held.probes[: contender.probes])
        return quality(found, held, true)

    return {
        "machine": machine(),
        "kind": arguments.kind,
        "rows": len(held.vectors),
        "real": held.real,
        "dimension": held.vectors.shape[1],
        "probes": len(held.probes),
        "rank_1_exact": float((held.owners[truth[:, 0]] == held.probe_owners).mean()),
        "index": {name: getattr(index.describe(), name) for name in ("structure", "why", "parts", "memory_bytes")},
        "contenders": {
            name: {
                "ms_alone": min(one[name][0] for one in rounds),
                "ms_of_64": min(one[name][1] for one in rounds),
                **kept.of(f"recall of {name}", lambda name=name: quality_of(name)),
            }
            for name in table
        },
        "filters": {
            name: kept.of(
                f"a filter of {name} for {', '.join(table)}",
                lambda step=step: filtered(table, held, step, arguments.rounds),
            )
            for name, step in FILTERS.items()
        },
        "writes": stalls(held, index),
    }


def show(report: dict[str, Any]) -> None:
    print(
        f"{report['rows']:,} {report['kind']} of {report['dimension']} dimensions, {report['real']:,} of them real; "
        f"{report['probes']:,} probes, all real; exact rank-1 {report['rank_1_exact']:.4f}"
    )
    print(f"{report['index']['why']}; {report['index']['memory_bytes'] / 1e6:.0f} MB, {report['index']['parts']} parts")
    print(f"made in {report['loaded_s_of_processor']:.1f} s of processor time")
    for engine, seconds in report["graphs_built_s"].items():
        print(f"{engine} built in {seconds:.0f} s of processor time")
    base = report["contenders"]["FlatIP"]
    print(
        f"{'':30}{'alone, ms':>10}{'':8}{'of 64, ms':>10}{'':8}{'recall@1':>10}{'recall@5':>10}{'rank-1':>10}{'of':>7}"
    )
    for name, its in report["contenders"].items():
        print(
            f"{name:30}{its['ms_alone']:10.3f}{base['ms_alone'] / its['ms_alone']:7.1f}×{its['ms_of_64']:10.3f}"
            f"{base['ms_of_64'] / its['ms_of_64']:7.1f}×{its['recall_at_1']:10.4f}{its['recall_at_5']:10.4f}"
            f"{its['rank_1']:10.4f}{its['probes']:7d}"
        )
    for left, ways in report["filters"].items():
        for name, its in ways.items():
            print(
                f"a filter that leaves {left}, {name}: {its['ms_alone']:.2f} ms, recall@1 {its['recall_at_1']:.4f}, "
                f"recall@5 {its['recall_at_5']:.4f} of {its['probes']}"
            )
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
