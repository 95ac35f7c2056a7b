"""Sends one file of pictures to be enrolled by a job, and follows that to its end unless told not to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer

from api.commands.enrol import show_conflicts, write_rejected
from api.commands.following import following
from api.commands.output import complain, print_json, progress
from api.commands.session import open_client

if TYPE_CHECKING:
    from api.client import Client
    from api.client_shapes import JobJson


def run_job(collection: str, path: Path, rejected: Path, *, detach: bool, as_json: bool) -> None:
    """Send the file; unless `detach`, wait, list what was refused, and say how it went."""
    with open_client() as client, path.open("rb") as file:
        with progress(f"sending {path.name}") as show:
            job = client.import_pictures(collection, _Told(file, show))
        if detach:
            _say_begun(job, as_json)
            return
        try:
            job = _followed(client, collection, job)
        except KeyboardInterrupt:
            complain(
                f"the job {job['id']} goes on in the service: `lookalike jobs show {job['id']}` tells how far it is"
            )
            raise typer.Exit(1) from None
        found = list(client.rejected(job["id"]))
    refused = [(item["path"], item["subject"], " ".join(item["reasons"])) for item in found if item["reasons"]]
    if refused:
        write_rejected(rejected, refused)
    if as_json:
        print_json(job)
        return
    enrolled = (len(refused) and f", {len(refused)} rejected: see {rejected}") or ", none rejected"
    print(f"enrolled {_count(job, 'enrolled')} pictures{enrolled}")
    conflicts = [(item["path"], item["subject"], item["conflict"]) for item in found if "conflict" in item]
    show_conflicts(conflicts, f"`lookalike jobs rejected {job['id']} --json` lists all")


def _followed(client: Client, collection: str, job: JobJson) -> JobJson:
    with progress(f"enrolling into {collection}") as told:
        return client.wait(job, on_progress=following(told))


def _say_begun(job: JobJson, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        print(f"job {job['id']} has begun: `lookalike jobs show {job['id']}` tells how far it is")


def _count(job: JobJson, name: str) -> object:
    result = job.get("result")
    return result.get(name) if isinstance(result, dict) else None


class _Told:
    """A file that tells how far it was read."""

    def __init__(self, file: IO[bytes], show: Callable[[int, int], None]) -> None:
        self._file = file
        self._show = show
        self._size = os.fstat(file.fileno()).st_size

    def fileno(self) -> int:
        return self._file.fileno()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._show(self._file.tell(), self._size)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
