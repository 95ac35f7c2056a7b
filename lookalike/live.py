"""What answers for a collection at this moment: a roster, the encoder of its space, and what its scores mean.

While a re-index is on, a collection has several generations; each is complete in itself, and which one answers is
decided here, once for each request. A generation that was promoted a moment ago and is still being loaded in this
process leaves the answer to the one before, which gets every enrolment too.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from lookalike.calibration import Calibration
from lookalike.domain import Collection, GenerationState
from lookalike.errors import ModelNotAvailable, SpaceMismatch
from lookalike.ports import FaceEncoder, Models, Records
from lookalike.roster import Roster, Rosters


@dataclass(frozen=True, slots=True)
class Answering:
    """One generation of a collection, ready to answer. learned: the calibration is of the collection's own pairs."""

    collection: Collection
    roster: Roster
    encoder: FaceEncoder
    calibration: Calibration
    learned: bool


class Live:
    """Gives each request what it needs of a collection. Thread-safe."""

    def __init__(self, records: Records, models: Models, rosters: Rosters) -> None:
        self._records = records
        self._models = models
        self._rosters = rosters
        self._own: dict[tuple[str, str], Calibration | None] = {}

    def of(self, collection: Collection) -> Answering:
        """What answers for a collection now. Raises: ModelNotAvailable, SpaceMismatch, StorageUnavailable."""
        view = collection
        if not self._rosters.is_live(collection):
            before = (collection.seen_as(g) for g in collection.others if g.state is GenerationState.STANDBY)
            view = next((v for v in before if self._rosters.is_live(v)), collection)
        return self.exactly(view)

    def exactly(self, view: Collection) -> Answering:
        """The generation that `view` shows, loaded if it is not yet. Raises: as `of`."""
        roster = self._rosters.of(view)
        calibration, learned = self._calibration(view, roster)
        return Answering(view, roster, self._models.encoder(view.space), calibration, learned)

    def loaded(self) -> list[Answering]:
        """Every collection that is live and whose model is at hand, each by what answers for it."""
        found, answering = {roster.collection.id for roster in self._rosters.loaded()}, []
        for collection in self._records.collections():
            if collection.id in found:
                with suppress(ModelNotAvailable, SpaceMismatch):  # whoever asks that collection is told
                    answering.append(self.of(collection))
        return answering

    def _calibration(self, view: Collection, roster: Roster) -> tuple[Calibration, bool]:
        """The generation's own calibration where it has one, else its model's."""
        key = (view.id, view.generation)
        if roster.calibration_stale or key not in self._own:
            roster.calibration_stale = False
            text = self._records.calibration(view)
            self._own[key] = Calibration.from_json(text) if text is not None else None
        own = self._own[key]
        if own is not None:
            return own, True
        shipped = self._models.calibration(view.space)
        if shipped is None:
            raise ModelNotAvailable(
                f"the model {view.space.model!r} has no calibration, so its scores mean nothing yet"
            )
        return shipped, False
