"""The enrolled: a person or thing, the consent that it rests on, and its samples."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from lookalike.domain.faces import Box, Quality
from lookalike.domain.vectors import Floats, Space
from lookalike.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Consent:
    """What allows a subject to be kept. withdrawn_at: ISO 8601, once it was taken back; what it was stays known."""

    basis: str
    reference: str = ""
    expires_at: str | None = None
    withdrawn_at: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Subject:
    """An enrolled person or thing. key: random internal id; id: the caller's own, which may be a name.

    renewed_at: when somebody last said that it is still to be kept, in seconds since 1970; 0 for never.
    """

    key: str
    id: str
    metadata: Mapping[str, str]
    consent: Consent | None = None
    valid_from: str | None = None
    valid_until: str | None = None
    created_at: float = 0.0
    updated_at: float = 0.0
    renewed_at: float = 0.0

    def __repr__(self) -> str:
        return f"Subject(key={self.key})"


@dataclass(frozen=True, slots=True, repr=False)
class Sample:
    """An enrolled picture's template. number: the index's label for it; vector: (D,) unit float32.

    carried: its template was mapped from another model's, since its picture is not kept (lookalike/carrying.py).
    """

    id: str
    number: int
    subject_key: str
    box: Box
    quality: Quality
    vector: Floats
    created_at: float = 0.0
    carried: bool = False

    def __repr__(self) -> str:
        return f"Sample(id={self.id})"


@dataclass(frozen=True, slots=True, repr=False)
class NewSample:
    """A sample about to be enrolled. id: random, or derived from an idempotency key so that a retry is harmless.

    also: the same face's vectors in the spaces of the collection's other generations; carried: as a Sample's.
    """

    id: str
    box: Box
    quality: Quality
    vector: Floats
    crop: bytes | None = None
    image: bytes | None = None
    also: tuple[tuple[Space, Floats], ...] = ()
    carried: bool = False

    def __repr__(self) -> str:
        return f"NewSample(id={self.id})"


def subject_id(text: str) -> str:
    """The id itself. Raises: InvalidInput unless it is 1-256 characters in NFC without control characters or '/'."""
    if not 1 <= len(text) <= 256:
        raise InvalidInput("a subject's id has 1 to 256 characters")
    if unicodedata.normalize("NFC", text) != text:
        raise InvalidInput("a subject's id must be in Unicode's NFC form")
    if "/" in text or any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text):
        raise InvalidInput("a subject's id has no '/' and no control characters")
    return text
