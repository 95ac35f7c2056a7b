"""What a similarity of 0 to 100 means, as Rekognition's calls give it: measured false matches, and who is still found.

    python benchmarks/rekognition_scale.py [--pictures FOLDER] [--embedder NAME] [--out FILE]

The scale is fixed by false match rates (api/rekognition/scale.py). For each mark: the cosine that the shipped
calibration takes for it, the 95 % interval of the rate there, whether data show it or a tail is drawn on, and the
chance that a stranger matches anyone in galleries of 100, 1,000 and 10,000 faces. Beside them, from a folder of
people that neither calibration nor scale ever saw (LFW View 1 DevTest in ../shared unless another is named): the
share of pairs of two people, each picture with each, that reach it, and of pairs of one person, the first picture
being the template.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
from public_faces import DEFAULT_EMBEDDER, ROOT, SHARED, embedded, encoder, machine

from api.rekognition.scale import fmr_of
from embedder.evaluate.intervals import exact_interval
from embedder.evaluate.vectors import Embedded
from lookalike.calibration import Calibration

MARKS = (50, 60, 70, 80, 90, 95, 99)
GALLERIES = (100, 1000, 10_000)


def promised(calibration: Calibration, mark: float) -> dict[str, object]:
    """What the calibration says of a mark."""
    bar = calibration.threshold_for_fmr(fmr_of(mark))
    return {
        "similarity": mark,
        "fmr": fmr_of(mark),
        "cosine": bar.similarity,
        "interval": bar.interval,
        "source": bar.source,
        "fpir": [calibration.fpir(bar.similarity, size) for size in GALLERIES],
    }


def observed(faces: Embedded, cosine: float) -> dict[str, object]:
    """Shares of pairs that reach a cosine; the interval of one person's takes each person as one, so none is given."""
    people, first = np.unique(faces.person, return_index=True)
    scores = faces.probes @ faces.templates[first].T
    same = faces.person[:, None] == people[None, :]
    itself = np.zeros_like(same)
    itself[first, np.arange(len(people))] = True
    others, own = scores[~same], scores[same & ~itself]
    reached = int((others >= cosine).sum())
    return {
        "pairs": len(others),
        "matches": reached,
        "fmr": reached / len(others),
        "pairs_interval": exact_interval(reached, len(others)),
        "own_pairs": len(own),
        "found": float((own >= cosine).mean()),
    }


def show(row: dict[str, object]) -> None:
    seen = row["observed"]
    low, high = row["interval"]
    fpir = "  ".join(f"{100 * rate:6.2f} %" for rate in row["fpir"])
    told = "" if seen is None else f"  {seen['matches']:6} of {seen['pairs']:,}  {100 * seen['found']:6.2f} %"
    rate = f"{row['fmr']:.1e} ({low:.1e}-{high:.1e}, {row['source']})"
    print(f"{row['similarity']:3}  {rate}  {row['cosine']:.3f}  {fpir}{told}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, default=SHARED / "faces" / "eval" / "lfw_dev")
    parser.add_argument("--embedder", default=DEFAULT_EMBEDDER)
    parser.add_argument("--out", type=Path, default=ROOT / "bench-output" / "rekognition_scale.json")
    chosen = parser.parse_args()
    calibration = Calibration.from_json(
        (files("lookalike") / "calibrations" / f"{chosen.embedder}.json").read_text("utf-8")
    )
    faces = model = None
    if chosen.pictures.is_dir():
        model = encoder(chosen.embedder)
        faces = embedded(chosen.pictures, model)
    else:
        print(f"without observed rates: there are no pictures at {chosen.pictures.name}", file=sys.stderr)
    print("mark  false match rate                       cosine  strangers matched among 100, 1,000, 10,000   observed")
    rows = []
    for mark in MARKS:
        row = promised(calibration, mark)
        row["observed"] = None if faces is None else observed(faces, float(str(row["cosine"])))
        rows.append(row)
        show(row)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    report = {"embedder": chosen.embedder, "pictures": chosen.pictures.name, "machine": machine(model), "rows": rows}
    chosen.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
