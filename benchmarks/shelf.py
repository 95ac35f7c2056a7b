"""What a search by regions is worth on shelves: composed pictures of many things, through the service's own use cases.

    python benchmarks/shelf.py [--folder ../shared/items/eval] [--seed 1] [--shelves 40] [--empty 40] [--out FILE]

The folder holds a folder of pictures per class. Of three quarters of the classes some pictures are enrolled, others
stand on shelves, beside things of the other classes, which nobody enrolled. A shelf is a photograph that packages
bring, with pictures of things on it in rows, their edges faded so that no frame gives them away. What the place of a
thing is, is known, since it was put there. Beside regions stands the search of the whole picture, which can say what
is there, not where. Empty shelves are photographs without a thing: whatever is found there is a false alarm.

Intervals are of resampled shelves. Windows and rates were chosen with `--folder ../shared/items/train`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from public_faces import ROOT, SHARED

from api.wiring import Services, local_principal, open_services
from embedder.images import ImageLimits, decode_image, encode_jpeg
from lookalike.answers import Caller, Identification, Picture
from lookalike.domain import Box, Kind, Pixels
from lookalike.regions import overlap
from lookalike.settings import Settings

WIDTH, HEIGHT = 1280, 960
ENROLLED_PICTURES = 12
RATES = (0.3, 0.1, 0.01)
SIMILARITIES = (0.6, 0.7, 0.8)
RIGHT = 0.5
"""The least intersection over union with a thing's true place."""

BACKGROUNDS = {
    "chosen with": ("coffee.png", "brick.png", "motorcycle_left.png", "gravel.png"),
    "measured on": ("chelsea.png", "grass.png", "rocket.jpg", "astronaut.png", "china.jpg", "flower.jpg"),
}
"""Photographs of scikit-image and scikit-learn; those for choosing are not those for measuring."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """things: (class, place); classes: those of them that are enrolled."""

    data: bytes
    things: tuple[tuple[str, Box], ...]


@dataclass(frozen=True, slots=True)
class Found:
    subject: str
    box: Box
    score: float


def photographs(names: Sequence[str]) -> list[Pixels]:
    """Pictures that packages bring, by file name."""
    from sklearn.datasets import load_sample_image

    wheel = next((ROOT / ".cache" / "photos").glob("scikit_image-*.whl"))
    found = []
    with zipfile.ZipFile(wheel) as archive:
        for name in names:
            if name in ("china.jpg", "flower.jpg"):
                found.append(np.asarray(load_sample_image(name), np.uint8))
            else:
                found.append(decode_image(archive.read(f"skimage/data/{name}"), ImageLimits()))
    return found


def background(pictures: Sequence[Pixels], rng: np.random.Generator) -> Pixels:
    """A random part of a random photograph, as large as a shelf."""
    picture = pictures[rng.integers(len(pictures))]
    height, width = picture.shape[:2]
    part = rng.uniform(0.6, 1.0) * min(1.0, width / height * HEIGHT / WIDTH)
    tall, wide = part * height, part * height * WIDTH / HEIGHT
    wide, tall = (wide, tall) if wide <= width else (width, width * HEIGHT / WIDTH)
    x, y = int(rng.uniform(0, width - wide)), int(rng.uniform(0, height - tall))
    return np.array(cv2.resize(picture[y : y + int(tall), x : x + int(wide)], (WIDTH, HEIGHT)), np.uint8)


def composed(base: Pixels, pick: Callable[[], tuple[str, Path]], rng: np.random.Generator) -> Shelf:
    """Rows of things on a photograph, with gaps."""
    canvas, things, top = base.astype(np.float32), [], float(rng.uniform(10, 60))
    while top < HEIGHT - 140:
        tall = float(rng.uniform(140, 330))
        left = float(rng.uniform(0, 80))
        while top + tall < HEIGHT and left < WIDTH - 100:
            label, path = pick()
            picture = decode_image(path.read_bytes(), ImageLimits())
            high = tall * float(rng.uniform(0.85, 1.0))
            wide = high * picture.shape[1] / picture.shape[0]
            if left + wide > WIDTH:
                break
            if rng.random() < 0.75:
                box = Box(round(left), round(top + tall - high), round(wide), round(high))
                _put(canvas, picture, box)
                things.append((label, box))
            left += wide + float(rng.uniform(0, 40))
        top += tall + float(rng.uniform(10, 50))
    return Shelf(encode_jpeg(canvas.clip(0, 255).astype(np.uint8), 90), tuple(things))


def _put(canvas: np.ndarray, picture: Pixels, box: Box) -> None:
    x, y, wide, high = (int(v) for v in (box.x, box.y, box.width, box.height))
    resized = cv2.resize(picture, (wide, high), interpolation=cv2.INTER_AREA).astype(np.float32)
    edge = max(4, round(0.06 * min(wide, high)))
    mask = np.zeros((high, wide), np.float32)
    mask[edge // 2 : high - edge // 2, edge // 2 : wide - edge // 2] = 1
    mask = cv2.GaussianBlur(mask, (0, 0), edge / 2)[..., None]
    part = canvas[y : y + high, x : x + wide]
    canvas[y : y + high, x : x + wide] = part * (1 - mask) + resized * mask


# ------------------------------------------------------------------------------------------------ figures


def average_precision(scores: np.ndarray, right: np.ndarray, total: int) -> float:
    """Area under precision by recall, all points; precision is the best at this recall or a greater one."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best * right[order]).sum() / total)


