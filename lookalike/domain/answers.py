"""What a caller is given: pages of a list, the threshold that decided, and candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from lookalike.domain.subjects import Subject

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; next_cursor is opaque, None at the end."""

    items: tuple[T, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Threshold:
    """A decision threshold and where it comes from.

    similarity: cosine in -1..1; source: "model", "collection", "extrapolated" or "explicit", "uncalibrated" where
    nothing decides and the nearest are given, "near_duplicates" where the pixels decide; interval: the 95 % confidence
    interval of the FPIR (or FMR) expected at it; gallery_size: subjects searched.
    """

    similarity: float
    source: str
    target: float | None
    gallery_size: int
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Candidate:
    """A subject that a probe matched. fpir: chance that a stranger's probe scores this high in this gallery.

    fmr: the chance that two people's pictures score this high. Both are None where that is not known yet; likeness: how
    far the sample is the same picture, where that was asked.
    """

    subject: Subject
    sample_id: str
    similarity: float
    fpir: float | None
    likeness: float | None = None
    fmr: float | None = None

    def __repr__(self) -> str:
        return f"Candidate(key={self.subject.key}, similarity={self.similarity:.3f})"
