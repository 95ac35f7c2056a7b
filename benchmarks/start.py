"""From start to ready, and the memory then, with many people enrolled: from a snapshot, and rebuilt from the records.

    python benchmarks/start.py [--gallery 100000 | --snapshot 1000000] [--out start.json]

The real service is started on a data folder filled through the sealed records: without a snapshot, then with the one
that the first stop left. Rates of enrolment are of writing alone, by many threads that share commits.
--snapshot starts on a snapshot of so many random vectors alone: its people are not on record, and no start asks that.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from api.wiring import open_services
from benchmarks.embed import machine
from benchmarks.serve import COLLECTION, as_admin, cpu_s, fill, memory_mb, served
from lookalike.domain import Embeddings
from lookalike.owners import KEY_BYTES
from lookalike.settings import Settings


def started(folder: Path) -> dict[str, float]:
    """Seconds until `ready`, those of the processor among them, and resident memory in MB then."""
    with served(folder, "on") as (pid, _, seconds):
        return {"ready_s": round(seconds, 2), "processor_s": cpu_s(pid), "memory_mb": round(memory_mb(pid))}


def leave_snapshot(folder: Path, people: int) -> None:
    """A data folder with one collection and a snapshot of it with so many people."""
    services = open_services(Settings(data=folder))
    services.gallery.create_collection(as_admin(), COLLECTION)
    collection = services.answers.collection(COLLECTION)
    roster = services.rosters.of(collection)
    random = np.random.default_rng(0)
    labels = np.arange(1, people + 1)
    roster._owners.start(labels, random.integers(0, 256, (people, KEY_BYTES), dtype=np.uint8))
    for start in range(0, people, 65536):
        some = labels[start : start + 65536]
        vectors = random.standard_normal((len(some), collection.space.dimension), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        roster.index.add(some, Embeddings(collection.space, vectors))
    roster.seq = services.answers.last_seq()
    roster.unsaved = people
    services.rosters.save_snapshots(at_least=1)
    services.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=int, default=100_000)
    parser.add_argument("--snapshot", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("bench-output/start.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "data"
        if arguments.snapshot:
            leave_snapshot(folder, arguments.snapshot)
            found = {"machine": machine(), "people": arguments.snapshot, "from_snapshot": started(folder)}
            print(json.dumps(found, indent=2))
            return
        services = open_services(Settings(data=folder))
        began = time.perf_counter()
        fill(services, arguments.gallery)
        filled_s = time.perf_counter() - began
        services.close()
        size_mb = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6
        shutil.rmtree(folder / "snapshots", ignore_errors=True)
        found = {
            "machine": machine(),
            "gallery": arguments.gallery,
            "enrolments_per_s": round(arguments.gallery / filled_s),
            "data_folder_mb": round(size_mb),
            "from_records": started(folder),
            "from_snapshot": started(folder),
        }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=2))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
