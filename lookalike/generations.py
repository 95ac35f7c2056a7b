"""The generations of a collection: begun, completed, promoted, rolled back and let go, each by one change of its row.

Pure: a collection in, the changed collection out; records apply it in one transaction. While a generation is among
`others`, every enrolment goes into it as well, so promotion and rollback lose nobody.
"""

from __future__ import annotations

from dataclasses import replace

from lookalike.domain import Collection, Generation, GenerationState, Space, Trial, TrialMode
from lookalike.errors import Conflict, NoSuchGeneration

UNFINISHED = (GenerationState.BUILDING, GenerationState.READY)


def begun(collection: Collection, id: str, space: Space, index: str, at: float) -> Collection:
    """With a new generation that is to be filled. Raises: Conflict while another one waits to be promoted."""
    if unfinished(collection) is not None:
        raise Conflict("this collection is being re-indexed already: promote or cancel that first")
    generation = Generation(id, space, index, GenerationState.BUILDING, created_at=at)
    return replace(collection, others=(*collection.others, generation), first_space=collection.origin)


def unfinished(collection: Collection) -> Generation | None:
    """The generation that is being filled or waits to be promoted."""
    return next((g for g in collection.others if g.state in UNFINISHED), None)


def standby(collection: Collection) -> Generation | None:
    """The generation that answered last, while its grace lasts."""
    held = [g for g in collection.others if g.state is GenerationState.STANDBY]
    return max(held, key=lambda g: g.until, default=None)


def ready(collection: Collection, id: str) -> Collection:
    """With this generation complete and verified. Raises: NoSuchGeneration."""
    generation = _known(collection, id)
    changed = replace(generation, state=GenerationState.READY)
    return replace(collection, others=tuple(changed if g.id == id else g for g in collection.others))


def promoted(collection: Collection, id: str, until: float, *, insist: bool = False) -> Collection:
    """Answering through this generation; the one before stays on standby until then.

    Raises: NoSuchGeneration unless the generation is complete; Conflict where its trial found it worse, but for insist.
    """
    generation = _known(collection, id)
    trial = collection.trial
    if trial is not None and trial.generation == id and trial.worse and not insist:
        raise Conflict(f"its trial found it worse ({trial.worse}): insist, or cancel it")
    if generation.state is GenerationState.BUILDING:
        raise NoSuchGeneration("this generation is not complete yet")
    before = Generation(
        collection.generation, collection.space, collection.index, GenerationState.STANDBY, collection.created_at, until
    )
    return replace(
        collection,
        space=generation.space,
        generation=generation.id,
        index=generation.index,
        others=(*(g for g in collection.others if g.id != id), before),
        first_space=collection.origin,
        trial=None,
    )


def on_trial(collection: Collection, mode: TrialMode, share: float) -> Collection:
    """With its complete generation tried on this share of the probes. Raises: NoSuchGeneration where none is ready."""
    waiting = unfinished(collection)
    if waiting is None or waiting.state is not GenerationState.READY:
        raise NoSuchGeneration("no generation is complete and waits: re-index with hold first")
    return replace(collection, trial=Trial(waiting.id, mode, share))


def found_worse(collection: Collection, id: str, how: str) -> Collection:
    """With the trial of this generation ended, and why; as it is if another one is on trial by now."""
    if collection.trial is None or collection.trial.generation != id:
        return collection
    return replace(collection, trial=replace(collection.trial, share=0.0, worse=how))


def without(collection: Collection, id: str) -> Collection:
    """Without this generation; samples that are in its space alone are still known to be there."""
    generation = _known(collection, id)
    left = replace(collection, others=tuple(g for g in collection.others if g.id != id))
    if left.trial is not None and left.trial.generation == id:
        left = replace(left, trial=None)
    if generation.space in (*left.spaces, *left.past):
        return left
    return replace(left, past=(*left.past, generation.space), first_space=collection.origin)


def _known(collection: Collection, id: str) -> Generation:
    found = collection.other(id)
    if found is None:
        raise NoSuchGeneration("there is no such generation")
    return found
