"""Imports as a job: what was sent waits sealed on the disk, and is enrolled picture by picture, also after a kill.

Here security's sealed files, the readers of archives and the bulk use case meet.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager

from api.jobs import JobRunner, Progress
from api.picture_sources import open_source
from lookalike.answers import Caller
from lookalike.bulk import BulkEnroller
from lookalike.domain import Collection, Permission
from lookalike.errors import JobNotFound, LookalikeError
from lookalike.gallery import Gallery
from lookalike.jobs import ENDED, Job, Result
from lookalike.on_record import on_record
from lookalike.ports import AuditLog, Records
from lookalike.settings import Settings
from security.sealed_imports import SealedImports, Spool

KIND = "import"
NICENESS = 10
"""How far an import's threads stand back behind those that answer requests."""


class Imports:
    """Takes in files of pictures, enrols them as jobs, and tells what was refused. Thread-safe."""

    def __init__(
        self, settings: Settings, kept: SealedImports, gallery: Gallery, records: Records, audit: AuditLog
    ) -> None:
        self._settings = settings
        self._kept = kept
        self._gallery = gallery
        self._records = records
        self._audit = audit

    def require(self, caller: Caller, name: str) -> Collection:
        """The collection that is imported into; a refusal goes on record.

        Raises: PermissionDenied, CollectionNotFound.
        """
        with on_record(self._audit, caller, "collection.import", Permission.ENROL, name) as record:
            where = self._records.collection(name)
            record.written = True  # what was asked for goes on record with its job
            return where

    @contextmanager
    def spool(self, where: Collection, expected_bytes: int) -> Iterator[Spool]:
        """Somewhere to write what is sent; of what is not kept at the end no trace is left.

        Raises: StorageFull.
        """
        spool = self._kept.spool(where.id, expected_bytes)
        try:
            yield spool
        finally:
            spool.abort()

    def check(self, where: Collection, spool_id: str) -> None:
        """Whether what was sent can be read at all; if not it is deleted. Raises: BadArchive, TamperedData."""
        try:
            with closing(self._kept.open(where.id, spool_id)) as file:
                open_source(file, self._settings.max_import_pictures)
        except BaseException:
            self._kept.drop(spool_id)
            raise

    def submit(self, caller: Caller, where: Collection, spool_id: str, jobs: JobRunner) -> Job:
        """The job that enrols it. Raises: Overloaded, PermissionDenied, CollectionNotFound."""
        try:
            with on_record(self._audit, caller, "collection.import", Permission.ENROL, where.name) as record:
                job = jobs.submit(KIND, caller.principal, (where.name, where.id), {"import": spool_id})
                record.details["job"] = job.id
            return job
        except LookalikeError:
            self._kept.drop(spool_id)
            raise

    def drop(self, spool_id: str) -> None:
        """Forget what was sent."""
        self._kept.drop(spool_id)

    def run(self, caller: Caller, job: Job, progress: Progress) -> Result:
        """The job. Begun again, it goes on behind the last checkpoint. Raises: as `BulkEnroller.run`."""
        name, id, spool_id = _names(job)
        try:
            with closing(self._kept.open(id, spool_id)) as file, closing(self._kept.list_of(id, spool_id)) as remarks:
                items = open_source(file, self._settings.max_import_pictures)
                enroller = BulkEnroller(
                    self._gallery,
                    caller,
                    (name, id),
                    remarks,
                    max_bytes=self._settings.max_image_bytes,
                    threads=import_threads(),
                    quietly=stand_back,
                )
                enroller.run(items, min(job.done, len(items)), progress)
            found = list(self.remarks(job))
            rejected = sum(bool(item["reasons"]) for item in found)
            result = {"pictures": len(items), "enrolled": len(items) - rejected, "rejected": rejected}
            result["conflicts"] = len(found) - rejected
        except LookalikeError:
            self._kept.drop(spool_id)
            raise
        self._kept.drop(spool_id)
        return result

    def remarks(self, job: Job) -> Iterator[Mapping[str, object]]:
        """What was refused, or enrolled but worth a second look, in the order of the pictures, each once.

        Raises: JobNotFound for a job that is no import.
        """
        _, id, spool_id = _names(job)
        last = -1
        for item in self._kept.listed(id, spool_id):
            number = item["number"]
            if isinstance(number, int) and number > last:  # what a kill had done twice is listed twice
                last = number
                yield item

    def sweep(self, jobs: JobRunner) -> None:
        """Delete what belongs to no job any more."""
        imports = [job for job in jobs.jobs() if job.kind == KIND and "import" in job.params]
        known = {str(job.params["import"]): job.state not in ENDED for job in imports}
        self._kept.sweep([id for id, waits in known.items() if waits], list(known))


def _names(job: Job) -> tuple[str, str, str]:
    """Collection's name and id, and the import's. Raises: JobNotFound."""
    spool_id = job.params.get("import")
    if job.kind != KIND or job.collection is None or job.collection_id is None or not isinstance(spool_id, str):
        raise JobNotFound("this job is no import")
    return job.collection, job.collection_id, spool_id


def import_threads() -> int:
    """One more than cores: while one waits for the disk, another computes."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) + 1


def stand_back() -> None:
    """Give the calling thread a lower priority, where the system has one for threads."""
    if hasattr(os, "sched_getaffinity"):  # Linux, where a thread's id is one for setpriority
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
