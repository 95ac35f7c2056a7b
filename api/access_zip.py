"""The answer to an access request as a zip: a page for people, the same as JSON, and the pictures.

It is written piece by piece into memory, never to a disk, so that nothing of a person lies about in the clear.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from api.access_page import page
from api.schemas import BoxOut, QualityOut, moment
from api.schemas_subjects import SubjectOut
from lookalike.access import AccessRequests, Concerning, Dossier, KeptPicture
from lookalike.unknown_groups import Unknown
from lookalike.unknowns import expires_at

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

FORMAT = 1

VECTORS_LEFT_OUT = (
    "Of each picture the models named here keep a template: a list of numbers by which pictures are compared. It means "
    "nothing outside the model, says nothing that the picture does not, and in wrong hands can be used to imitate or "
    "approximate the face. Templates never leave the service, so they are listed here and not included."
)

_SIGNATURES = {b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"RIFF": "webp"}


class _Outbox(io.RawIOBase):
    """Takes what a zip writes, and gives it away."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        piece = bytes(data)
        self._held += piece
        return len(piece)

    def take(self) -> bytes:
        taken, self._held = bytes(self._held), bytearray()
        return taken


def zipped(requests: AccessRequests, dossier: Dossier) -> Iterator[bytes]:
    """The zip, in pieces. Pictures come first, and what lists them last."""
    outbox = _Outbox()
    at = time.gmtime(max(dossier.at, 315_532_800.0))[:6]  # a zip knows no time before 1980
    files: dict[str, list[str]] = {}
    with zipfile.ZipFile(outbox, "w") as archive:
        for picture in requests.pictures(dossier):
            name = _name(picture)
            files.setdefault(picture.of, []).append(name)
            archive.writestr(zipfile.ZipInfo(name, at), picture.data)
            yield outbox.take()
        document = described(dossier, files, requests.concerning(dossier))
        texts = {"data.json": json.dumps(document, ensure_ascii=False, indent=2), "index.html": page(document)}
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name, at), text.encode(), zipfile.ZIP_DEFLATED)
            yield outbox.take()
    yield outbox.take()


def _name(picture: KeptPicture) -> str:
    kind = next((ext for start, ext in _SIGNATURES.items() if picture.data.startswith(start)), "bin")
    return f"{'unknown' if picture.kind == 'unknown' else 'samples'}/{picture.of}-{picture.kind}.{kind}"


def described(dossier: Dossier, files: dict[str, list[str]], entries: Sequence[Concerning]) -> dict[str, object]:
    """All of it as JSON. files: names within the zip, by the id of the sample or face that they are of."""
    where, subject = dossier.collection, dossier.subject
    return {
        "format": FORMAT,
        "made_at": moment(dossier.at),
        "collection": {
            "name": where.name,
            "kind": where.kind.value,
            "keeps": where.keep.value,
            "models": [space.model for space in where.spaces],
            "index": where.index or "default",
            "retention_days": where.retention_days,
            "require_consent": where.require_consent,
            "erase_expired_consent": where.erase_expired_consent,
        },
        "subject": {
            **SubjectOut.of(subject).model_dump(mode="json"),
            "internal_id": subject.key,
            "renewed_at": moment(subject.renewed_at) if subject.renewed_at else None,
        },
        "standing": dossier.standing.value,
        "kept_until": moment(dossier.until) if dossier.until is not None else None,
        "on_legal_hold": dossier.held,
        "samples": [
            {
                "id": kept.sample.id,
                "enrolled_at": moment(kept.sample.created_at),
                "box": BoxOut.of(kept.sample.box).model_dump(),
                "quality": QualityOut.of(kept.sample.quality).model_dump(),
                "templates": [{"model": space.model, "numbers": space.dimension} for space in kept.spaces],
                "files": files.get(kept.sample.id, []),
            }
            for kept in dossier.samples
        ],
        "templates": {"included": False, "why": VECTORS_LEFT_OUT},
        "unknown_faces_that_look_alike": [_unknown(dossier, row, files) for row in dossier.alike],
        # Without the face: as long as it waits it may be somebody else's, and once decided it is not kept.
        "identifications_that_name_it": [
            {
                "id": row.id,
                "state": row.state.value,
                "searched_at": moment(row.created_at),
                "similarity": next(s.similarity for s in row.suspects if s.subject_key == subject.key),
                "forgotten_at": moment(row.expires_at),
            }
            for row in dossier.waiting
        ],
        "copies_with_others": [
            {"export": copy.export, "recipient_key": copy.recipient, "at": moment(copy.at)} for copy in dossier.copies
        ],
        "last_backup_at": moment(dossier.backed_up_at) if dossier.backed_up_at >= subject.created_at else None,
        "audit": [{**asdict(entry), "at": moment(entry.at)} for entry in entries],
    }


def _unknown(dossier: Dossier, row: Unknown, files: dict[str, list[str]]) -> dict[str, object]:
    return {
        "id": row.id,
        "seen": row.seen,
        "first_seen": moment(row.first_seen),
        "last_seen": moment(row.last_seen),
        "forgotten_at": moment(expires_at(dossier.collection, row)),
        "files": [name for face in row.faces for name in files.get(face.id, [])],
    }
