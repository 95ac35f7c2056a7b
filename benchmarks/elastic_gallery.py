"""A gallery in the Elasticsearch that tests/services starts, filled once and found again: a cut filling goes on.

    source <(tests/services/start /tmp/servers)
    python benchmarks/elastic_gallery.py [--kind faces|items] [--rows 1000000] [--dimension 128] [--vectors flat]

benchmarks/million.py --elastic searches it beside the others. Processor time is of this process and of the node
together, which the service's own index (index/elastic_index.py) speaks to over TLS.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.galleries import SEED, Gallery, gallery
from index.elastic_index import ElasticIndex
from index.elastic_mapping import VECTORS
from index.elastic_servers import ElasticServers
from lookalike.domain import Embeddings, Space
from tests import elastic

FILL = 5000
DEPLOYMENT = hashlib.sha256(str(SEED).encode()).hexdigest()[:32]
_TICKS = os.sysconf("SC_CLK_TCK")


def is_there() -> bool:
    return "LOOKALIKE_TEST_ELASTICSEARCH" in os.environ


def processor_s() -> float:
    """Of this process and the node, in steps of the kernel's ticks for the latter."""
    pid = int((elastic.home() / "pid").read_text())
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def opened(kind: str, held: Gallery, vectors: str, candidates: int = 1000) -> Iterator[ElasticIndex]:
    """The index of this gallery, perhaps not filled yet. candidates: what a graph looks at."""
    rows, dimension = held.vectors.shape
    options = elastic.options(deployment=DEPLOYMENT, vectors=vectors, candidates=candidates, timeout_s=120.0)
    servers = ElasticServers([elastic.url()], options)
    try:
        name = f"{kind}{dimension}x{rows}"
        yield servers.open(elastic.url(), Space("benchmark", dimension, "none"), name, vectors.replace("_", ""))
    finally:
        servers.close()


def fill(index: ElasticIndex, held: Gallery) -> None:
    """Send what is not there yet."""
    there = index.labels()
    missing = np.setdiff1d(np.arange(len(held.vectors)), there)
    for start in range(0, len(missing), FILL):
        some = missing[start : start + FILL]
        spent, waited = processor_s(), time.perf_counter()
        index.fill(some, Embeddings(index.space, held.vectors[some]))
        spent, waited = processor_s() - spent, time.perf_counter() - waited
        left = len(missing) - start - len(some)
        if start // FILL % 10 == 9 or not left:
            print(
                f"elasticsearch: {len(held.vectors) - left:,} of {len(held.vectors):,} rows, {len(some) / spent:,.0f} "
                f"a second of processor time; at this rate {left / len(some) * waited / 60:.0f} min are left",
                file=sys.stderr,
                flush=True,
            )
            index.settle()
    index.settle()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("faces", "items"), default="faces")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--vectors", choices=tuple(VECTORS), default="flat")
    arguments = parser.parse_args()
    if not is_there():
        sys.exit("left out: no Elasticsearch was started (tests/services/start does)")
    held = gallery(arguments.kind, arguments.rows, arguments.dimension)
    began = processor_s()
    with opened(arguments.kind, held, arguments.vectors) as index:
        fill(index, held)
        print(f"{arguments.vectors}: {len(index):,} rows; {processor_s() - began:.0f} s of processor time in this call")


if __name__ == "__main__":
    main()
