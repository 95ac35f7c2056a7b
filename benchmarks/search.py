"""Search among face embeddings: processor time a query, recall and identity rank-1, ours beside the usual ways.

    python benchmarks/search.py [--size 100000] [--rounds 5] [--out search.json]

The gallery is every picture of ../shared/faces/train, embedded once (kept under .cache/), filled up to --size with
noisy copies of them (cosine about 0.74 to the original); probes are real pictures held out, one of each person who has
three or more. Every round runs each contender once, in turn, so that a neighbour's load falls on all of them; the least
of the rounds counts. Milliseconds are of the process, on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import faiss
import numpy as np

from index.backends import index_factory
from lookalike.domain import Embeddings, Floats, Labels, Space

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("LOOKALIKE_SHARED", ROOT.parent / "shared"))
NEIGHBOURS, BATCH, TIMED = 5, 64, 128
NOISE = 0.9
HNSW_UP_TO = 200_000

Search = Callable[[Floats], Labels]
"""(Q, D) queries -> (Q, 5) positions in the gallery, best first."""


@dataclass(frozen=True)
class Faces:
    """A gallery and its probes with the people on them; a negative number is a noisy copy's."""

    gallery: Floats
    people: Labels
    probes: Floats
    probe_people: Labels
    real: int


def embedded_faces() -> tuple[Floats, Labels]:
    """Vectors of all pictures of faces/train and the people on them, from .cache/ or made now (some minutes)."""
    kept = ROOT / ".cache" / "search-faces.npz"
    if not kept.exists():
        from embedder.factory import build_face_embedder

        print("embedding the pictures of faces/train, once", file=sys.stderr)
        encoder = build_face_embedder(ROOT / ".cache" / "models")
        vectors: list[Floats] = []
        people: list[int] = []
        crops = sorted((SHARED / "faces" / "train" / "celeba300").glob("*/*.jpg"))
        for start in range(0, len(crops), 32):
            block = crops[start : start + 32]
            vectors.append(encoder.encode_crops([path.read_bytes() for path in block]).vectors)
            people += [int(path.parent.name) for path in block]
        for path in sorted((SHARED / "faces" / "train" / "celeba10k").glob("*/*.jpg")):
            for face in encoder.encode(path.read_bytes(), largest_only=True)[:1]:
                vectors.append(face.vector[None])
                people.append(int(path.parent.name))
        kept.parent.mkdir(exist_ok=True)
        np.savez(kept, vectors=np.concatenate(vectors), people=np.array(people))
    with np.load(kept) as held:
        return held["vectors"], held["people"]


def make_faces(size: int) -> Faces:
    vectors, people = embedded_faces()
    rng = np.random.default_rng(0)
    shown = dict(zip(*np.unique(people, return_counts=True), strict=True))
    held_out: dict[int, int] = {}
    for i in rng.permutation(len(people)).tolist():
        if shown[people[i]] >= 3:
            held_out.setdefault(int(people[i]), i)
    is_probe = np.zeros(len(people), bool)
    is_probe[list(held_out.values())] = True
    real = vectors[~is_probe][:size]
    copies = size - len(real)
    noise = rng.standard_normal((copies, real.shape[1]), dtype=np.float32) * np.float32(NOISE / real.shape[1] ** 0.5)
    gallery = np.concatenate([real, real[rng.integers(0, len(real), copies)] + noise])
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    names = np.concatenate([people[~is_probe][:size], -1 - np.arange(copies)])
    return Faces(np.ascontiguousarray(gallery), names, vectors[is_probe], people[is_probe], len(real))


