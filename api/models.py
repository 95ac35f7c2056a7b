"""The models of this service: built-in ones, those that the settings name and imported bundles, loaded at first use.

Each kind of collection has models of its own: a row of `_names_of` says which there are, a row of `LOADERS` what makes
one of a name. Imported bundles come from a BundleStore: what any process imports or activates is at hand at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from importlib.resources import files

from api.bundle_store import BundleStore
from api.bundles import PREFIX, load_bundle, shipped_names
from embedder.factory import build_face_embedder, build_image_embedder
from embedder.images import Decode, ImageLimits, decode_image
from embedder.pipeline import FaceEmbedder
from lookalike.calibration import Calibration
from lookalike.domain import Kind, Space
from lookalike.errors import BadModel, LookalikeError, ModelNotAvailable
from lookalike.model_shelf import Shelf
from lookalike.ports import FaceEncoder
from lookalike.settings import Settings

log = logging.getLogger(__name__)

BUILT_IN = ("sface-int8", "sface")

_NONE_AT_HAND = {
    Kind.FACE: "no model for faces is installed",
    Kind.IMAGE: "no model for pictures is installed: LOOKALIKE_IMAGE_MODELS names one, as docs/user-guide.md shows",
}


class InstalledModels:
    """The port Models. Loading one does not hold up those that are loaded. bundles: can be opened later than models."""

    def __init__(self, settings: Settings, decode: Decode = decode_image) -> None:
        self.bundles: BundleStore | None = None
        self._settings = settings
        self._decode = decode
        self._broken: dict[str, Shelf] = {}
        self._names = _names_of(settings)
        self._encoders: dict[tuple[Kind, str], Future[FaceEncoder]] = {}
        self._calibrations: dict[str, Calibration | None] = {}
        self._lock = threading.Lock()

    def default(self, kind: Kind) -> Space:
        shelf, name = self._shelf(), self.default_name(kind)
        found = self._unless_broken(kind, name, shelf) if name is not None and name == shelf.active(kind) else None
        if found is None and not self._names[kind]:
            raise ModelNotAvailable(_NONE_AT_HAND[kind])
        return found or self._load(kind, self._names[kind][0]).space

    def default_name(self, kind: Kind) -> str | None:
        """The activated model, else the first that the settings name; an import alone makes none the default."""
        active = self._shelf().active(kind)
        return active if active in self.names(kind) else next(iter(self._names[kind]), None)

    def names(self, kind: Kind) -> list[str]:
        shelf = self._shelf()
        imported = [held.model for held in shelf.models if held.kind is kind]
        active = shelf.active(kind)
        known = list(dict.fromkeys((*self._names[kind], *imported)))
        return known if active not in known else [active, *(name for name in known if name != active)]

    def space(self, kind: Kind, model: str) -> Space:
        names, model = self.names(kind), self._full(kind, model)
        if model in names:
            held = self._shelf().get(model)
            if held is not None and self.bundles is not None:
                self.bundles.require_licence(held)
            return self._load(kind, model).space
        for name in names:  # a file's model has a name of its own, which is known once it is loaded
            found = self._sound(kind, name) if ":" in name else None
            if found is not None and found.space.model == model:
                return found.space
        there = f"; there are {', '.join(names)}" if names else f": {_NONE_AT_HAND[kind]}"
        raise ModelNotAvailable(f"the model {model!r} is not at hand{there}")

    def encoder(self, space: Space) -> FaceEncoder:
        for kind, name in self._that_may_be(space.model):
            encoder = self._sound(kind, name)
            if encoder is not None and encoder.space.model == space.model:
                encoder.space.require(space)
                return encoder
        raise ModelNotAvailable(
            f"the model {space.model!r} is not at hand: import its bundle, or name it in LOOKALIKE_MODELS or "
            "LOOKALIKE_IMAGE_MODELS"
        )

    def calibration(self, space: Space) -> Calibration | None:
        if space.model not in self._calibrations:
            with suppress(ModelNotAvailable):
                self.encoder(space)  # a bundle brings its own
        if space.model not in self._calibrations:
            self._calibrations[space.model] = shipped_calibration(space.model)
        return self._calibrations[space.model]

    def _full(self, kind: Kind, name: str) -> str:
        """The full name of an imported bundle by its own. Raises: ModelNotAvailable where several have that."""
        if name in self.names(kind):
            return name
        found = [held.model for held in self._shelf().models if held.kind is kind and held.name == name]
        if len(found) > 1:
            raise ModelNotAvailable(f"several models are named {name!r}: say which of {', '.join(found)}")
        return found[0] if found else name

    def _unless_broken(self, kind: Kind, name: str, shelf: Shelf) -> Space | None:
        """The space of the active model; None where it cannot be loaded: that is logged once, and others go on."""
        if self._broken.get(name) is shelf:
            return None
        try:
            return self._load(kind, name).space
        except LookalikeError as error:
            log.error("the model %s cannot be loaded and is passed over: %s", name, error)
            self._broken[name] = shelf
            return None

    def _shelf(self) -> Shelf:
        return Shelf() if self.bundles is None else self.bundles.shelf()

    def _that_may_be(self, model: str) -> Iterator[tuple[Kind, str]]:
        """Where a model may be found: those loaded and those of this name first, so that no other is loaded in vain."""
        with self._lock:
            loaded = [key for key, loading in self._encoders.items() if loading.done()]
        named = [(kind, name) for kind in Kind for name in self.names(kind)]
        exact = [key for key in named if key[1] == model]
        for key in dict.fromkeys((*loaded, *exact, *named)):
            if key[1] == model or ":" in key[1]:
                yield key

    def _sound(self, kind: Kind, name: str) -> FaceEncoder | None:
        """A model on the way to another: a bad one is told of, and does not stand in the way."""
        try:
            return self._load(kind, name)
        except BadModel as error:
            log.warning("a model that the settings name cannot be used: %s", error)
            return None

    def _load(self, kind: Kind, name: str) -> FaceEncoder:
        with self._lock:
            loading = self._encoders.get((kind, name))
            mine = loading is None
            if loading is None:
                loading = self._encoders[kind, name] = Future()
        if mine:
            try:
                loading.set_result(self._made(kind, name))
            except BaseException as error:
                with self._lock:
                    del self._encoders[kind, name]  # another try may find the file mended
                loading.set_exception(error)
        return loading.result()

    def _made(self, kind: Kind, name: str) -> FaceEncoder:
        if self.bundles is not None and self._shelf().get(name) is not None:
            self._calibrations[name] = self.bundles.calibration(name)
            return self.bundles.encoder(name, self._decode)
        if not name.startswith(PREFIX):
            return LOADERS[kind](self._settings, name, self._decode)
        encoder, calibration = load_bundle(self._settings, kind, name, self._decode)
        self._calibrations[encoder.space.model] = calibration
        return encoder


def shipped_calibration(model: str) -> Calibration | None:
    """The calibration that comes with a model of this name; None where there is none."""
    found = files("lookalike") / "calibrations" / f"{model.replace(':', '-').replace('/', '-')}.json"
    return Calibration.from_json(found.read_text("utf-8")) if found.is_file() else None


def load_encoder(settings: Settings, kind: Kind, model: str | None = None) -> FaceEncoder:
    """An encoder of this kind by the model's name, the settings' own by default.

    Raises: ModelNotAvailable, BadModel, BadSettings.
    """
    names = _names_of(settings)[kind]
    if model is None and not names:
        raise ModelNotAvailable(_NONE_AT_HAND[kind])
    name = model or names[0]
    if name.startswith(PREFIX):
        return load_bundle(settings, kind, name)[0]
    return LOADERS[kind](settings, name, decode_image)


def load_face_encoder(settings: Settings, embedder: str | None = None, decode: Decode = decode_image) -> FaceEmbedder:
    """A face embedder by name, the settings' own by default; converted models are kept under the data folder.

    Raises: ModelNotAvailable, BadModel, BadSettings.
    """
    return build_face_embedder(
        settings.data.absolute() / "models",
        runtime=settings.runtime,
        detector=settings.detector,
        embedder=embedder or settings.embedder,
        limits=image_limits(settings),
        max_faces=settings.max_faces,
        decode=decode,
    )


def load_image_encoder(settings: Settings, embedder: str, decode: Decode = decode_image) -> FaceEncoder:
    """An embedder of whole pictures by name. Raises: ModelNotAvailable, BadModel, BadSettings."""
    return build_image_embedder(
        settings.data.absolute() / "models", embedder, settings.runtime, image_limits(settings), decode
    )


def image_limits(settings: Settings) -> ImageLimits:
    """The largest picture that the settings allow."""
    return ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)


def _names_of(settings: Settings) -> Mapping[Kind, tuple[str, ...]]:
    """The models of each kind, the default one first."""
    return {
        Kind.FACE: tuple(dict.fromkeys((settings.embedder, *settings.models, *BUILT_IN, *shipped_names(Kind.FACE)))),
        Kind.IMAGE: tuple(dict.fromkeys((*settings.image_models, *shipped_names(Kind.IMAGE)))),
    }


LOADERS: Mapping[Kind, Callable[[Settings, str, Decode], FaceEncoder]] = {
    Kind.FACE: load_face_encoder,
    Kind.IMAGE: load_image_encoder,
}
