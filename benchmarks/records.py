"""SQLite against PostgreSQL as the store of records: commits, enrolments, erasures, and opening many subjects.

    source <(tests/services/start /tmp/servers)
    python benchmarks/records.py [--subjects 100000] [--rounds 3] [--seconds 3] [--out records.json]

Both stores hold sealed records of the same size, both wait for the disk, and their rounds alternate, so that whatever
else the machine does falls on both. A commit writes one small value. An enrolment is what the service does once the
vector is there: a new subject with one template and a crop of 3 kB, sealed, with its audit entry. Writers are threads
of one process, which share commits, or processes of their own, which take turns. Opening is what a replica does at its
start without a snapshot: every sample is read and unsealed. The rows for that are copied from one store to the other.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psycopg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.embed import machine
from index.postgres_connection import connection_params
from index.postgres_rows import PostgresRows
from index.sqlite_rows import SqliteRows
from lookalike.domain import AuditEntry, Box, Collection, Keep, Kind, NewSample, Quality, Space
from lookalike.ports import Rows
from security.audit import SealedAuditLog
from security.keys import open_key_ring
from security.sealed_records import SealedRecords

SPACE = Space("bench", 128, "none")
WRITERS = 8
PAGE = 1000
KEPT_SETTINGS = ("deployment", "signing.", "key.")
URL = "LOOKALIKE_TEST_POSTGRESQL"


@dataclass
class Side:
    """One store with sealed records above it. where: what a process opens it by; keys: the root key's folder."""

    name: str
    rows: Rows
    records: SealedRecords
    collection: Collection
    where: list[str]
    keys: Path


def open_where(where: list[str]) -> Rows:
    if len(where) == 1:
        return SqliteRows(Path(where[0]))
    password = Path(where[1]).read_text().strip()
    return PostgresRows(connection_params(where[0], None), lambda: password, where[2])


def open_side(name: str, where: list[str], keys: Path) -> Side:
    rows = open_where(where)
    keyring = open_key_ring("file:root.key", keys, rows)
    records = SealedRecords(rows, keyring, SealedAuditLog(rows, keyring))
    if not rows.read().collections():
        made = Collection(secrets.token_hex(16), "bench", Kind.FACE, SPACE, Keep.CROP, time.time())
        records.create_collection(made, entry("collection.create"))
    return Side(name, rows, records, records.collection("bench"), where, keys)


def entry(action: str) -> AuditEntry:
    return AuditEntry(action, "bench", "ok", "-", "bench")


# --------------------------------------------------------------------------------------------- what is timed


def commit(side: Side) -> None:
    value = os.urandom(32)
    side.rows.write(lambda tx: tx.put_setting("bench", value))


def enrol(side: Side, *, crop: bool = True) -> str:
    vector = np.random.default_rng().standard_normal(128).astype(np.float32)
    vector /= np.linalg.norm(vector)
    picture = os.urandom(3000) if crop else None
    sample = NewSample(secrets.token_hex(16), Box(0, 0, 100, 100), Quality(1.0), vector, crop=picture)
    name = secrets.token_hex(8)
    side.records.add_samples(side.collection, name, [sample], entry("sample.enrol"))
    return name


def rate(work: Callable[[], object], threads: int, seconds: float) -> float:
    """How often a second it is done, by so many threads at once."""
    until, counts = time.perf_counter() + seconds, [0] * threads

    def run(number: int) -> None:
        while time.perf_counter() < until:
            work()
            counts[number] += 1

    began = time.perf_counter()
    workers = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - began)


def rate_of_processes(side: Side, count: int, seconds: float) -> float:
    """Enrolments a second of so many processes, one thread each, that begin together."""
    command = [sys.executable, __file__, "--enrol-for", str(seconds), str(side.keys), *side.where]
    writers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    for writer in writers:
        writer.stdout.readline()
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    return sum(float(writer.communicate()[0]) for writer in writers)


def enrol_for(seconds: float, keys: Path, where: list[str]) -> None:
    """One of those processes."""
    side = open_side("", where, keys)
    print("open", flush=True)
    sys.stdin.readline()
    print(rate(lambda: enrol(side), 1, seconds))


def erasure_ms(side: Side) -> float:
    """From asking to erase somebody to the receipt, with the store scrubbed."""
    name = enrol(side)
    began = time.perf_counter()
    side.records.erase_subject(side.collection, name, entry("subject.erase"))
    return (time.perf_counter() - began) * 1000


def look_up_ms(side: Side) -> float:
    began = time.perf_counter()
    side.rows.read().get_setting("deployment")
    return (time.perf_counter() - began) * 1000


def opened_s(side: Side) -> float:
    """Every sample read and unsealed."""
    began = time.perf_counter()
    found = sum(len(batch) for batch in side.records.stream_samples(side.collection))
    seconds = time.perf_counter() - began
    if found != side.rows.read().count(side.collection.id)[1]:
        raise RuntimeError(f"{found} samples were read")
    return seconds


