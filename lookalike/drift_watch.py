"""The use cases of drift: a report of what moved, a baseline that an operator chooses, and a look at every collection.

Today is compared with the baseline of the space that answers now, so a collection that changed its model learns anew. A
baseline is made of whole days: of the first ones that hold enough faces together, unless an operator chose others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from lookalike.answers import Caller
from lookalike.calibration import Calibration
from lookalike.domain import Collection, Kind, Permission
from lookalike.drift import BASELINE_DAYS, BASELINE_FROM, LEAST, Baseline, Finding, against_calibration, judge
from lookalike.drift_advice import Advice, advise
from lookalike.errors import CollectionNotFound, InvalidInput
from lookalike.on_record import on_record
from lookalike.ports import AuditLog, Models, Records
from lookalike.probe_counts import Counts, total
from lookalike.probe_log import ProbeDays, ProbeLog

REACH_BACK_DAYS = 30
"""How far back a judgement goes where the days that were asked for hold too few faces."""


@dataclass(frozen=True, slots=True)
class Judged:
    """first, last: days, None where none has a probe; days: how many had probes; counts: of all these."""

    first: str | None
    last: str | None
    days: int
    counts: Counts


@dataclass(frozen=True, slots=True)
class DriftReport:
    """waiting_for: faces that an automatic baseline still needs.

    strangers_psi: how far strangers' nearest similarities lie from what the calibration expects; None if not known.
    """

    collection: Collection
    now: Judged
    baseline: Baseline | None
    waiting_for: int
    findings: tuple[Finding, ...]
    strangers_psi: float | None
    advice: Advice

    @property
    def drifting(self) -> bool:
        return any(finding.moved for finding in self.findings)


class DriftWatch:
    """Compares what probes are like with what they were like. Thread-safe. keep_days: older counts are dropped."""

    def __init__(
        self,
        records: Records,
        audit: AuditLog,
        models: Models,
        store: ProbeDays,
        probes: ProbeLog,
        keep_days: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._records = records
        self._audit = audit
        self._models = models
        self._store = store
        self._probes = probes
        self._keep_days = keep_days
        self._clock = clock
        self._forgotten_on = ""

    def report(self, caller: Caller, name: str, days: int = 1) -> DriftReport:
        """The last so many days against the baseline. Raises: CollectionNotFound, WrongKind, InvalidInput."""
        with on_record(self._audit, caller, "drift.read", Permission.MANAGE_COLLECTIONS, name) as record:
            self._require_counting()
            if not 1 <= days <= self._keep_days:
                raise InvalidInput(f"days: 1 to {self._keep_days} are allowed")
            where = self._records.collection(name)
            where.require(Kind.FACE)
            self._probes.flush()
            found = self._judged(where, days)
            record.details.update(drifting=int(found.drifting))
            return found

    def choose_baseline(self, caller: Caller, name: str, first: str, last: str) -> DriftReport:
        """Compare with these days from now on, both included. Raises: CollectionNotFound, WrongKind, InvalidInput."""
        with on_record(self._audit, caller, "drift.baseline", Permission.MANAGE_COLLECTIONS, name) as record:
            self._require_counting()
            start, end = _day(first), _day(last)
            if start > end:
                raise InvalidInput("a baseline's first day comes before its last")
            where = self._records.collection(name)
            where.require(Kind.FACE)
            self._probes.flush()
            days = self._store.days(where, where.space.key, max(start, self._oldest()))
            chosen = {day: counts for day, counts in days.items() if day <= end}
            faces = total(chosen.values()).faces
            if faces < LEAST:
                raise InvalidInput(f"these days hold {faces} faces; a baseline needs {LEAST}")
            baseline = Baseline.of(chosen, chosen=True)
            record.details.update(faces=faces)
            self._store.put_baseline(where, where.space.key, baseline, record.commit())
            return self._judged(where, 1)

    def look(self) -> set[str]:
        """Drop what is too old, learn baselines that are due, judge today: the ids of collections that drift."""
        drifting, today = set(), self._today()
        for collection in (found for found in self._records.collections() if found.kind is Kind.FACE):
            with suppress(CollectionNotFound):  # deleted meanwhile
                if today != self._forgotten_on:
                    self._store.forget(collection, self._oldest())
                if self._judged(collection, 1).drifting:
                    drifting.add(collection.id)
        self._forgotten_on = today
        return drifting

    def _judged(self, where: Collection, days: int) -> DriftReport:
        """An automatic baseline that is due is stored, so that it outlives its days."""
        space, since = where.space.key, _days_before(self._today(), days - 1)
        baseline = self._store.baseline(where, space)
        first = self._oldest() if baseline is None else max(self._oldest(), _days_before(since, REACH_BACK_DAYS))
        held = self._store.days(where, space, first)
        if baseline is None:
            baseline = _first_days(held, before=self._today())
            if baseline is not None:
                self._store.put_baseline(where, space, baseline, None)
        now = _latest(held, baseline, since)
        findings = judge(baseline, now.counts, max(now.days, 1)) if baseline is not None else []
        return DriftReport(
            collection=where,
            now=now,
            baseline=baseline,
            waiting_for=0 if baseline is not None else max(BASELINE_FROM - total(held.values()).faces, 0),
            findings=tuple(findings),
            strangers_psi=self._beside_calibration(where, now.counts),
            advice=advise(where.name, findings, baseline, now.counts),
        )

    def _beside_calibration(self, where: Collection, now: Counts) -> float | None:
        sizes = now.of("gallery").sum(axis=0)
        text = self._records.calibration(where)
        calibration = self._models.calibration(where.space) if text is None else Calibration.from_json(text)
        if calibration is None or not sizes.sum():
            return None
        size = self._records.count(where)[0]
        bar = calibration.threshold(where.target_fpir, size).similarity
        return against_calibration(now, calibration, size, bar) if size else None

    def _require_counting(self) -> None:
        if not self._keep_days:
            raise InvalidInput("probes are not counted here: LOOKALIKE_DRIFT_DAYS is 0")

    def _today(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).date().isoformat()

    def _oldest(self) -> str:
        return _days_before(self._today(), self._keep_days - 1)


def _first_days(days: Mapping[str, Counts], before: str) -> Baseline | None:
    """The first whole days that are enough and hold enough faces together, or None."""
    taken: dict[str, Counts] = {}
    for day in sorted(day for day in days if day < before):
        taken[day] = days[day]
        if len(taken) >= BASELINE_DAYS and total(taken.values()).faces >= BASELINE_FROM:
            return Baseline.of(taken)
    return None


def _latest(days: Mapping[str, Counts], baseline: Baseline | None, since: str) -> Judged:
    """The days from `since` on, and as many before as it takes for enough faces; none that made the baseline."""
    taken: dict[str, Counts] = {}
    for day in sorted(days, reverse=True):
        if baseline is not None and baseline.first <= day <= baseline.last:
            continue
        if day < since and total(taken.values()).faces >= LEAST:
            break
        taken[day] = days[day]
    return Judged(min(taken, default=None), max(taken, default=None), len(taken), total(taken.values()))


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise InvalidInput("a day in ISO 8601 is allowed, such as 2026-03-01") from None


def _days_before(day: str, days: int) -> str:
    return (date.fromisoformat(day) - timedelta(days=days)).isoformat()
