"""Does hiding what a map calls important do more than hiding as much at random, and than hiding the centre?

    python benchmarks/explain.py [--faces choose|report|eval] [--pairs 60] [--masks N] [--embedder NAME] [--checks]
                                 [--impostors]

Genuine pairs, one a person, of aligned crops in $LOOKALIKE_SHARED or ../shared: `choose` and `report` are disjoint
halves of the people of faces/train/celeba300 (the way of making maps was chosen on the first), `eval` LFW's DevTest
pairs. Each of the two faces is hidden in turn while the other stays whole. Hidden pixels become the mean colour, or the
picture's own blur; both are shown. Random fifths are squares anywhere inside, and scattered cells. AUC: the mean
similarity while the picture is hidden by and by, most important first (deletion, lower is better), or shown by and by
from nothing (insertion, higher is better), in tenths. Maps to beat: noise; "the centre" for every picture; the average
of all other people's maps; sliding occlusion and RISE as published, with as many calls of the model. --checks: rank
correlations of maps with another seed, an unrelated face and shuffled weights (Adebayo et al., NeurIPS 2018).
--impostors: pairs of two people, and what the maps say against a match, judged by how much the similarity rises.
Without shared/ the packages' portraits are used: seven pairs of two people, for a look only.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from public_faces import CACHE, DEFAULT_EMBEDDER, ROOT, SHARED, encoder, machine

from api.demo_pictures import cast_from_packages
from embedder.evaluate.protocol import read_protocol
from embedder.evaluate.vectors import nearest_centre
from embedder.explain import (
    BLOCKS,
    MASKS,
    SIDE,
    blur_filling,
    explain,
    heat_map,
    hide,
    mean_filling,
    most_important,
    random_cells,
    random_fifths,
    scattered_fifths,
    smoother,
)
from embedder.face_parts import face_parts
from embedder.images import ImageLimits, decode_image
from embedder.models import SFACE, load_bundled
from embedder.pipeline import FaceEmbedder, unit_rows
from embedder.runtime import open_runtime
from lookalike.domain import Floats, Pixels
from lookalike.errors import InvalidInput

FILLINGS = {"mean colour": mean_filling, "blur": blur_filling}
TENTHS = np.linspace(0, 1, 11)
DRAWS = 12

Pair = tuple[Pixels, Pixels]
Falls = Callable[[np.ndarray], Floats]
"""Masks (N, 112, 112), true: hidden, to the falls of similarity, (N,)."""


# ----------------------------------------------------------------------------------------------- pairs


def crops_of_train(which: str, count: int) -> list[Pair]:
    people = sorted(p for p in (SHARED / "faces" / "train" / "celeba300").iterdir() if p.is_dir())
    rng = np.random.default_rng(0)
    pairs = []
    for number in rng.permutation(np.arange(int(which == "report"), len(people), 2)):
        files = sorted(people[number].glob("*.jpg"))
        if len(files) > 1:
            two = rng.choice(len(files), 2, replace=False)
            pairs.append(tuple(decode_image(files[i].read_bytes(), ImageLimits()) for i in two))
    return pairs[:count]


def crops_of_eval(model: FaceEmbedder, count: int) -> list[Pair]:
    """The genuine pairs of DevTest, evenly taken from the file; the face nearest the centre, as LFW means it."""
    protocol = read_protocol(SHARED / "faces" / "eval" / "pairsDevTest.txt")
    genuine = [pair for pair in protocol.pairs if pair.same]

    def crop(place: int) -> Pixels:
        data = protocol.pictures[place].path.read_bytes()
        return model.aligned(data)[nearest_centre(data, model.encode(data))]

    taken = genuine[:: max(1, len(genuine) // count)][:count]
    return [(crop(pair.first), crop(pair.second)) for pair in taken]


def crops_of_packages(model: FaceEmbedder) -> list[Pair]:
    cast = cast_from_packages(CACHE / "photos")
    seen: dict[str, list[bytes]] = {name: list(pictures) for name, pictures in cast.enrolled.items()}
    for probe in cast.probes:
        if probe.truth is not None:
            seen[probe.truth].append(probe.image)
    crops = [[model.aligned(picture, largest_only=True) for picture in pictures] for pictures in seen.values()]
    return [(a[0], b[0]) for person in crops for a, b in itertools.combinations(person, 2) if len(a) and len(b)]


# ------------------------------------------------------------------------------------------------ maps


def centre_map() -> Floats:
    middle = (BLOCKS - 1) / 2
    return -np.hypot(*(np.mgrid[:BLOCKS, :BLOCKS] - middle)).astype(np.float32)


def weighted(masks: np.ndarray, falls: Floats) -> Floats:
    """The mean fall over the masks that hide a place, as RISE weighs them."""
    step = SIDE // BLOCKS
    shares = masks.reshape(len(masks), BLOCKS, step, BLOCKS, step).mean(axis=(2, 4)).reshape(len(masks), -1)
    return (falls @ shares / np.maximum(shares.sum(axis=0), 1e-6)).reshape(BLOCKS, BLOCKS).astype(np.float32)


def sliding(count: int, side: int = 24) -> np.ndarray:
    """A window at about `count` places, also over the edges."""
    starts = np.linspace(-side // 2, SIDE - side // 2, round(count**0.5)).round().astype(int)
    masks = np.zeros((len(starts) ** 2, SIDE, SIDE), bool)
    for mask, (top, left) in zip(masks, itertools.product(starts, starts), strict=True):
        mask[max(top, 0) : top + side, max(left, 0) : left + side] = True
    return masks


def soft_cells(count: int, cells: int = 7, hidden: float = 0.5) -> np.ndarray:
    """RISE's own masks: 7×7 cells, half of them hidden, bilinear, shifted at random. -> values 0 to 1."""
    rng = np.random.default_rng(1)
    cell = SIDE // cells
    masks = np.empty((count, SIDE, SIDE), np.float32)
    for mask in masks:
        drawn = (rng.random((cells + 1, cells + 1)) < hidden).astype(np.float32)
        large = cv2.resize(drawn, (SIDE + cell, SIDE + cell), interpolation=cv2.INTER_LINEAR)
        top, left = rng.integers(0, cell, 2)
        mask[:] = large[top : top + SIDE, left : left + SIDE]
    return masks


