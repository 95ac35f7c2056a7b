"""Re-indexing: a new generation of a collection from its records, verified, and put in place of the old one unnoticed.

What is left to do is what the records lack, so a run that was killed anywhere goes on where it stopped, and nothing is
done twice. Enrolments go into every generation from the moment that one begins, erasures take all templates along.
"""

from __future__ import annotations

import datetime
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, replace

from lookalike import generations
from lookalike.answers import Caller
from lookalike.calibration import uncalibrated
from lookalike.carrier import Carrier
from lookalike.carrying import Carriage
from lookalike.domain import (
    AuditEntry,
    Collection,
    Generation,
    GenerationState,
    Kind,
    Permission,
    Sample,
    TrialMode,
)
from lookalike.errors import Conflict, IndexUnavailable, InvalidInput, NoSuchGeneration, NotCalibratable
from lookalike.live import Live, base_calibration
from lookalike.on_record import Operation, on_record
from lookalike.pace import Pace
from lookalike.paired import Paired
from lookalike.ports import AuditLog, Models, Records
from lookalike.roster import Roster
from lookalike.rosters import Rosters
from lookalike.thresholds import MIN_SUBJECTS, recalibrate
from lookalike.trials import Tally
from lookalike.verification import known_by, recall_of

BATCH = 32
"""Crops that are embedded and committed together."""

LEAST_RECALL = 0.99
"""A generation whose index finds fewer of the true nearest rows is not promoted."""

NOBODY = 1.0
"""A threshold of a model in which no similarity keeps strangers out as often as is asked: it would know nobody."""

