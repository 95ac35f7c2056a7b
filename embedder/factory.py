"""Builds embedders of faces and of pictures from names: tables from names to what makes them, imported lazily.

A name may carry an argument after a colon: "onnx:MANIFEST.json", "timm:NAME:WEIGHTS.safetensors",
"inception_resnet_v1:WEIGHTS.safetensors".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from embedder.batching import Batcher
from embedder.centring import bundled_centre
from embedder.detect import Detector, YuNetDetector
from embedder.images import Decode, ImageLimits, decode_image
from embedder.manifests import Manifest, read_manifest
from embedder.models import SFACE, YUNET, load_bundled, read_pinned
from embedder.pipeline import FaceEmbedder, FaceModel
from embedder.preprocessing import Preprocessing
from embedder.runtime import Network, Runtime, available_threads, open_runtime
from embedder.sface_int8 import load_sface_int8
from embedder.whole_pictures import ImageEmbedder, ImageModel
from lookalike.domain import Floats, Kind, Pixels
from lookalike.errors import BadModel, ModelNotAvailable


def precision_of(embedder: str, floats: str) -> str:
    """The precision in which an embedder of this name runs. floats: the runtime's, for networks in floating point."""
    return f"int8 (detector in {floats})" if embedder == "sface-int8" else floats


def build_face_embedder(
    cache_dir: Path,
    runtime: str = "auto",
    detector: str = "yunet",
    embedder: str = "sface-int8",
    limits: ImageLimits | None = None,
    *,
    max_faces: int = 100,
    centre: Floats | Literal["bundled"] | None = "bundled",
    decode: Decode = decode_image,
) -> FaceEmbedder:
    """A face embedder of named parts. cache_dir: where converted models are kept; centre: by default the model's own.

    Raises: ModelNotAvailable for an unknown name, BadModel for a file that is not the pinned one, BadSettings.
    """
    model_name, _, argument = embedder.partition(":")
    for name, table in ((detector, DETECTORS), (model_name, EMBEDDERS)):
        if name not in table:
            raise ModelNotAvailable(f"the model {name!r} is unknown; one of {', '.join(sorted(table))}")
    cv2.setNumThreads(1)  # requests run side by side, so a picture is worked on by one thread
    engine = open_runtime(runtime)
    model = EMBEDDERS[model_name](cache_dir, engine, argument)
    return FaceEmbedder(
        DETECTORS[detector](cache_dir, engine, max_faces),
        model,
        limits=limits,
        centre=bundled_centre(model.name) if isinstance(centre, str) else centre,
        decode=decode,
    )


def build_detector(
    cache_dir: Path, runtime: str = "auto", detector: str = "yunet", *, max_faces: int = 100
) -> Detector:
    """A detector alone, as `build_face_embedder` has it. Raises: as that does."""
    if detector not in DETECTORS:
        raise ModelNotAvailable(f"the model {detector!r} is unknown; one of {', '.join(sorted(DETECTORS))}")
    cv2.setNumThreads(1)
    return DETECTORS[detector](cache_dir, open_runtime(runtime), max_faces)


def build_image_embedder(
    cache_dir: Path,
    embedder: str,
    runtime: str = "auto",
    limits: ImageLimits | None = None,
    decode: Decode = decode_image,
) -> ImageEmbedder:
    """An embedder of whole pictures: "onnx:MANIFEST.json" of `"kind": "image"`, or "timm:NAME:WEIGHTS.safetensors".

    Raises: ModelNotAvailable for an unknown name, BadModel for a file that is not the pinned one, BadSettings.
    """
    model_name, _, argument = embedder.partition(":")
    if model_name not in IMAGE_EMBEDDERS:
        known = ", ".join(sorted(IMAGE_EMBEDDERS))
        raise ModelNotAvailable(f"the model {model_name!r} is unknown among those for pictures; one of {known}")
    cv2.setNumThreads(1)  # requests run side by side, so a picture is worked on by one thread
    model = IMAGE_EMBEDDERS[model_name](cache_dir, open_runtime(runtime), argument)
    return ImageEmbedder(model, limits=limits, decode=decode)


def _yunet(cache_dir: Path, runtime: Runtime, max_faces: int) -> Detector:
    return YuNetDetector(runtime.load(load_bundled(YUNET, cache_dir), "yunet"), max_faces=max_faces)


def _mtcnn(cache_dir: Path, runtime: Runtime, max_faces: int) -> Detector:
    from embedder.torch_models import MtcnnDetector

    return MtcnnDetector(max_faces)