class Face:
    """One face of a pair, hidden in part, against the other's vector, or against its opposite for what keeps apart."""

    def __init__(self, embed: Callable[[Pixels], Floats], crop: Pixels, other: Floats) -> None:
        self.crop, self.other, self._embed = crop, other, embed
        self.whole = float(embed(crop[None])[0] @ other)

    def similarity(self, masks: np.ndarray, filling: str) -> Floats:
        paint = FILLINGS[filling](self.crop)
        if masks.dtype == bool:
            return self._embed(hide(self.crop, masks, paint)) @ self.other
        share = masks[..., None]
        return self._embed((self.crop * (1 - share) + paint * share).round().astype(np.uint8)) @ self.other

    def falls(self, masks: np.ndarray) -> Floats:
        """Every other mask with the mean colour, the rest with the blur."""
        found = np.empty(len(masks), np.float32)
        for place, filling in enumerate(FILLINGS):
            found[place::2] = self.whole - self.similarity(masks[place::2], filling)
        return found


def ways(masks: int) -> dict[str, Callable[[Face], Floats]]:
    """Name → what makes a map of a face, (28, 28), with about as many calls of the model."""
    cells, window, soft = random_cells(masks, 1), sliding(masks), soft_cells(masks)
    smooth = smoother(cells)
    noise = np.random.default_rng(5)
    return {
        "noise": lambda face: noise.normal(size=(BLOCKS, BLOCKS)).astype(np.float32),
        "centre": lambda face: centre_map(),
        "sliding occlusion": lambda face: weighted(window, face.falls(window)),
        "RISE": lambda face: weighted(soft, face.falls(soft)),
        "cells and regression": lambda face: heat_map(smooth, face.falls(cells)),
    }


OURS, AVERAGE = "cells and regression", "average of others"


# -------------------------------------------------------------------------------------------- measures


def hidden_by(heat: Floats) -> np.ndarray:
    return np.stack([most_important(heat, float(share)) for share in TENTHS])


