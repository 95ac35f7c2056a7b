"""Model bundles as use cases: import, activate, roll back, remove; and the encoders that imported bundles make.

Here security's signed file and embedder's manifest meet. A bundle is verified anew at each load, by the makers that are
trusted then. Whatever is wrong with one is refused before anything is kept, and never reaches a model that answers.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from api.bundles import make_encoder, open_verified, try_out
from embedder.bundles import Manifest, calibration
from embedder.images import Decode
from lookalike.answers import Caller
from lookalike.calibration import Calibration
from lookalike.domain import Collection, Kind, Permission
from lookalike.errors import ModelInUse, ModelNotFound, NotCalibrated
from lookalike.model_shelf import Shelf, ShelvedModel, require_licence
from lookalike.on_record import on_record
from lookalike.ports import AuditLog, FaceEncoder, Records
from lookalike.settings import Settings
from security.bundle_file import OpenedBundle
from security.sealed_models import SealedModels

if TYPE_CHECKING:
    from api.models import InstalledModels


@dataclass(frozen=True, slots=True)
class Activation:
    """What new collections of a kind get from now on, and the collections of that kind that use another model."""

    kind: Kind
    model: str
    others: tuple[tuple[str, str], ...]


class BundleStore:
    """The imported bundles of a deployment. Thread-safe. makers: public key → name of those who may sign."""

    def __init__(
        self,
        settings: Settings,
        kept: SealedModels,
        audit: AuditLog,
        records: Records,
        makers: Mapping[bytes, str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._kept = kept
        self._audit = audit
        self._records = records
        self._makers = makers
        self._clock = clock

    def shelf(self) -> Shelf:
        """What was imported and activated, by any process; the same object while nothing changed."""
        return self._kept.shelf()

    def load(self, model: str) -> tuple[Manifest, OpenedBundle]:
        """A bundle by its name in a Space, verified anew. Raises: ModelNotFound, BadModel, TamperedData."""
        held = self.shelf().get(model)
        if held is None:
            raise ModelNotFound(f"no bundle {model!r} was imported here")
        data = self._kept.load(held.digest)
        return open_verified(data, self._makers)

    def encoder(self, model: str, decode: Decode) -> FaceEncoder:
        """Raises: ModelNotFound, BadModel, TamperedData."""
        manifest, opened = self.load(model)
        return make_encoder(self._settings, manifest, opened.parts, decode)

    def calibration(self, model: str) -> Calibration | None:
        """Raises: ModelNotFound, BadModel, TamperedData."""
        return calibration(self.load(model)[1].parts)

    def require_licence(self, held: ShelvedModel, accepted: bool = False) -> None:
        """Raises: LicenceNotAccepted unless commerce is allowed, or someone or the settings accept that it is not."""
        require_licence(held, accepted or held.accepted or held.name in self._settings.accepted_licences)

    # ---------------------------------------------------------------------------------------------- use cases

    def add(self, caller: Caller, data: bytes, *, accept_licence: bool = False) -> ShelvedModel:
        """Verify a bundle, try it out and keep it. Raises: BadBundle, UntrustedBundle, StorageFull.

        accept_licence: of a model that is not for commercial use, which nobody can use before.
        """
        with on_record(self._audit, caller, "model.import", Permission.MANAGE_MODELS) as record:
            manifest, opened = open_verified(data, self._makers, self._settings.max_bundle_bytes)
            maker = self._makers[opened.maker]
            held = replace(_shelved(manifest, maker, len(data), self._clock()), accepted=accept_licence)
            record.details.update(model=held.model, maker=held.maker, licence=held.licence)
            record.details["licence_accepted"] = int(accept_licence)
            try_out(self._settings, manifest, opened.parts)
            self._kept.sweep()
            self._kept.save(held.digest, data)
            self._kept.change(lambda shelf: shelf.with_model(held), record.commit())
            return held

    def activate(
        self, caller: Caller, name: str, models: InstalledModels, *, accept_licence: bool = False
    ) -> Activation:
        """Give new collections of the model's kind this model, an imported one or another that is at hand.

        Raises: ModelNotFound, LicenceNotAccepted, NotCalibrated for one of faces that has no calibration, BadModel.
        """
        with on_record(self._audit, caller, "model.activate", Permission.MANAGE_MODELS) as record:
            kind, model = self._resolved(name, models)
            record.details["model"] = model
            held = self.shelf().get(model)
            if held is None:
                space = models.space(kind, model)
                used, calibrated = space.model, models.calibration(space) is not None
            else:
                self.require_licence(held, accept_licence)
                record.details.update(licence=held.licence, licence_accepted=int(accept_licence))
                used, calibrated = model, self.calibration(model) is not None
            if kind is Kind.FACE and not calibrated:
                raise NotCalibrated(
                    f"{model} has no calibration, so new collections could not be searched with it: re-index a "
                    "collection to it, which learns from its own people"
                )
            self._kept.change(lambda shelf: shelf.with_active(kind, model, accepted=accept_licence), record.commit())
            return Activation(kind, model, self._others(caller, kind, used))

    def roll_back(self, caller: Caller, name: str, models: InstalledModels) -> Activation | None:
        """Give new collections what they got before this model was activated; None where that is no model at all.

        Raises: NoEarlierModel, ModelNotFound.
        """
        with on_record(self._audit, caller, "model.rollback", Permission.MANAGE_MODELS) as record:
            kind, model = self._resolved(name, models)
            record.details["model"] = model
            self._kept.change(lambda shelf: shelf.rolled_back(kind, model), record.commit())
            now = models.default_name(kind)
            if now is None:
                return None
            return Activation(kind, now, self._others(caller, kind, models.default(kind).model))

    def remove(self, caller: Caller, name: str) -> None:
        """Forget a bundle and delete its file. Raises: ModelNotFound, ModelInUse."""
        with on_record(self._audit, caller, "model.remove", Permission.MANAGE_MODELS) as record:
            held = self.shelf().find(name)
            record.details["model"] = held.model
            users = [where.name for where in self._records.collections() if held.model in _models_of(where)]
            if users:
                more = f" and {len(users) - 3} more" if len(users) > 3 else ""
                raise ModelInUse(f"{held.model} is used by {', '.join(users[:3])}{more}: re-index them first")
            self._kept.change(lambda shelf: shelf.without(held.model), record.commit())
            self._kept.drop(held.digest)

    def _resolved(self, name: str, models: InstalledModels) -> tuple[Kind, str]:
        """The kind and full name of a model that someone named. Raises: ModelNotFound."""
        for kind in Kind:
            if name in models.names(kind):
                return kind, name
        held = self.shelf().find(name)
        return held.kind, held.model

    def _others(self, caller: Caller, kind: Kind, model: str) -> tuple[tuple[str, str], ...]:
        """Collections of the kind that use another model, of those that the caller may read."""
        return tuple(
            (where.name, where.space.model)
            for where in self._records.collections()
            if where.kind is kind and where.space.model != model and caller.principal.may(Permission.READ, where.name)
        )


def _models_of(where: Collection) -> set[str]:
    return {where.space.model, *(generation.space.model for generation in where.others)}


def _shelved(manifest: Manifest, maker: str, size: int, now: float) -> ShelvedModel:
    return ShelvedModel(
        model=manifest.model,
        name=manifest.name,
        kind=manifest.kind,
        digest=hashlib.sha256(manifest.text).hexdigest(),
        maker=maker,
        dimension=manifest.dimension,
        licence=manifest.licence.id,
        commercial=manifest.licence.commercial,
        note=manifest.licence.note,
        data=manifest.data,
        bytes=size,
        imported_at=now,
        parts=tuple(sorted(manifest.parts)),
        metrics=manifest.metrics,
        provenance=manifest.provenance,
    )
