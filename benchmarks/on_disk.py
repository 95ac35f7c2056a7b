"""What a search costs whose vectors lie sealed on the disk, beside the same index in memory.

    python benchmarks/on_disk.py [--kind faces] [--rows 1000000] [--dimension 128] [--rounds 5]
    python benchmarks/on_disk.py --blocks

The galleries are those of benchmarks/galleries.py. Every round asks both in turn, on one thread, and the least of the
rounds counts, of the processor and of the clock. "Not cached" asks on after the system was told to forget its cache of
the files before each query. Both have to give the same answers. --blocks tells instead what opening a vector costs, and
reading a file through, by the size of a block and of a vector. Prints a table, and writes JSON to bench-output/.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import faiss
import numpy as np

from benchmarks.contenders import NEIGHBOURS, SharingIndex, flat, ours
from benchmarks.embed import machine
from benchmarks.galleries import ROOT, Gallery, gallery
from benchmarks.million import FILTERS, answers, exact_answers, quality
from index import faiss_index
from index.faiss_index import FaissIndex
from index.stored_rows import taken_together
from lookalike.domain import Embeddings, Floats, Space
from security import row_files
from security.row_files import SealedRowFiles

ALONE, BATCH, UNCACHED, FILTERED = 128, 64, 32, 32
GIVEN = 8192
BLOCKS, WIDTHS, READ_BYTES = (1024, 2048, 4096, 8192, 16384), (64, 128, 256, 512, 640, 1280), 2**27
"""Widths are of float32: 64 numbers take as much as 128 of float16."""

Times = tuple[float, float]
"""Milliseconds of the processor and of the clock."""


def spent(work: Callable[[], object], count: int) -> Times:
    """What each of `count` queries took."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return (time.process_time() - processor) * 1e3 / count, (time.perf_counter() - clock) * 1e3 / count


def least(rounds: list[Times]) -> Times:
    return min(one[0] for one in rounds), min(one[1] for one in rounds)


def asked(search: Callable[[Floats], object], queries: Floats, together: int) -> Times:
    def work() -> None:
        for start in range(0, len(queries), together):
            search(queries[start : start + together])

    return spent(work, len(queries))


def forget_cached(folder: Path) -> None:
    """Have the system drop what it keeps in memory of the files that this process has in a folder."""
    for link in Path("/proc/self/fd").iterdir():
        if str(link.readlink() if link.is_symlink() else link).startswith(f"{folder}/"):
            os.fsync(int(link.name))
            os.posix_fadvise(int(link.name), 0, 0, os.POSIX_FADV_DONTNEED)


def uncached(search: Callable[[Floats], object], queries: Floats, folder: Path) -> Times:
    found = []
    for i in range(len(queries)):
        forget_cached(folder)
        found.append(asked(search, queries[i : i + 1], 1))
    return float(np.median([one[0] for one in found])), float(np.median([one[1] for one in found]))


def measured(held: Gallery, memory: FaissIndex, disk: FaissIndex, folder: Path, rounds: int) -> dict[str, Any]:
    """Milliseconds of each way, recall, and what it takes to write all files anew."""
    both = {"in memory": ours(memory), "on disk": ours(disk)}
    found = {name: answers(search, held.probes) for name, search in both.items()}
    truth, true = exact_answers(held, held.probes)
    taken: dict[str, list[Times]] = {}

    def note(name: str, times: Times) -> None:
        taken.setdefault(name, []).append(times)

    for _ in range(rounds):
        note("FlatIP, alone", asked(flat(held), held.probes[:8], 1))
        for name, search in both.items():
            note(f"{name}, alone", asked(search, held.probes[:ALONE], 1))
            note(f"{name}, of {BATCH}", asked(search, held.probes[: 2 * BATCH], BATCH))
        note("on disk, alone, not cached", uncached(both["on disk"], held.probes[:UNCACHED], folder))
        for left, step in FILTERS.items():
            allowed = np.arange(0, len(held.vectors), step)
            for name, index in (("in memory", memory), ("on disk", disk)):
                note(f"{name}, a filter of {left}", asked(ours(index, allowed), held.probes[:FILTERED], 1))
    return {
        "machine": machine(),
        "rows": len(held.vectors),
        "dimension": held.vectors.shape[1],
        "probes": len(held.probes),
        "same_answers": bool((found["in memory"] == found["on disk"]).all()),
        "rank_1_exact": float((held.owners[truth[:, 0]] == held.probe_owners).mean()),
        **quality(found["on disk"], held, true),
        "ms_of_processor_and_clock": {name: least(times) for name, times in taken.items()},
        "index": {
            name: {what: getattr(index.describe(), what) for what in ("memory_bytes", "disk_bytes", "parts", "why")}
            for name, index in (("in memory", memory), ("on disk", disk))
        },
        "codes_bytes": sum(p.segment.codes.memory_bytes for p in disk._state.parts if p.segment.codes is not None),
        "written_anew_s": written_anew(disk),
    }


