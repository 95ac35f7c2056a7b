"""What pruning SFace without further training costs and gains: agreement with the whole network and time, in int8.

    python benchmarks/prune.py [--tolerances 0.02 0.05] [--fit 160] [--refit 600] [--judge 300] [--keep FOLDER]

Channels are chosen and weights fitted on crops of faces/train (embedder/compress/prune.py); others of the same people
judge. With --keep, each network is left there as weights that `lookalike train` goes on from (docs/recipes/edge.toml).
Milliseconds are of the process for one face at a time, the least of 60 calls.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from embedder.compress.prune import learn_chain_ranges, multiplications, prune, refit_matrix
from embedder.images import ImageLimits, decode_image
from embedder.models import SFACE, load_bundled
from embedder.network_chain import Chain, read_chain
from embedder.pipeline import unit_rows
from embedder.quantise import quantise_chain
from embedder.runtime import open_runtime
from embedder.train.chains import chain_weights
from lookalike.domain import Floats, Pixels

ROOT = Path(__file__).resolve().parent.parent
CROPS = Path(os.environ.get("LOOKALIKE_SHARED", ROOT.parent / "shared")) / "faces" / "train" / "celeba300"
MODELS = ROOT / "build" / "models"

Embed = Callable[[Pixels], Floats]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tolerances", type=float, nargs="+", default=[0.02, 0.05])
    parser.add_argument("--fit", type=int, default=160)
    parser.add_argument("--refit", type=int, default=600)
    parser.add_argument("--judge", type=int, default=300)
    parser.add_argument("--keep", type=Path)
    chosen = parser.parse_args()
    files = sorted(CROPS.glob("*/*.jpg"))
    if not files:
        print(f"left out: there are no crops in {CROPS}")
        return 0
    order = np.random.default_rng(0).permutation(len(files))
    ends = np.cumsum([chosen.fit, chosen.refit, chosen.judge])
    fit, refit, judge = (read_crops([files[i] for i in part]) for part in np.split(order[: ends[-1]], ends[:-1]))
    both = np.concatenate([refit, refit[:, :, ::-1]])
    source = load_bundled(SFACE, MODELS)
    chain, whole = read_chain(source), loaded(source)
    wanted, targets = unit_rows(whole(judge)), whole(both)
    report("the whole", chain, fit, judge, wanted)
    for tolerance in chosen.tolerances:
        small, steps = prune(chain, fit, tolerance)
        print(" ".join(f"{step.layer}:{step.kept}/{step.channels}" for step in steps))
        small = refit_matrix(small, both, targets)
        report(f"tolerance {tolerance:g}", small, fit, judge, wanted)
        if chosen.keep is not None:
            keep(small, chosen.keep / f"{tolerance:g}.safetensors")
    return 0


def keep(chain: Chain, path: Path) -> None:
    """As weights of the backbone sface."""
    from safetensors.numpy import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: np.ascontiguousarray(values, np.float32) for name, values in chain_weights(chain).items()}
    save_file(weights, path)


def report(name: str, chain: Chain, fit: Pixels, judge: Pixels, wanted: Floats) -> None:
    """One line: what this chain costs in int8, and how near its vectors are to those of the whole network."""
    embed = loaded(quantise_chain(chain, learn_chain_ranges(chain, fit)))
    cosine = float((unit_rows(embed(judge)) * wanted).sum(axis=1).mean())
    took = []
    for _ in range(60):
        begun = time.process_time()
        embed(judge[:1])
        took.append(time.process_time() - begun)
    print(
        f"{name:16} {multiplications(chain) / 1e6:6.0f} M  cosine {cosine:.4f}  {1000 * min(took):.2f} ms", flush=True
    )


def loaded(model: bytes) -> Embed:
    """Crops (N, 112, 112, 3) uint8 -> raw vectors, on one thread."""
    network = open_runtime(threads=1).load(model, "sface")

    def embed(crops: Pixels) -> Floats:
        inputs = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32)
        batches = [inputs[start : start + 50] for start in range(0, len(inputs), 50)]
        return np.concatenate([next(iter(network(batch).values())) for batch in batches])

    return embed


def read_crops(files: list[Path]) -> Pixels:
    return np.stack([decode_image(file.read_bytes(), ImageLimits()) for file in files])


if __name__ == "__main__":
    raise SystemExit(main())
