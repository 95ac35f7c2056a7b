"""What a million samples take in memory, and how soon a snapshot of them answers, for vectors of each size.

    python benchmarks/memory.py [--rows 1000000] [--dimensions 128 512 1280] [--indexes faiss: faiss+disk:]

A sealed snapshot of made-up vectors is written block by block; then for each kind of index a process of its own opens
the data folder, takes the snapshot over and asks once, as a service does at its start. Resident memory is that
process's, less what it was before the snapshot was opened and what had been freed by then was given back. Vectors of
128 numbers use all of them, as those of faces do; of longer ones nine tenths of the square lie within a quarter of the
dimensions, as those of things do. Prints a table, and writes JSON to bench-output/.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from api.wiring import Services, open_services
from benchmarks.embed import machine
from benchmarks.galleries import ROOT, SEED, unit
from benchmarks.serve import COLLECTION, as_admin
from index.faiss_index import FaissIndex
from index.heap import give_back_freed_memory
from lookalike.domain import Collection, Embeddings, Floats, Space
from lookalike.owners import KEY_BYTES
from lookalike.roster_file import written
from lookalike.settings import Settings

BLOCK, USES_ALL, SUBSPACE, OUTSIDE = 8192, 128, 4, 0.1


def made_up(rows: int, dimension: int) -> Iterator[Floats]:
    """Unit vectors in blocks, (B, D)."""
    random = np.random.default_rng(SEED)
    width = dimension if dimension <= USES_ALL else dimension // SUBSPACE
    axes = unit(random.standard_normal((width, dimension), dtype=np.float32))
    for start in range(0, rows, BLOCK):
        count = min(BLOCK, rows - start)
        inside = random.standard_normal((count, width), dtype=np.float32)
        if width == dimension:
            yield unit(inside)
            continue
        noise = random.standard_normal((count, dimension), dtype=np.float32)
        yield unit(np.sqrt(1 - OUTSIDE) * unit(inside @ axes) + np.sqrt(OUTSIDE) * unit(noise))


def seen(services: Services, dimension: int) -> Collection:
    """The collection as it would be with a model of this dimension."""
    return replace(services.answers.collection(COLLECTION), space=Space("made-up", dimension, "none"))


def leave_snapshot(folder: Path, rows: int, dimension: int) -> None:
    services = open_services(Settings(data=folder))
    services.gallery.create_collection(as_admin(), COLLECTION)
    collection = seen(services, dimension)
    keys = np.random.default_rng(0).integers(0, 256, (rows, KEY_BYTES), dtype=np.uint8)
    content = written(
        services.answers.last_seq(), collection.space, np.arange(1, rows + 1), keys, made_up(rows, dimension)
    )
    services.rosters._snapshots.save(collection, content)
    services.close()


def status_mb(*names: str) -> list[float]:
    """VmRSS, what is resident, or VmHWM, the most that was, of this process."""
    text = Path("/proc/self/status").read_text()
    return [int(text.split(f"{name}:")[1].split()[0]) * 1024 / 1e6 for name in names]


def taken_over(folder: Path, dimension: int, kind: str) -> dict[str, Any]:
    """In this process: memory in MB, seconds, and what the index says of itself. kind: its URL."""
    services = open_services(Settings(data=folder, index=kind))
    collection = seen(services, dimension)
    query = Embeddings(collection.space, next(made_up(1, dimension)))
    give_back_freed_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the most that was resident begins anew
    (before,) = status_mb("VmRSS")
    began, began_processor = time.perf_counter(), time.process_time()
    index = services.rosters.of(collection).index
    index.search(query, 5)
    seconds, processor = time.perf_counter() - began, time.process_time() - began_processor
    after, most = status_mb("VmRSS", "VmHWM")
    assert isinstance(index, FaissIndex)
    codes = sum(part.segment.codes.memory_bytes for part in index._state.parts if part.segment.codes is not None)
    found = {
        "index": kind,
        "rows": len(index),
        "dimension": dimension,
        "ready_s": seconds,
        "processor_s": processor,
        "vectors_mb": len(index) * dimension * 4 / 1e6,
        "codes_mb": codes / 1e6,
        "index_mb": index.describe().memory_bytes / 1e6,
        "disk_mb": index.describe().disk_bytes / 1e6,
        "resident_mb": after - before,
        "most_mb": most - before,
    }
    services.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[128, 512, 1280])
    parser.add_argument("--indexes", nargs="+", default=["faiss:", "faiss+disk:"])
    parser.add_argument("--open", type=Path, help="take over the snapshot in this folder, print what it took, and end")
    arguments = parser.parse_args()
    if arguments.open:
        print(json.dumps(taken_over(arguments.open, arguments.dimensions[0], arguments.indexes[0])))
        return
    out = ROOT / "bench-output" / "memory.json"
    out.parent.mkdir(exist_ok=True)
    found: list[dict[str, Any]] = []
    for dimension in arguments.dimensions:
        with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
            folder = Path(scratch) / "data"
            leave_snapshot(folder, arguments.rows, dimension)
            for kind in arguments.indexes:
                command = [sys.executable, __file__, "--open", str(folder), "--dimensions", str(dimension)]
                answer = subprocess.run(
                    [*command, "--indexes", kind], check=True, capture_output=True, text=True
                ).stdout
                found.append(json.loads(answer.splitlines()[-1]))
                show(found[-1])
                out.write_text(json.dumps({"machine": machine(), "sizes": found}, indent=2) + "\n")


def show(its: dict[str, Any]) -> None:
    held = its["vectors_mb"] if not its["disk_mb"] else 0.0
    print(
        f"{its['index']:12}{its['rows']:,} of {its['dimension']}: vectors {its['vectors_mb']:.0f} MB, "
        f"{its['disk_mb']:.0f} on disk, codes {its['codes_mb']:.0f}; the index says {its['index_mb']:.0f}; "
        f"resident {its['resident_mb']:.0f}, beside vectors {its['resident_mb'] - held:.0f}, at most "
        f"{its['most_mb']:.0f}; ready after {its['ready_s']:.1f} s, {its['processor_s']:.1f} of the processor",
        flush=True,
    )


if __name__ == "__main__":
    main()
