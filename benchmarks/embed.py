"""Processor time of each stage from a 720p photo to its vector, one thread, beside two common Python pipelines.

    python benchmarks/embed.py [--photo FILE] [--rounds 20] [--runtime auto] [--out embed.json]

Every round runs each contender once, in turn, so that a neighbour's load falls on all of them; the least of the rounds
is shown besides the median. Milliseconds are of the process, all threads added up, and of the processes that decode;
facenet-pytorch's network has random weights here: its time does not depend on them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cv2
import numpy as np

from embedder.align import align_face
from embedder.decoders import Decoders, can_isolate
from embedder.factory import build_face_embedder
from embedder.images import ImageLimits, decode_image, encode_jpeg
from embedder.quality import assess
from lookalike.domain import Pixels

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("LOOKALIKE_SHARED", ROOT.parent / "shared"))
WIDTH, HEIGHT, FACE_TILE = 1280, 720, 500


def stage_photo(source: bytes) -> bytes:
    """A 1280×720 JPEG: the picture, enlarged or reduced, before a textured wall."""
    picture = decode_image(source, ImageLimits())
    scale = FACE_TILE / picture.shape[0]
    tile = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)[:, :WIDTH]
    coarse = np.random.default_rng(0).integers(60, 190, (HEIGHT // 12, WIDTH // 12, 3), dtype=np.uint8)
    canvas: Pixels = np.asarray(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)
    left = (WIDTH - tile.shape[1]) // 2
    canvas[110 : 110 + FACE_TILE, left : left + tile.shape[1]] = tile
    return encode_jpeg(canvas, 90)


def our_stages(photo: bytes, runtime: str, cache: Path) -> dict[str, Callable[[], object]]:
    encoder = build_face_embedder(cache, runtime=runtime)
    pixels = decode_image(photo, ImageLimits())
    face = encoder._detector(pixels)[0]
    crop = align_face(pixels, face.landmarks)
    batch = crop[None]
    decoders = Decoders(1, ImageLimits(), timeout_s=60) if can_isolate() else decode_image
    return {
        "decode": lambda: decode_image(photo, ImageLimits()),
        "decode apart": lambda: decoders(photo, ImageLimits()),
        "detect": lambda: encoder._detector(pixels),
        "align": lambda: align_face(pixels, face.landmarks),
        "quality": lambda: assess(crop, face.box, face.landmarks, WIDTH, HEIGHT),
        "embed": lambda: encoder._embed(batch, False),
        "whole": lambda: encoder.encode(photo, largest_only=True),
        "whole, enrolment": lambda: encoder.encode(photo, largest_only=True, enrolment=True, crops=True),
    }


def facenet_script(photo: bytes) -> Callable[[], object] | None:
    """The usual script: PIL, MTCNN, InceptionResnetV1."""
    if importlib.util.find_spec("facenet_pytorch") is None:
        return None
    import io

    import torch
    from facenet_pytorch import MTCNN, InceptionResnetV1
    from PIL import Image

    torch.set_num_threads(1)
    mtcnn, network = MTCNN(), InceptionResnetV1().eval()

    def run() -> object:
        with torch.inference_mode():
            return network(mtcnn(Image.open(io.BytesIO(photo)).convert("RGB")).unsqueeze(0))

    return run


def dlib_script(photo: bytes) -> Callable[[], object] | None:
    """face_recognition: dlib's HOG detector and ResNet."""
    if importlib.util.find_spec("face_recognition") is None:
        return None
    import io

    import face_recognition

    return lambda: face_recognition.face_encodings(face_recognition.load_image_file(io.BytesIO(photo)))


def spent_s() -> float:
    """Processor time of this process and of those that it and they have made."""
    return time.process_time() + sum(family_s(child) for child in children(os.getpid()))


def family_s(pid: int) -> float:
    """Processor time of a process and of those that it has made, to the nanosecond for those that live."""
    try:
        own = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
        return own + sum(family_s(child) for child in children(pid))
    except OSError:
        return 0.0


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def measure(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of processor time, contenders taking turns."""
    for run in contenders.values():
        run()
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            started = spent_s()
            run()
            spent[name].append((spent_s() - started) * 1e3)
    return {
        name: {"least_ms": round(min(times), 3), "median_ms": round(statistics.median(times), 3)}
        for name, times in spent.items()
    }


def machine() -> dict[str, object]:
    packages = ("openvino", "onnxruntime", "opencv-python-headless", "simplejpeg", "numpy", "torch", "facenet-pytorch")
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "features": [flag for flag in wanted if f" {flag}" in flags],
        "packages": found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, help="a JPEG, PNG or WebP with one face, used as it is")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--runtime", default="auto")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.photo:
        photo = asked.photo.read_bytes()
    else:
        photo = stage_photo(next(iter(sorted((SHARED / "faces/eval/lfw_dev").glob("*/*.jpg")))).read_bytes())
    with tempfile.TemporaryDirectory() as cache:
        contenders = our_stages(photo, asked.runtime, Path(cache))
        encoder = build_face_embedder(Path(cache), runtime=asked.runtime)
    peers = {"facenet-pytorch": facenet_script(photo), "face_recognition": dlib_script(photo)}
    contenders.update({name: run for name, run in peers.items() if run is not None})
    milliseconds = measure(contenders, asked.rounds)
    report = {
        "runtime": encoder.runtime,
        "photo_bytes": len(photo),
        "rounds": asked.rounds,
        "cpu": milliseconds,
        "times_our_whole": {
            name: round(milliseconds[name]["least_ms"] / milliseconds["whole"]["least_ms"], 1)
            for name in peers
            if name in milliseconds
        },
        "left_out": [f"{name} is not installed" for name, run in peers.items() if run is None],
        "machine": machine(),
    }
    text = json.dumps(report, indent=2)
    if asked.out:
        asked.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