def written_anew(index: FaissIndex) -> Times:
    """Seconds to write all files anew once a row of each is gone."""
    index.remove([int(part.segment.labels[0]) for part in index._state.parts])
    kept, faiss_index.RENEWED_AFTER_S = faiss_index.RENEWED_AFTER_S, 0.0

    def work() -> None:
        index.tidy()
        index.settle()

    times = spent(work, 1000)
    faiss_index.RENEWED_AFTER_S = kept
    return times


def blocks_table(folder: Path) -> list[dict[str, float]]:
    """Microseconds of the processor to open one vector of 64, and MB a second to write and to read through."""
    table = []
    for width in WIDTHS:
        for block in BLOCKS:
            row_files.BLOCK_BYTES = block
            count = READ_BYTES // (4 * width)
            given = np.random.default_rng(0).standard_normal((GIVEN, width)).astype(np.float32)
            files = SealedRowFiles(folder)
            ends = [min(GIVEN, count - start) for start in range(0, count, GIVEN)]
            began = time.process_time()
            file = files.write(count, width, (given[:end] for end in ends))
            wrote = time.process_time()
            step = taken_together(width)
            for start in range(0, count, step):
                file.read(np.arange(start, min(start + step, count)))
            through = time.process_time()
            named = np.random.default_rng(1).integers(0, count, (200, 64))
            opening = [asked(file.read, some, 64)[0] for some in named.reshape(5, -1)]
            table.append(
                {
                    "width": width,
                    "block_bytes": block,
                    "open_us": min(opening) * 1e3,
                    "write_mb_s": READ_BYTES / 1e6 / (wrote - began),
                    "read_mb_s": READ_BYTES / 1e6 / (through - wrote),
                }
            )
            print("  ".join(f"{name} {value:,.1f}" for name, value in table[-1].items()), flush=True)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("faces", "items"), default="faces")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--blocks", action="store_true")
    arguments = parser.parse_args()
    out = ROOT / "bench-output"
    out.mkdir(exist_ok=True)
    faiss.omp_set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=out) as scratch:
        folder = Path(scratch)
        if arguments.blocks:
            report: dict[str, Any] = {"machine": machine(), "blocks": blocks_table(folder)}
            (out / "on-disk-blocks.json").write_text(json.dumps(report, indent=2) + "\n")
            return
        dimension = arguments.dimension or {"faces": 128, "items": 1280}[arguments.kind]
        held = gallery(arguments.kind, arguments.rows, dimension)
        space = Space("benchmark", dimension, "none")
        labels = np.arange(len(held.vectors))
        disk, memory = FaissIndex(space, SealedRowFiles(folder)), SharingIndex(space)
        filled = [held.vectors[at : at + GIVEN] for at in range(0, len(labels), GIVEN)]
        filled_s = spent(lambda: disk.fill(labels, filled), 1000)
        memory.add(labels, Embeddings(space, held.vectors))
        report = measured(held, memory, disk, folder, arguments.rounds) | {"filled_s": filled_s, "real": held.real}
    show(report)
    (out / f"on-disk-{arguments.kind}-{dimension}.json").write_text(json.dumps(report, indent=2) + "\n")


def show(report: dict[str, Any]) -> None:
    print(
        f"{report['rows']:,} of {report['dimension']} dimensions, {report['real']:,} of them real, {report['probes']} "
        f"probes; same answers: {report['same_answers']}; recall@1 {report['recall_at_1']:.4f}, recall@{NEIGHBOURS} "
        f"{report['recall_at_5']:.4f}, rank-1 {report['rank_1']:.4f} (exact {report['rank_1_exact']:.4f})"
    )
    for name, its in report["index"].items():
        print(
            f"{name}: {its['memory_bytes'] / 1e6:.0f} MB in memory, codes {report['codes_bytes'] / 1e6:.0f}, "
            f"{its['disk_bytes'] / 1e6:.0f} on disk, {its['parts']} parts"
        )
    for name, (processor, clock) in report["ms_of_processor_and_clock"].items():
        print(f"{name:32}{processor:9.3f} ms of the processor{clock:9.3f} of the clock")
    for what in ("filled_s", "written_anew_s"):
        print(f"{what}: {report[what][0]:.1f} s of the processor, {report[what][1]:.1f} of the clock")


if __name__ == "__main__":
    main()