# ---------------------------------------------------------------------------------------------- the two sides


def fill(side: Side, subjects: int) -> None:
    """Enrol so many, without crops, by many threads that share commits."""
    left = iter(range(subjects))
    lock = threading.Lock()

    def run() -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            enrol(side, crop=False)

    threads = [threading.Thread(target=run) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def copy(source: Rows, target: Rows) -> None:
    """The deployment's keys, the collection and its subjects and samples, as they are."""
    reader = source.read()
    (collection,) = reader.collections()
    settings = {name: value for name, value in reader.settings("").items() if name.startswith(KEPT_SETTINGS)}
    target.write(lambda tx: [tx.put_setting(name, value) for name, value in settings.items()])
    target.write(lambda tx: tx.put_collection(collection))
    after = ""
    while rows := reader.subjects_page(collection.id, after, PAGE):
        target.write(lambda tx, rows=rows: [tx.put_subject(row) for row in rows])
        after = rows[-1].key
    last = 0
    while samples := reader.samples_page(collection.id, last, PAGE):
        target.write(
            lambda tx, samples=samples: [
                tx.add_sample(s.id, s.collection_id, s.subject_key, s.payload, s.created_at, {}, s.space)
                for s in samples
            ]
        )
        last = samples[-1].number


def timed(sides: list[Side], rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Each figure of each side, one round after the other."""
    found: dict[str, dict[str, list[float]]] = {}
    works: dict[str, Callable[[Side], float]] = {
        "commits/s, 1 writer": lambda side: rate(lambda: commit(side), 1, seconds),
        f"commits/s, {WRITERS} writers": lambda side: rate(lambda: commit(side), WRITERS, seconds),
        "enrolments/s, 1 writer": lambda side: rate(lambda: enrol(side), 1, seconds),
        f"enrolments/s, {WRITERS} writers": lambda side: rate(lambda: enrol(side), WRITERS, seconds),
        f"enrolments/s, {WRITERS} processes": lambda side: rate_of_processes(side, WRITERS, seconds),
        "erasure, ms": lambda side: statistics.median(erasure_ms(side) for _ in range(10)),
        "look-up, ms": lambda side: statistics.median(look_up_ms(side) for _ in range(200)),
    }
    for _ in range(rounds):
        for name, work in works.items():
            for side in sides:
                found.setdefault(name, {}).setdefault(side.name, []).append(work(side))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=100_000, help="of the opening; 0 leaves it out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--out", type=Path, default=Path("bench-output/records.json"))
    parser.add_argument("--enrol-for", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.enrol_for:
        seconds, keys, *where = arguments.enrol_for
        enrol_for(float(seconds), Path(keys), where)
        return
    url, password = os.environ.get(URL), os.environ.get(f"{URL}_PASSWORD_FILE")
    if url is None or password is None:
        sys.exit(f"{URL} is not set: source <(tests/services/start FOLDER) starts a PostgreSQL")
    schemas = [f"bench_{secrets.token_hex(4)}" for _ in range(2)]
    try:
        with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
            places = [([str(Path(scratch) / f"{name}/records.db")], [url, password, name]) for name in schemas]
            figures = measured(Path(scratch), places, arguments, stack)
    finally:
        with psycopg.connect(url, password=Path(password).read_text().strip(), autocommit=True) as connection:
            for schema in schemas:
                connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(figures, indent=2))
    print(json.dumps(figures, indent=2))


def measured(
    keys: Path, places: list[tuple[list[str], list[str]]], arguments: argparse.Namespace, stack: ExitStack
) -> dict[str, object]:
    """The medians, their ranges, and PostgreSQL's share of SQLite."""
    sides = [opened(name, where, keys, stack) for name, where in zip(("sqlite", "postgresql"), places[0], strict=True)]
    found = timed(sides, arguments.rounds, arguments.seconds)
    if arguments.subjects:
        full = opened("sqlite", places[1][0], keys, stack)
        fill(full, arguments.subjects)
        target = open_where(places[1][1])
        copy(full.rows, target)
        target.close()
        both = [full, opened("postgresql", places[1][1], keys, stack)]
        for _ in range(arguments.rounds):
            for side in both:
                found.setdefault("opening, s", {}).setdefault(side.name, []).append(opened_s(side))
    figures = {
        name: {
            **{
                side: [round(v, 3) for v in (statistics.median(runs), min(runs), max(runs))]
                for side, runs in by.items()
            },
            "ratio": round(statistics.median(by["postgresql"]) / statistics.median(by["sqlite"]), 2),
        }
        for name, by in found.items()
    }
    return {"machine": machine(), "subjects": arguments.subjects, "median, least, most": figures}


def opened(name: str, where: list[str], keys: Path, stack: ExitStack) -> Side:
    side = open_side(name, where, keys)
    stack.callback(side.rows.close)
    return side


if __name__ == "__main__":
    main()
