"""Re-indexing to another model: its rate beside the bare pipeline's, and what it leaves of a service under load.

    python benchmarks/reindex.py [--samples 1500] [--folder DIR] [--clients 8] [--seconds 10] [--out reindex.json]

The crops are those of ../shared/faces/train/celeba300, each kept several times where more are asked for: moved by up to
two pixels, made brighter or darker, and encoded anew. Two make a person; templates are written directly, those of the
old model being the unchanged crop's with noise. With --folder what was enrolled and embedded stays there, and a run
that was interrupted goes on.

Alone: between blocks of the job, in the same process, `encode_crops` embeds some of the same crops in the same batches,
so that a neighbour's load falls on both. Beside load: clients identify over HTTPS without a job, then with one, then
without again. Where others use the machine too, trust what is counted by the second of processor time: of that which
service and clients get, the share that the job takes from identifying is what remains for it.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from embed import machine, stage_photo
from serve import COLLECTION, KEY, SHARED, connected, cpu_s, memory_mb, request_of, served
from serve import ask as ask_once

from api.client import Client
from api.wiring import Services, local_principal, open_services
from embedder.images import ImageLimits, decode_image, encode_jpeg
from lookalike.answers import Caller
from lookalike.domain import AuditEntry, Box, Floats, Kind, NewSample, Quality
from lookalike.ports import FaceEncoder
from lookalike.reindex import BATCH
from lookalike.settings import Settings

OLD, NEW = "sface", "sface-int8"
OF_A_PERSON = 2
NOISE = 0.02
WRITERS = 16
BARE = 256


def caller() -> Caller:
    return Caller(local_principal(), "bench")


# ------------------------------------------------------------------------------------------------ the gallery


def fill(services: Services, size: int) -> None:
    """Enrol crops as people of two samples each; those that are there already stay."""
    files = sorted((SHARED / "faces/train/celeba300").rglob("*.jpg"))
    copies = max(OF_A_PERSON, -(-size // len(files)) + 1) // OF_A_PERSON
    files = files[: -(-size // (OF_A_PERSON * copies))]
    if not any(c.collection.name == COLLECTION for c in services.gallery.collections(caller())):
        services.gallery.create_collection(caller(), COLLECTION, model=OLD)
    where = services.answers.collection(COLLECTION)
    there = {subject.id for batch in services.answers.stream_subjects(where) for subject in batch}
    encoder = services.models.encoder(where.space)

    def put(base: int, copy: int, crop: bytes, vector: Floats) -> None:
        rng = np.random.default_rng([base, copy])
        samples = [
            NewSample(secrets.token_hex(16), Box(0, 0, 112, 112), Quality(1.0), _near(vector, rng), _varied(crop, rng))
            for _ in range(OF_A_PERSON)
        ]
        entry = AuditEntry("sample.enrol", "bench", "ok", "-", COLLECTION)
        services.answers.add_samples(where, _person(base, copy), samples, entry)

    with ThreadPoolExecutor(WRITERS) as pool:
        for start in range(0, len(files), BATCH):
            bases = range(start, min(start + BATCH, len(files)))
            lacking = [(n, copy) for n in bases for copy in range(copies) if _person(n, copy) not in there]
            if lacking:
                crops = {n: files[n].read_bytes() for n in bases}
                vectors = dict(zip(bases, encoder.encode_crops(list(crops.values())).vectors, strict=True))
                work = [(n, copy, crops[n], vectors[n]) for n, copy in lacking]
                for _ in pool.map(put, *zip(*work, strict=True)):
                    continue


def _person(base: int, copy: int) -> str:
    return f"person {base} {copy}"


def _near(vector: Floats, rng: np.random.Generator) -> Floats:
    moved = vector + rng.normal(0, NOISE, vector.shape).astype(np.float32)
    return np.asarray(moved / np.linalg.norm(moved), np.float32)


def _varied(crop: bytes, rng: np.random.Generator) -> bytes:
    """The crop moved a little, brighter or darker, as a JPEG."""
    pixels = np.roll(decode_image(crop, ImageLimits(min_side=1)), rng.integers(-2, 3, 2), axis=(0, 1))
    lit = np.clip(pixels * rng.uniform(0.9, 1.1) + rng.uniform(-8, 8), 0, 255)
    return encode_jpeg(np.ascontiguousarray(lit, np.uint8))


# ---------------------------------------------------------------------------------------------------- alone


class Blocks:
    """A job's progress, told after each batch: every so many crops the bare pipeline has its turn.

    jobs, bares: (crops, processor seconds, seconds) of each turn, kept in a file for a run that goes on.
    """

    def __init__(self, encoder: FaceEncoder, crops: list[bytes], size: int, kept: Path) -> None:
        self._kept = kept
        self._encoder = encoder
        self._crops = crops
        self._size = size
        self._from: int | None = None
        self._began = (0.0, 0.0)
        before = json.loads(kept.read_text()) if kept.exists() else {"jobs": [], "bares": []}
        self.jobs: list[tuple[int, float, float]] = before["jobs"]
        self.bares: list[tuple[int, float, float]] = before["bares"]

    def __call__(self, done: int, total: int) -> None:
        if self._from is None:
            self._from, self._began = done, _clocks()
        elif done - self._from >= self._size or (done == total and done > self._from):
            self.jobs.append((done - self._from, *_since(self._began)))
            began = _clocks()
            for start in range(0, len(self._crops), BATCH):
                self._encoder.encode_crops(self._crops[start : start + BATCH], enrolment=True)
            self.bares.append((len(self._crops), *_since(began)))
            self._kept.write_text(json.dumps({"jobs": self.jobs, "bares": self.bares}))
            print(f"{done:>9,} of {total:,}: {_rates(self.jobs[-1:])} job, {_rates(self.bares[-1:])} bare", flush=True)
            self._from, self._began = done, _clocks()

    def since_the_last(self) -> tuple[float, float]:
        """Processor seconds and seconds since the last turn: what a job does after all crops are embedded."""
        return _since(self._began)


def alone(services: Services, model: str, block: int) -> dict[str, object]:
    """Crops a second of the job and of the bare pipeline, in turn; what ends the job; memory, and the database."""
    where = services.answers.collection(COLLECTION)
    encoder = services.models.encoder(services.models.space(Kind.FACE, model))
    crops = some_crops(services)
    encoder.encode_crops(crops[:BATCH], enrolment=True)
    kept = services.settings.data.with_name("turns.json")
    if services.reindexer.unfinished(caller(), COLLECTION) is None:
        services.reindexer.begin(caller(), COLLECTION, model=model)
        kept.unlink(missing_ok=True)
    services.rosters.of(where)
    database = services.settings.data / "records.db"
    before, resident = _size_mb(database), memory_mb(os.getpid())
    turns = Blocks(encoder, crops, block, kept)
    with peak_mb() as peak:
        report = services.reindexer.run(caller(), COLLECTION, turns)
    end_cpu, end_s = turns.since_the_last()
    sizes = _size_mb(database)
    began = _clocks()
    services.reindexer.retire(caller(), COLLECTION, now=True)
    forgotten_cpu, forgotten_s = _since(began)
    each = [(b[1] / b[0]) / (j[1] / j[0]) for j, b in zip(turns.jobs, turns.bares, strict=True)]
    (crops_done, cpu, wall), (bare_n, bare_cpu, bare_wall) = _sums(turns.jobs), _sums(turns.bares)
    return {
        "to": model,
        "crops": crops_done,
        "bare_per_cpu_second": round(bare_n / bare_cpu, 1),
        "job_per_cpu_second": round(crops_done / cpu, 1),
        "job_of_bare": round((bare_cpu / bare_n) / (cpu / crops_done + end_cpu / report.samples), 3),
        "job_of_bare_by_the_clock": round((bare_wall / bare_n) / (wall / crops_done + end_s / report.samples), 3),
        "each_turn": [round(float(q), 3) for q in np.quantile(each, (0.1, 0.5, 0.9))],
        "first_and_last_tenth": [round(statistics.mean(x), 3) for x in (_tenth(each), _tenth(each[::-1]))],
        "seconds": round(wall + end_s, 1),
        "ending_cpu_s": round(end_cpu, 2),
        "forgetting_the_old_cpu_s": round(forgotten_cpu, 2),
        "forgetting_the_old_s": round(forgotten_s, 2),
        "resident_mb": round(resident),
        "peak_mb": round(peak[0]),
        "database_mb": [round(before), round(sizes), round(_size_mb(database))],
        "verdict": report.verdict,
        "judged": report.judged,
        "recall": report.recall,
        "promoted": report.promoted,
    }


def some_crops(services: Services) -> list[bytes]:
    """The first few that are kept."""
    where = services.answers.collection(COLLECTION)
    samples = next(services.answers.stream_samples(where, BARE))
    return list(services.answers.crops(where, samples).values())


@contextmanager
def peak_mb() -> Iterator[list[float]]:
    """The most memory that this process had resident meanwhile."""
    Path("/proc/self/clear_refs").write_text("5")
    found = [0.0]
    yield found
    found[0] = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1000


def _size_mb(database: Path) -> float:
    """With its log of writes."""
    return sum(file.stat().st_size for file in database.parent.glob(database.name + "*")) / 1e6


def _clocks() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


def _since(began: tuple[float, float]) -> tuple[float, float]:
    return time.process_time() - began[0], time.perf_counter() - began[1]


def _sums(turns: list[tuple[int, float, float]]) -> tuple[int, float, float]:
    return sum(t[0] for t in turns), sum(t[1] for t in turns), sum(t[2] for t in turns)


def _tenth(of: list[float]) -> list[float]:
    return of[: max(1, len(of) // 10)]


def _rates(turns: list[tuple[int, float, float]]) -> str:
    crops, cpu, wall = _sums(turns)
    return f"{crops / cpu:.0f} a processor second ({crops / wall:.0f} a second)"


# -------------------------------------------------------------------------------------------------- beside load


@dataclass(frozen=True, slots=True)
class Answered:
    """What the clients were answered, and the processor time of service and clients together."""

    count: int
    seconds: float
    cpu_s: float

    @property
    def per_second(self) -> float:
        return self.count / self.seconds

    @property
    def per_cpu_second(self) -> float:
        return self.count / self.cpu_s


def beside_load(folder: Path, photo: bytes, clients: int, seconds: float, model: str, bare: float) -> dict[str, float]:
    """Identifications without, with and again without a job, and the job's crops. bare: crops a processor second."""
    with served(folder, "on") as (pid, port, _):
        ca = folder / "tls" / "ca.crt"
        client = Client(f"https://127.0.0.1:{port}", api_key=KEY, ca=ca)
        before = identified(port, ca, photo, clients, seconds, pid)
        job = client.reindex(COLLECTION, model=model, hold=True)
        while client.job(job["id"])["progress"]["done"] == 0:
            time.sleep(0.1)
        first, began = client.job(job["id"]), time.perf_counter()
        during = identified(port, ca, photo, clients, seconds, pid)
        last, spent = client.job(job["id"]), time.perf_counter() - began
        resident = memory_mb(pid)
        client.give_up_reindex(COLLECTION)
        after = identified(port, ca, photo, clients, seconds, pid)
        client.close()
    done = (last["progress"]["done"] - first["progress"]["done"]) / spent
    usual = (before.per_cpu_second + after.per_cpu_second) / 2
    kept = during.per_cpu_second / usual
    embedded = done / (during.cpu_s / during.seconds)
    return {
        "identify_before": round(before.per_second, 1),
        "identify_during": round(during.per_second, 1),
        "identify_after": round(after.per_second, 1),
        "identify_kept": round(2 * during.per_second / (before.per_second + after.per_second), 3),
        "identify_kept_a_cpu_second": round(kept, 3),
        "job_per_second": round(done, 1),
        "job_of_what_remains": round(embedded / ((1 - kept) * bare), 3),
        "job_still_on": float(last["state"] == "running"),
        "resident_mb": round(resident),
    }


