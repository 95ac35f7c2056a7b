"""The models of this service: built-in ones and those that the settings name, each loaded at its first use."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from importlib.resources import files

from embedder.factory import build_face_embedder
from embedder.images import ImageLimits
from embedder.pipeline import FaceEmbedder
from lookalike.calibration import Calibration
from lookalike.domain import Kind, Space
from lookalike.errors import ModelNotAvailable
from lookalike.ports import FaceEncoder
from lookalike.settings import Settings

BUILT_IN = ("sface-int8", "sface")


class InstalledModels:
    """The port Models. Loading one does not hold up those that are loaded."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._names = tuple(dict.fromkeys((settings.embedder, *settings.models, *BUILT_IN)))
        self._encoders: dict[str, Future[FaceEncoder]] = {}
        self._calibrations: dict[str, Calibration | None] = {}
        self._lock = threading.Lock()

    def default(self, kind: Kind) -> Space:
        if kind is not Kind.FACE:
            raise ModelNotAvailable("no model for images is installed; this version serves kind: face")
        return self._load(self._names[0]).space

    def names(self, kind: Kind) -> list[str]:
        return list(self._names) if kind is Kind.FACE else []

    def space(self, kind: Kind, model: str) -> Space:
        for name in self.names(kind):
            if name == model:
                return self._load(name).space
        for name in self.names(kind):  # a file's model has a name of its own, which is known once it is loaded
            if ":" in name and self._load(name).space.model == model:
                return self._load(name).space
        raise ModelNotAvailable(f"the model {model!r} is not at hand; there are {', '.join(self.names(kind))}")

    def encoder(self, space: Space) -> FaceEncoder:
        for name in self._names:
            if name == space.model or ":" in name:
                encoder = self._load(name)
                if encoder.space.model == space.model:
                    encoder.space.require(space)
                    return encoder
        raise ModelNotAvailable(f"the model {space.model!r} is not at hand; LOOKALIKE_MODELS can name it")

    def calibration(self, space: Space) -> Calibration | None:
        if space.model not in self._calibrations:
            self._calibrations[space.model] = shipped_calibration(space.model)
        return self._calibrations[space.model]

    def _load(self, name: str) -> FaceEncoder:
        with self._lock:
            loading = self._encoders.get(name)
            mine = loading is None
            if loading is None:
                loading = self._encoders[name] = Future()
        if mine:
            try:
                loading.set_result(load_face_encoder(self._settings, name))
            except BaseException as error:
                with self._lock:
                    del self._encoders[name]  # another try may find the file mended
                loading.set_exception(error)
        return loading.result()


def shipped_calibration(model: str) -> Calibration | None:
    """The calibration that comes with a model of this name; None where there is none."""
    found = files("lookalike") / "calibrations" / f"{model.replace(':', '-').replace('/', '-')}.json"
    return Calibration.from_json(found.read_text("utf-8")) if found.is_file() else None


def load_face_encoder(settings: Settings, embedder: str | None = None) -> FaceEmbedder:
    """A face embedder by name, the settings' own by default; converted models are kept under the data folder.

    Raises: ModelNotAvailable, BadModel, BadSettings.
    """
    return build_face_embedder(
        settings.data.absolute() / "models",
        runtime=settings.runtime,
        detector=settings.detector,
        embedder=embedder or settings.embedder,
        limits=ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels),
        max_faces=settings.max_faces,
    )
