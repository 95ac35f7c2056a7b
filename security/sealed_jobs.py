"""Jobs over rows that hold ciphertext only: what is in the clear is a job's id, its state and its times."""

from __future__ import annotations

import json
from dataclasses import replace

from lookalike.errors import NotFound
from lookalike.jobs import ENDED, Job, JobState
from lookalike.ports import JobRow, Rows, RowWriter
from security.envelope import open_sealed, seal
from security.keys import KeyRing
from security.sealed_codec import canonical, decode_grants, encode_grants


class SealedJobs:
    """The port JobStore. A deleted collection takes its jobs along."""

    def __init__(self, rows: Rows, keyring: KeyRing) -> None:
        self._rows = rows
        self._keyring = keyring

    def put(self, job: Job) -> bool:
        def write(rows: RowWriter) -> bool:
            there = rows.job(job.id)
            if there is None and job.starts:
                return False
            wanted = there is not None and self._open(there).cancel
            rows.put_job(self._row(replace(job, cancel=job.cancel or wanted)))
            return True

        try:
            return self._rows.write(write)
        except NotFound:
            return False

    def jobs(self, limit: int) -> list[Job]:
        return [self._open(row) for row in self._rows.read().jobs(limit)]

    def job(self, id: str) -> Job | None:
        row = self._rows.read().job(id)
        return self._open(row) if row is not None else None

    def cancel(self, id: str) -> Job | None:
        def write(rows: RowWriter) -> Job | None:
            row = rows.job(id)
            if row is None:
                return None
            job = self._open(row)
            if job.state in ENDED:
                return job
            state = JobState.CANCELLED if job.state is JobState.QUEUED else job.state
            job = replace(job, cancel=True, state=state)
            rows.put_job(self._row(job))
            return job

        return self._rows.write(write)

    def claim(self, now: float, until: float) -> Job | None:
        def write(rows: RowWriter) -> Job | None:
            row = rows.claim_job(now, until)
            if row is None:
                return None
            job = self._open(row)
            job = replace(job, starts=job.starts + 1, started_at=now, done_before=job.done)
            rows.put_job(self._row(job))
            return job

        return self._rows.write(write)

    def forget(self, before: float) -> int:
        return self._rows.write(lambda rows: rows.delete_jobs(before))

    def _row(self, job: Job) -> JobRow:
        held = {
            "kind": job.kind,
            "principal": job.principal,
            "collection": job.collection,
            "params": dict(job.params),
            "grants": encode_grants(job.grants),
            "done": job.done,
            "total": job.total,
            "error": list(job.error) if job.error is not None else None,
            "result": dict(job.result) if job.result is not None else None,
            "starts": job.starts,
            "cancel": job.cancel,
            "started_at": job.started_at,
            "done_before": job.done_before,
        }
        key, context = self._keyring.derived_key("job", job.id.encode()), self._keyring.context("job", record=job.id)
        sealed = seal(key, canonical(held), context)
        return JobRow(
            job.id, job.collection_id, job.state.value, job.created_at, job.updated_at, job.leased_until, sealed
        )

    def _open(self, row: JobRow) -> Job:
        key, context = self._keyring.derived_key("job", row.id.encode()), self._keyring.context("job", record=row.id)
        held = json.loads(open_sealed(key, row.payload, context))
        return Job(
            id=row.id,
            kind=held["kind"],
            principal=held["principal"],
            collection=held["collection"],
            collection_id=row.collection_id,
            params=held["params"],
            grants=decode_grants(held["grants"]),
            state=JobState(row.state),
            done=held["done"],
            total=held["total"],
            error=tuple(held["error"]) if held["error"] is not None else None,
            result=held["result"],
            starts=held["starts"],
            cancel=held["cancel"],
            started_at=held["started_at"],
            done_before=held["done_before"],
            created_at=row.created_at,
            updated_at=row.updated_at,
            leased_until=row.leased_until,
        )