def ours(faces: Faces, backend: str, worn: bool = False) -> Search:
    """Our index; worn: a tail nearly full of rows added one by one, and a tenth of the other rows gone and back."""
    space = Space("sface", faces.gallery.shape[1], "benchmark")
    index = index_factory(backend)("", space)
    labels = np.arange(len(faces.gallery))
    last = len(labels) - (len(labels) // 20 if worn else 0)
    index.add(labels[:last], Embeddings(space, faces.gallery[:last]))
    for label in labels[last:]:
        index.add(labels[label : label + 1], Embeddings(space, faces.gallery[label : label + 1]))
    if worn:
        strangers = 10_000_000 + np.arange(len(labels) // 200)
        index.add(strangers, Embeddings(space, faces.gallery[: len(strangers)]))
        index.remove(strangers.tolist())

    def search(queries: Floats) -> Labels:
        found = index.search(Embeddings(space, queries), NEIGHBOURS)
        return np.array([[neighbour.label for neighbour in row] for row in found])

    return search


def of_faiss(index: Any, gallery: Floats, rerank: int = 0) -> Search:
    """A FAISS index, its first `rerank` ranked again by the vectors."""
    if not index.is_trained:
        index.train(gallery)
    index.add(gallery)

    def search(queries: Floats) -> Labels:
        positions = index.search(queries, rerank or NEIGHBOURS)[1]
        if not rerank:
            return np.asarray(positions)
        order = np.argsort(-np.einsum("qld,qd->ql", gallery[positions], queries), axis=1)[:, :NEIGHBOURS]
        return np.take_along_axis(positions, order, axis=1)

    return search


def sign_bits(gallery: Floats, rerank: int) -> Search:
    def pack(rows: Floats) -> np.ndarray:
        return np.packbits(rows > 0, axis=1)

    index = faiss.IndexBinaryFlat(gallery.shape[1])
    index.add(pack(gallery))

    def search(queries: Floats) -> Labels:
        positions = index.search(pack(queries), rerank)[1]
        order = np.argsort(-np.einsum("qld,qd->ql", gallery[positions], queries), axis=1)[:, :NEIGHBOURS]
        return np.take_along_axis(positions, order, axis=1)

    return search


def contenders(faces: Faces) -> dict[str, Search]:
    gallery = faces.gallery
    dimension = gallery.shape[1]
    found = {
        "faiss: (ours)": ours(faces, "faiss:"),
        "faiss: worn by writes": ours(faces, "faiss:", worn=True),
        "exact: (NumPy)": ours(faces, "exact:"),
        "FlatIP": of_faiss(faiss.IndexFlatIP(dimension), gallery),
        "SQ8, rerank 20": of_faiss(faiss.index_factory(dimension, "SQ8", faiss.METRIC_INNER_PRODUCT), gallery, 20),
        "sign bits, rerank 200": sign_bits(gallery, 200),
    }
    if len(gallery) <= HNSW_UP_TO:
        hnsw = faiss.IndexHNSWFlat(dimension, 32, faiss.METRIC_INNER_PRODUCT)
        hnsw.hnsw.efSearch = 64
        found["HNSW M 32, ef 64"] = of_faiss(hnsw, gallery)
    return found


def measure(search: Search, queries: Floats, batch: int) -> float:
    """Processor milliseconds a query."""
    started = time.process_time()
    for start in range(0, len(queries), batch):
        search(queries[start : start + batch])
    return (time.process_time() - started) * 1e3 / len(queries)


def quality(search: Search, faces: Faces, truth: Labels, similarities: Floats) -> dict[str, float]:
    """Recall against exact answers, a row as similar as the k-th counting as one of the k; identity rank-1."""
    found = np.concatenate([search(faces.probes[i : i + 256]) for i in range(0, len(faces.probes), 256)])
    scores = np.einsum("qkd,qd->qk", faces.gallery[found], faces.probes)
    hits = scores >= similarities[:, -1:] - 1e-5
    return {
        "recall_at_1": float((scores[:, 0] >= similarities[:, 0] - 1e-5).mean()),
        "recall_at_5": float(hits.mean()),
        "rank_1": float((faces.people[found[:, 0]] == faces.probe_people).mean()),
        "rank_1_exact": float((faces.people[truth[:, 0]] == faces.probe_people).mean()),
    }


def exact_answers(faces: Faces) -> tuple[Labels, Floats]:
    positions, similarities = [], []
    for start in range(0, len(faces.probes), 64):
        scores = faces.probes[start : start + 64] @ faces.gallery.T
        best = np.argsort(-scores, axis=1)[:, :NEIGHBOURS]
        positions.append(best)
        similarities.append(np.take_along_axis(scores, best, axis=1))
    return np.concatenate(positions), np.concatenate(similarities)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default="search.json")
    arguments = parser.parse_args()
    if not (SHARED / "faces").is_dir():
        sys.exit("left out: the pictures of ../shared are not here (LOOKALIKE_SHARED names another folder)")
    faces = make_faces(arguments.size)
    faiss.omp_set_num_threads(1)
    truth, similarities = exact_answers(faces)
    table = contenders(faces)
    times: dict[str, dict[str, float]] = {name: {"1": float("inf"), "64": float("inf")} for name in table}
    for _ in range(arguments.rounds):
        for name, search in table.items():
            for batch in (1, BATCH):
                times[name][str(batch)] = min(times[name][str(batch)], measure(search, faces.probes[:TIMED], batch))
    report(arguments, faces, {name: quality(table[name], faces, truth, similarities) for name in table}, times)


def report(
    arguments: argparse.Namespace,
    faces: Faces,
    qualities: dict[str, dict[str, float]],
    times: dict[str, dict[str, float]],
) -> None:
    print(
        f"{len(faces.gallery):,} rows: {faces.real:,} real faces and noisy copies of them; "
        f"{len(faces.probes):,} probes, all real; exact identity rank-1 {qualities['FlatIP']['rank_1_exact']:.4f}"
    )
    print(f"{'':24}{'ms, alone':>10}{'ms, of 64':>10}{'recall@1':>10}{'recall@5':>10}{'rank-1':>10}")
    for name, quality_of in qualities.items():
        alone, together = times[name]["1"], times[name]["64"]
        print(
            f"{name:24}{alone:10.3f}{together:10.3f}{quality_of['recall_at_1']:10.4f}{quality_of['recall_at_5']:10.4f}"
            f"{quality_of['rank_1']:10.4f}"
        )
    ratios = {
        "FlatIP / ours, alone": times["FlatIP"]["1"] / times["faiss: (ours)"]["1"],
        "FlatIP / ours, of 64": times["FlatIP"]["64"] / times["faiss: (ours)"]["64"],
        "FlatIP alone / ours of 64": times["FlatIP"]["1"] / times["faiss: (ours)"]["64"],
    }
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.1f}×")
    out = ROOT / "bench-output" / arguments.out
    out.parent.mkdir(exist_ok=True)
    out.write_text(
        json.dumps(
            {
                "machine": {"platform": platform.platform(), "processor": processor(), "cores": os.cpu_count()},
                "versions": {name: version(name) for name in ("faiss-cpu", "numpy")}
                | {"python": platform.python_version()},
                "size": len(faces.gallery),
                "real": faces.real,
                "probes": len(faces.probes),
                "ms_per_query": times,
                "quality": qualities,
                "ratios": ratios,
            },
            indent=2,
        )
        + "\n"
    )


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


if __name__ == "__main__":
    main()