def identified(port: int, ca: Path, photo: bytes, clients: int, seconds: float, pid: int) -> Answered:
    """What so many clients are answered by the service of that process; one that is refused stops the measurement."""
    request, done, stop = request_of(photo), [0] * clients, threading.Event()
    wrong: list[int] = []

    def run(number: int) -> None:
        with connected(port, ca) as connection:
            while not stop.is_set():
                if (status := ask_once(connection, request)) != 200:
                    wrong.append(status)
                    return
                done[number] += 1

    threads = [threading.Thread(target=run, args=(n,)) for n in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(1.0)
    before, began, cpu = sum(done), time.perf_counter(), time.process_time() + cpu_s(pid)
    time.sleep(seconds)
    found = Answered(sum(done) - before, time.perf_counter() - began, time.process_time() + cpu_s(pid) - cpu)
    stop.set()
    for thread in threads:
        thread.join()
    if wrong:
        raise SystemExit(f"an identify was answered {wrong[0]}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1500)
    parser.add_argument("--folder", type=Path, help="keep everything there, and go on with what is there")
    parser.add_argument("--block", type=int, default=0, help="crops of the job between turns; a twentieth by default")
    parser.add_argument("--beside-only", action="store_true", help="leave out what is measured alone")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    source = next(iter(sorted((SHARED / "faces/train/celeba10k").glob("*/*.jpg"))))
    photo = stage_photo(source.read_bytes())
    os.environ["LOOKALIKE_CALIBRATE_FROM"] = "0"
    with tempfile.TemporaryDirectory() as place:
        folder = (asked.folder or Path(place)).absolute() / "data"
        services = open_services(Settings(data=folder))
        fill(services, asked.samples)
        print(f"{services.gallery.collection(caller(), COLLECTION).samples:,} samples are enrolled", flush=True)
        here = services.answers.collection(COLLECTION).space.model
        there = NEW if here == OLD else OLD
        figures: dict[str, object] = {}
        if asked.beside_only:
            here, there = there, here  # beside load it goes to `here`
        else:
            figures["alone"] = alone(services, there, asked.block or max(BATCH, asked.samples // 20))
            print(json.dumps(figures, indent=2), flush=True)
        encoder, crops = services.models.encoder(services.models.space(Kind.FACE, here)), some_crops(services)
        began = 0.0
        for _ in range(2):  # the first one warms up
            began = time.process_time()
            encoder.encode_crops(crops, enrolment=True)
        bare = len(crops) / (time.process_time() - began)
        for key in services.api_keys.list(
            local_principal()
        ):  # an earlier run's: this one's is taken where there is none
            services.api_keys.revoke(local_principal(), key.id)
        services.close()
        figures["beside_load"] = beside_load(folder, photo, asked.clients, asked.seconds, here, bare)
    report = {**figures, "machine": machine()}
    text = json.dumps(report, indent=2)
    if asked.out:
        asked.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
