"""The client's calls about identifications that wait for two people."""

from __future__ import annotations

from typing import NotRequired, TypedDict, cast

from api.client_calls import Calls, path_of


class PendingJson(TypedDict):
    """state: "pending", "confirmed" or "rejected"; subject and what follows: only once it is confirmed."""

    id: str
    state: str
    confirmations: int
    needed: int
    created_at: str
    expires_at: str
    decided_at: NotRequired[str]
    subject: NotRequired[str]
    similarity: NotRequired[float]
    fpir: NotRequired[float]
    metadata: NotRequired[dict[str, str]]


class ReviewedJson(TypedDict):
    subject: str
    similarity: float
    fpir: float | None
    metadata: dict[str, str]


class ReviewJson(PendingJson):
    candidates: list[ReviewedJson]


class PendingCalls(Calls):
    """A part of the Client."""

    def pending(self, collection: str) -> list[PendingJson]:
        """What waits, and what was decided and is still kept, the newest first."""
        return cast("list[PendingJson]", cast("dict[str, object]", self._read(_of(collection)))["items"])

    def one_pending(self, collection: str, id: str) -> PendingJson:
        """How it stands, and who it is once it is confirmed."""
        return cast(PendingJson, self._read(_of(collection, id)))

    def review_pending(self, collection: str, id: str) -> ReviewJson:
        """The candidates; refused to whoever searched."""
        return cast(ReviewJson, self._read(_of(collection, id, "review")))

    def pending_face(self, collection: str, id: str, subject: str | None = None) -> bytes:
        """The face that was seen, or the enrolled face of a candidate, as JPEG."""
        segments = ("face",) if subject is None else ("candidates", subject, "face")
        return self._sender.send("GET", _of(collection, id, *segments)).content

    def confirm_pending(self, collection: str, id: str, subject: str) -> PendingJson:
        """Say which candidate it is."""
        return cast(PendingJson, self._write("POST", _of(collection, id, "confirm"), {"subject": subject}))

    def reject_pending(self, collection: str, id: str) -> PendingJson:
        """Say that it is none of them."""
        return cast(PendingJson, self._write("POST", _of(collection, id, "reject")))


def _of(collection: str, *segments: str) -> str:
    return path_of("collections", collection, "pending", *segments)
