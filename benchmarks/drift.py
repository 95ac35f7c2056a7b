"""How soon drift is noticed, and how often it is seen where there is none: real faces through the real service.

    python benchmarks/drift.py [--probes 2000] [--days 1000] [--out drift.json]

People of ../shared/faces/train are enrolled, and other pictures of them and of strangers identified. What the service
counts of each probe is kept, so that days can be drawn again and again: clean ones, ones of a camera whose light fails
(gain 0.35 and noise), blurred ones, and those of other people. A day is judged each 50 probes while it fills, as a
service would judge it each minute.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from embed import machine
from public_faces import CACHE, SHARED

from api.wiring import Services, local_principal, open_services
from lookalike import probe_counts
from lookalike.answers import Caller, Picture
from lookalike.domain import AuditEntry, Collection
from lookalike.drift import LEAST, Baseline, judge
from lookalike.errors import LookalikeError
from lookalike.probe_counts import QUARTERS, Counts
from lookalike.probe_log import ProbeLog
from lookalike.settings import Settings

Spoil = Callable[[np.ndarray, np.random.Generator], np.ndarray]

ENROLLED = 600
LOOK_EVERY = 50
DAY = 1_000
REGULARS = 80
"""People of a day where the same ones come again and again."""

GAINS = tuple(round(1.0 - 0.05 * step, 2) for step in range(14))


class LastCounts:
    """Takes the counts of one probe at a time from the service's own log."""

    def __init__(self) -> None:
        self.last = Counts.none()

    def add(self, collection: Collection, space: str, days: Mapping[str, Counts]) -> None:
        (self.last,) = days.values()

    def days(self, collection: Collection, space: str, first: str) -> dict[str, Counts]:
        return {}

    def baseline(self, collection: Collection, space: str) -> Baseline | None:
        return None

    def put_baseline(self, collection: Collection, space: str, baseline: Baseline, entry: AuditEntry | None) -> None:
        return

    def forget(self, collection: Collection, before: str) -> int:
        return 0


def caller() -> Caller:
    return Caller(local_principal(), "bench")


def darkened(gain: float, noise: float = 6.0) -> Spoil:
    """Less light, then the noise of a sensor, which does not grow less."""
    return lambda pixels, rng: np.clip(pixels * gain + rng.normal(0, noise, pixels.shape), 0, 255).astype(np.uint8)


