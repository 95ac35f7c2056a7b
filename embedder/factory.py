"""Builds a face embedder from names: tables from detector and embedder names to what makes them, imported lazily."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from embedder.batching import Batcher
from embedder.detect import Detector, YuNetDetector
from embedder.images import ImageLimits
from embedder.models import SFACE, YUNET, load_bundled
from embedder.pipeline import FaceEmbedder, FaceModel
from embedder.runtime import Runtime, available_threads, open_runtime
from lookalike.domain import Floats, Pixels
from lookalike.errors import ModelNotAvailable


def _yunet(cache_dir: Path, runtime: Runtime, max_faces: int) -> Detector:
    return YuNetDetector(runtime.load(load_bundled(YUNET, cache_dir), "yunet"), max_faces=max_faces)


def _sface(cache_dir: Path, runtime: Runtime) -> FaceModel:
    network = runtime.load(load_bundled(SFACE, cache_dir), "sface")
    batched = Batcher(lambda rows: network(rows)["fc1"], slots=available_threads())

    def embed(crops: Pixels) -> Floats:
        # SFace takes RGB from 0 to 255 and scales it itself.
        return batched(np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32))

    return FaceModel("sface", 128, "align=arcface112;rgb255", embed)


DETECTORS: dict[str, Callable[[Path, Runtime, int], Detector]] = {"yunet": _yunet}
EMBEDDERS: dict[str, Callable[[Path, Runtime], FaceModel]] = {"sface": _sface}


def build_face_embedder(
    cache_dir: Path,
    runtime: str = "auto",
    detector: str = "yunet",
    embedder: str = "sface",
    limits: ImageLimits | None = None,
    *,
    max_faces: int = 100,
    centre: Floats | None = None,
) -> FaceEmbedder:
    """A face embedder of named parts. cache_dir: where converted models are kept.

    Raises: ModelNotAvailable for an unknown name, BadModel for a file that is not the pinned one, BadSettings.
    """
    for name, table in ((detector, DETECTORS), (embedder, EMBEDDERS)):
        if name not in table:
            raise ModelNotAvailable(f"the model {name!r} is unknown; one of {', '.join(sorted(table))}")
    cv2.setNumThreads(1)  # requests run side by side, so a picture is worked on by one thread
    engine = open_runtime(runtime, cache_dir)
    return FaceEmbedder(
        DETECTORS[detector](cache_dir, engine, max_faces),
        EMBEDDERS[embedder](cache_dir, engine),
        runtime=engine.description,
        limits=limits,
        centre=centre,
    )
