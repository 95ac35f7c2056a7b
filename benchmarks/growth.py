"""What a query and an enrolment cost as a gallery grows, and the law that they follow.

    python benchmarks/growth.py [--largest 1000000] [--scan 10000000] [--rounds 3]

Faces as in benchmarks/million.py, from a thousand up. Milliseconds are of the process, on one thread, the least of the
rounds; an enrolment is a call to `add` with one row, with what merging costs later on in its own thread. --scan times
the scan alone of so many random codes (64 bytes a row and no vectors), 0 leaves it out. Prints a table with the fitted
laws, and writes JSON and a plot to bench-output/.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import faiss
import numpy as np

from benchmarks.contenders import ours
from benchmarks.embed import machine
from benchmarks.galleries import Gallery, gallery
from benchmarks.million import BATCH, spent
from index.codes import ROWS_OUTSIDE
from index.faiss_index import FaissIndex
from lookalike.domain import Embeddings, Space

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
ALONE, ADDED = 128, 10_000
EMPTY_CODES = 262_144


def measured(held: Gallery, rows: int, rounds: int) -> dict[str, float]:
    """Of a gallery of the first `rows`: a query alone and in a batch, an enrolment, memory, and parts."""
    space = Space("growth", held.vectors.shape[1], "none")
    index = FaissIndex(space)
    began = time.process_time()
    index.add(np.arange(rows), Embeddings(space, held.vectors[:rows]))
    loaded_s = time.process_time() - began
    search = ours(index)
    alone = min(spent(search, held.probes[:ALONE], 1) for _ in range(rounds))
    batch = min(spent(search, held.probes[: 2 * BATCH], BATCH) for _ in range(rounds))
    state = index.describe()
    began = time.process_time()
    for i in range(ADDED):
        index.add(np.array([10**9 + i]), Embeddings(space, held.vectors[i % rows][None, :]))
    index.settle()
    return {
        "rows": rows,
        "query_ms": alone,
        "query_of_64_ms": batch,
        "enrolment_ms": (time.process_time() - began) / ADDED * 1e3,
        "loaded_s": loaded_s,
        "memory_mb": state.memory_bytes / 1e6,
        "parts": state.parts,
        "structure": float(state.structure == "codes"),
    }


def scanned(rows: int, dimension: int, rounds: int) -> float:
    """Milliseconds of processor time to scan so many random codes of four bits a dimension, in segments as ours."""
    rng = np.random.default_rng(0)
    product = faiss.IndexPQ(dimension, dimension, 4, faiss.METRIC_INNER_PRODUCT)
    levels = np.tile((np.arange(16, dtype=np.float32) - 7.5) / 80, dimension)
    faiss.copy_array_to_vector(levels, product.pq.centroids)
    product.is_trained = True
    segments = []
    for start in range(0, rows, EMPTY_CODES):
        count = min(EMPTY_CODES, rows - start)
        faiss.copy_array_to_vector(rng.integers(0, 256, count * dimension // 2, dtype=np.uint8), product.codes)
        product.ntotal = count
        segments.append(faiss.IndexPQFastScan(product))
        segments[-1].implem = ROWS_OUTSIDE
    queries = rng.standard_normal((8, dimension), dtype=np.float32)

    def scan(some: np.ndarray) -> None:
        for segment in segments:
            segment.search(some, 64)

    return min(spent(scan, queries, 1) for _ in range(rounds))


def law(found: list[dict[str, float]], what: str) -> tuple[float, float]:
    """A constant and milliseconds for each million rows, least squares of the relative error, from coded sizes on."""
    coded = [one for one in found if one["structure"]]
    rows, values = np.array([one["rows"] / 1e6 for one in coded]), np.array([one[what] for one in coded])
    fitted, *_ = np.linalg.lstsq(np.stack([1 / values, rows / values], axis=1), np.ones(len(rows)), rcond=None)
    return float(fitted[0]), float(fitted[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    parser.add_argument("--scan", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(1)
    held = gallery("faces", arguments.largest, 128)
    found = []
    columns = ("rows", "query_ms", "query_of_64_ms", "enrolment_ms", "loaded_s", "memory_mb", "parts")
    print("".join(f"{name:>17}" for name in columns))
    for rows in (size for size in SIZES if size <= arguments.largest):
        found.append(measured(held, rows, arguments.rounds))
        print(
            "".join(f"{found[-1][name]:17,.{0 if name in ('rows', 'parts') else 3}f}" for name in columns), flush=True
        )
    laws = {what: law(found, what) for what in ("query_ms", "query_of_64_ms", "memory_mb")}
    for what, (constant, slope) in laws.items():
        print(f"{what} = {constant:.3f} + {slope:.3f} for each million rows, from the first codes on")
    report: dict[str, Any] = {"machine": machine(), "sizes": found, "laws": laws}
    if arguments.scan:
        report["scan"] = {"rows": arguments.scan, "ms": scanned(arguments.scan, 128, arguments.rounds)}
        foretold = laws["query_ms"][0] + laws["query_ms"][1] * arguments.scan / 1e6
        print(f"scan of {arguments.scan:,} random codes: {report['scan']['ms']:.1f} ms; the law says {foretold:.1f}")
    out = Path(__file__).resolve().parent.parent / "bench-output" / "growth.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n")
    draw(report, out.with_suffix(".png"))


def draw(report: dict[str, Any], path: Path) -> None:
    """Milliseconds against rows, both in powers of ten, with the law of a query alone."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [one["rows"] for one in report["sizes"]]
    figure, axes = pyplot.subplots(figsize=(8, 5))
    words = {
        "query_ms": "a query, alone",
        "query_of_64_ms": "a query, in batches of 64",
        "enrolment_ms": "an enrolment",
    }
    for what, label in words.items():
        axes.plot(rows, [one[what] for one in report["sizes"]], marker="o", label=label)
    constant, slope = report["laws"]["query_ms"]
    span = np.geomspace(rows[0], 1e7)
    axes.plot(span, constant + slope * span / 1e6, "k--", linewidth=1, label=f"{constant:.2f} + {slope:.2f} a million")
    if "scan" in report:
        axes.plot([report["scan"]["rows"]], [report["scan"]["ms"]], "kx", label="scan of random codes")
    axes.set(xscale="log", yscale="log", xlabel="faces enrolled", ylabel="milliseconds of one core")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
