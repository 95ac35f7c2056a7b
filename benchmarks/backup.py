"""Backups of a large gallery: time, size and memory to make, verify and restore one, and what that costs a service.

    python benchmarks/backup.py [--subjects 100000] [--clients 4] [--seconds 8] [--out backup.json]

Each subject has one sample with a crop of 3,000 bytes, sealed as an enrolment seals it and written in large batches.
Every step is the command, as a process of its own; beside it stands SQLite's own copy of the same database, which is
neither sealed nor free of what was deleted. Under load: clients identify over HTTPS without a backup, while one is made
again and again, and without again. Erasures: how many a second, one after the other, without and with a ledger.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import apsw
from embed import SHARED, machine, stage_photo
from reindex import identified
from serve import COLLECTION, served

from api.commands.vault import Vault, open_vault
from lookalike.domain import AuditEntry, Box, Collection, Kind, NewSample, Quality, Space, Subject
from lookalike.ports import RowWriter, SubjectRow
from lookalike.settings import Settings
from security.ledger_copy import Ledger
from security.recipient import new_recipient_key
from security.sealed_records import SealedRecords
from security.sealed_rows import RowSealer, SealedSample

ENTRY = AuditEntry("bench", "bench", "ok", "-")
CROP_BYTES = 3_000
BATCH = 1_000


def fill(vault: Vault, space: Space, size: int) -> None:
    """Enrol `size` subjects in a collection of this space."""
    collection = Collection(secrets.token_hex(16), COLLECTION, Kind.FACE, space, created_at=time.time())
    SealedRecords(vault.rows, vault.keyring, vault.audit).create_collection(collection, ENTRY)
    sealer, random = RowSealer(vault.keyring), np.random.default_rng(0)
    for start in range(0, size, BATCH):
        vectors = random.standard_normal((BATCH, space.dimension)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        made = []
        for n in range(min(BATCH, size - start)):
            row, key, _ = sealer.new_subject(collection, Subject("", f"person {start + n}", {}), time.time())
            new = NewSample(
                secrets.token_hex(16), Box(0, 0, 9, 9), Quality(1.0), vectors[n], secrets.token_bytes(CROP_BYTES)
            )
            made.append((row, sealer.seal_sample(collection, row.key, key, new, row.created_at)))

        def write(tx: RowWriter, made: list[tuple[SubjectRow, SealedSample]] = made) -> None:
            for row, sample in made:
                tx.put_subject(row)
                tx.add_sample(
                    sample.new.id, collection.id, row.key, sample.payload, row.created_at, sample.blobs, sample.space
                )

        vault.rows.write(write)


@dataclass(frozen=True)
class Spent:
    """What one run of the command took. cpu_s tells more than seconds where others use the machine too."""

    seconds: float
    cpu_s: float
    memory_mb: float


def command(environment: dict[str, str], *arguments: object) -> Spent:
    """Run `lookalike backup` with these arguments as a process of its own."""
    began, most = time.perf_counter(), 0
    program = [sys.executable, "-P", "-c", "from api.cli import main; main()", "backup", *map(str, arguments)]
    process = subprocess.Popen(program, env=environment, stdout=subprocess.DEVNULL)
    while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
        status = Path(f"/proc/{process.pid}/status").read_text()
        most = max(most, int(status.partition("VmHWM:")[2].split()[0]) if "VmHWM:" in status else 0)
        time.sleep(0.02)
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    if process.returncode:
        raise SystemExit(f"backup {arguments[0]} failed")
    return Spent(time.perf_counter() - began, ended[2].ru_utime + ended[2].ru_stime, most / 1000)


def alone(folder: Path, environment: dict[str, str]) -> dict[str, float]:
    """Create, verify, restore, and SQLite's own copy, each once."""
    file, database = folder / "one.backup", folder / "data" / "records.db"
    key = ("--key", folder / "offline.key")
    figures: dict[str, float] = {"database_mb": round(database.stat().st_size / 1e6, 1)}
    steps = {
        "create": ("create", "--out", file),
        "verify": ("verify", file),
        "verify_inside": ("verify", file, *key),
        "restore": ("restore", file, *key, "--data", folder / "again"),
    }
    for name, arguments in steps.items():
        spent = command(environment, *arguments)
        figures |= {f"{name}_{what}": round(value, 1) for what, value in asdict(spent).items()}
    figures["backup_mb"] = round(file.stat().st_size / 1e6, 1)
    began, cpu = time.perf_counter(), time.process_time()
    source, target = apsw.Connection(str(database)), apsw.Connection(str(folder / "copy.db"))
    with target.backup("main", source, "main") as copying:
        copying.step()
    target.close()
    source.close()
    figures["sqlite_copy_seconds"] = round(time.perf_counter() - began, 2)
    figures["sqlite_copy_cpu_s"] = round(time.process_time() - cpu, 2)
    return figures