def _sface(cache_dir: Path, runtime: Runtime, argument: str) -> FaceModel:
    return _sface_of(load_bundled(SFACE, cache_dir), "sface", "align=arcface112;rgb255", runtime, runtime.description)


def _sface_int8(cache_dir: Path, runtime: Runtime, argument: str) -> FaceModel:
    model, ranges = load_sface_int8(cache_dir)
    engine = runtime.description.split(" ", 1)[0]
    return _sface_of(model, "sface-int8", f"align=arcface112;rgb255;int8={ranges}", runtime, f"{engine} int8")


def _sface_of(model: bytes, name: str, preprocessing: str, runtime: Runtime, description: str) -> FaceModel:
    batched = _batched(runtime.load(model, name))

    def embed(crops: Pixels) -> Floats:
        # SFace takes RGB from 0 to 255 and scales it itself.
        return batched(np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32))

    return FaceModel(name, 128, preprocessing, embed, description)


def _onnx(cache_dir: Path, runtime: Runtime, argument: str) -> FaceModel:
    manifest, prepare, embed = _read_onnx(runtime, argument, Kind.FACE)
    described = f"align=arcface112;{prepare.describe()}"
    return FaceModel(
        manifest.model, manifest.dimension, described, lambda crops: embed(list(crops)), runtime.description
    )


def _onnx_image(cache_dir: Path, runtime: Runtime, argument: str) -> ImageModel:
    manifest, prepare, embed = _read_onnx(runtime, argument, Kind.IMAGE)
    return ImageModel(manifest.model, manifest.dimension, prepare.describe(), embed, runtime.description)


def _read_onnx(
    runtime: Runtime, argument: str, kind: Kind
) -> tuple[Manifest, Preprocessing, Callable[[Sequence[Pixels]], Floats]]:
    """What a manifest says, and its network from pictures to (N, D). Raises: BadModel."""
    from embedder.onnx_files import simplify

    manifest = read_manifest(Path(argument))
    if manifest.kind is not kind:
        raise BadModel(f"the model {manifest.name!r} is of the kind {manifest.kind.value!r}, not {kind.value!r}")
    model = simplify(read_pinned(manifest.file, manifest.sha256, manifest.name), {0: "N"})
    batched = _batched(runtime.load(model, manifest.name))
    fit = "stretch" if kind is Kind.FACE else "letterbox"
    prepare = Preprocessing(manifest.side, manifest.mean, manifest.scale, manifest.channels, fit)

    def embed(pictures: Sequence[Pixels]) -> Floats:
        return batched(prepare(pictures))

    try:
        found = embed([np.zeros((112, 112, 3), np.uint8)] * 2).shape
    except Exception as error:  # each runtime has its own, for a graph that does not take this input
        raise BadModel(f"the model {manifest.name!r} does not take (2, 3, side, side)") from error
    if found != (2, manifest.dimension):
        raise BadModel(f"the model {manifest.name!r} gives vectors of shape {found}, not (2, {manifest.dimension})")
    return manifest, prepare, embed


def _inception_resnet_v1(cache_dir: Path, runtime: Runtime, argument: str) -> FaceModel:
    from embedder.torch_models import inception_resnet_v1

    return inception_resnet_v1(argument)


def _timm(cache_dir: Path, runtime: Runtime, argument: str) -> FaceModel:
    from embedder.torch_models import timm_backbone

    return timm_backbone(argument)


def _timm_image(cache_dir: Path, runtime: Runtime, argument: str) -> ImageModel:
    from embedder.torch_models import timm_image_backbone

    return timm_image_backbone(argument)


def _batched(network: Network) -> Batcher:
    """The network's first output, with the rows of requests that wait at the same time joined."""
    return Batcher(lambda rows: next(iter(network(rows).values())), slots=available_threads())


DETECTORS: dict[str, Callable[[Path, Runtime, int], Detector]] = {"yunet": _yunet, "mtcnn": _mtcnn}
EMBEDDERS: dict[str, Callable[[Path, Runtime, str], FaceModel]] = {
    "sface": _sface,
    "sface-int8": _sface_int8,
    "inception_resnet_v1": _inception_resnet_v1,
    "timm": _timm,
    "onnx": _onnx,
}
IMAGE_EMBEDDERS: dict[str, Callable[[Path, Runtime, str], ImageModel]] = {"timm": _timm_image, "onnx": _onnx_image}