def blurred(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(pixels, (0, 0), 2.0)


def as_is(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return pixels


def people_of(folder: Path, rng: np.random.Generator) -> list[list[Path]]:
    """The pictures of each person, people in a drawn order."""
    people = [sorted(person.glob("*.jpg")) for person in sorted(folder.iterdir())]
    return [people[i] for i in rng.permutation(len(people))]


def enrol(services: Services, people: Sequence[Sequence[Path]]) -> None:
    """The first picture of each, as far as it may be enrolled."""
    services.gallery.create_collection(caller(), "drift")
    for number, pictures in enumerate(people):
        with suppress(LookalikeError):
            services.gallery.enrol(caller(), "drift", f"{number}", [Picture("1.jpg", pictures[0].read_bytes())])


def counted(services: Services, files: Sequence[Path], spoil: Spoil) -> np.ndarray:
    """What the service counts of each picture: (N, width)."""
    store, rng, rows = LastCounts(), np.random.default_rng(11), []
    log = ProbeLog(store, clock=lambda: 0.0)
    where = services.answers.collection("drift")
    for file in files:
        pixels = spoil(cv2.imread(str(file)), rng)
        image = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
        with suppress(LookalikeError):
            log.noting(where, lambda sent=image: services.gallery.identify(caller(), "drift", sent))
        log.flush()
        rows.append(store.last.tally[0])
    return np.stack(rows)


def probes(size: int) -> dict[str, np.ndarray]:
    """Counts of every kind of probe, made once and kept under .cache/; "person" says whose the clean ones are."""
    recipe = b"".join(Path(file).read_bytes() for file in (__file__, probe_counts.__file__))
    kept = CACHE / f"drift-{size}-{hashlib.sha256(recipe).hexdigest()[:8]}.npz"
    if kept.is_file():
        with np.load(kept) as held:
            return dict(held)
    rng = np.random.default_rng(7)
    people = people_of(SHARED / "faces/train/celeba10k", rng)
    others = people_of(SHARED / "faces/train/celeba300", rng)
    with tempfile.TemporaryDirectory() as folder:
        services = open_services(Settings(data=Path(folder) / "data", drift_days=0))
        try:
            several = [pictures for pictures in people if len(pictures) > 1]
            enrol(services, several[:ENROLLED])
            coming = [(n, f) for n, pictures in enumerate(several[: 2 * ENROLLED]) for f in pictures[1:]]
            coming = [coming[i] for i in rng.permutation(len(coming))[:size]]
            files = [file for _, file in coming]
            found = {"clean": counted(services, files, as_is), "person": np.array([who for who, _ in coming])}
            found["dark"] = counted(services, files[:700], darkened(0.35))
            found["blurred"] = counted(services, files[:700], blurred)
            strangers = [file for pictures in others for file in pictures]
            drawn = rng.permutation(len(strangers))[:700]
            found["others"] = counted(services, [strangers[i] for i in drawn], as_is)
            for gain in GAINS[1:]:
                found[f"gain {gain}"] = counted(services, files[:300], darkened(gain, 0.0))
        finally:
            services.close()
    kept.parent.mkdir(parents=True, exist_ok=True)
    np.savez(kept, **found)
    return found


# ---------------------------------------------------------------------------------------------- drawn days


def day_of(rows: np.ndarray, rng: np.random.Generator) -> Counts:
    """Probes spread over a day's quarters."""
    found = Counts.none()
    np.add.at(found.tally, rng.integers(0, QUARTERS, len(rows)), rows)
    return found


def baseline_of(draw: Callable[[], np.ndarray], days: int, rng: np.random.Generator) -> Baseline:
    return Baseline.of({f"2026-01-{day + 1:02}": day_of(draw(), rng) for day in range(days)}, chosen=True)


def alarm_after(baseline: Baseline, rows: np.ndarray, rng: np.random.Generator, before: Counts | None = None) -> int:
    """Probes until the first alarm of a day that fills in this order, 0 for none. before: what the day held."""
    day = before or Counts.none()
    for start in range(0, len(rows), LOOK_EVERY):
        day = day + day_of(rows[start : start + LOOK_EVERY], rng)
        if any(finding.moved for finding in judge(baseline, day)):
            return min(start + LOOK_EVERY, len(rows))
    return 0


def moved(baseline: Baseline, rows: np.ndarray, rng: np.random.Generator) -> list[str]:
    return [f"{f.statistic} {f.psi:.2f}" for f in judge(baseline, day_of(rows, rng)) if f.moved]


def clean_days(found: Mapping[str, np.ndarray], days: int, baseline_days: int, regular: bool) -> int:
    """How many of so many clean days alarm, each with a baseline of its own."""
    rng = np.random.default_rng(3)
    clean, person = found["clean"], found["person"]
    everybody = np.unique(person)

    def drawn() -> np.ndarray:
        pool = clean
        if regular:
            pool = clean[np.isin(person, rng.choice(everybody, REGULARS, replace=False))]
        return pool[rng.integers(0, len(pool), DAY)]

    return sum(alarm_after(baseline_of(drawn, baseline_days, rng), drawn(), rng) > 0 for _ in range(days))


def times_to_alarm(found: Mapping[str, np.ndarray], kind: str, into_a_day: int, times: int = 20) -> list[int]:
    """Probes of a kind until the alarm, after so many clean ones of the same day; sorted, 0 for none of 700.

    The baseline has three days, the fewest that one is learned from.
    """
    rng = np.random.default_rng(5)
    clean = found["clean"]
    taken = []
    for _ in range(times):
        baseline = baseline_of(lambda: clean[rng.integers(0, len(clean), DAY)], 3, rng)
        before = day_of(clean[rng.integers(0, len(clean), into_a_day)], rng)
        taken.append(alarm_after(baseline, found[kind][rng.permutation(len(found[kind]))], rng, before))
    return sorted(taken)


def what_moves(found: Mapping[str, np.ndarray], kind: str) -> list[str]:
    rng = np.random.default_rng(2)
    clean = found["clean"]
    baseline = baseline_of(lambda: clean[rng.integers(0, len(clean), DAY)], 3, rng)
    return moved(baseline, found[kind][:500], rng)


def slow_drift(found: Mapping[str, np.ndarray], baseline_days: int, a_day: int = 300) -> tuple[float, list[str]]:
    """The gain at which a camera that loses a twentieth of its light each day is noticed, and by what."""
    rng = np.random.default_rng(9)
    clean = found["clean"]
    baseline = baseline_of(lambda: clean[rng.integers(0, len(clean), DAY)], baseline_days, rng)
    for gain in GAINS[1:]:
        rows = found[f"gain {gain}"]
        today = rows[rng.integers(0, len(rows), a_day)]
        if what := moved(baseline, today, rng):
            return gain, what
    return 0.0, []


def measure(found: Mapping[str, np.ndarray], days: int) -> dict[str, object]:
    figures: dict[str, object] = {
        f"clean days that alarm, {what}": f"{clean_days(found, days, base, regular)} of {days}"
        for what, base, regular in (
            ("everybody comes, a baseline of three days", 3, False),
            ("of seven days", 7, False),
            (f"{REGULARS} people a day and others each day, a baseline of three days", 3, True),
            (f"{REGULARS} people a day and others each day, of seven days", 7, True),
        )
    }
    for kind in ("dark", "blurred", "others"):
        for into in (0, 500, 2000):
            taken = times_to_alarm(found, kind, into)
            name = f"{kind} probes until an alarm, after {into} clean ones of the day: median, most"
            figures[name] = (taken[len(taken) // 2], "none" if 0 in taken else taken[-1])
        figures[f"what 500 {kind} probes move, PSI"] = what_moves(found, kind)
    for days_before in (3, 7):
        gain, what = slow_drift(found, days_before)
        name = f"slow drift, 5 % of the light a day, 300 probes, baseline of {days_before} days"
        figures[f"{name}: noticed at a gain of"] = gain
        figures[f"{name}: what had moved then, PSI"] = what
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--probes", type=int, default=2000)
    parser.add_argument("--days", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not (SHARED / "faces").is_dir():
        print("left out: the pictures of ../shared are not here (LOOKALIKE_SHARED names another folder)")
        return
    figures = measure(probes(options.probes), options.days)
    for name, value in figures.items():
        print(f"{name}: {value}")
    if options.out is not None:
        options.out.write_text(json.dumps({"machine": machine(), "least": LEAST, "figures": figures}, indent=2))


if __name__ == "__main__":
    main()
