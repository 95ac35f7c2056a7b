"""A collection as it is kept: its kind, what it keeps, its generations, and one of them on trial."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace

from lookalike.domain.vectors import Space
from lookalike.errors import InvalidInput, WrongKind

COLLECTION_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,254}")


class Kind(enum.StrEnum):
    FACE = "face"
    IMAGE = "image"


class Keep(enum.StrEnum):
    """What of an enrolled picture is kept, sealed, besides its vector."""

    NONE = "none"
    CROP = "crop"
    IMAGE = "image"


FIRST_GENERATION = "0"
"""The id of the generation that a collection begins with."""


class GenerationState(enum.StrEnum):
    BUILDING = "building"  # a job fills it; enrolments go into it as well
    READY = "ready"  # complete and verified, waits to be promoted
    STANDBY = "standby"  # was active; complete, so that one can roll back until its grace ends


@dataclass(frozen=True, slots=True)
class Generation:
    """One way to answer for a collection: a space and an index. Every enrolment goes into each.

    index: a URL as in LOOKALIKE_INDEX, empty for the service's own; until: when a standby's grace ends.
    """

    id: str
    space: Space
    index: str = ""
    state: GenerationState = GenerationState.BUILDING
    created_at: float = 0.0
    until: float = 0.0


class TrialMode(enum.StrEnum):
    SHADOW = "shadow"  # the other generation is asked too, and the active one answers
    CANARY = "canary"  # the other generation answers a share of the calls


@dataclass(frozen=True, slots=True)
class Trial:
    """A generation that is tried on live probes before it is promoted.

    share: 0 to 1, of the probes, 0 once it was found worse; worse: in what numbers, empty until then.
    """

    generation: str
    mode: TrialMode
    share: float
    worse: str = ""


@dataclass(frozen=True, slots=True)
class Collection:
    """A named gallery. id: random, the only name of it that stands in the clear on disk.

    space, generation, index: of the generation that answers; others: those being built, ready or on standby;
    first_space: of records from before samples named theirs, None for `space`; past: spaces that samples without a
    picture could not be carried out of; keep_unknown_days: how long faces that match nobody are kept, None for not;
    require_consent: nobody is enrolled or recognised without; erase_expired_consent: with the next retention job;
    four_eyes_days: identifications wait for two people and are kept so long, None where one person is enough.
    """

    id: str
    name: str
    kind: Kind
    space: Space
    keep: Keep = Keep.CROP
    target_fpir: float = 0.01
    retention_days: int | None = None
    created_at: float = 0.0
    generation: str = FIRST_GENERATION
    index: str = ""
    others: tuple[Generation, ...] = ()
    first_space: Space | None = None
    past: tuple[Space, ...] = ()
    trial: Trial | None = None
    keep_unknown_days: int | None = None
    require_consent: bool = False
    erase_expired_consent: bool = False
    four_eyes_days: int | None = None

    def require(self, kind: Kind) -> None:
        """Raises: WrongKind unless this collection is of that kind."""
        if self.kind is not kind:
            raise WrongKind(f"this collection is of the kind {self.kind.value!r}: {_INSTEAD[self.kind]}")

    @property
    def origin(self) -> Space:
        """The space of samples that do not name theirs."""
        return self.first_space or self.space

    @property
    def spaces(self) -> tuple[Space, ...]:
        """Every space that an enrolment needs a template in; the first is the one that answers."""
        return tuple(dict.fromkeys((self.space, *(other.space for other in self.others))))

    def space_named(self, key: str) -> Space | None:
        """The space of that `Space.key`, among all that this collection's samples can be in; "" is the origin."""
        known = (self.origin, *self.spaces, *self.past)
        return self.origin if not key else next((space for space in known if space.key == key), None)

    def other(self, generation: str) -> Generation | None:
        """The generation of that id, unless it is the one that answers."""
        return next((g for g in self.others if g.id == generation), None)

    def seen_as(self, generation: Generation) -> Collection:
        """This collection as it would answer through another of its generations."""
        answering = Generation(self.generation, self.space, self.index, GenerationState.STANDBY)
        return replace(
            self,
            space=generation.space,
            generation=generation.id,
            index=generation.index,
            others=(answering, *(other for other in self.others if other.id != generation.id)),
            first_space=self.origin,
        )


_INSTEAD = {Kind.FACE: "use identify to search it", Kind.IMAGE: "use search to search it"}


def collection_name(text: str) -> str:
    """The name itself. Raises: InvalidInput unless it matches `COLLECTION_NAME`."""
    if not COLLECTION_NAME.fullmatch(text):
        raise InvalidInput("a collection's name is 1-255 of A-Z a-z 0-9 _ . - and does not start with a dot")
    return text
