"""How well unknown faces are grouped, and what keeping them costs: people whom nobody enrolled, through the service.

    python benchmarks/unknowns.py [--draws 10] [--out FILE]

Some people of ../shared/faces/train/celeba10k are enrolled. Pictures of celeba300, whom nobody enrolled, are
identified; what the service would keep of them (those that match nobody and are good enough) is then fed to its
grouping in a random order, half of the people at a time. Two pictures of one row are right if they show one person.
Beside it stand scikit-learn's DBSCAN, HDBSCAN and average linkage, which see all pictures at once.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from public_faces import CACHE, ROOT, SHARED

from api.wiring import Services, local_principal, open_services
from lookalike.answers import Caller, Picture
from lookalike.domain import Box, Floats, Labels, Quality
from lookalike.errors import LookalikeError
from lookalike.settings import Settings
from lookalike.unknown_groups import Bars, Groups, Sighting
from lookalike.unknowns import ROWS_SHARE, SIGHTING_SHARE

ENROLLED = 300
RATES = (0.1, 0.01, 0.001)
WAYS = {"as they come": (SIGHTING_SHARE, ROWS_SHARE), "all at the rate itself": (1.0, 1.0)}
ROWS = 10_000
BOX, QUALITY = Box(0.0, 0.0, 50.0, 50.0), Quality(1.0)
CALLER = Caller(local_principal(), "bench")


def enrol(services: Services) -> None:
    people = [sorted(p.glob("*.jpg")) for p in sorted((SHARED / "faces/train/celeba10k").iterdir())]
    services.gallery.create_collection(CALLER, "gate")
    for number, pictures in enumerate([p for p in people if len(p) > 1][:ENROLLED]):
        with suppress(LookalikeError):
            services.gallery.enrol(CALLER, "gate", str(number), [Picture("1.jpg", pictures[0].read_bytes())])


def strangers(services: Services) -> tuple[Floats, Labels, dict[str, int]]:
    """(vectors, person) of what the service would keep, and what became of the pictures."""
    services.gallery.update_collection(CALLER, "gate", keep_unknown_days=30)
    vectors: list[Floats] = []
    person: list[int] = []
    counts: Counter[str] = Counter()
    who = 0

    def note(where: object, faces: Sequence) -> None:
        vectors.extend(face.vector for face in faces)
        person.extend(who for _ in faces)
        counts["kept"] += len(faces)

    services.gallery.unknowns.note = note
    for who, folder in enumerate(sorted((SHARED / "faces/train/celeba300").iterdir())):  # noqa: B007 - read by note
        for path in sorted(folder.glob("*.jpg")):
            counts["pictures"] += 1
            with suppress(LookalikeError):
                answer = services.gallery.identify(CALLER, "gate", path.read_bytes(), largest_only=True)
                counts["matched somebody"] += bool(answer.faces[0].candidates)
                counts["not good enough"] += bool(answer.faces[0].face.quality.reasons)
    del services.gallery.unknowns.note
    return np.stack(vectors), np.array(person), dict(counts)


def bar_of(services: Services, rate: float, rows: int) -> float:
    where = services.answers.collection("gate")
    calibration = services.models.calibration(where.space)
    assert calibration is not None
    return calibration.threshold(rate, max(rows, 1)).similarity


def grouped(vectors: Floats, bars: Callable[[int], Bars]) -> Labels:
    """The row of each vector, in the order in which they come, as the service groups them. bars: by how many rows."""
    groups, members = Groups("0" * 16, ()), defaultdict(list)
    for at, vector in enumerate(vectors):
        done = groups.take([Sighting(BOX, QUALITY, vector, float(at))], bars(len(groups) + 1))
        (row,) = done.put
        members[row].append(at)
        for gone in done.gone:
            members[row] += members.pop(gone)
    found = np.empty(len(vectors), np.int64)
    for number, places in enumerate(members.values()):
        found[places] = number
    return found


def judged(row: Labels, person: Labels) -> list[float]:
    """Of pairs: precision, recall; rows a person; people of several pictures in one row, in %; rows of two people."""
    same_row, same_person = row[:, None] == row[None], person[:, None] == person[None]
    upper = np.triu(np.ones(same_row.shape, bool), 1)
    right = (same_row & same_person & upper).sum()
    several = [who for who, count in Counter(person.tolist()).items() if count > 1]
    rows = [len(set(row[person == who].tolist())) for who in several]
    mixed = [len(set(person[row == one].tolist())) > 1 for one in np.unique(row)]
    return [
        100 * right / max((same_row & upper).sum(), 1),
        100 * right / max((same_person & upper).sum(), 1),
        float(np.mean(rows)),
        100 * float(np.mean(np.array(rows) == 1)),
        100 * float(np.mean(mixed)),
    ]


def others(vectors: Floats, bar: float) -> dict[str, Labels]:
    """What scikit-learn makes of all vectors at once; what it calls noise is a row of its own."""
    from sklearn.cluster import DBSCAN, HDBSCAN, AgglomerativeClustering

    distances = np.clip(1 - vectors @ vectors.T, 0, None).astype(np.float64)
    ways = {
        "DBSCAN, 2 neighbours": DBSCAN(eps=1 - bar, min_samples=2, metric="precomputed"),
        "HDBSCAN, from 2": HDBSCAN(min_cluster_size=2, metric="precomputed", copy=True),
        "average linkage": AgglomerativeClustering(
            n_clusters=None, distance_threshold=1 - bar, metric="precomputed", linkage="average"
        ),
    }
    found = {}
    for name, way in ways.items():
        row = way.fit_predict(distances)
        alone = row < 0
        row[alone] = row.max() + 1 + np.arange(alone.sum())
        found[name] = row
    return found


def purity(services: Services, vectors: Floats, person: Labels, draws: int) -> dict[str, dict[str, list[float]]]:
    """Mean and standard deviation over draws of half of the people in a random order."""
    seen: dict[str, list[list[float]]] = defaultdict(list)
    people = int(person.max()) + 1
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        chosen = np.isin(person, rng.permutation(people)[: people // 2])
        order = rng.permutation(np.flatnonzero(chosen))
        for rate in RATES:
            for way, shares in WAYS.items():
                rows = grouped(
                    vectors[order],
                    lambda n, rate=rate, shares=shares: Bars(*(bar_of(services, rate * share, n) for share in shares)),
                )
                seen[f"{way}, rate {rate}"].append(judged(rows, person[order]))
        bar = bar_of(services, 0.01, people // 2)
        for name, rows in others(vectors[order], bar).items():
            seen[f"{name}, rate 0.01"].append(judged(rows, person[order]))
    names = ("pair precision", "pair recall", "rows a person", "people in one row", "rows of two people")
    table = {}
    for way, values in seen.items():
        spread = zip(names, np.mean(values, axis=0).tolist(), np.std(values, axis=0, ddof=1).tolist(), strict=True)
        table[way] = {name: [round(mean, 2), round(deviation, 2)] for name, mean, deviation in spread}
        print(f"{way:34} " + "   ".join(f"{name} {m:.2f} ± {d:.2f}" for name, (m, d) in table[way].items()))
    return table


def costs(services: Services, rounds: int = 100) -> dict[str, float]:
    """CPU milliseconds of identify without and with keeping, and of storing a sighting among many rows."""
    photo = next((SHARED / "faces/train/celeba300").glob("*/*.jpg")).read_bytes()
    times: dict[str, float] = {}
    for name, days in (("off", None), ("on", 30), ("off again", None), ("on again", 30)):
        services.gallery.update_collection(CALLER, "gate", keep_unknown_days=days)
        services.gallery.identify(CALLER, "gate", photo)
        began = time.thread_time()
        for _ in range(rounds):
            services.gallery.identify(CALLER, "gate", photo)
        times[f"identify, {name}"] = 1000 * (time.thread_time() - began) / rounds
    services.gallery.unknowns.flush()
    services.gallery.update_collection(CALLER, "gate", keep_unknown_days=None)
    services.gallery.update_collection(CALLER, "gate", keep_unknown_days=30)
    where = services.answers.collection("gate")
    rng = np.random.default_rng(1)
    face = services.models.encoder(where.space).encode(photo, crops=True)[0]
    faces = rng.standard_normal((ROWS, where.space.dimension)).astype(np.float32)
    faces /= np.linalg.norm(faces, axis=1, keepdims=True)
    for start in range(0, ROWS, 500):
        services.gallery.unknowns.note(where, [replace(face, vector=v) for v in faces[start : start + 500]])
        began = time.perf_counter()
        services.gallery.unknowns.flush()
        times["store 500 sightings among the last rows, s"] = time.perf_counter() - began
    services.gallery.unknowns.note(where, [replace(face, vector=faces[7])])
    began = time.perf_counter()
    services.gallery.unknowns.flush()
    times[f"store one among {ROWS}"] = 1000 * (time.perf_counter() - began)
    began = time.perf_counter()
    services.gallery.unknowns.page(CALLER, "gate", 50, None)
    times[f"list among {ROWS}"] = 1000 * (time.perf_counter() - began)
    services.gallery.unknowns._known.clear()
    began = time.perf_counter()
    services.gallery.unknowns.page(CALLER, "gate", 50, None)
    times["the first list after a start"] = 1000 * (time.perf_counter() - began)
    times["rows"] = float(len(services.gallery.unknowns._current(where).rows))
    for name, value in times.items():
        print(f"{name:45} {value:10.2f}")
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--out", type=Path, default=ROOT / "bench-output" / "unknowns.json")
    chosen = parser.parse_args()
    if not (SHARED / "faces" / "train").is_dir():
        print(f"left out: {SHARED} is not here (LOOKALIKE_SHARED names another folder)")
        return
    with tempfile.TemporaryDirectory() as folder:
        services = open_services(Settings(data=Path(folder) / "data"))
        try:
            enrol(services)
            kept = CACHE / "unknown-strangers.npz"
            if not kept.is_file():
                vectors, person, counts = strangers(services)
                np.savez(kept, vectors=vectors, person=person, counts=json.dumps(counts))
            with np.load(kept) as held:
                vectors, person, counts = held["vectors"], held["person"], json.loads(str(held["counts"]))
            print(counts)
            result = {
                "pictures": counts,
                "grouping": purity(services, vectors, person, chosen.draws),
                "ms": costs(services),
            }
        finally:
            services.close()
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
