"""Makes the kept sample of the data folder's present format: python tests/index/make_sample.py

Run it once when a format is new and commit what it made; later releases must open it. The sealed bytes in it are
fillers, since this layer cannot read them.
"""

from __future__ import annotations

from pathlib import Path

from index.data_format import DataFolder
from index.schema import FORMAT
from index.sqlite_rows import SqliteRows
from lookalike.ports import AuditRow, CollectionRow, JobRow, RowWriter, SubjectRow


def fill(tx: RowWriter) -> None:
    """Two subjects, of whom the second has been erased, two samples with a picture, and one of everything else."""
    tx.put_setting("root-check", b"filler")
    tx.put_collection(CollectionRow("c1", b"lookup-c1", b"wrapped-c1", b"sealed-c1", 1.0))
    for key in ("s1", "s2"):
        tx.put_subject(SubjectRow(key, "c1", b"lookup-" + key.encode(), b"wrapped", b"sealed", 2.0, 3.0))
        tx.add_sample(f"{key}-a", "c1", key, b"sealed-vector", 4.0, {"crop": b"sealed-crop"})
    tx.add_sample("s1-b", "c1", "s1", b"sealed-vector-b", 5.0, {})
    tx.delete_subject("s2")
    tx.put_calibration("c1", "", b"sealed-calibration")
    tx.put_template(1, "0123456789abcdef", b"sealed-template")
    tx.put_job(JobRow("j1", "c1", "running", 8.0, 9.0, 10.0, b"sealed-job"))
    tx.put_api_key("k1", b"lookup-k1", b"sealed-key")
    tx.append_audit(AuditRow(1, 6.0, bytes(32), b"sealed-entry"))
    tx.put_idempotent(b"lookup-i1", b"digest", b"sealed-answer", 7.0)


def main() -> None:
    folder = Path(__file__).parent / "samples" / f"format-{FORMAT}"
    with DataFolder(folder, made_by="0.1.0") as data:
        rows = SqliteRows(data.records)
        rows.write(fill)
        rows.scrub()
        rows.close()
    (folder / "format.lock").unlink()


if __name__ == "__main__":
    main()
