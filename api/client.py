"""A typed, synchronous client of the HTTP API: one method a call, errors with their code, retries that never double.

    with Client("https://127.0.0.1:8443", api_key=key, ca="data/tls/ca.crt") as client:
        client.enrol("staff", "alice", Path("alice.jpg"))
        answer = client.identify("staff", Path("gate.jpg"))

Every write but the making of an API key carries an Idempotency-Key, so that a call which is sent again after a
broken connection or a 503 is done once. Proxies and netrc files of the environment are not used.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, cast

import httpx

from api.client_calls import given, path_of
from api.client_events import EventCalls
from api.client_imports import ImportCalls
from api.client_keys import KeyCalls
from api.client_models import ModelCalls
from api.client_pending import PendingCalls
from api.client_principals import PrincipalCalls
from api.client_privacy import PrivacyCalls
from api.client_reindex import ReindexCalls
from api.client_sending import ClientError, Sender, Shown
from api.client_shapes import (
    ApiKeyJson,
    AuditEntryJson,
    CollectionJson,
    ConsentJson,
    DetectionJson,
    DriftJson,
    EnrolmentJson,
    GrantJson,
    IdentificationJson,
    JobJson,
    LimitsJson,
    NewApiKeyJson,
    ReceiptJson,
    SubjectJson,
    VerificationJson,
)
from api.client_unknowns import UnknownCalls

__all__ = ["Client", "ClientError", "Image"]

Image = bytes | Path
"""The bytes of a picture, or where to read them."""

_UNSET: Final = object()


class Client(
    ReindexCalls,
    ModelCalls,
    ImportCalls,
    UnknownCalls,
    PendingCalls,
    PrivacyCalls,
    KeyCalls,
    PrincipalCalls,
    EventCalls,
):
    """A connection to one service. Thread-safe.

    api_key: a key as `POST /v1/api-keys` gave it. token: instead, what gives the access token, asked for before each
    call. certificate, certificate_key: PEM files of a client certificate and its key, alone or with one of these.
    ca: the file of the service's own CA; None trusts the system's.
    retries: how often a call that may be sent again is sent again.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        token: Callable[[], str] | None = None,
        certificate: Path | None = None,
        certificate_key: Path | None = None,
        ca: Path | str | None = None,
        timeout_s: float = 60.0,
        retries: int = 5,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sleep = sleep
        shown = Shown(api_key, token, certificate, certificate_key)
        self._sender = Sender(base_url, shown, ca, timeout_s, retries, transport, sleep)

    def __repr__(self) -> str:
        return f"Client({self._sender.base_url})"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._sender.close()

    # ----------------------------------------------------------------------------------------- collections

    def create_collection(
        self,
        name: str,
        *,
        kind: str = "face",
        keep: str | None = None,
        target_fpir: float | None = None,
        retention_days: int | None = None,
        model: str | None = None,
        keep_unknown_days: int | None = None,
    ) -> CollectionJson:
        """Create a gallery; 409 if the name is taken."""
        body = given(
            name=name,
            kind=kind,
            keep=keep,
            target_fpir=target_fpir,
            retention_days=retention_days,
            model=model,
            keep_unknown_days=keep_unknown_days,
        )
        return cast(CollectionJson, self._write("POST", "/v1/collections", json=body))

    def collections(self) -> Iterator[CollectionJson]:
        """All that the key may read."""
        return cast(Iterator[CollectionJson], self._pages("/v1/collections", {}))

    def collection(self, name: str) -> CollectionJson:
        return cast(CollectionJson, self._read(path_of("collections", name)))

    def update_collection(
        self,
        name: str,
        *,
        keep: str | None = None,
        target_fpir: float | None = None,
        retention_days: int | object | None = _UNSET,
        keep_unknown_days: int | object | None = _UNSET,
    ) -> CollectionJson:
        """Change what is given; `retention_days=None` means for ever, `keep_unknown_days=None` that none are kept."""
        body = given(keep=keep, target_fpir=target_fpir)
        if retention_days is not _UNSET:
            body["retention_days"] = retention_days
        if keep_unknown_days is not _UNSET:
            body["keep_unknown_days"] = keep_unknown_days
        return cast(CollectionJson, self._write("PATCH", path_of("collections", name), json=body))

    def delete_collection(self, name: str) -> ReceiptJson | None:
        """Destroy it with all its subjects; a signed receipt when the service gives one."""
        return cast("ReceiptJson | None", self._write("DELETE", path_of("collections", name)))

    # -------------------------------------------------------------------------------------------- subjects

    def put_subject(
        self,
        collection: str,
        subject: str,
        *,
        metadata: Mapping[str, str] | None = None,
        consent: ConsentJson | None = None,
        valid_from: str | None = None,
        valid_until: str | None = None,
    ) -> SubjectJson:
        """Create a subject or replace its metadata, consent and validity."""
        body = given(consent=consent, valid_from=valid_from, valid_until=valid_until)
        body["metadata"] = dict(metadata or {})
        return cast(SubjectJson, self._write("PUT", path_of("collections", collection, "subjects", subject), json=body))

    def subject(self, collection: str, subject: str) -> SubjectJson:
        """With its samples."""
        return cast(SubjectJson, self._read(path_of("collections", collection, "subjects", subject)))

    def subjects(
        self, collection: str, *, metadata: Mapping[str, str] | None = None, page_size: int = 100
    ) -> Iterator[SubjectJson]:
        """All subjects, page by page; only those whose metadata has these values."""
        params: dict[str, str | int] = {"limit": page_size, **_filter(metadata)}
        return cast(Iterator[SubjectJson], self._pages(path_of("collections", collection, "subjects"), params))

    def erase(self, collection: str, subject: str) -> ReceiptJson:
        """Erase a subject for good. Returns the signed receipt."""
        return cast(ReceiptJson, self._write("DELETE", path_of("collections", collection, "subjects", subject)))

    # --------------------------------------------------------------------------------------------- samples

    def enrol(
        self,
        collection: str,
        subject: str,
        *images: Image,
        idempotency_key: str | None = None,
        consent: ConsentJson | None = None,
    ) -> EnrolmentJson:
        """Enrol the largest face of each picture, or in a collection of pictures the picture, for a subject old or new.

        idempotency_key: the same key and pictures give the first answer again, also after this program was killed.
        consent: what the enrolment rests on, in the place of what is known of the subject.
        Raises: ClientError with code all_samples_rejected, whose `problem["rejected"]` says why.
        """
        pictures = [_named(image) for image in images]
        return self.enrol_pictures(collection, subject, pictures, idempotency_key, consent)[0]

    def enrol_pictures(
        self,
        collection: str,
        subject: str,
        pictures: Sequence[tuple[str, bytes]],
        idempotency_key: str | None = None,
        consent: ConsentJson | None = None,
    ) -> tuple[EnrolmentJson, bool]:
        """`enrol` for (file name, bytes) pairs. Returns the answer, and whether it is an earlier one given again."""
        path = path_of("collections", collection, "subjects", subject, "samples")
        parts: list[tuple[str, tuple[str | None, bytes]]] = [("images", picture) for picture in pictures]
        if consent is not None:
            parts.append(("consent", (None, json.dumps(consent).encode())))
        response = self._sender.send(
            "POST",
            path,
            files=parts,
            headers={"idempotency-key": idempotency_key or secrets.token_hex(16)},
        )
        return cast(EnrolmentJson, response.json()), response.headers.get("idempotency-replayed") == "true"

    def delete_sample(self, collection: str, subject: str, sample: str) -> None:
        """Take one picture of a subject away."""
        self._write("DELETE", path_of("collections", collection, "subjects", subject, "samples", sample))

    def crop(self, collection: str, subject: str, sample: str) -> bytes:
        """The aligned face that was kept, as JPEG."""
        return self._sender.send(
            "GET", path_of("collections", collection, "subjects", subject, "samples", sample, "crop")
        ).content

    # ------------------------------------------------------------------------------------ asking about faces

    def identify(
        self,
        collection: str,
        image: Image,
        *,
        limit: int | None = None,
        faces: str | None = None,
        threshold: float | None = None,
        fpir: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> IdentificationJson:
        """Who of the collection is in the picture; a face with no candidates is nobody's that is enrolled.

        faces: "all" or "largest". fpir: the share of strangers one accepts to be named, from which the service takes
        the threshold; threshold: a cosine similarity instead.
        """
        params = {**given(limit=limit, faces=faces, threshold=threshold, fpir=fpir), **_filter(metadata)}
        return cast(IdentificationJson, self._ask(path_of("collections", collection, "identify"), params, image=image))

    def sight(
        self,
        collection: str,
        frames: Sequence[Image],
        *,
        camera: str | None = None,
        tentative: bool = False,
        fpir: float | None = None,
    ) -> IdentificationJson:
        """Who somebody is whom a camera saw in 1 to 8 frames: one decision by all of them, on the answer's one face.

        camera: its name, for the audit log and events. tentative: better frames may follow, so that nobody is told yet
        that somebody unknown came.
        """
        parts: list[tuple[str, tuple[str | None, bytes]]] = [("frames", _named(frame)) for frame in frames]
        texts = given(camera=camera, tentative="true" if tentative else None)
        parts += [(name, (None, value.encode())) for name, value in texts.items()]
        path = path_of("collections", collection, "sightings")
        return cast(IdentificationJson, self._sender.send("POST", path, params=given(fpir=fpir), files=parts).json())

    def search(
        self,
        collection: str,
        image: Image,
        *,
        box: tuple[float, float, float, float] | None = None,
        limit: int | None = None,
        threshold: float | None = None,
        fpir: float | None = None,
        metadata: Mapping[str, str] | None = None,
        near_duplicates: bool = False,
        regions: str | None = None,
    ) -> IdentificationJson:
        """What of a collection of pictures is like this one; the answer's one face is what was searched.

        box: x, y, width and height of the part to look at, in pixels of the upright picture. near_duplicates: only the
        same picture, encoded, resized or cropped differently. regions: "auto" looks for places with something enrolled,
        and each is a face of the answer. The others are as for `identify`.
        """
        params = given(
            limit=limit, threshold=threshold, fpir=fpir, near_duplicates=near_duplicates or None, regions=regions
        )
        files: list[tuple[str, tuple[str | None, bytes]]] = [("image", _named(image))]
        if box is not None:
            text = json.dumps(dict(zip(("x", "y", "width", "height"), box, strict=True)))
            files.append(("box", (None, text.encode())))
        path = path_of("collections", collection, "search")
        response = self._sender.send("POST", path, params={**params, **_filter(metadata)}, files=files)
        return cast(IdentificationJson, response.json())

    def verify(
        self, collection: str, subject: str, image: Image, *, threshold: float | None = None
    ) -> VerificationJson:
        """Whether the picture's largest face, or in a collection of pictures the picture, is this subject's."""
        path = path_of("collections", collection, "subjects", subject, "verify")
        return cast(VerificationJson, self._ask(path, given(threshold=threshold), image=image))

    def compare(self, image_a: Image, image_b: Image, *, threshold: float | None = None) -> VerificationJson:
        """Whether two pictures show the same face."""
        params = given(threshold=threshold)
        return cast(VerificationJson, self._ask("/v1/compare", params, image_a=image_a, image_b=image_b))

    def detect(self, image: Image) -> DetectionJson:
        """The faces of a picture, largest first."""
        return cast(DetectionJson, self._ask("/v1/detect", {}, image=image))

    # ---------------------------------------------------------------------------------------- running a service

    def calibrate(self, collection: str) -> JobJson:
        """Learn thresholds from the collection's own non-matching pairs, as a job: see `wait`."""
        return cast(JobJson, self._write("POST", path_of("collections", collection, "calibrate")))

    def drift(self, collection: str, *, days: int | None = None) -> DriftJson:
        """Whether the probes of the last days, today's unless said otherwise, are like those of the baseline."""
        return cast(DriftJson, self._read(path_of("collections", collection, "drift"), given(days=days)))

    def choose_baseline(self, collection: str, first: str, last: str) -> DriftJson:
        """Compare probes with those of these days (ISO 8601, UTC, both included) from now on."""
        body = {"first": first, "last": last}
        return cast(DriftJson, self._write("PUT", path_of("collections", collection, "drift", "baseline"), body))

    def cancel_job(self, id: str) -> JobJson:
        """End a job: at once if it waits, within seconds if it runs."""
        return cast(JobJson, self._write("POST", path_of("jobs", id, "cancel")))

    def job(self, id: str) -> JobJson:
        return cast(JobJson, self._read(path_of("jobs", id)))

    def jobs(self) -> Iterator[JobJson]:
        return cast(Iterator[JobJson], self._pages("/v1/jobs", {}))

    def wait(
        self, job: JobJson, *, poll_s: float = 0.2, on_progress: Callable[[JobJson], None] | None = None
    ) -> JobJson:
        """Ask for the job until it ended. Raises: ClientError with code job_failed unless it is done."""
        while job["state"] in ("queued", "running"):
            self._sleep(poll_s)
            job = self.job(job["id"])
            if on_progress is not None:
                on_progress(job)
        if job["state"] != "done":
            raise ClientError("job_failed", 0, f"the job {job['state']}: {_job_error(job)}")
        return job

    def api_keys(self) -> Iterator[ApiKeyJson]:
        return cast(Iterator[ApiKeyJson], self._pages("/v1/api-keys", {}))

    def create_api_key(
        self, name: str, grants: Sequence[GrantJson], *, expires_days: int | None = None, aws: bool = False
    ) -> NewApiKeyJson:
        """Make a key; its secret is shown this once, and so the call is not sent again on its own."""
        body = given(name=name, grants=list(grants), expires_days=expires_days, aws=aws or None)
        return cast(NewApiKeyJson, self._sender.send("POST", "/v1/api-keys", json=body, again=False).json())

    def revoke_api_key(self, id: str) -> None:
        self._write("DELETE", path_of("api-keys", id))

    def audit(self, page_size: int = 100) -> Iterator[AuditEntryJson]:
        """All audit entries, oldest first."""
        return cast(Iterator[AuditEntryJson], self._pages("/v1/audit", {"limit": page_size}))

    def limits(self) -> LimitsJson:
        """What the service accepts."""
        return cast(LimitsJson, self._read("/v1/limits"))

    def ready(self) -> bool:
        """Whether the service says that it is ready."""
        try:
            self._sender.send("GET", "/readyz", again=False)
        except ClientError:
            return False
        return True

    # ------------------------------------------------------------------------------------------------ inside

    def _ask(self, path: str, params: Mapping[str, Any], **images: Image) -> object:
        files = [(field, _named(image)) for field, image in images.items()]
        return self._sender.send("POST", path, params=params, files=files).json()


def _filter(metadata: Mapping[str, str] | None) -> dict[str, str]:
    return {f"metadata.{key}": value for key, value in (metadata or {}).items()}


def _named(image: Image) -> tuple[str, bytes]:
    """A part's file name and bytes. The file's own name may be a person's, so it stays here."""
    return ("image", image) if isinstance(image, bytes) else ("image", image.read_bytes())


def _job_error(job: JobJson) -> str:
    error = job.get("error")
    if isinstance(error, dict):
        return str(error.get("detail") or error.get("code"))
    return str(error or "no reason was given")
