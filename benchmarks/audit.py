"""What the audit log costs: appending, signing, verifying a million entries, and its share of an identification.

    python benchmarks/audit.py [--entries 1000000] [--seconds 3] [--out audit.json]

All but the rate of appending is processor time, which a busy machine does not stretch. Verifying is timed from the rows
of a data folder, with the public key alone and with every seal opened, and from an export. The share of a request is
the processor time of one entry, sealed, chained, committed and signed each thousandth time, next to that of an
identification (`--request-ms`, from benchmarks/serve.py). Entries are committed as eight clients do it, many at once.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.embed import machine
from index.sqlite_rows import SqliteRows
from lookalike.domain import AuditEntry
from security.audit import SealedAuditLog
from security.audit_check import verify_rows
from security.audit_export import FORMATS, exported
from security.export_check import verify_export
from security.keys import open_key_ring

WRITERS = 8
BATCH = 2_000


def entry(number: int) -> AuditEntry:
    details = {"faces": 1, "matched": f"{number:032x}", "top": 0.7123456, "threshold": 0.41}
    return AuditEntry(
        "identify", "key:0123456789abcdef0123456789abcdef", "ok", f"{number:032x}", "visitors", None, details
    )


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """(seconds of processor time, what it returned): all that is timed here computes on one thread."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def fill(rows: SqliteRows, log: SealedAuditLog, count: int) -> float:
    """Seconds of processor time that it takes, in large transactions, as an import writes them."""
    began = time.process_time()
    for start in range(0, count, BATCH):
        notes = [log.prepare(entry(n)) for n in range(start, min(start + BATCH, count))]
        rows.write(lambda tx, notes=notes: [note(tx) for note in notes])
    return time.process_time() - began


def serve(log: SealedAuditLog, seconds: float) -> tuple[float, float]:
    """(entries a second, milliseconds of processor time an entry) of clients that each wait for the disk."""
    until, counts = time.perf_counter() + seconds, [0] * WRITERS

    def work(which: int) -> None:
        while time.perf_counter() < until:
            log.append(entry(counts[which]))
            counts[which] += 1

    busy, began = time.process_time(), time.perf_counter()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = sum(counts)
    return total / (time.perf_counter() - began), (time.process_time() - busy) * 1000 / total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--request-ms", type=float, default=13.0, help="processor time of one identification")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found: dict[str, object] = {"machine": machine(), "entries": options.entries}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = SqliteRows(folder / "records.db")
        keyring = open_key_ring("file:keys/root.key", folder, rows)
        log = SealedAuditLog(rows, keyring)
        rate, cost_ms = serve(log, options.seconds)
        found["appended_per_second_8_clients"] = round(rate)
        found["processor_ms_an_entry"] = round(cost_ms, 4)
        found["share_of_an_identification_percent"] = round(100 * cost_ms / options.request_ms, 2)
        found["fill_us_an_entry"] = round(1e6 * fill(rows, log, options.entries) / options.entries, 1)
        found["sign_999_entries_ms"] = round(1000 * signing(rows, log), 2)
        found["verify_public_key_alone_s"] = round(verify(rows, keyring.public_key, None), 1)
        found["verify_every_seal_opened_s"] = round(verify(rows, keyring.public_key, log._opened), 1)
        middle = options.entries // 2
        found["prove_entry_ms"] = round(1000 * timed(lambda: log.prove_entry(middle, None))[0], 2)
        found["prove_growth_ms"] = round(1000 * timed(lambda: log.prove_growth(middle, None))[0], 2)
        for format in ("sealed", "json"):
            file = folder / format
            found[f"export_{format}_s"] = round(timed(lambda f=format, to=file: export(log, f, to))[0], 1)
            spent, report = timed(lambda of=file: check(of, keyring.public_key, log))
            found[f"verify_export_{format}_s"] = round(spent, 1)
            if not report.sound:
                raise SystemExit(f"not sound: {report}")
        found["database_bytes_an_entry"] = round((folder / "records.db").stat().st_size / options.entries)
        rows.close()
    print(json.dumps(found, indent=2))
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=2) + "\n")


def signing(rows: SqliteRows, log: SealedAuditLog) -> float:
    """Seconds that a checkpoint takes after almost as many entries as there ever are between two."""
    log.checkpoint()
    fill(rows, log, 999 - log.newest().seq % 1000)
    return timed(log.checkpoint)[0]


def verify(rows: SqliteRows, public_key: bytes, open_entry: Callable[[object], object] | None) -> float:
    with rows.snapshot() as reader:
        spent, report = timed(lambda: verify_rows(reader, public_key, [], open_entry))
    if not report.sound or not report.checkpoints:
        raise SystemExit(f"not sound: {report}")
    return spent


def export(log: SealedAuditLog, format: str, to: Path) -> None:
    before, reader = log.reader_of_exports(0)
    with to.open("w", encoding="utf-8") as out:
        for line in exported(log.entries_after(0), before, FORMATS[format], reader, lambda _: True):
            out.write(line + "\n")


def check(file: Path, public_key: bytes, log: SealedAuditLog) -> object:
    with file.open("rb") as lines:
        return verify_export((line.rstrip(b"\n") for line in lines), public_key, [log.checkpoint().line])


if __name__ == "__main__":
    main()
