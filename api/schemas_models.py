"""The JSON of models and bundles, in and out; OpenAPI is made from these classes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel

from api.bundle_store import Activation
from api.schemas import Incoming
from lookalike.domain import Kind
from lookalike.model_shelf import ShelvedModel


class BundleOut(BaseModel):
    """An imported bundle. name: the manifest's; digest: SHA-256 of its manifest; maker: who signed it.

    accepted: whether someone accepted a licence that is not for commercial use.
    """

    name: str
    digest: str
    maker: str
    dimension: int
    licence: str
    commercial: bool
    accepted: bool
    note: str
    data: str
    bytes: int
    imported_at: datetime
    parts: list[str]
    metrics: dict[str, Any]
    provenance: dict[str, Any]

    @classmethod
    def of(cls, held: ShelvedModel) -> BundleOut:
        facts = {name: getattr(held, name) for name in cls.model_fields if name not in ("imported_at", "parts")}
        return cls(imported_at=datetime.fromtimestamp(held.imported_at, UTC), parts=list(held.parts), **facts)


class ModelOut(BaseModel):
    """A model that collections can be given. default: new collections of its kind get it; bundle: null for others."""

    name: str
    kind: Kind
    default: bool
    bundle: BundleOut | None = None


class ModelList(BaseModel):
    items: list[ModelOut]
    next_cursor: str | None = None


class OtherModel(BaseModel):
    collection: str
    model: str


class ActivationOut(BaseModel):
    """model: what new collections of the kind get now, null for none; others: collections that use another model."""

    kind: Kind | None
    model: str | None
    others: list[OtherModel]

    @classmethod
    def of(cls, found: Activation | None) -> ActivationOut:
        if found is None:
            return cls(kind=None, model=None, others=[])
        others = [OtherModel(collection=name, model=model) for name, model in found.others]
        return cls(kind=found.kind, model=found.model, others=others)


class NewActivation(Incoming):
    """accept_licence: of a model that is not for commercial use."""

    accept_licence: bool = False
