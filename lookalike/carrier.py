"""Carries samples whose picture is not kept into a new generation's space, where that is good enough.

Done after all kept pictures were embedded: they are what the mapping is learned from. A run that was killed meanwhile
learns it again from the same samples and carries those that are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lookalike.calibration import uncalibrated
from lookalike.carrying import MOST_PAIRS, Carriage, Mapping, Pairs, judge
from lookalike.domain import Collection, Sample
from lookalike.fusion import FUSIONS
from lookalike.live import Live
from lookalike.ports import Records

BATCH = 500
"""Samples that are carried and committed together."""


class Carrier:
    """Reads and writes templates of one collection at a time."""

    def __init__(self, records: Records, live: Live) -> None:
        self._records = records
        self._live = live

    def carry(
        self, where: Collection, view: Collection, lacking: Sequence[Sample]
    ) -> tuple[int, Carriage | None, list[Sample]]:
        """Give the samples that lack a template in the new space a mapped one, or leave them as they are.

        where, view: as it answers now, and as it would through the new generation. Returns how many samples of the new
        generation are carried ones, how good the mapping is, None where none was needed, and the samples left behind.
        """
        if where.space == view.space:
            return 0, None, list(lacking)
        if not lacking:
            return self._carried(view), None, []
        pairs = self._pairs(where, view)
        found = judge(pairs, self._threshold(view), FUSIONS[view.kind])
        if found.why:
            return self._carried(view), found, list(lacking)
        mapping, left = Mapping(pairs.old, pairs.new), []
        for start in range(0, len(lacking), BATCH):
            batch = lacking[start : start + BATCH]
            held = {
                sample.number: sample for sample in self._records.samples_numbered(where, [s.number for s in batch])
            }
            known = [held[sample.number] for sample in batch if sample.number in held]
            left += [sample for sample in batch if sample.number not in held]
            if known:
                rows = mapping(np.stack([sample.vector for sample in known]))
                marked = [replace(sample, carried=True) for sample in known]
                self._records.put_templates(view, list(zip(marked, rows, strict=True)))
        return self._carried(view), found, left

    def _pairs(self, where: Collection, view: Collection) -> Pairs:
        """The first samples that both models were given a picture of."""
        old, new, owners = [], [], []
        for batch in self._records.stream_samples(view):
            seen = [sample for sample in batch if not sample.carried]
            held = {s.number: s for s in self._records.samples_numbered(where, [s.number for s in seen])}
            both = [(held[s.number], s) for s in seen if s.number in held and not held[s.number].carried]
            old += [before.vector for before, _ in both]
            new += [now.vector for _, now in both]
            owners += [now.subject_key for _, now in both]
            if len(owners) >= MOST_PAIRS:
                break
        return Pairs(
            np.stack(old) if old else np.zeros((0, where.space.dimension), np.float32),
            np.stack(new) if new else np.zeros((0, view.space.dimension), np.float32),
            owners,
        )

    def _threshold(self, view: Collection) -> float:
        """What decides in the new space, as far as that is known before the generation is complete."""
        answering = self._live.exactly(view)
        if answering.known is None:
            return uncalibrated(0).similarity
        return answering.threshold(view.target_fpir).similarity

    def _carried(self, view: Collection) -> int:
        """How many samples have a carried template in this space, from runs before this one too."""
        return sum(sample.carried for batch in self._records.stream_samples(view) for sample in batch)
