"""Services without models or a database: what the edge's own tests need, and no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.jobs import JobRunner, Kind
from api.refusals import Refusals
from lookalike import domain
from lookalike.answers import Caller, CollectionInfo
from lookalike.domain import Box, Collection, Face, Grant, Page, Permission, Principal, Quality, Space
from lookalike.errors import CollectionNotFound, IdempotencyMismatch, Unauthenticated, UnknownAccessKey
from lookalike.jobs import ENDED, Job, JobState, latest_lease
from lookalike.settings import Settings
from security.rbac import principal_for

SPACE = Space("double", 4, "none")
FACE = Face(Box(1, 2, 30, 40), ((1, 1), (2, 1), (1.5, 2), (1, 3), (2, 3)), 0.9, Quality(0.8))


class Answers:
    """Idempotent answers in memory."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[bytes, bytes]] = {}

    def remembered(self, key: str, digest: bytes) -> bytes | None:
        if key not in self._kept:
            return None
        if self._kept[key][0] != digest:
            raise IdempotencyMismatch("this key was used with another body")
        return self._kept[key][1]

    def remember(self, key: str, digest: bytes, answer: bytes) -> None:
        self._kept[key] = digest, answer


class MemoryJobs:
    """The port JobStore in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Job] = {}
        self._lock = threading.Lock()

    def put(self, job: Job) -> bool:
        with self._lock:
            wanted = job.id in self.kept and self.kept[job.id].cancel
            self.kept[job.id] = replace(job, cancel=job.cancel or wanted)
        return True

    def jobs(self, limit: int) -> list[Job]:
        with self._lock:
            return list(reversed(self.kept.values()))[:limit]

    def job(self, id: str) -> Job | None:
        return self.kept.get(id)

    def cancel(self, id: str) -> Job | None:
        with self._lock:
            job = self.kept[id]
            state = JobState.CANCELLED if job.state is JobState.QUEUED else job.state
            self.kept[id] = replace(job, cancel=True, state=state)
            return self.kept[id]

    def claim(self, now: float, until: float) -> Job | None:
        with self._lock:
            for job in self.kept.values():
                if job.state not in ENDED and not now < job.leased_until <= latest_lease(now, until):
                    taken = replace(job, state=JobState.RUNNING, starts=job.starts + 1, leased_until=until)
                    self.kept[job.id] = taken
                    return taken
        return None

    def forget(self, before: float) -> int:
        return 0


SERVANT = principal_for("key:servant", [Grant("operator")])


def runner(kinds: Mapping[str, Kind] | None = None, store: MemoryJobs | None = None) -> JobRunner:
    """A runner that knows these kinds and asks for nobody's rights."""
    return JobRunner(store or MemoryJobs(), kinds or {}, lambda job: SERVANT)


class Keys:
    """One key for each role, on all collections and on one: secret = role, or role@collection."""

    def authenticate(self, secret: str) -> Principal:
        role, _, collection = secret.partition("@")
        if role not in ("viewer", "identifier", "enroller", "operator", "auditor", "privacy", "admin"):
            raise Unauthenticated("the credential is not valid")
        return principal_for(f"key-{role}", [Grant(role, collection or None)])

    def signer(self, access_key_id: str) -> Any:
        raise UnknownAccessKey("the credential is not valid")


class Gallery:
    """Detects one face in anything, after whatever `before` does; keeps collections by name."""

    model = "double"

    def __init__(self) -> None:
        self.before: Callable[[], None] = lambda: None
        self.seen: list[bytes] = []
        self.names: list[str] = []
        self.unready: str | None = None
        self._lock = threading.Lock()

    def readiness(self) -> str | None:
        return self.unready

    def detect(self, caller: Caller, image: bytes) -> list[Face]:
        caller.principal.require(Permission.IDENTIFY, None)
        self.before()
        self.seen.append(image)
        return [FACE]

    def create_collection(self, caller: Caller, name: str, **_: Any) -> CollectionInfo:
        caller.principal.require(Permission.MANAGE_COLLECTIONS, name)
        self.before()
        with self._lock:
            self.names.append(name)
        return CollectionInfo(Collection("0" * 32, name, domain.Kind.FACE, SPACE), 0, 0, "model")

    def collection(self, caller: Caller, name: str) -> CollectionInfo:
        caller.principal.require(Permission.READ, name)
        self.before()
        if name not in self.names:
            raise CollectionNotFound("there is no such collection")
        return CollectionInfo(Collection("0" * 32, name, domain.Kind.FACE, SPACE), 0, 0, "model")

    def list_subjects(self, caller: Caller, *_: Any) -> Page[Any]:
        caller.principal.require(Permission.READ, None)
        return Page((), None)


class DriftLook:
    """Has looked and found this many collections drifting."""

    drifting = 0


class AuditKeeper:
    """Has found nothing wrong, and everything is sent."""

    trouble = None

    def waiting(self) -> int:
        return 0

    def failing(self) -> int:
        return 0


class Figures(Collector):
    """Knows of nothing."""

    def collect(self) -> Iterator[Metric]:
        return iter(())


@dataclass
class Services:
    settings: Settings
    gallery: Gallery = field(default_factory=Gallery)
    api_keys: Keys = field(default_factory=Keys)
    identities: Keys = field(default_factory=Keys)
    login: Any = None
    answers: Answers = field(default_factory=Answers)
    jobs: JobRunner = field(default_factory=runner)
    drift_look: DriftLook = field(default_factory=DriftLook)
    traces: Any = None
    figures: Figures = field(default_factory=Figures)
    audit_keeper: AuditKeeper = field(default_factory=AuditKeeper)
    refusals: Refusals = field(default_factory=lambda: Refusals(lambda entry: None))
    runtime: str = "double fp32"
    decoders: Any = None
    server_context: Any = None

    def close(self) -> None:
        self.jobs.close()


def services(folder: Path, **overrides: object) -> Services:
    return Services(Settings(data=folder, **overrides))  # type: ignore[arg-type]


def multipart(*parts: tuple[str, str | None, bytes], boundary: str = "b0undary") -> tuple[bytes, dict[str, str]]:
    """A body of (name, filename, bytes) and its headers."""
    body = b""
    for name, filename, data in parts:
        disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
        body += f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + data + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), {"content-type": f"multipart/form-data; boundary={boundary}"}


def picture(data: bytes = b"picture") -> Sequence[tuple[str, str | None, bytes]]:
    return [("image", "photo.jpg", data)]