def beside_load(
    folder: Path, environment: dict[str, str], photo: bytes, clients: int, seconds: float
) -> dict[str, float]:
    """Identifications a second without, beside and again without backups that follow each other."""
    stop = threading.Event()
    made: list[Spent] = []

    def backups() -> None:
        while not stop.is_set():
            file = folder / f"beside {len(made)}.backup"
            made.append(command(environment, "create", "--out", file))
            file.unlink()

    with served(folder / "data", "on") as (pid, port, _):
        ca = folder / "data" / "tls" / "ca.crt"
        before = identified(port, ca, photo, clients, seconds, pid).per_second
        thread = threading.Thread(target=backups)
        thread.start()
        during = identified(port, ca, photo, clients, seconds, pid).per_second
        stop.set()
        thread.join()
        after = identified(port, ca, photo, clients, seconds, pid).per_second
    return {
        "identify_before": round(before, 1),
        "identify_during": round(during, 1),
        "identify_after": round(after, 1),
        "identify_kept": round(2 * during / (before + after), 3),
        "create_beside_seconds": round(sum(spent.seconds for spent in made) / len(made), 2),
    }


def erasures(vault: Vault, folder: Path, count: int) -> dict[str, float]:
    """Erasures a second, one after the other."""
    found = {}
    for name, place in (("without", None), ("with", folder / "ledger")):
        ledger = Ledger(vault.rows, vault.keyring, vault.audit, place)
        records = SealedRecords(vault.rows, vault.keyring, vault.audit, ledger=ledger)
        where = records.collection(COLLECTION)
        victims = [subject.id for subject in records.list_subjects(where, count, None, {}).items]
        ledger.publish()
        began = time.perf_counter()
        for victim in victims:
            records.erase_subject(where, victim, ENTRY)
        found[f"erasures_per_second_{name}_ledger"] = round(count / (time.perf_counter() - began), 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=100_000)
    parser.add_argument("--erasures", type=int, default=200)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    photo = stage_photo(next(iter(sorted((SHARED / "faces/train/celeba10k").glob("*/*.jpg")))).read_bytes())
    os.environ |= {"LOOKALIKE_CALIBRATE_FROM": "0"}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name in ("data", "ledger"):
            (folder / name).mkdir()
        new_recipient_key(folder / "offline.key")
        own = {"LOOKALIKE_DATA": "data", "LOOKALIKE_LEDGER": "ledger", "LOOKALIKE_BACKUP_KEY": "offline.key.pub"}
        os.environ |= {name: str(folder / value) for name, value in own.items()}
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        settings = Settings()
        with open_vault(settings) as vault:
            from api.models import InstalledModels

            fill(vault, InstalledModels(settings).default(Kind.FACE), asked.subjects)
        figures = {"subjects": asked.subjects, "alone": alone(folder, environment)}
        figures["beside_load"] = beside_load(folder, environment, photo, asked.clients, asked.seconds)
        with open_vault(settings) as vault:
            figures["erasures"] = erasures(vault, folder, asked.erasures)
    text = json.dumps({**figures, "machine": machine()}, indent=2)
    if asked.out:
        asked.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
