"""The parts that need torch, the `train` extra: MTCNN as a detector, InceptionResnetV1 and timm backbones.

Nothing here is imported unless a setting asks for it. MTCNN's weights lie in the wheel of facenet-pytorch 2.5.3 and
are checked by SHA-256 before that package reads them. Other weights come from a local safetensors file: nothing is
downloaded, and no pickle is opened. The hash of the file is part of the model's name, so vectors of other weights are
another space.
"""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from embedder.detect import Detection
from embedder.models import read_pinned
from embedder.pipeline import FaceModel
from embedder.preprocessing import Preprocessing, Triple
from embedder.whole_pictures import ImageModel
from lookalike.domain import Box, Floats, Pixels
from lookalike.errors import BadModel, ModelNotAvailable
from lookalike.stages import Stage, staged

MTCNN_WEIGHTS = {
    "pnet.pt": "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f",
    "rnet.pt": "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86",
    "onet.pt": "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d",
}
MTCNN_MIN_SIDE = 32
"""facenet-pytorch fails on pictures whose image pyramid is empty; smaller ones are padded to this."""


class MtcnnDetector:
    """MTCNN (Zhang et al. 2016) of facenet-pytorch. One call at a time: it is a peer to compare with, not a default."""

    def __init__(self, max_faces: int) -> None:
        require_torch("facenet_pytorch")
        folder = package_folder("facenet_pytorch") / "data"
        for name, sha256 in MTCNN_WEIGHTS.items():
            read_pinned(folder / name, sha256, f"mtcnn {name}")
        from facenet_pytorch import MTCNN

        self._mtcnn = MTCNN(keep_all=True, min_face_size=20)
        self._max_faces = max_faces
        self._one_at_a_time = threading.Lock()

    @staged(Stage.DETECT)
    def __call__(self, image: Pixels) -> list[Detection]:
        height, width = image.shape[:2]
        bottom, right = max(MTCNN_MIN_SIDE - height, 0), max(MTCNN_MIN_SIDE - width, 0)
        padded = cv2.copyMakeBorder(image, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
        with self._one_at_a_time:
            boxes, scores, points = self._mtcnn.detect(padded, landmarks=True)
        if boxes is None:
            return []
        found = [
            Detection(
                Box(float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])),
                tuple((float(x), float(y)) for x, y in five),
                float(score),
            )
            for box, score, five in zip(boxes, scores, points, strict=True)
        ]
        return sorted(found, key=lambda face: -face.box.area)[: self._max_faces]


def inception_resnet_v1(weights: str) -> FaceModel:
    """FaceNet's InceptionResnetV1, 512-d, from a local safetensors file. Raises: BadModel, ModelNotAvailable."""
    require_torch("facenet_pytorch")
    state, digest = _read_weights(weights)
    from facenet_pytorch import InceptionResnetV1

    network = InceptionResnetV1()
    # The published files carry the classifier that they were trained with.
    _load(network, {key: value for key, value in state.items() if not key.startswith("logits.")})
    embed = _embedding(network, 160, [127.5] * 3, [128.0] * 3)
    return FaceModel(f"inception_resnet_v1-{digest[:12]}", 512, "align=arcface112;resize=160", embed, "torch f32")


def timm_backbone(argument: str) -> FaceModel:
    """NAME:PATH, a timm architecture and its safetensors file, for faces. Raises: BadModel, ModelNotAvailable."""
    name, digest, network, config = _timm_network(argument)
    side = int(config["input_size"][-1])
    embed = _embedding(network, side, [255 * v for v in config["mean"]], [255 * v for v in config["std"]])
    dimension = int(embed(np.zeros((1, 112, 112, 3), np.uint8)).shape[1])
    return FaceModel(f"timm-{name}-{digest}", dimension, f"align=arcface112;resize={side}", embed, "torch f32")


def timm_image_backbone(argument: str) -> ImageModel:
    """NAME:PATH, a timm architecture and its safetensors file, for pictures. Raises: BadModel, ModelNotAvailable."""
    name, digest, network, config = _timm_network(argument)
    mean, scale = ([255 * v for v in config["mean"]], [1 / (255 * v) for v in config["std"]])
    prepare = Preprocessing(int(config["input_size"][-1]), _triple(mean), _triple(scale))
    run = _running(network)

    def embed(pictures: Sequence[Pixels]) -> Floats:
        return run(prepare(pictures))

    dimension = int(embed([np.zeros((112, 112, 3), np.uint8)]).shape[1])
    return ImageModel(f"timm-{name}-{digest}", dimension, prepare.describe(), embed, "torch f32")


def _timm_network(argument: str) -> tuple[str, str, Any, Any]:
    """The architecture's name, 12 digits of its weights' hash, the network without its head, and timm's config."""
    require_torch("timm")
    name, _, weights = argument.partition(":")
    import timm

    if not timm.is_model(name):
        raise ModelNotAvailable(f"timm has no model {name!r}")
    state, digest = _read_weights(weights)
    network = timm.create_model(name, pretrained=False, num_classes=0)
    heads = network.pretrained_cfg.get("classifier") or "classifier"
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    _load(network, {key: value for key, value in state.items() if not key.startswith(tuple(f"{h}." for h in heads))})
    return name, digest[:12], network, timm.data.resolve_data_config({}, model=network)


def _triple(values: list[float]) -> Triple:
    first, second, third = values
    return first, second, third


def require_torch(package: str) -> None:
    """Raises: ModelNotAvailable where the `train` extra is not installed."""
    for name in ("torch", package):
        if importlib.util.find_spec(name) is None:
            raise ModelNotAvailable(f"this model needs {name}: install lookalike[train]")


def _embedding(network: Any, side: int, mean: list[float], deviation: list[float]) -> Any:
    """(N, 112, 112, 3) uint8 → (N, D) float32 through a torch network."""
    run = _running(network)

    def embed(crops: Pixels) -> Floats:
        resized = np.stack([cv2.resize(crop, (side, side), interpolation=cv2.INTER_LINEAR) for crop in crops])
        scaled = (resized.astype(np.float32) - np.array(mean, np.float32)) / np.array(deviation, np.float32)
        return run(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))

    return embed


def _running(network: Any) -> Callable[[Floats], Floats]:
    """(N, 3, side, side) float32 → (N, D) float32 through a torch network."""
    import torch

    torch.set_num_threads(1)  # requests run side by side; two threads a request were measured slower under load
    network.eval()

    def run(batch: Floats) -> Floats:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(batch)).numpy(), np.float32)

    return run


def _read_weights(path: str) -> tuple[dict[str, Any], str]:
    """The tensors of a safetensors file and its SHA-256."""
    if not path.endswith(".safetensors"):
        raise BadModel("weights must be given as a local .safetensors file: NAME:PATH")
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        data = Path(path).read_bytes()
        return load(data), hashlib.sha256(data).hexdigest()
    except OSError as error:
        raise BadModel(f"the weights cannot be read: {type(error).__name__}") from error
    except SafetensorError as error:
        raise BadModel("the weights are not a readable safetensors file") from error


def _load(network: Any, state: dict[str, Any]) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise BadModel("the weights do not fit this network") from error


def package_folder(name: str) -> Path:
    """Where an installed package's files lie. Raises: ModelNotAvailable."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModelNotAvailable(f"the package {name!r} is not installed")
    return Path(spec.origin).parent
