"""The client's calls about unknown faces: list, look at, enrol, dismiss, erase."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NotRequired, TypedDict, cast

from api.client_calls import Calls, path_of
from api.client_shapes import BoxJson, QualityJson, SampleJson


class KeptFaceJson(TypedDict):
    id: str
    seen_at: str
    box: BoxJson
    quality: QualityJson
    has_crop: bool


class UnknownJson(TypedDict):
    """faces: the best ones that are kept, best first; none once dismissed."""

    id: str
    seen: int
    visits: int
    first_seen: str
    last_seen: str
    expires_at: str
    dismissed: bool
    faces: list[KeptFaceJson]


class UnknownEnrolledJson(TypedDict):
    subject: str
    samples: list[SampleJson]
    request_id: NotRequired[str]


class UnknownCalls(Calls):
    """A part of the Client."""

    def unknowns(self, collection: str, *, dismissed: bool = False, page_size: int = 100) -> Iterator[UnknownJson]:
        """Who was seen and matches nobody, those seen most often first. dismissed: those that were dismissed."""
        params = {"limit": page_size, "dismissed": str(dismissed).lower()}
        yield from cast("Iterator[UnknownJson]", self._pages(_of(collection), params))

    def unknown(self, collection: str, id: str) -> UnknownJson:
        return cast(UnknownJson, self._read(_of(collection, id)))

    def unknown_crop(self, collection: str, id: str, face: str) -> bytes:
        """A kept face, as JPEG."""
        return self._sender.send("GET", _of(collection, id, "faces", face, "crop")).content

    def enrol_unknown(self, collection: str, id: str, subject: str) -> UnknownEnrolledJson:
        """Make its kept faces samples of a subject, old or new."""
        return cast(UnknownEnrolledJson, self._write("POST", _of(collection, id, "enrol"), {"subject": subject}))

    def dismiss_unknown(self, collection: str, id: str) -> None:
        """Drop its pictures and list it no more, also when seen again, until its time ends."""
        self._write("POST", _of(collection, id, "dismiss"))

    def erase_unknown(self, collection: str, id: str) -> None:
        """Forget it altogether."""
        self._write("DELETE", _of(collection, id))


def _of(collection: str, *segments: str) -> str:
    return path_of("collections", collection, "unknowns", *segments)
