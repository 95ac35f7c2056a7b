"""Vectors of the public pictures in ../shared, embedded once and kept under .cache/ for the benchmarks beside it.

Only for pictures that anyone may see: what the service embeds never lies on disk in the clear.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np

from embedder.evaluate.protocol import Picture, read_protocol
from embedder.evaluate.vectors import Embedded, embed, nearest_centre
from embedder.factory import build_face_embedder
from embedder.pipeline import FaceEmbedder
from lookalike.domain import Floats
from lookalike.errors import LookalikeError
from lookalike.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("LOOKALIKE_SHARED", ROOT.parent / "shared"))
CACHE = ROOT / ".cache"
DEFAULT_EMBEDDER: str = Settings.model_fields["embedder"].default


def encoder(embedder: str = DEFAULT_EMBEDDER, *, centred: bool = True) -> FaceEmbedder:
    """As the service has it; not centred, to try what centring is worth."""
    return build_face_embedder(CACHE / "models", embedder=embedder, centre="bundled" if centred else None)


def embedded(folder: Path, model: FaceEmbedder, *, aligned: bool = False) -> Embedded:
    """Every picture of a folder of people, as probe and as template. aligned: they are crops, as an encoder makes."""
    central = _names_the_central(folder)
    kept = _kept(folder, model, "central" if central else "pictures")
    if not kept.is_file():
        print(f"embedding the pictures of {folder.name}, once", file=sys.stderr)
        pictures = read_protocol(folder).pictures
        found = _crops(pictures, model) if aligned else embed(pictures, model, _progress, central=central)
        left_out = np.array([(Path(p).name, why) for p, why in found.left_out], np.str_).reshape(-1, 2)
        fields = {"probes": found.probes, "templates": found.templates, "person": found.person, "place": found.place}
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, left_out=left_out, **fields)
    with np.load(kept) as held:
        left_out = tuple((str(name), str(why)) for name, why in held["left_out"])
        return Embedded(held["probes"], held["templates"], held["person"], held["place"], left_out)


def spoiled_probes(
    folder: Path, model: FaceEmbedder, places: np.ndarray, name: str, spoil: Callable[[bytes], bytes]
) -> tuple[Floats, np.ndarray]:
    """Probes of some pictures, spoiled first. -> (M, D) and the places in the folder of those that show a face."""
    central = _names_the_central(folder)
    kept = _kept(folder, model, f"{name}-central" if central else name)
    if not kept.is_file():
        print(f"embedding {name} pictures of {folder.name}, once", file=sys.stderr)
        pictures = read_protocol(folder).pictures
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            vectors = list(pool.map(lambda place: _probe(model, pictures[place], spoil, central), places))
        there = [i for i, vector in enumerate(vectors) if vector is not None]
        np.savez(kept, vectors=np.stack([vectors[i] for i in there]), places=places[there])
    with np.load(kept) as held:
        return held["vectors"], held["places"]


def machine(model: FaceEmbedder | None = None, packages: Sequence[str] = ()) -> dict[str, object]:
    """Where figures come from. packages: to name the versions of besides."""
    versions = {name: version(name) for name in ("openvino", "numpy", "opencv-python-headless", *packages)}
    used = {} if model is None else {"model": f"{model.space.model}, {model.runtime}"}
    return {"processor": _processor(), "python": platform.python_version(), **used, **versions}


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _names_the_central(folder: Path) -> bool:
    """LFW names the person at the centre, who is not always the largest."""
    return folder.name.startswith("lfw")


def _crops(pictures: Sequence[Picture], model: FaceEmbedder) -> Embedded:
    files = [picture.path.read_bytes() for picture in pictures]
    batches = [files[start : start + 64] for start in range(0, len(files), 64)]
    probes = np.concatenate([model.encode_crops(batch).vectors for batch in batches])
    templates = np.concatenate([model.encode_crops(batch, enrolment=True).vectors for batch in batches])
    _, person = np.unique([picture.person for picture in pictures], return_inverse=True)
    return Embedded(probes, templates, person.astype(np.int64), np.arange(len(files)), ())


def _probe(model: FaceEmbedder, picture: Picture, spoil: Callable[[bytes], bytes], central: bool) -> Floats | None:
    data = spoil(picture.path.read_bytes())
    try:
        found = model.encode(data, largest_only=not central)
    except LookalikeError:
        return None
    return found[nearest_centre(data, found) if central else 0].vector if found else None


def _kept(folder: Path, model: FaceEmbedder, what: str) -> Path:
    space = model.space
    words = "-".join((folder.name, what, space.model, space.preprocessing, model.runtime))
    return CACHE / ("".join(c if c.isalnum() or c == "-" else "_" for c in words) + ".npz")


def _progress(done: int, total: int) -> None:
    if done % 500 == 0:
        print(f"{done} of {total}", file=sys.stderr)
