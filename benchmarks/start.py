"""From start to ready, and the memory then, with many people enrolled: from a snapshot, and rebuilt from the records.

    python benchmarks/start.py [--gallery 100000] [--out start.json]

The real service is started on a data folder filled through the sealed records: without a snapshot, then with the one
that the first stop left. Rates of enrolment are of writing alone, by many threads that share commits.
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

from api.wiring import open_services
from benchmarks.embed import machine
from benchmarks.serve import fill, memory_mb, served
from lookalike.settings import Settings


def started(folder: Path) -> dict[str, float]:
    """Seconds until `ready` and resident memory in MB then."""
    with served(folder, "on") as (pid, _, seconds):
        return {"ready_s": round(seconds, 2), "memory_mb": round(memory_mb(pid))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("bench-output/start.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "data"
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
