"""Importing many pictures as a job: its rate beside the bare pipeline's, from a sealed file to durable records.

    python benchmarks/bulk.py [--pictures 200] [--rounds 3] [--out bulk.json]

The pictures are faces of ../shared/faces/train before a wall, 1280×720. Bare: `enrollable`, the whole pipeline of an
enrolment, of each picture in memory, on one thread of the same low priority. Job: the same pictures out of a sealed
zip, each enrolled, searched for conflicts, sealed, audited and durable, by as many threads as a service gives it. In
turn, each round into a new collection; the least time of the rounds counts, and the processor time besides, which
a neighbour's load distorts less.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import secrets
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from embed import SHARED, machine, stage_photo

from api.imports import stand_back
from api.wiring import Services, local_principal, open_services
from lookalike.answers import Caller
from lookalike.domain import Kind
from lookalike.jobs import Job
from lookalike.ports import FaceEncoder
from lookalike.settings import Settings


def pictures_of(count: int) -> dict[str, bytes]:
    """Path in the archive → picture; some people have several."""
    files = sorted((SHARED / "faces/train/celeba300").rglob("*.jpg"))[:count]
    return {f"{file.parent.name}/{file.name}": stage_photo(file.read_bytes()) for file in files}


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and seconds of the processor."""
    began, spent = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - spent


def piped(encoder: FaceEncoder, pictures: Mapping[str, bytes]) -> None:
    """The bare pipeline, in a thread that stands back as those of an import do."""
    with ThreadPoolExecutor(1, initializer=stand_back) as pool:
        pool.submit(lambda: [encoder.enrollable(data) for data in pictures.values()]).result()


def imported(services: Services, archive: bytes) -> tuple[tuple[float, float], dict[str, object]]:
    """How long the job takes for the archive, in a collection of its own, and what became of it."""
    who, name = Caller(local_principal(), "bench"), secrets.token_hex(4)
    where = services.gallery.create_collection(who, name).collection
    with services.imports.spool(where, len(archive)) as spool:
        spool.write(archive)
        spool.keep()
    job = Job("bench", "import", who.principal.id, name, where.id, {"import": spool.id})
    result: dict[str, object] = {}
    took = timed(lambda: result.update(services.imports.run(who, job, lambda done, total: None)))
    return took, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    pictures = pictures_of(options.pictures)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in pictures.items():
            archive.writestr(name, data)
    bare, job, result = [], [], dict[str, object]()
    with tempfile.TemporaryDirectory() as folder:
        services = open_services(Settings(data=Path(folder) / "data"))
        encoder = services.models.encoder(services.models.default(Kind.FACE))
        encoder.enrollable(next(iter(pictures.values())))
        for _ in range(options.rounds):
            bare.append(timed(lambda: piped(encoder, pictures)))
            took, result = imported(services, packed.getvalue())
            job.append(took)
        services.close()
    least_bare, least_job = ([min(column) for column in zip(*runs, strict=True)] for runs in (bare, job))
    found = {
        **machine(),
        "cores": len(os.sched_getaffinity(0)),
        **result,
        "bare_per_second": round(len(pictures) / least_bare[0], 1),
        "job_per_second": round(len(pictures) / least_job[0], 1),
        "job_of_bare": round(least_bare[0] / least_job[0], 3),
        "bare_processor_ms": round(1000 * least_bare[1] / len(pictures), 2),
        "job_processor_ms": round(1000 * least_job[1] / len(pictures), 2),
        "job_of_bare_by_processor": round(least_bare[1] / least_job[1], 3),
    }
    print(json.dumps(found, indent=2))
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
