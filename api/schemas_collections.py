"""JSON of collections: made, changed, shown, re-indexed and on trial; and the receipt of what was erased."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from pydantic import BaseModel, Field

from api.schemas import Incoming, is_none, moment
from lookalike import answers, domain
from lookalike.domain import Keep, Kind


class NewCollection(Incoming):
    name: str
    kind: Annotated[Kind, Field(strict=False)] = Kind.FACE
    model: str | None = None
    keep: Annotated[Keep, Field(strict=False)] = Keep.CROP
    retention_days: int | None = None
    target_fpir: float = 0.01
    keep_unknown_days: int | None = None


class CollectionChange(Incoming):
    """Only what is sent is changed; `retention_days: null` takes the limit away, `keep_unknown_days: null` erases."""

    keep: Annotated[Keep | None, Field(strict=False)] = None
    retention_days: int | None = None
    target_fpir: float | None = None
    keep_unknown_days: int | None = None


class GenerationOut(BaseModel):
    """until: when a standby can no longer be rolled back to."""

    id: str
    model: str
    index: str
    state: domain.GenerationState
    until: str | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, generation: domain.Generation) -> GenerationOut:
        return cls(
            id=generation.id,
            model=generation.space.model,
            index=generation.index or "default",
            state=generation.state,
            until=moment(generation.until) if generation.until else None,
        )


class NewTrial(Incoming):
    """mode: shadow, asked too, or canary, answering; share: of the probes, 0 to end it."""

    mode: Annotated[domain.TrialMode, Field(strict=False)] = domain.TrialMode.SHADOW
    share: float


class TrialOut(BaseModel):
    """worse: why the trial ended by itself."""

    generation: str
    mode: domain.TrialMode
    share: float
    worse: str | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, trial: domain.Trial) -> TrialOut:
        return cls(generation=trial.generation, mode=trial.mode, share=trial.share, worse=trial.worse or None)


class TallyOut(BaseModel):
    """What the answering process counted of a trial since it began."""

    trial: TrialOut | None
    counted: dict[str, object]


class NewReindex(Incoming):
    """model, index: what to change to, the present one by default; hold: do not promote; insist: promote anyway.

    rate: pictures embedded in a second, at most; all that the machine can do by default.
    """

    model: str | None = None
    index: str | None = None
    hold: bool = False
    insist: bool = False
    resume: bool = False
    rate: float | None = Field(default=None, gt=0, le=1e6)


class IndexStateOut(BaseModel):
    """How the live index answers at present."""

    structure: str = Field(description='a stable word: "exact", or "codes" that name rows for the vectors to rank')
    why: str
    rows: int
    dimension: int
    removed: int = Field(description="rows that are gone and still take room")
    parts: int = Field(description="what a search goes through one by one")
    memory_bytes: int
    next_change: str
    disk_bytes: int = Field(description="that this process keeps beside its memory: sealed, and for its own life alone")


class CollectionOut(BaseModel):
    """calibration: "model", "collection" once it learned from its own pairs, or "none" where no rate is known yet."""

    name: str
    kind: Kind
    model: str
    keep: Keep
    target_fpir: float
    retention_days: int | None
    keep_unknown_days: int | None = Field(description="how long faces that match nobody are kept; null: they are not")
    calibration: str
    subjects: int
    samples: int
    created_at: str
    generation: str
    index: str
    generations: list[GenerationOut] = Field(description="others than the one that answers")
    trial: TrialOut | None = Field(default=None, exclude_if=is_none)
    index_state: IndexStateOut | None = Field(default=None, exclude_if=is_none)

    @classmethod
    def of(cls, info: answers.CollectionInfo) -> CollectionOut:
        collection = info.collection
        return cls(
            name=collection.name,
            kind=collection.kind,
            model=collection.space.model,
            keep=collection.keep,
            target_fpir=collection.target_fpir,
            retention_days=collection.retention_days,
            keep_unknown_days=collection.keep_unknown_days,
            calibration=info.calibration,
            subjects=info.subjects,
            samples=info.samples,
            created_at=moment(collection.created_at),
            generation=collection.generation,
            index=collection.index or "default",
            generations=[GenerationOut.of(generation) for generation in collection.others],
            trial=TrialOut.of(collection.trial) if collection.trial is not None else None,
            index_state=IndexStateOut(**asdict(info.index)) if info.index is not None else None,
        )


class CollectionList(BaseModel):
    items: list[CollectionOut]
    next_cursor: str | None = None


class ReceiptOut(BaseModel):
    """A signed statement of what was destroyed. body: canonical JSON; signature: Ed25519 over it, hex.

    ledger: whether it stands in the ledger outside the data folder: "written", "pending", or "none" without one.
    pending: what is derived from the erased and could not be deleted yet; it is, as soon as it can be.
    """

    body: str
    signature: str
    public_key: str
    ledger: domain.Ledgered = domain.Ledgered.NONE
    pending: list[str] = []

    @classmethod
    def of(cls, receipt: domain.Receipt) -> ReceiptOut:
        return cls(
            body=receipt.body,
            signature=receipt.signature,
            public_key=receipt.public_key,
            ledger=receipt.ledger,
            pending=list(receipt.pending),
        )
