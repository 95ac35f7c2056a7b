"""What a service still has to do, how far it is behind, and how old its keys are, as figures for Prometheus.

They are looked up when they are asked for, without names, and nothing of it is put on record. A family that cannot be
had, because the store does not answer, is left out, and the others are still told. Of the store's figures every replica
tells the same, so that they are not to be added up.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from api.audit_keeper import AuditKeeper
from api.jobs import JobRunner
from lookalike.errors import LookalikeError
from lookalike.jobs import Job, JobState
from lookalike.rosters import Rosters
from lookalike.trials import Trials
from lookalike.unknowns import UnknownFaces
from lookalike.webhooks import WebhookStore
from security.audit import SealedAuditLog
from security.rotation import KeyRotation
from security.tokens import ApiKeys

DAY_S: Final = 86_400.0
LAST_JOBS: Final = 200
"""Jobs whose state is counted, the newest first; the queue takes at most half as many."""


class Figures(Collector):
    """A collector for the registry of api/metrics.py. Thread-safe, as what it asks is."""

    def __init__(
        self,
        *,
        rosters: Rosters,
        jobs: JobRunner,
        job_kinds: Mapping[str, object],
        rotation: KeyRotation,
        api_keys: ApiKeys,
        audit: SealedAuditLog,
        keeper: AuditKeeper,
        trials: Trials,
        unknowns: UnknownFaces,
        webhooks: WebhookStore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rosters = rosters
        self._jobs = jobs
        self._kinds = sorted(job_kinds)
        self._rotation = rotation
        self._api_keys = api_keys
        self._audit = audit
        self._keeper = keeper
        self._trials = trials
        self._unknowns = unknowns
        self._webhooks = webhooks
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """The figures as they are now."""
        for family in (
            self._gallery,
            self._lag,
            self._queues,
            self._queued_jobs,
            self._keys,
            self._gap,
            self._tried,
            self._told,
        ):
            try:
                yield from list(family())
            except LookalikeError:
                continue

    def _gallery(self) -> Iterator[Metric]:
        largest: dict[str, tuple[int, int]] = {}
        for roster in self._rosters.loaded():
            before = largest.get(roster.collection.id, (0, 0))
            largest[roster.collection.id] = max(before, (len(roster), roster.samples))
        yield _gauge("collections", "Collections that this process answers for", len(largest))
        yield _gauge(
            "subjects", "Subjects that can be found in them", sum(subjects for subjects, _ in largest.values())
        )
        yield _gauge("samples", "Samples of these subjects", sum(samples for _, samples in largest.values()))
        yield _gauge("unknown_faces", "Unknown faces that are kept", self._unknowns.kept())

    def _lag(self) -> Iterator[Metric]:
        lag = self._rosters.lag()
        yield _gauge("index_behind_changes", "Committed changes that are not in the live index yet", lag.changes)
        yield _gauge("index_behind_seconds", "Time since the live index had every committed change", lag.seconds)
        yield _gauge(
            "index_unsettled", "Generations whose index server does not hold all that it should", lag.unsettled
        )
        yield _gauge("index_owed_erasures", "Erasures that an index server has not been told of", lag.owed)

    def _queues(self) -> Iterator[Metric]:
        waiting = _labelled(
            "waiting", "Pieces of work that wait, by queue; requests have lookalike_queue_depth", "queue"
        )
        waiting.add_metric(["comparisons"], self._trials.waiting)
        waiting.add_metric(["unknown_faces"], self._unknowns.waiting)
        yield waiting

    def _queued_jobs(self) -> Iterator[Metric]:
        now, last = self._clock(), list(self._jobs.last(LAST_JOBS))
        yield self._by_kind("jobs_waiting", "Jobs that wait, by kind", last, JobState.QUEUED)
        yield self._by_kind("jobs_running", "Jobs at work, by kind", last, JobState.RUNNING)
        day = [job for job in last if job.updated_at >= now - DAY_S]
        yield self._by_kind("jobs_failed", "Jobs that failed within a day, by kind", day, JobState.FAILED)
        oldest = min((job.created_at for job in last if job.state is JobState.QUEUED), default=now)
        yield _gauge("jobs_oldest_waiting_seconds", "How long the oldest waiting job waits", max(0.0, now - oldest))

    def _by_kind(self, name: str, meaning: str, jobs: list[Job], state: JobState) -> Metric:
        """Counts of every kind that this release knows, 0 too, and of none that somebody made up."""
        counts, found = Counter(job.kind for job in jobs if job.state is state), _labelled(name, meaning, "kind")
        for kind in self._kinds:
            found.add_metric([kind], counts[kind])
        return found

    def _keys(self) -> Iterator[Metric]:
        now, ages = self._clock(), self._rotation.ages()
        if ages.root is not None:
            yield _gauge("root_key_age_seconds", "How long the root key is in use", now - ages.root)
        if ages.collection is not None:
            yield _gauge("collection_key_age_seconds", "Age of the oldest collection key in use", now - ages.collection)
        due = 0.0 if ages.due is None else max(0.0, now - ages.due)
        yield _gauge("key_rotation_due_seconds", "How long the longest waiting rotation after an erasure waits", due)
        expiries = self._api_keys.expiries()
        yield _gauge("api_keys", "API keys that are there", len(expiries))
        ahead = [at for at in expiries if at is not None and at > now]
        yield _gauge(
            "api_keys_expiring", "API keys that expire within a week", sum(at <= now + 7 * DAY_S for at in ahead)
        )

    def _gap(self) -> Iterator[Metric]:
        now, (entries, since) = self._clock(), self._audit.gap()
        yield _gauge("audit_entries_uncovered", "Audit entries that no checkpoint covers", entries)
        yield _gauge(
            "audit_uncovered_seconds",
            "How long the oldest audit entry without a checkpoint is there",
            0.0 if since is None else max(0.0, now - since),
        )
        waiting = [state.since for state in self._keeper.state() if state.since is not None]
        yield _gauge(
            "audit_unpushed_seconds",
            "How long the oldest checkpoint waits to leave the machine",
            max(0.0, now - min(waiting, default=now)),
        )

    def _told(self) -> Iterator[Metric]:
        """Receivers of events. Whoever paused one knows that it waits."""
        now, found = self._clock(), [(hook, self._webhooks.delivery(hook.id)) for hook in self._webhooks.all()]
        held = [delivery for hook, delivery in found if delivery is not None and not hook.paused]
        since = [delivery.failing_since for delivery in held if delivery.failing_since is not None]
        yield _gauge("webhooks", "Receivers that events are sent to", len(held))
        yield _gauge(
            "webhooks_failing_seconds",
            "How long the receiver that fails longest takes no event",
            max(0.0, now - min(since, default=now)),
        )
        yield _gauge("webhooks_given_up", "Events that receivers did not take", sum(len(d.given_up) for d in held))

    def _tried(self) -> Iterator[Metric]:
        total = self._trials.total()
        found = CounterMetricFamily(
            "lookalike_trial_probes",
            "Probes searched by a generation on trial too, by what came of it",
            labels=["outcome"],
        )
        for outcome in ("same", "other", "lost", "gained", "failed", "skipped"):
            found.add_metric([outcome], getattr(total, outcome))
        yield found


def _gauge(name: str, meaning: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"lookalike_{name}", meaning, value=value)


def _labelled(name: str, meaning: str, label: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"lookalike_{name}", meaning, labels=[label])