def measure(face: Face, heat: Floats, filling: str) -> list[float]:
    """Fall when the marked fifth is hidden; deletion and insertion AUC."""
    masks = hidden_by(heat)
    deleted, inserted = face.similarity(masks, filling), face.similarity(~masks, filling)
    return [face.whole - float(deleted[2]), float(np.trapezoid(deleted, TENTHS)), float(np.trapezoid(inserted, TENTHS))]


def compare(faces: list[tuple[Face, Face]], maps: dict[str, Floats]) -> dict[str, object]:
    """maps: name → (P, 2, 28, 28). Per filling and map: falls, wins over random fifths, AUCs."""
    random = {"square": random_fifths(DRAWS, 3), "cells": scattered_fifths(DRAWS, 3)}
    table: dict[str, object] = {}
    for filling in FILLINGS:
        chance = {
            name: np.array([[f.whole - f.similarity(masks, filling) for f in pair] for pair in faces])
            for name, masks in random.items()
        }
        rows: dict[str, object] = {f"random {name}": {"fall": float(falls.mean())} for name, falls in chance.items()}
        for name, heats in maps.items():
            found = np.array(
                [
                    [measure(f, h, filling) for f, h in zip(p, hs, strict=True)]
                    for p, hs in zip(faces, heats, strict=True)
                ]
            )
            falls = found[..., 0]
            rows[name] = {
                "fall": float(falls.mean()),
                **{f"wins over a {kind}": wins(falls, by_chance) for kind, by_chance in chance.items()},
                "deletion": float(found[..., 1].mean()),
                "insertion": float(found[..., 2].mean()),
            }
        table[filling] = rows
    return table


def wins(falls: np.ndarray, chance: np.ndarray) -> dict[str, float]:
    """falls (P, 2), chance (P, 2, R). draws: share of single random fifths beaten, with its standard error over pairs;
    mean: share of pairs in which, over both faces, the map does more than random fifths do on average."""
    each = (falls[..., None] > chance).mean(axis=(1, 2))
    error = float(each.std(ddof=1) / len(each) ** 0.5) if len(each) > 1 else float("nan")
    return {
        "draws": float(each.mean()),
        "error": error,
        "mean": float((falls.mean(axis=1) > chance.mean(axis=(1, 2))).mean()),
    }


def show(table: dict[str, object], shown: str) -> None:
    print(f"\n{shown:28}fall when hidden   beats a square / scattered cells (by mean)       deletion  insertion")
    for name, row in table.items():
        line = f"{name:28}{row['fall']:8.3f}"
        if "deletion" in row:
            kinds = (row["wins over a square"], row["wins over a cells"])
            cells = " / ".join(
                f"{100 * k['draws']:.1f} ± {100 * k['error']:.1f} ({100 * k['mean']:.0f}) %" for k in kinds
            )
            line += f"           {cells:44}{row['deletion']:8.3f}{row['insertion']:10.3f}"
        print(line)


# ---------------------------------------------------------------------------------------------- checks


def shuffled_sface(seed: int = 1) -> Callable[[Pixels], Floats]:
    """SFace in float32 with the weights of every convolution and matrix in random order: it knows nothing of faces."""
    import onnx
    from onnx import numpy_helper

    rng = np.random.default_rng(seed)
    model = onnx.load_model_from_string(load_bundled(SFACE, CACHE / "models"))
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim > 1:
            mixed = rng.permutation(values.ravel()).reshape(values.shape)
            tensor.CopyFrom(numpy_helper.from_array(mixed, tensor.name))
    network = open_runtime("auto").load(model.SerializeToString(), "shuffled")

    def embed(crops: Pixels) -> Floats:
        planes = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32)
        return unit_rows(np.concatenate([next(iter(network(p[None]).values())) for p in planes]))

    return embed


