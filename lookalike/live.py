"""What answers for a collection at this moment: a roster, the encoder of its space, and what its scores mean.

While a re-index is on, a collection has several generations; each is complete in itself, and which one answers is
decided here, once for each request. A generation that was promoted a moment ago and is still being loaded in this
process leaves the answer to the one before, which gets every enrolment too.
"""

from __future__ import annotations

import contextlib
from contextlib import suppress
from dataclasses import dataclass

from lookalike.calibration import Calibration, uncalibrated
from lookalike.domain import Collection, GenerationState, Kind, Threshold
from lookalike.errors import ModelNotAvailable, NotCalibrated, SpaceMismatch
from lookalike.ports import FaceEncoder, ImageEncoder, Models, Records
from lookalike.roster import Roster
from lookalike.rosters import Rosters


@dataclass(frozen=True, slots=True)
class Answering:
    """One generation of a collection, ready to answer. learned: the calibration is of the collection's own pairs.

    known: what the scores mean; None in collections of pictures whose model has no calibration yet.
    """

    collection: Collection
    roster: Roster
    encoder: FaceEncoder
    known: Calibration | None
    learned: bool

    @property
    def calibration(self) -> Calibration:
        """What the scores mean. Raises: NotCalibrated."""
        if self.known is None:
            raise NotCalibrated(
                f"the model {self.collection.space.model!r} has no calibration, so no rate can be promised: give a "
                "threshold, or calibrate once 20 subjects are enrolled"
            )
        return self.known

    @property
    def pictures(self) -> ImageEncoder:
        """The encoder of a collection of pictures. Raises: ModelNotAvailable."""
        if not isinstance(self.encoder, ImageEncoder):
            raise ModelNotAvailable(f"the model {self.collection.space.model!r} is not one for pictures")
        return self.encoder

    def threshold(self, fpir: float) -> Threshold:
        """The similarity that keeps false alarms as rare, as far as that is known."""
        size = len(self.roster)
        return uncalibrated(size) if self.known is None else self.known.threshold(fpir, size)


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

    def catch_up(self) -> None:
        """Take over what was committed by now."""
        self._rosters.catch_up()

    def loaded(self) -> list[Answering]:
        """Every collection that is live and whose model is at hand, each by what answers for it."""
        found, answering = {roster.collection.id for roster in self._rosters.loaded()}, []
        for collection in self._records.collections():
            if collection.id in found:
                with suppress(ModelNotAvailable, SpaceMismatch):  # whoever asks that collection is told
                    answering.append(self.of(collection))
        return answering

    def _calibration(self, view: Collection, roster: Roster) -> tuple[Calibration | None, bool]:
        """The generation's own calibration where it has one, else its model's. Faces are never searched without."""
        key = (view.id, view.generation)
        if roster.calibration_stale or key not in self._own:
            roster.calibration_stale = False
            text = self._records.calibration(view)
            self._own[key] = Calibration.from_json(text) if text is not None else None
        own = self._own[key]
        if own is not None:
            return own, True
        shipped = self._models.calibration(view.space)
        if shipped is None and view.kind is Kind.FACE:
            raise ModelNotAvailable(
                f"the model {view.space.model!r} has no calibration, so its scores mean nothing yet"
            )
        return shipped, False


def base_calibration(models: Models, view: Collection) -> Calibration | None:
    """What a collection's own pairs are laid over: its model's calibration, or a usual one in its place.

    Only the shape of the tail is taken from there, so that of another model, and of faces for things, will do.
    """
    found = models.calibration(view.space)
    if found is None:
        with contextlib.suppress(ModelNotAvailable):  # a kind may have no default model, only those that are named
            found = models.calibration(models.default(view.kind))
    return found or models.calibration(models.default(Kind.FACE))