def by_place(shelves: Sequence[Shelf], answers: Sequence[Sequence[Found]], subject: str) -> tuple[list, list, int]:
    """(scores, right, how many there are) of one subject's boxes; a thing is found once."""
    scores, right, total = [], [], 0
    for shelf, found in zip(shelves, answers, strict=True):
        waiting = [box for label, box in shelf.things if label == subject]
        total += len(waiting)
        for one in sorted((f for f in found if f.subject == subject), key=lambda f: -f.score):
            best = max(waiting, key=lambda box: overlap(one.box, box), default=None)
            hit = best is not None and overlap(one.box, best) >= RIGHT
            if hit:
                waiting.remove(best)
            scores.append(one.score)
            right.append(hit)
    return scores, right, total


def by_presence(shelves: Sequence[Shelf], answers: Sequence[Sequence[Found]], subject: str) -> tuple[list, list, int]:
    """(scores, right, how many there are) of one subject's pictures, by their best box."""
    scores, right, total = [], [], 0
    for shelf, found in zip(shelves, answers, strict=True):
        there = any(label == subject for label, _ in shelf.things)
        total += there
        best = max((f.score for f in found if f.subject == subject), default=None)
        if best is not None:
            scores.append(best)
            right.append(there)
    return scores, right, total


def mean_precision(how: Callable, shelves: Sequence[Shelf], answers: Sequence[Sequence[Found]], names) -> float:
    values = []
    for subject in names:
        scores, right, total = how(shelves, answers, subject)
        if total:
            values.append(average_precision(np.array(scores), np.array(right, float), total) if scores else 0.0)
    return 100 * float(np.mean(values))


def with_interval(figure: Callable[[list[int]], float], count: int, draws: int = 300) -> list[float]:
    """[value, low, high]: 95 % of resampled shelves."""
    rng = np.random.default_rng(0)
    drawn = [figure(list(rng.integers(count, size=count))) for _ in range(draws)]
    return [figure(list(range(count))), *(float(v) for v in np.quantile(drawn, [0.025, 0.975]))]


# --------------------------------------------------------------------------------------------- the service


class Shop:
    """A collection of the enrolled classes in a data folder of its own."""

    def __init__(self, services: Services, enrolled: dict[str, list[Path]]) -> None:
        self.gallery = services.gallery
        self.caller = Caller(local_principal(), "bench")
        self.gallery.create_collection(self.caller, "shop", kind=Kind.IMAGE)
        for label, paths in enrolled.items():
            pictures = [Picture(path.name, path.read_bytes()) for path in paths]
            self.gallery.enrol(self.caller, "shop", label, pictures)
        self.gallery.calibrate(self.caller, "shop")

    def ask(self, data: bytes, **how: object) -> Identification:
        return self.gallery.search(self.caller, "shop", data, **how)

    def boxes(self, data: bytes, **how: object) -> list[Found]:
        """The first candidate of each place."""
        answer = self.ask(data, regions=True, limit=1, **how)
        return [
            Found(f.candidates[0].subject.id, f.face.box, f.candidates[0].similarity)
            for f in answer.faces
            if f.candidates
        ]

    def whole(self, data: bytes, **how: object) -> list[Found]:
        (face,) = self.ask(data, limit=100, **how).faces
        return [Found(c.subject.id, face.face.box, c.similarity) for c in face.candidates]


