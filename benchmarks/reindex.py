"""Re-indexing to another model: its rate beside the bare pipeline's, and what it leaves of a service under load.

    python benchmarks/reindex.py [--samples 1500] [--clients 8] [--out reindex.json]

The crops are those of ../shared/faces/train, enrolled with their templates written directly. Alone: the job's own
crops a second, beside `encode_crops` of the same crops in the same batches on one thread, in turn, least time of each.
Beside load: clients identify over HTTPS without a job, then with one, then without again; the job's rate in between is
set against what its share of the cores would give.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import tempfile
import threading
import time
from pathlib import Path

from embed import machine, stage_photo
from serve import COLLECTION, KEY, SHARED, connected, request_of, served
from serve import ask as ask_once

from api.client import Client
from api.wiring import Services, local_principal, open_services
from lookalike.answers import Caller
from lookalike.domain import AuditEntry, Box, NewSample, Quality
from lookalike.reindex import BATCH
from lookalike.settings import Settings

MODEL = "sface"


def caller() -> Caller:
    return Caller(local_principal(), "bench")


def fill(services: Services, size: int) -> None:
    """Enrol crops of the training faces as people of one sample each."""
    files = sorted((SHARED / "faces/train/celeba300").rglob("*.jpg"))[:size]
    services.gallery.create_collection(caller(), COLLECTION)
    where = services.answers.collection(COLLECTION)
    encoder = services.models.encoder(where.space)
    for start in range(0, len(files), BATCH):
        crops = [file.read_bytes() for file in files[start : start + BATCH]]
        for n, vector in enumerate(encoder.encode_crops(crops).vectors):
            sample = NewSample(secrets.token_hex(16), Box(0, 0, 112, 112), Quality(1.0), vector, crops[n])
            entry = AuditEntry("sample.enrol", "bench", "ok", "-", COLLECTION)
            services.answers.add_samples(where, f"person {start + n}", [sample], entry)


def crops_of(services: Services) -> list[bytes]:
    where = services.answers.collection(COLLECTION)
    found: list[bytes] = []
    for batch in services.answers.stream_samples(where):
        found += services.answers.crops(where, batch).values()
    return found


def alone(services: Services, rounds: int) -> dict[str, float]:
    """Seconds of the bare pipeline and of a whole job for the same crops, in turn."""
    where = services.answers.collection(COLLECTION)
    crops = crops_of(services)
    encoder = services.models.encoder(services.models.space(where.kind, MODEL))
    encoder.encode_crops(crops[:BATCH], enrolment=True)
    bare, job = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        for start in range(0, len(crops), BATCH):
            encoder.encode_crops(crops[start : start + BATCH], enrolment=True)
        bare.append(time.perf_counter() - began)
        services.reindexer.begin(caller(), COLLECTION, model=MODEL)
        began = time.perf_counter()
        services.reindexer.run(caller(), COLLECTION, lambda done, total: None, hold=True)
        job.append(time.perf_counter() - began)
        services.reindexer.abandon(caller(), COLLECTION)
    return {
        "crops": len(crops),
        "bare_per_second": round(len(crops) / min(bare), 1),
        "job_per_second": round(len(crops) / min(job), 1),
        "job_of_bare": round(min(bare) / min(job), 3),
    }


def beside_load(folder: Path, photo: bytes, clients: int, seconds: float) -> dict[str, float]:
    """Identifications a second without, with and again without a job, and the job's crops a second."""
    with served(folder, "on") as (_, port, _):
        ca = folder / "tls" / "ca.crt"
        client = Client(f"https://127.0.0.1:{port}", api_key=KEY, ca=ca)
        before = identified(port, ca, photo, clients, seconds)
        job = client.reindex(COLLECTION, model=MODEL, hold=True)
        while client.job(job["id"])["state"] == "queued":
            time.sleep(0.01)
        first = client.job(job["id"])
        began = time.perf_counter()
        during = identified(port, ca, photo, clients, seconds)
        last, spent = client.job(job["id"]), time.perf_counter() - began
        client.cancel_job(job["id"])
        after = identified(port, ca, photo, clients, seconds)
        client.close()
    rate = (last["progress"]["done"] - first["progress"]["done"]) / spent
    return {
        "identify_before": round(before, 1),
        "identify_during": round(during, 1),
        "identify_after": round(after, 1),
        "identify_kept": round(2 * during / (before + after), 3),
        "job_per_second": round(rate, 1),
        "job_still_on": float(last["state"] == "running"),
    }


def identified(port: int, ca: Path, photo: bytes, clients: int, seconds: float) -> float:
    """Identifications a second by so many clients; one that is refused stops the measurement."""
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
    before, began = sum(done), time.perf_counter()
    time.sleep(seconds)
    rate = (sum(done) - before) / (time.perf_counter() - began)
    stop.set()
    for thread in threads:
        thread.join()
    if wrong:
        raise SystemExit(f"an identify was answered {wrong[0]}")
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    source = next(iter(sorted((SHARED / "faces/train/celeba10k").glob("*/*.jpg"))))
    photo = stage_photo(source.read_bytes())
    os.environ["LOOKALIKE_CALIBRATE_FROM"] = "0"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "data"
        services = open_services(Settings(data=folder))
        fill(services, asked.samples)
        figures = {"alone": alone(services, asked.rounds)}
        services.close()
        figures["beside_load"] = beside_load(folder, photo, asked.clients, asked.seconds)
    report = {**figures, "machine": machine()}
    text = json.dumps(report, indent=2)
    if asked.out:
        asked.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