def alike(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation of two maps."""
    ranks = [np.argsort(np.argsort(heat.ravel())) for heat in (a, b)]
    return float(np.corrcoef(*ranks)[0, 1])


def checks(embed: Callable[[Pixels], Floats], pairs: list[Pair], masks: int) -> dict[str, float]:
    """Mean rank correlation of the first face's map with maps that must, and must not, be like it."""
    shuffled = shuffled_sface()
    found: dict[str, list[float]] = {}
    for place, (first, second) in enumerate(pairs):
        stranger = pairs[(place + 1) % len(pairs)][1]
        with_seeds = [explain(embed, first, second, masks=masks, seed=seed).sides for seed in (1, 2)]
        heat = with_seeds[0][0].heat
        against = {
            "another seed": with_seeds[1][0].heat,
            "the other face of the pair": with_seeds[0][1].heat,
            "against an unrelated face": explain(embed, first, stranger, masks=masks).sides[0].heat,
            "shuffled weights": explain(shuffled, first, second, masks=masks).sides[0].heat,
        }
        for name, other in against.items():
            found.setdefault(name, []).append(alike(heat, other))
    return {name: float(np.mean(values)) for name, values in found.items()}


def pairs_for(chosen: argparse.Namespace, model: FaceEmbedder) -> tuple[list[Pair], str]:
    if not (SHARED / "faces").is_dir():
        return crops_of_packages(model), "the packages' portraits (../shared is not here)"
    if chosen.faces == "eval":
        return crops_of_eval(model, chosen.pairs), "faces/eval, pairsDevTest"
    return crops_of_train(chosen.faces, chosen.pairs), f"faces/train/celeba300, people to {chosen.faces} on"


def measured(
    pairs: list[Pair], embed: Callable[[Pixels], Floats], masks: int, *, against: bool = False
) -> dict[str, object]:
    """against: of what keeps two faces apart; the similarity's sign is turned, so a fall is a rise."""
    faces = []
    for first, second in pairs:
        a, b = (embed(crop[None])[0] * (-1 if against else 1) for crop in (first, second))
        faces.append((Face(embed, first, b), Face(embed, second, a)))
    maps: dict[str, Floats] = {}
    for name, way in ways(masks).items():
        maps[name] = np.array([[way(face) for face in pair] for pair in faces])
        print(f"{name}: {len(pairs)} pairs", file=sys.stderr)
    ours = maps[OURS]
    if len(ours) > 1:
        total = ours.sum(axis=(0, 1))
        maps[AVERAGE] = np.array([[(total - own.sum(axis=0)) / (2 * len(ours) - 2)] * 2 for own in ours])
    return compare(faces, maps)


def timed(embed: Callable[[Pixels], Floats], pairs: list[Pair], masks: int) -> float:
    """Processor seconds of a whole explanation, the median of some."""

    def once() -> Iterator[float]:
        for first, second in pairs[:7]:
            started = time.process_time()
            explain(embed, first, second, face_parts(), masks=masks)
            yield time.process_time() - started

    return float(np.median(list(once())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", choices=("choose", "report", "eval"), default="report")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--masks", type=int, default=MASKS)
    parser.add_argument("--embedder", default=DEFAULT_EMBEDDER)
    parser.add_argument("--checks", action="store_true")
    parser.add_argument("--impostors", action="store_true")
    parser.add_argument("--out", type=Path, default=ROOT / "bench-output" / "explain.json")
    chosen = parser.parse_args()
    model = encoder(chosen.embedder)
    try:
        pairs, source = pairs_for(chosen, model)
    except InvalidInput as error:
        print(f"left out: {error}")
        return
    print(f"{len(pairs)} genuine pairs of {source}; {model.space.model}, {model.runtime}; {chosen.masks} masks a face")
    answers: dict[str, object] = {"machine": machine(model), "source": source, "pairs": len(pairs)}
    answers["cpu_s"] = timed(model.embed_aligned, pairs, chosen.masks)
    print(f"processor time of an explanation: {answers['cpu_s']:.2f} s")
    if chosen.impostors:
        pairs = [(first, pairs[(place + 1) % len(pairs)][1]) for place, (first, _) in enumerate(pairs)]
        print("each first face with the next person's second: what keeps them apart, so a fall is a rise")
    table = measured(pairs, model.embed_aligned, chosen.masks, against=chosen.impostors)
    for filling, rows in table.items():
        show(rows, f"hidden by {filling}")
    answers["maps"] = table
    if chosen.checks:
        answers["checks"] = checks(model.embed_aligned, pairs[:8], chosen.masks)
        print("\nrank correlation of a face's map with its map …")
        for name, value in answers["checks"].items():
            print(f"{name:28}{value:8.3f}")
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(answers, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