def measured(shop: Shop, shelves: list[Shelf], empty: list[bytes], names: list[str]) -> dict[str, object]:
    began = time.process_time()
    ranked = [shop.boxes(shelf.data, threshold=0.0) for shelf in shelves]
    seconds = (time.process_time() - began) / len(shelves)
    whole = [shop.whole(shelf.data, threshold=0.0) for shelf in shelves]
    result: dict[str, object] = {"cpu_seconds_a_picture": round(seconds, 2)}
    kinds = {
        "regions, by place": (by_place, ranked),
        "regions, by presence": (by_presence, ranked),
        "whole picture, by presence": (by_presence, whole),
    }
    for name, (how, answers) in kinds.items():
        value = with_interval(
            lambda rows, how=how, answers=answers: mean_precision(
                how, [shelves[i] for i in rows], [answers[i] for i in rows], names
            ),
            len(shelves),
        )
        result[f"mAP, {name}"] = [round(v, 1) for v in value]
        print(f"mAP {name:28} {value[0]:5.1f} % ({value[1]:.1f}-{value[2]:.1f})")
    bare = [shop.boxes(data, threshold=0.0) for data in empty]
    bars = {f"rate {rate}": shop.ask(shelves[0].data, regions=True, fpir=rate).threshold.similarity for rate in RATES}
    bars |= {f"similarity {similarity}": similarity for similarity in SIMILARITIES}
    for name, bar in bars.items():
        result[name] = at_bar(name, bar, shelves, ranked, bare, names)
    print(f"{seconds:.2f} s of one core a picture of {WIDTH}×{HEIGHT}")
    return result


def at_bar(
    name: str,
    bar: float,
    shelves: list[Shelf],
    ranked: list[list[Found]],
    bare: list[list[Found]],
    names: list[str],
) -> dict[str, float]:
    """What is found and what is wrong at a threshold; places come best first, so a bar leaves the first ones."""
    found = [[one for one in answer if one.score >= bar] for answer in ranked]
    rows = [by_place(shelves, found, name) for name in names]
    right, boxes, total = sum(sum(r) for _, r, _ in rows), sum(len(s) for s, _, _ in rows), sum(t for _, _, t in rows)
    alarms = [sum(one.score >= bar for one in answer) for answer in bare]
    told = {
        "similarity": round(bar, 3),
        "found": round(100 * right / total, 1),
        "right": round(100 * right / max(boxes, 1), 1),
        "alarms_an_empty_picture": round(float(np.mean(alarms)), 3),
        "empty_pictures_with_an_alarm": round(100 * float(np.mean([a > 0 for a in alarms])), 1),
    }
    print(
        f"{name}: threshold {bar:.3f}, {told['found']} % of {total} things found, "
        f"{told['right']} % of {boxes} boxes right, {told['alarms_an_empty_picture']} alarms an empty picture "
        f"({told['empty_pictures_with_an_alarm']} % have one)"
    )
    return told


def made(folder: Path, seed: int, shelves: int, empty: int) -> tuple[dict[str, list[Path]], list[Shelf], list[bytes]]:
    """(what is enrolled, shelves, photographs without a thing)."""
    rng = np.random.default_rng(seed)
    classes = {each.name: sorted(each.glob("*.jpg")) for each in sorted(folder.iterdir()) if each.is_dir()}
    names = [str(name) for name in rng.permutation(sorted(classes))]
    known = sorted(names[: -(len(names) // 4)])
    mixed = {name: [classes[name][i] for i in rng.permutation(len(classes[name]))] for name in sorted(classes)}
    enrolled = {name: mixed[name][:ENROLLED_PICTURES] for name in known}
    standing = {name: mixed[name][ENROLLED_PICTURES if name in enrolled else 0 :] for name in sorted(mixed)}
    bases = photographs(BACKGROUNDS["chosen with" if folder.name == "train" else "measured on"])

    def pick() -> tuple[str, Path]:
        label = names[rng.integers(len(names))]
        return label, standing[label][rng.integers(len(standing[label]))]

    full = [composed(background(bases, rng), pick, rng) for _ in range(shelves)]
    return enrolled, full, [encode_jpeg(background(bases, rng), 90) for _ in range(empty)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=SHARED / "items" / "eval")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shelves", type=int, default=40)
    parser.add_argument("--empty", type=int, default=40)
    parser.add_argument("--show", type=Path, help="write the first shelf here")
    parser.add_argument("--out", type=Path, default=ROOT / "bench-output" / "shelf.json")
    chosen = parser.parse_args()
    if not chosen.folder.is_dir():
        print(f"left out: {chosen.folder} is not here (LOOKALIKE_SHARED names another folder)")
        return
    enrolled, shelves, empty = made(chosen.folder, chosen.seed, chosen.shelves, chosen.empty)
    if chosen.show is not None:
        chosen.show.write_bytes(shelves[0].data)
    print(f"{len(enrolled)} classes enrolled, {sum(len(s.things) for s in shelves)} things on {len(shelves)} shelves")
    with tempfile.TemporaryDirectory() as folder:
        services = open_services(Settings(data=Path(folder) / "data"))
        try:
            shop = Shop(services, enrolled)
            result = measured(shop, shelves, empty, list(enrolled))
        finally:
            services.close()
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps({"folder": chosen.folder.name, "seed": chosen.seed, **result}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
