"""Search among face embeddings in Elasticsearch beside faiss: in one run: recall, identity rank-1, wall time, rates.

    source <(tests/services/start /tmp/servers)
    python benchmarks/search_elasticsearch.py [--size 100000] [--kinds int8_flat hnsw] [--out search-elasticsearch.json]

Gallery and probes are those of benchmarks/search.py. Times are wall time on this machine, client and node on the same
cores: they show what costs how much, not what a cluster does. The test node has no native SIMD library, which int8 and
bbq are made for: no figures of bbq are taken, and those of int8 are worse than a production node's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from search import NEIGHBOURS, Faces, Search, exact_answers, make_faces, ours, processor, quality

from index.elastic_index import ElasticIndex
from index.elastic_mapping import VECTORS
from lookalike.domain import Embeddings, Floats, Labels, Space

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests import elastic

ROOT = Path(__file__).resolve().parent.parent
BATCH, TIMED, FILL, ENROLMENTS, FILTERED = 64, 128, 2000, 50, (1_000, 50_000)


def wall_ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def fill(index: ElasticIndex, faces: Faces, space: Space) -> float:
    """Rows a second."""
    started = time.perf_counter()
    for start in range(0, len(faces.gallery), FILL):
        rows = faces.gallery[start : start + FILL]
        index.fill(np.arange(start, start + len(rows)), Embeddings(space, rows))
    index.settle()
    return len(faces.gallery) / (time.perf_counter() - started)


def searching(index: ElasticIndex, space: Space, allowed: Labels | None = None) -> Search:
    def search(queries: Floats) -> Labels:
        found = index.search(Embeddings(space, queries), NEIGHBOURS, allowed)
        return np.array([[neighbour.label for neighbour in row] for row in found])

    return search


def ms_a_query(search: Search, queries: Floats, batch: int, rounds: int) -> float:
    """The least of the rounds."""

    def once() -> None:
        for start in range(0, len(queries), batch):
            search(queries[start : start + batch])

    return min(wall_ms(once) for _ in range(rounds)) / len(queries)


def of_kind(kind: str, faces: Faces, truth: Labels, similarities: Floats, rounds: int) -> dict[str, float]:
    space = Space("sface", faces.gallery.shape[1], "benchmark")
    with elastic.opened(vectors=kind, timeout_s=30.0) as servers:
        index = servers.open(elastic.url(), space, secrets.token_hex(16), "0")
        figures: dict[str, float] = {"rows_per_s": fill(index, faces, space)}
        search = searching(index, space)
        probes = faces.probes[:TIMED]
        search(probes)
        figures["ms_alone"] = ms_a_query(search, probes, 1, rounds)
        figures["ms_of_64"] = ms_a_query(search, probes, BATCH, rounds)
        figures |= quality(search, faces, truth, similarities)
        for count in FILTERED:
            allowed = np.random.default_rng(1).choice(len(faces.gallery), min(count, len(faces.gallery)), replace=False)
            figures[f"ms_allowed_{count}"] = ms_a_query(searching(index, space, allowed), probes[:16], 1, rounds)
        fresh = iter(range(10_000_000, 10_000_000 + ENROLMENTS))
        enrolments = [
            wall_ms(lambda: index.put(np.array([next(fresh)]), Embeddings(space, faces.probes[:1])))
            for _ in range(ENROLMENTS)
        ]
        figures["ms_enrolment"] = float(np.median(enrolments))
        figures["s_labels_per_million"] = wall_ms(index.labels) * 1e3 / len(faces.gallery)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=list(VECTORS), default=list(VECTORS))
    parser.add_argument("--out", default="search-elasticsearch.json")
    arguments = parser.parse_args()
    if "LOOKALIKE_TEST_ELASTICSEARCH" not in os.environ:
        sys.exit("left out: no Elasticsearch was started (tests/services/start does)")
    faces = make_faces(arguments.size)
    truth, similarities = exact_answers(faces)
    table: dict[str, dict[str, float]] = {}
    faiss_search = ours(faces, "faiss:")
    probes = faces.probes[:TIMED]
    faiss_search(probes)
    for kind in arguments.kinds:
        table[f"es+https: {kind}"] = of_kind(kind, faces, truth, similarities, arguments.rounds)
        print(kind, {name: round(value, 4) for name, value in table[f"es+https: {kind}"].items()}, file=sys.stderr)
    table["faiss:"] = {
        "ms_alone": ms_a_query(faiss_search, probes, 1, arguments.rounds),
        "ms_of_64": ms_a_query(faiss_search, probes, BATCH, arguments.rounds),
        **quality(faiss_search, faces, truth, similarities),
    }
    report(arguments, faces, table)


def report(arguments: argparse.Namespace, faces: Faces, table: dict[str, dict[str, float]]) -> None:
    exact = table["faiss:"]["rank_1_exact"]
    print(f"{len(faces.gallery):,} rows, {len(faces.probes):,} probes; exact identity rank-1 {exact:.4f}")
    columns = ("ms_alone", "ms_of_64", "recall_at_1", "recall_at_5", "rank_1", "rows_per_s", "ms_enrolment")
    more = ("s_labels_per_million", *(f"ms_allowed_{count}" for count in FILTERED))
    print(f"{'':20}" + "".join(f"{name:>22}" for name in (*columns, *more)))
    for name, figures in table.items():
        cells = (f"{figures[column]:.4f}" if column in figures else "" for column in (*columns, *more))
        print(f"{name:20}" + "".join(f"{cell:>22}" for cell in cells))
    out = ROOT / "bench-output" / arguments.out
    out.parent.mkdir(exist_ok=True)
    facts = {
        "machine": {"platform": platform.platform(), "processor": processor(), "cores": os.cpu_count()},
        "versions": {name: version(name) for name in ("elasticsearch", "faiss-cpu", "numpy")},
        "size": len(faces.gallery),
        "figures": table,
    }
    out.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
