"""Which models were imported into a deployment, and which new collections get: pure rules over frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lookalike.domain import Kind
from lookalike.errors import LicenceNotAccepted, ModelInUse, ModelNotFound, NoEarlierModel

MAX_HISTORY = 100
"""Activations that can be rolled back, the newest ones."""


@dataclass(frozen=True, slots=True)
class ShelvedModel:
    """What is known of an imported model without opening it.

    model: its name in a Space, with a part of its digest; name: the manifest's; digest: of the manifest; maker: who
    signed it; bytes: of the bundle; accepted: whether someone accepted a licence that is not for commercial use;
    parts: their names; metrics, provenance: as the manifest has them.
    """

    model: str
    name: str
    kind: Kind
    digest: str
    maker: str
    dimension: int
    licence: str
    commercial: bool
    note: str
    data: str
    bytes: int
    imported_at: float
    accepted: bool = False
    parts: tuple[str, ...] = ()
    metrics: Mapping[str, object] = field(default_factory=dict)
    provenance: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shelf:
    """All imported models, oldest first. activated: for each kind the names made the default, the last one is now.

    A kind without an entry there takes what the settings name.
    """

    models: tuple[ShelvedModel, ...] = ()
    activated: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)

    def active(self, kind: Kind) -> str | None:
        """The model that new collections of this kind get; None where the settings decide."""
        history = self.activated.get(kind, ())
        return history[-1] if history else None

    def get(self, model: str) -> ShelvedModel | None:
        """By its name in a Space."""
        return next((found for found in self.models if found.model == model), None)

    def find(self, name: str) -> ShelvedModel:
        """By its name in a Space, or by the manifest's where only one has that. Raises: ModelNotFound."""
        found = [held for held in self.models if held.model == name] or [h for h in self.models if h.name == name]
        if not found:
            raise ModelNotFound(f"no bundle {name!r} was imported here; `lookalike models list` shows what there is")
        if len(found) > 1:
            full = ", ".join(held.model for held in found)
            raise ModelNotFound(f"several bundles are named {name!r}: say which of {full}")
        return found[0]

    def with_model(self, new: ShelvedModel) -> Shelf:
        """One more; the same model again changes only who signed it and when it came."""
        before = self.get(new.model)
        if before is not None:
            new = replace(new, accepted=new.accepted or before.accepted)
        return replace(self, models=(*(held for held in self.models if held.model != new.model), new))

    def without(self, model: str) -> Shelf:
        """One fewer. Raises: ModelInUse while new collections get it."""
        for kind in self.activated:
            if self.active(kind) == model:
                raise ModelInUse(f"{model} is what new collections get: activate another one or roll back first")
        history = {kind: tuple(n for n in names if n != model) for kind, names in self.activated.items()}
        return replace(self, models=tuple(m for m in self.models if m.model != model), activated=history)

    def with_active(self, kind: Kind, model: str, *, accepted: bool = False) -> Shelf:
        """New collections of this kind get this model. accepted: its licence was accepted with that."""
        if accepted:
            models = tuple(replace(m, accepted=True) if m.model == model else m for m in self.models)
            return replace(self, models=models).with_active(kind, model)
        if self.active(kind) == model:
            return self
        history = (*self.activated.get(kind, ()), model)[-MAX_HISTORY:]
        return replace(self, activated={**self.activated, kind: history})

    def rolled_back(self, kind: Kind, model: str) -> Shelf:
        """What was active before this model is so again. Raises: NoEarlierModel unless this model is active."""
        history = self.activated.get(kind, ())
        if not history or history[-1] != model:
            raise NoEarlierModel(f"{model} is not what new collections get, so there is nothing to roll back")
        return replace(self, activated={**self.activated, kind: history[:-1]})


def require_licence(found: ShelvedModel, accepted: bool) -> None:
    """Raises: LicenceNotAccepted for a model that is not for commercial use, unless that was said to be accepted."""
    if not found.commercial and not accepted:
        note = f": {found.note}" if found.note else ""
        raise LicenceNotAccepted(
            f"{found.model} is not for commercial use ({found.licence}{note}); "
            "if that fits what you do, import or activate it with --accept-licence, over HTTP with accept_licence"
        )