LISTED = 100
"""Samples without a picture that a report names; it counts them all."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Report:
    """How a re-index went.

    left_behind: samples without a kept picture, which the new model cannot be given; carried: those whose template was
    mapped from the old model's instead; carriage: how good that mapping is, None where nothing had to be carried.
    recall: share of the true five nearest rows that the new index finds; judged: subjects of several samples that both
    generations were asked for; lost, gained: known before and unknown now, and the other way round; verdict: "worse",
    "same" or "better"; "worse" too where only the new model has no threshold for the collection's target FPIR;
    threshold_before, threshold: similarities for that, 1 where there is none.
    """

    generation: str
    model: str
    samples: int
    left_behind: int
    left_behind_ids: tuple[str, ...]
    carried: int
    carriage: Carriage | None
    recall: float
    judged: int
    lost: int
    gained: int
    verdict: str
    threshold_before: float
    threshold: float
    promoted: bool

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"left_behind_ids": list(self.left_behind_ids)}


class Reindexer:
    """Begins, runs, promotes, rolls back and lets go of generations. Thread-safe; one run a collection at a time."""

    def __init__(
        self,
        records: Records,
        audit: AuditLog,
        rosters: Rosters,
        models: Models,
        *,
        standby_s: float = 86_400.0,
        clock: Callable[[], float] = lambda: datetime.datetime.now(datetime.UTC).timestamp(),
        known_index: Callable[[str], str] = str,
        timer: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """standby_s: how long one can roll back; known_index: raises InvalidInput for an index URL that is unknown."""
        self._records = records
        self._audit = audit
        self._rosters = rosters
        self._models = models
        self._live = Live(records, models, rosters)
        self._carrier = Carrier(records, self._live)
        self._standby_s = standby_s
        self._clock = clock
        self._known_index = known_index
        self._timer = timer
        self._sleep = sleep

    # ----------------------------------------------------------------------------------------- by command

    def begin(self, caller: Caller, name: str, *, model: str | None = None, index: str | None = None) -> Generation:
        """Begin a generation with another model or index, or anew with the same; `run` completes it.

        Raises: CollectionNotFound, ModelNotAvailable, InvalidInput, Conflict while another one is unfinished.
        """
        with self._on_record(caller, "reindex.begin", Permission.RUN_JOBS, name) as record:
            where = self._records.collection(name)
            space = where.space if model is None else self._models.space(where.kind, model)
            self._models.encoder(space)
            url = where.index if index is None else self._known_index(index)
            id, at = secrets.token_hex(4), self._clock()
            record.details.update(generation=id, model=space.model, index=url)
            changed = self._records.change_collection(
                where, lambda c: generations.begun(c, id, space, url, at), record.commit()
            )
            self._rosters.catch_up()
            return _generation(changed, id)

    def unfinished(self, caller: Caller, name: str) -> Generation | None:
        """The generation that is being filled or waits to be promoted. Raises: CollectionNotFound."""
        caller.principal.require(Permission.RUN_JOBS, name)
        return generations.unfinished(self._records.collection(name))

    def promote(self, caller: Caller, name: str, *, insist: bool = False) -> Collection:
        """Answer through the complete generation. Raises: NoSuchGeneration; Conflict if its trial found it worse."""
        with self._on_record(caller, "reindex.promote", Permission.MANAGE_MODELS, name) as record:
            where = self._records.collection(name)
            waiting = generations.unfinished(where)
            return self._promoted(where, waiting.id if waiting is not None else None, record, insist=insist)

    def try_out(self, caller: Caller, name: str, mode: TrialMode, share: float) -> Collection:
        """Ask the complete generation too, or let it answer, for a share of the probes; a share of 0 ends that.

        Raises: InvalidInput for a share outside 0..1, NoSuchGeneration where none is complete and waits.
        """
        with self._on_record(caller, "reindex.try_out", Permission.MANAGE_MODELS, name) as record:
            if not 0 <= share <= 1:
                raise InvalidInput("share: 0 to 1 is allowed")
            where = self._records.collection(name)
            record.details.update(mode=mode.value, share=share)
            if share:
                self._rosters.of(generations.on_trial(where, mode, share).seen_as(_unfinished(where)))
            changed = self._records.change_collection(
                where,
                lambda c: generations.on_trial(c, mode, share) if share else replace(c, trial=None),
                record.commit(),
            )
            self._rosters.catch_up()
            return changed

    def roll_back(self, caller: Caller, name: str) -> Collection:
        """Answer through the generation before again. Raises: NoSuchGeneration once its grace has ended."""
        with self._on_record(caller, "reindex.roll_back", Permission.MANAGE_MODELS, name) as record:
            where = self._records.collection(name)
            before = generations.standby(where)
            return self._promoted(where, before.id if before is not None else None, record)

    def abandon(self, caller: Caller, name: str) -> Collection:
        """Forget the generation that is being filled or waits. Raises: NoSuchGeneration."""
        with self._on_record(caller, "reindex.abandon", Permission.RUN_JOBS, name) as record:
            where = self._records.collection(name)
            waiting = generations.unfinished(where)
            if waiting is None:
                raise NoSuchGeneration("this collection is not being re-indexed")
            return self._let_go(where, waiting, record)

    def retire(self, caller: Caller, name: str, *, now: bool = False) -> int:
        """Let go of every generation whose grace has ended; now: or has not. Returns how many."""
        with self._on_record(caller, "reindex.retire", Permission.RUN_JOBS, name) as record:
            where = self._records.collection(name)
            ended = [g for g in where.others if g.state is GenerationState.STANDBY]
            ended = [g for g in ended if now or g.until <= self._clock()]
            for generation in ended:
                where = self._let_go(where, generation, record)
            return len(ended)

    def _promoted(self, where: Collection, id: str | None, record: Operation, *, insist: bool = False) -> Collection:
        if id is None:
            raise NoSuchGeneration("there is no generation to answer through instead")
        record.details.update(generation=id, before=where.generation)
        self._rosters.of(where.seen_as(_generation(where, id)))  # loaded before it is asked for
        until = self._clock() + self._standby_s
        changed = self._records.change_collection(
            where, lambda c: generations.promoted(c, id, until, insist=insist), record.commit()
        )
        self._rosters.catch_up()
        return changed

    def _let_go(self, where: Collection, generation: Generation, record: Operation) -> Collection:
        record.details["generation"] = generation.id
        left = self._records.change_collection(where, lambda c: generations.without(c, generation.id), record.commit())
        self._rosters.catch_up()
        with suppress(IndexUnavailable):  # a service sweeps again later
            self._rosters.sweep()
        self.tidy(left)
        return left

    def tidy(self, where: Collection) -> None:
        """Move samples into the space that answers and forget templates in spaces that no generation has any more."""
        if not where.past:
            return
        after: int | None = 0
        while after is not None:
            after = self._records.settle(where, after, 500)
        for space in (past for past in where.past if past not in where.spaces):
            after = 0
            while after is not None:
                after = self._records.drop_space(where, space, after, 500)

    # --------------------------------------------------------------------------------------------- by job

    def run(
        self,
        caller: Caller,
        name: str,
        progress: Progress,
        *,
        hold: bool = False,
        insist: bool = False,
        rate: float | None = None,
    ) -> Report:
        """Complete the unfinished generation and promote it, unless it is to be held or is worse than the old one.

        progress: told (done, total) now and then; what it raises ends the run, which can be begun again at any time.
        insist: promote it even if it knows fewer of the enrolled; rate: pictures embedded in a second, at most.
        Raises: NoSuchGeneration, NotCalibratable, Conflict where the verification fails, and as the encoder.
        """
        with self._on_record(caller, "reindex.run", Permission.RUN_JOBS, name) as record:
            where = self._records.collection(name)
            generation = generations.unfinished(where)
            if generation is None:
                raise NoSuchGeneration("this collection is not being re-indexed")
            view = where.seen_as(generation)
            record.details.update(generation=generation.id, model=generation.space.model)
            left_behind = self._fill(view, progress, rate)
            roster = self._rosters.of(view)
            self._rosters.catch_up()
            self._calibrate(where, view, roster, record)
            carried, carriage, left_behind = self._carrier.carry(where, view, left_behind)
            recall = self._verify(view, roster, len(left_behind))
            judged, before, after = self._judge(where, view)
            self._mark_ready(where, generation, record)
            verdict = "worse" if before < NOBODY <= after else judged.verdict
            good = insist or verdict != "worse"
            if good and not hold:
                self._promoted(self._records.collection(name), generation.id, record, insist=insist)
            record.details.update(
                left_behind=len(left_behind), carried=carried, recall=round(recall, 4), verdict=verdict
            )
            return Report(
                generation=generation.id,
                model=generation.space.model,
                samples=roster.samples,
                left_behind=len(left_behind),
                left_behind_ids=tuple(sample.id for sample in left_behind[:LISTED]),
                carried=carried,
                carriage=carriage,
                recall=recall,
                judged=judged.compared,
                lost=judged.lost,
                gained=judged.gained,
                verdict=verdict,
                threshold_before=before,
                threshold=after,
                promoted=good and not hold,
            )

    def _fill(self, view: Collection, progress: Progress, rate: float | None) -> list[Sample]:
        """Embed the kept crops of all samples that lack a template, so many a second. Returns those without a crop."""
        encoder = self._models.encoder(view.space)
        lacking = self._records.count_lacking(view)
        _, total = self._records.count(view)
        left_behind: list[Sample] = []
        done, after = total - lacking, 0
        progress(done, total)
        pace = Pace(rate, self._timer, self._sleep)
        while batch := self._records.samples_lacking(view, after, BATCH):
            crops = self._records.crops(view, batch)
            kept = [sample for sample in batch if sample.id in crops]
            if kept:
                rows = encoder.encode_crops([crops[sample.id] for sample in kept], enrolment=True).vectors
                self._records.put_templates(view, list(zip(kept, rows, strict=True)))
            left_behind += [sample for sample in batch if sample.id not in crops]
            after, done = batch[-1].number, done + len(batch)
            for _ in pace.after(len(kept)):
                progress(min(done, total), total)
            progress(min(done, total), total)
        return left_behind

    def _calibrate(self, where: Collection, view: Collection, roster: Roster, record: Operation) -> None:
        """Give another space thresholds of its own, where the old one had its own or none is shipped."""
        if view.space == where.space or self._records.calibration(view) is not None:
            return
        shipped, own = self._models.calibration(view.space), self._records.calibration(where)
        if shipped is not None and own is None:
            return
        if view.kind is Kind.IMAGE and own is None and self._models.calibration(where.space) is None:
            return  # its searches rank, and a change of model must not make them decide
        base = shipped or base_calibration(self._models, view)
        if base is None or ((shipped is not None or view.kind is Kind.IMAGE) and len(roster) < MIN_SUBJECTS):
            return
        try:
            learned = recalibrate(base, *roster.all_templates(), fusion=roster.fusion)
        except NotCalibratable:
            if shipped is None and view.kind is Kind.FACE:
                raise
            return
        entry = replace(record.entry(), action="collection.calibrate", details={"subjects": learned.subjects})
        self._records.put_calibration(view, learned.calibration.to_json(), entry)
        self._rosters.catch_up()

    def _verify(self, view: Collection, roster: Roster, left_behind: int) -> float:
        """The index's recall among its own rows. Raises: Conflict where rows are missing or not found."""
        before = self._records.last_seq()
        self._rosters.catch_up()
        rows, lacking, (_, samples) = roster.samples, self._records.count_lacking(view), self._records.count(view)
        meanwhile = self._records.last_seq() - before  # each change makes the counts differ by one at most
        if abs(samples - lacking - rows) > meanwhile:
            raise Conflict(f"the new index has {rows} rows where {samples - lacking} were expected")
        if lacking > left_behind:
            raise Conflict(f"{lacking - left_behind} samples still lack a template: run it again")
        recall = recall_of(roster)
        if recall < LEAST_RECALL:
            raise Conflict(
                f"the new index finds {recall:.1%} of the nearest rows, and {LEAST_RECALL:.0%} are asked for"
            )
        return recall

    def _judge(self, where: Collection, view: Collection) -> tuple[Paired, float, float]:
        """How both generations know the enrolled by one sample from their others, and their thresholds."""
        old, new = self._live.exactly(where), self._live.exactly(view)
        before, after = (a.threshold(where.target_fpir).similarity for a in (old, new))
        if old.known is None or new.known is None:
            before = after = uncalibrated(0).similarity
        known_before, known_now = known_by(old.roster, before), known_by(new.roster, after)
        both = known_before.keys() & known_now.keys()
        lost = sum(known_before[n] and not known_now[n] for n in both)
        gained = sum(known_now[n] and not known_before[n] for n in both)
        return Paired(len(both), lost, gained), before, after

    def _mark_ready(self, where: Collection, generation: Generation, record: Operation) -> None:
        if generation.state is GenerationState.BUILDING:
            entry = replace(record.entry(), action="reindex.ready")
            self._records.change_collection(where, lambda c: generations.ready(c, generation.id), entry)
            self._rosters.catch_up()

    def _on_record(
        self, caller: Caller, action: str, permission: Permission, name: str
    ) -> AbstractContextManager[Operation]:
        return on_record(self._audit, caller, action, permission, name)


def end_trial(records: Records, caller: Caller) -> Callable[[Collection, Tally], None]:
    """What takes a generation that turned out worse off its trial, on record in the name of `caller`."""

    def stop(collection: Collection, tally: Tally) -> None:
        trial = collection.trial
        if trial is None:
            return
        how = f"of {tally.compared} probes {tally.lost} lost, {tally.other} taken for others, {tally.gained} gained"
        facts: dict[str, str | int | float | None] = {
            "generation": trial.generation,
            "lost": tally.lost,
            "other": tally.other,
            "gained": tally.gained,
        }
        entry = AuditEntry(
            "reindex.trial_ended", caller.principal.id, "ok", caller.request_id, collection.name, None, facts
        )
        records.change_collection(collection, lambda c: generations.found_worse(c, trial.generation, how), entry)

    return stop


def _unfinished(collection: Collection) -> Generation:
    found = generations.unfinished(collection)
    if found is None:
        raise NoSuchGeneration("this collection is not being re-indexed")
    return found


def _generation(collection: Collection, id: str) -> Generation:
    found = collection.other(id)
    if found is None:
        raise NoSuchGeneration("there is no such generation")
    return found
