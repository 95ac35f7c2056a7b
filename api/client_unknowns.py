"""The client's calls about unknown faces: list, look at, enrol, dismiss, erase."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import NotRequired, TypedDict, cast
from urllib.parse import quote

from api.client_sending import Sender
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


class UnknownCalls:
    """A part of the Client."""

    _sender: Sender

    def unknowns(self, collection: str, *, dismissed: bool = False, page_size: int = 100) -> Iterator[UnknownJson]:
        """Who was seen and matches nobody, those seen most often first. dismissed: those that were dismissed."""
        params: dict[str, str | int] = {"limit": page_size, "dismissed": str(dismissed).lower()}
        while True:
            page = self._sender.send("GET", _path(collection), params=params).json()
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            params["cursor"] = page["next_cursor"]

    def unknown(self, collection: str, id: str) -> UnknownJson:
        return cast(UnknownJson, self._sender.send("GET", _path(collection, id)).json())

    def unknown_crop(self, collection: str, id: str, face: str) -> bytes:
        """A kept face, as JPEG."""
        return self._sender.send("GET", _path(collection, id, "faces", face, "crop")).content

    def enrol_unknown(self, collection: str, id: str, subject: str) -> UnknownEnrolledJson:
        """Make its kept faces samples of a subject, old or new."""
        answer = self._sender.send("POST", _path(collection, id, "enrol"), json={"subject": subject}, headers=_once())
        return cast(UnknownEnrolledJson, answer.json())

    def dismiss_unknown(self, collection: str, id: str) -> None:
        """Drop its pictures and list it no more, also when seen again, until its time ends."""
        self._sender.send("POST", _path(collection, id, "dismiss"), headers=_once())

    def erase_unknown(self, collection: str, id: str) -> None:
        """Forget it altogether."""
        self._sender.send("DELETE", _path(collection, id), headers=_once())


def _path(collection: str, *segments: str) -> str:
    return "/".join(["/v1/collections", quote(collection, safe=""), "unknowns", *(quote(s, safe="") for s in segments)])


def _once() -> dict[str, str]:
    return {"idempotency-key": secrets.token_hex(16)}
