"""Rotating the keys of many subjects while a service answers and is written to: how long it takes, what it costs.

    python benchmarks/rotation.py [--subjects 100000] [--out rotation.json]         # SQLite
    source <(tests/services/start /tmp/servers); python benchmarks/rotation.py --postgresql

Subjects with one template each are written directly; then the real service runs as a process of its own. Clients ask
for subjects, enrol new ones and change others over HTTPS, before the rotation and during it; each answer other than
the one that was wanted counts as an error. At the end a row of before is put back: the service must refuse it.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg
from psycopg import sql

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api.client import Client, ClientError
from api.record_store import open_rows
from api.wiring import open_services
from benchmarks.embed import machine
from lookalike.domain import AuditEntry, Box, Kind, NewSample, Quality, Subject
from lookalike.settings import Settings
from security.audit import SealedAuditLog
from security.keys import open_key_ring
from security.sealed_records import SealedRecords
from security.sealed_rows import RowSealer

COLLECTION = "bench"
KEY = "an-admin-key-that-only-this-benchmark-knows-0123456789"
BATCH = 500
BAR_S = 60.0


def entry(action: str) -> AuditEntry:
    return AuditEntry(action, "bench", "ok", "-", COLLECTION)


def fill(settings: Settings, size: int) -> None:
    """A collection of `size` subjects with one template each, sealed as the service seals them."""
    services = open_services(settings)
    space = services.models.default(Kind.FACE)
    services.close()
    with open_rows(settings) as rows:
        keyring = open_key_ring(settings.keys, settings.data.absolute(), rows)
        records, sealer = SealedRecords(rows, keyring, SealedAuditLog(rows, keyring)), RowSealer(keyring)
        collection = records.collection(COLLECTION)
        generator = np.random.default_rng(0)
        for start in range(0, size, BATCH):
            made = []
            for number in range(start, min(start + BATCH, size)):
                vector = generator.standard_normal(space.dimension).astype(np.float32)
                sample = NewSample(
                    secrets.token_hex(16), Box(0, 0, 112, 112), Quality(1.0), vector / np.linalg.norm(vector)
                )
                now = time.time()
                row, key, _ = sealer.new_subject(collection, Subject("", f"person {number}", {}), now)
                made.append((row, sealer.seal_sample(collection, row.key, key, sample, now), now))

            def put(tx, made=made):
                for row, sealed, at in made:
                    tx.put_subject(row)
                    tx.add_sample(sealed.new.id, collection.id, row.key, sealed.payload, at, sealed.blobs, sealed.space)

            rows.write(put)


class Load:
    """Clients that ask and write until they are told to end; every failure is kept."""

    def __init__(self, connect: Callable[[], Client], subjects: int) -> None:
        self._connect, self._subjects = connect, subjects
        self._end = threading.Event()
        self.took: list[tuple[float, float]] = []
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(work,)) for work in (self._read, self._write)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def between(self, start: float, end: float) -> dict[str, float]:
        """Answers a second, and how long they took, of what began in that time."""
        took = sorted(ms for at, ms in self.took if start <= at < end)
        p99 = took[int(len(took) * 0.99)] if took else float("nan")
        return {"per_second": len(took) / (end - start), "median_ms": statistics.median(took or [0.0]), "p99_ms": p99}

    def _run(self, work: Callable[[Client, int], None]) -> None:
        turn = 0
        with self._connect() as client:
            while not self._end.is_set():
                turn, at = turn + 1, time.perf_counter()
                try:
                    work(client, turn)
                except ClientError as error:
                    self.failures.append(f"{error.code}: {error}")
                self.took.append((at, (time.perf_counter() - at) * 1000))

    def _read(self, client: Client, turn: int) -> None:
        name = f"person {secrets.randbelow(self._subjects)}"
        if client.subject(COLLECTION, name)["id"] != name:
            self.failures.append("another person was told")

    def _write(self, client: Client, turn: int) -> None:
        name = f"person {secrets.randbelow(self._subjects)}" if turn % 2 else f"new {turn}"
        client.put_subject(COLLECTION, name, metadata={"turn": str(turn)})


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def served(environment: dict[str, str], folder: Path) -> Iterator[tuple[Callable[[], Client], int]]:
    """A service, how to connect to it, and its process id."""
    with (folder / "service.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from api.cli import main; main()", "serve"],
            env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        url = next(line.split()[1] for line in process.stdout or () if line.startswith("ready "))
        yield lambda: Client(url, api_key=KEY, ca=folder / "data/tls/ca.crt", retries=0), process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def refuses_old_row(settings: Settings, client: Client, before) -> bool:
    """Put the row of a person of before the rotation back, as one who can write to the database would."""
    with open_rows(settings) as rows:
        rows.write(lambda tx: tx.put_subject(before))
    name = before_name(settings, before)
    try:
        client.subject(COLLECTION, name)
    except ClientError as error:
        return error.code == "tampered_data"
    return False


def before_name(settings: Settings, row) -> str:
    """Whose row it is, by the keyed hash of the name."""
    with open_rows(settings) as rows:
        keyring = open_key_ring(settings.keys, settings.data.absolute(), rows)
        collection = rows.read().collections()[0].id.encode()
        names = (f"person {number}" for number in range(10**7))
        return next(name for name in names if keyring.lookup("subject", collection, name.encode()) == row.lookup)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--subjects", type=int, default=100_000)
    parser.add_argument("--quiet-s", type=float, default=10.0, help="how long the load runs before the rotation")
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "admin.key").write_text(KEY)
        chosen = {
            "LOOKALIKE_DATA": f"{folder}/data",
            "LOOKALIKE_PORT": "0",
            "LOOKALIKE_BOOTSTRAP_KEY_FILE": f"{folder}/admin.key",
        }
        if asked.postgresql:
            url, password = (os.environ[f"LOOKALIKE_TEST_POSTGRESQL{part}"] for part in ("", "_PASSWORD_FILE"))
            database = f"bench_{secrets.token_hex(6)}"
            with psycopg.connect(url, password=Path(password).read_text().strip(), autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
            chosen |= {
                "LOOKALIKE_RECORDS": f"{url.rpartition('/')[0]}/{database}",
                "LOOKALIKE_POSTGRESQL_PASSWORD_FILE": password,
                "LOOKALIKE_POSTGRESQL_CA": os.environ["LOOKALIKE_TEST_POSTGRESQL_CA"],
            }
        environment = {**{k: v for k, v in os.environ.items() if not k.startswith("LOOKALIKE_")}, **chosen}
        os.environ.update(chosen)
        settings = Settings()
        with served(environment, folder) as (connect, _), connect() as client:
            client.create_collection(COLLECTION)
        fill(settings, asked.subjects)
        found = measure(settings, environment, folder, asked)
    print(json.dumps(found, indent=2))
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=2) + "\n")
    sys.exit(0 if found["passed"] else 1)


def measure(settings: Settings, environment: dict[str, str], folder: Path, asked: argparse.Namespace) -> dict:
    with open_rows(settings) as rows:
        before = rows.read().subjects_page(rows.read().collections()[0].id, "", 1)[0]
    with served(environment, folder) as (connect, pid), connect() as client, Load(connect, asked.subjects) as load:
        time.sleep(asked.quiet_s)
        start, had = time.perf_counter(), cpu_s(pid)
        job = client.wait(client.rotate_keys(COLLECTION))
        end, used = time.perf_counter(), cpu_s(pid) - had
        time.sleep(2.0)
        status = client.key_status()["items"][0]
        refused = refuses_old_row(settings, client, before)
    failures = [text for text in load.failures if not (text.startswith("tampered_data") and refused)]
    versions = [(each["version"], each["subjects"]) for each in status["versions"]]
    return {
        "machine": machine(),
        "store": settings.records.partition(":")[0],
        "subjects": asked.subjects,
        "rotation_s": round(end - start, 2),
        "bar_s": BAR_S,
        "service_cpu_s": round(used, 2),
        "job": job["result"],
        "versions": versions,
        "before": load.between(start - asked.quiet_s, start),
        "during": load.between(start, end),
        "requests": len(load.took),
        "errors": len(failures),
        "first_errors": failures[:3],
        "old_row_refused": refused,
        "passed": end - start <= BAR_S and not failures and refused and len(versions) == 1,
    }


if __name__ == "__main__":
    main()
