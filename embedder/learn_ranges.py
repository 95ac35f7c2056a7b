"""Learns the ranges that SFace's activations take, from a folder of aligned crops, and writes them as JSON.

    python -m embedder.learn_ranges FOLDER OUT [--count 160] [--seed 0]

FOLDER holds a folder of 112×112 crops for each person. Every fifth person, in the order of names, is left out, to
judge the result on. Each crop is taken upright and mirrored. A channel's range is the 0.99 quantile, over crops, of
its extremes in a crop: one odd picture does not coarsen the steps for all others.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from embedder.images import ImageLimits, decode_image
from embedder.models import SFACE, load_bundled
from embedder.network_chain import read_chain
from embedder.quantise import Range
from lookalike.domain import Floats, Pixels

HELD_OUT = 5
BATCH = 16


def learn_ranges(model: bytes, crops: Pixels, quantile: float = 0.99) -> dict[str, Range]:
    """Layer name → the range of each channel. crops: (N, 112, 112, 3) uint8 RGB."""
    names = [layer.name for layer in read_chain(model).layers]
    low: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    high: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    for outputs in _activations(model, names, crops):
        for name, values in zip(names, outputs, strict=True):
            low[name].append(values.min(axis=(2, 3)))
            high[name].append(values.max(axis=(2, 3)))
    return {
        name: Range(
            np.minimum(np.quantile(np.concatenate(low[name]), 1 - quantile, axis=0), 0).astype(np.float64),
            np.maximum(np.quantile(np.concatenate(high[name]), quantile, axis=0), 0).astype(np.float64),
        )
        for name in names
    }


def _activations(model: bytes, names: Sequence[str], crops: Pixels) -> Iterator[list[Floats]]:
    """For each batch of crops, what the network computes under these names."""
    import onnxruntime

    proto = onnx.load_model_from_string(model)
    for name in names:
        proto.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0].name
    for start in range(0, len(crops), BATCH):
        rows = np.ascontiguousarray(crops[start : start + BATCH].transpose(0, 3, 1, 2), np.float32)
        yield session.run(list(names), {feed: rows})


def choose_crops(folder: Path, count: int, seed: int) -> list[Path]:
    """`count` pictures of the people who are not held out, the same for the same seed."""
    people = [path for i, path in enumerate(sorted(folder.iterdir())) if i % HELD_OUT != HELD_OUT - 1]
    pictures = sorted(path for person in people for path in person.iterdir())
    return [pictures[i] for i in np.random.default_rng(seed).permutation(len(pictures))[:count]]


def main() -> None:
    """Read the command line, learn, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chosen = choose_crops(arguments.folder, arguments.count, arguments.seed)
    crops = np.stack([decode_image(path.read_bytes(), ImageLimits()) for path in chosen])
    with tempfile.TemporaryDirectory() as cache:
        ranges = learn_ranges(load_bundled(SFACE, Path(cache)), np.concatenate([crops, crops[:, :, ::-1]]))
    document = {
        "model": SFACE.sha256,
        "from": f"{len(chosen)} crops of {arguments.folder.name}, upright and mirrored, every fifth person left out",
        "pictures": hashlib.sha256(b"".join(path.read_bytes() for path in chosen)).hexdigest(),
        "command": f"python -m embedder.learn_ranges FOLDER OUT --count {arguments.count} --seed {arguments.seed}",
        "layers": {name: {"low": _short(span.low), "high": _short(span.high)} for name, span in ranges.items()},
    }
    arguments.out.write_text(json.dumps(document, separators=(",", ":")).replace('"conv_', '\n"conv_') + "\n")


def _short(values: NDArray[np.float64]) -> list[float]:
    """Three significant digits: a range need not be finer, and the file stays small."""
    return [float(f"{value:.3g}") for value in values]


if __name__ == "__main__":
    main()
