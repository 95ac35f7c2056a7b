"""Sightings of faces that nobody enrolled, grouped as they come: the same stranger walking past again is one row.

A sighting joins the row whose mean it is nearest to, if that is near enough; a row whose mean has moved near enough to
another's is joined with it. What is near enough is the caller's: `Bars`. All rules are pure, and each sighting costs
one product with all means, so 10,000 rows take about a millisecond.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lookalike.domain import Box, Floats, Quality

KEPT_FACES = 3
"""The best faces of a row that are kept, to be looked at and enrolled."""

VISIT_GAP_S = 300.0
"""Sightings further apart than this are two visits."""


@dataclass(frozen=True, slots=True, repr=False)
class KeptFace:
    """A face of an unknown person. vector: (D,) unit float32; has_crop: whether its picture is kept too."""

    id: str
    box: Box
    quality: Quality
    vector: Floats
    at: float
    has_crop: bool = False

    def __repr__(self) -> str:
        return f"KeptFace(id={self.id})"


@dataclass(frozen=True, slots=True, repr=False)
class Sighting:
    """A face that was searched and matched nobody. vector: (D,) unit float32; crop: JPEG, where one may be kept."""

    box: Box
    quality: Quality
    vector: Floats
    at: float
    crop: bytes | None = None

    def __repr__(self) -> str:
        return f"Sighting(at={self.at})"


@dataclass(frozen=True, slots=True, repr=False)
class Unknown:
    """One stranger, as far as one can tell. total: (D,), the sum of the vectors of all sightings, in one space.

    space: `Space.key`; seen: sightings; visits: sightings with pauses between; faces: the best ones, best first;
    dismissed: nobody wants to be told of this person any more.
    """

    id: str
    space: str
    total: Floats
    seen: int
    visits: int
    first_seen: float
    last_seen: float
    faces: tuple[KeptFace, ...]
    dismissed: bool = False

    def __repr__(self) -> str:
        return f"Unknown(id={self.id}, seen={self.seen})"


@dataclass(frozen=True, slots=True)
class Bars:
    """The least similarity of a sighting to a row's mean, and of two rows' means, that are taken for one person.

    Means vary less than pictures and so lie closer, those of different people too: `rows` should be the stricter one.
    """

    sighting: float
    rows: float


@dataclass(slots=True)
class Changes:
    """What grouping did. put: rows that are new or changed; crops: of faces kept in them, by face id; gone: row ids."""

    put: dict[str, Unknown] = field(default_factory=dict)
    crops: dict[str, bytes] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)


class Groups:
    """The rows of one space, as they will be once what `take` says is stored."""

    def __init__(self, space: str, unknowns: Iterable[Unknown]) -> None:
        self.space = space
        self._rows = [unknown for unknown in unknowns if unknown.space == space]
        self._means = self._stacked()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> Sequence[Unknown]:
        return self._rows

    def near(self, vector: Floats, bar: float) -> list[Unknown]:
        """Rows whose mean is at least so near to a unit vector (D,)."""
        if self._means is None:
            return []
        scores = self._means[: len(self._rows)] @ unit(vector)
        return [self._rows[i] for i in np.flatnonzero(scores >= bar)]

    def forget(self, ids: Collection[str]) -> None:
        """Take these rows out, as far as they are there."""
        self._rows = [row for row in self._rows if row.id not in ids]
        self._means = self._stacked()

    def put(self, row: Unknown) -> None:
        """Put a row in the place of the one of its id, as far as that is there."""
        self._rows = [row if other.id == row.id else other for other in self._rows]

    def take(self, sightings: Iterable[Sighting], bars: Bars) -> Changes:
        """Group these, in the order of their times."""
        done = Changes()
        for sighting in sorted(sightings, key=lambda s: s.at):
            face = KeptFace(
                secrets.token_hex(16),
                sighting.box,
                sighting.quality,
                sighting.vector,
                sighting.at,
                sighting.crop is not None,
            )
            if sighting.crop is not None:
                done.crops[face.id] = sighting.crop
            best = self._nearest(sighting.vector, bars.sighting)
            if best is None:
                self._add(_first(self.space, sighting, face), done)
            else:
                self._change(best, _joined(self._rows[best], _first(self.space, sighting, face)), done)
                self._join_neighbours(best, bars.rows, done)
        kept = {face.id for row in done.put.values() for face in row.faces}
        done.crops = {id: crop for id, crop in done.crops.items() if id in kept}
        return done

    def _stacked(self) -> Floats | None:
        if not self._rows:
            return None
        totals = np.stack([row.total for row in self._rows])
        lengths = np.linalg.norm(totals, axis=1, keepdims=True)
        return np.asarray(totals / np.where(lengths > 0, lengths, 1), np.float32)

    def _nearest(self, vector: Floats, bar: float, besides: int | None = None) -> int | None:
        if self._means is None or not len(self._rows):
            return None
        scores = self._means[: len(self._rows)] @ vector
        if besides is not None:
            scores[besides] = -2.0
        best = int(np.argmax(scores))
        return best if scores[best] >= bar else None

    def _join_neighbours(self, row: int, bar: float, done: Changes) -> None:
        """A row that moved may have come close to others of the same person."""
        while (other := self._nearest(unit(self._rows[row].total), bar, besides=row)) is not None:
            kept, lost = sorted((row, other), key=lambda i: (-self._rows[i].seen, self._rows[i].first_seen))
            self._change(kept, _joined(self._rows[kept], self._rows[lost]), done)
            row = self._remove(lost, kept, done)

    def _add(self, row: Unknown, done: Changes) -> None:
        self._rows.append(row)
        if self._means is None:
            self._means = unit(row.total)[None, :].copy()
        elif len(self._means) < len(self._rows):
            self._means = np.concatenate([self._means, np.zeros_like(self._means)])
        self._means[len(self._rows) - 1] = unit(row.total)
        done.put[row.id] = row

    def _change(self, at: int, row: Unknown, done: Changes) -> None:
        if self._means is not None:
            self._means[at] = unit(row.total)
        self._rows[at] = row
        done.put[row.id] = row

    def _remove(self, at: int, kept: int, done: Changes) -> int:
        """Take a row out, the last one stepping into its place; where `kept` stands now."""
        lost, last = self._rows[at], len(self._rows) - 1
        done.put.pop(lost.id, None)
        done.gone.add(lost.id)
        if self._means is not None:
            self._means[at] = self._means[last]
        self._rows[at] = self._rows[last]
        self._rows.pop()
        return at if kept == last else kept


def unit(vector: Floats) -> Floats:
    """(D,) scaled to length 1; zeros where there is no direction."""
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length if length else vector, np.float32)


def oldest(unknowns: Iterable[Unknown], beyond: int) -> list[Unknown]:
    """Those that must go so that `beyond` are left: the ones not seen for longest."""
    found = list(unknowns)
    if len(found) <= beyond:
        return []
    return sorted(found, key=lambda row: row.last_seen)[: len(found) - beyond]


def dismissed(row: Unknown) -> Unknown:
    """The row without its pictures, which goes on being recognised and is shown no more."""
    return replace(row, faces=(), dismissed=True)


def _first(space: str, sighting: Sighting, face: KeptFace) -> Unknown:
    return Unknown(secrets.token_hex(16), space, sighting.vector, 1, 1, sighting.at, sighting.at, (face,))


def _joined(row: Unknown, other: Unknown) -> Unknown:
    """Two rows of one person, under the first one's id."""
    earlier, later = sorted((row, other), key=lambda r: r.first_seen)
    apart = later.first_seen - earlier.last_seen > VISIT_GAP_S
    hidden = row.dismissed or other.dismissed
    faces = sorted((*row.faces, *other.faces), key=lambda face: -face.quality.score)
    return replace(
        row,
        total=np.asarray(row.total + other.total, np.float32),
        seen=row.seen + other.seen,
        visits=row.visits + other.visits - (0 if apart else 1),
        first_seen=earlier.first_seen,
        last_seen=max(row.last_seen, other.last_seen),
        faces=() if hidden else tuple(faces[:KEPT_FACES]),
        dismissed=hidden,
    )
