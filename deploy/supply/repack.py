"""Writes a source distribution anew so that the same files give the same bytes: python -m deploy.supply.repack FILE…

Order, owners, modes and times in the archive are fixed; the time is SOURCE_DATE_EPOCH. setuptools does so for wheels.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import tarfile
from pathlib import Path


def repack(path: Path, epoch: int) -> None:
    """Replace the .tar.gz by its even form. epoch: seconds since 1970."""
    plain = io.BytesIO()
    with tarfile.open(path, "r:gz") as old, tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new:
        for entry in sorted(old.getmembers(), key=lambda entry: entry.name):
            even = tarfile.TarInfo(entry.name)
            even.type, even.size, even.mtime = entry.type, entry.size, epoch
            even.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            new.addfile(even, old.extractfile(entry) if entry.isfile() else None)
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=epoch) as packed:
        packed.write(plain.getvalue())
    fresh.replace(path)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        repack(Path(name), int(os.environ["SOURCE_DATE_EPOCH"]))
