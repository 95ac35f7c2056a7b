"""The JSON of drift: what probes were like, what they are like now, and what moved."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from api.schemas import Incoming
from lookalike.drift import Finding
from lookalike.drift_watch import DriftReport
from lookalike.probe_counts import STATISTICS


class BaselineChoice(Incoming):
    """first, last: days in ISO 8601 (UTC), both included."""

    first: str
    last: str


class PeriodOut(BaseModel):
    """first, last: days (UTC); faces: counted in them; source: of a baseline, "first_days" or "chosen"."""

    first: str
    last: str
    pictures: int
    faces: int
    source: Literal["first_days", "chosen"] | None = None


class BinsOut(BaseModel):
    """edges: bin i goes from edges[i - 1] up to edges[i], the first and the last are open; baseline, now: shares."""

    edges: list[float]
    baseline: list[float]
    now: list[float]


class FindingOut(BaseModel):
    """baseline, now: the median, or the share; p: corrected for all that was tested."""

    statistic: str
    meaning: str
    baseline: float | None
    now: float | None
    baseline_count: int
    now_count: int
    psi: float | None
    p: float | None
    verdict: Literal["same", "moved", "too_few"]
    bins: BinsOut

    @classmethod
    def of(cls, found: Finding) -> FindingOut:
        statistic = STATISTICS[found.statistic]
        bins = BinsOut(edges=list(statistic.edges), baseline=list(found.before_bins), now=list(found.now_bins))
        return cls(
            statistic=found.statistic,
            meaning=statistic.meaning,
            baseline=found.before,
            now=found.now,
            baseline_count=found.before_count,
            now_count=found.now_count,
            psi=found.psi,
            p=found.p,
            verdict="moved" if found.moved else "same" if found.verdict == "same" else "too_few",
            bins=bins,
        )


class DriftOut(BaseModel):
    """waiting_for: faces that an automatic baseline still needs; strangers_psi: how far nearest similarities below the
    threshold lie from what the calibration expects of strangers; advice: sentences for people."""

    collection: str
    drifting: bool
    now: PeriodOut | None
    baseline: PeriodOut | None
    waiting_for: int
    findings: list[FindingOut]
    strangers_psi: float | None
    advice: list[str]

    @classmethod
    def of(cls, report: DriftReport) -> DriftOut:
        now, baseline = report.now, None
        if report.baseline is not None:
            held = report.baseline
            source: Literal["first_days", "chosen"] = "chosen" if held.chosen else "first_days"
            baseline = PeriodOut(
                first=held.first,
                last=held.last,
                pictures=held.counts.pictures,
                faces=held.counts.faces,
                source=source,
            )
        period = None
        if now.first is not None and now.last is not None:
            period = PeriodOut(first=now.first, last=now.last, pictures=now.counts.pictures, faces=now.counts.faces)
        return cls(
            collection=report.collection.name,
            drifting=report.drifting,
            now=period,
            baseline=baseline,
            waiting_for=report.waiting_for,
            findings=[FindingOut.of(finding) for finding in report.findings],
            strangers_psi=report.strangers_psi,
            advice=list(report.advice),
        )
