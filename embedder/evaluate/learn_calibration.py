"""Learns a model's centre and calibration from a folder with a subfolder of pictures per person.

    python -m embedder.evaluate.learn_calibration FOLDER [--model sface] [--models-dir DIR]

Each person's first picture is their template and their last one the probe: every score is one that the service could
give. The files are written where the packages read them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import embedder
import lookalike
from embedder.evaluate.protocol import read_protocol
from embedder.evaluate.vectors import Embedded, embed
from embedder.factory import build_face_embedder
from embedder.pipeline import unit_rows
from lookalike.domain import Floats
from lookalike.thresholds import learn

DIGITS = 6


def learn_centre(embedded: Embedded) -> Floats:
    """The mean over people of their mean probe, rounded as it is written. -> (D,)"""
    people = np.unique(embedded.person)
    means = np.stack([embedded.probes[embedded.person == who].mean(axis=0) for who in people])
    return np.asarray(np.round(means.mean(axis=0), DIGITS), np.float32)


def stranger_scores(embedded: Embedded, centre: Floats) -> Iterator[tuple[int, Floats]]:
    """For each person, the last picture's scores with the first picture of everyone else."""
    _, first = np.unique(embedded.person, return_index=True)
    last = np.append(first[1:], len(embedded.person)) - 1
    templates = unit_rows(embedded.templates[first] - centre)
    probes = unit_rows(embedded.probes[last] - centre)
    for row, probe in enumerate(probes):
        yield row, np.delete(templates @ probe, row)


def main() -> int:
    """Embed, learn and write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="sface-int8")
    parser.add_argument("--models-dir", type=Path, default=Path("build/models"))
    chosen = parser.parse_args()
    encoder = build_face_embedder(chosen.models_dir, embedder=chosen.model, centre=None)
    protocol = read_protocol(chosen.folder)
    embedded = embed(protocol.pictures, encoder, lambda done, total: print(f"{done} of {total}", file=sys.stderr))
    centre = learn_centre(embedded)
    calibration = learn(
        stranger_scores(embedded, centre),
        provenance={
            "learned_from": protocol.name,
            "pictures": len(embedded.place),
            "scores": "first picture as template, last picture as probe",
            "command": f"python -m embedder.evaluate.learn_calibration {protocol.name} --model {chosen.model}",
            "runtime": encoder.runtime,
        },
    )
    name = f"{encoder.space.model}.json"
    facts = {"model": encoder.space.model, "learned_from": protocol.name, "people": len(np.unique(embedded.person))}
    centre_file = {**facts, "centre": [round(float(value), DIGITS) for value in centre]}
    _package(embedder.__file__, "centres", name).write_text(json.dumps(centre_file) + "\n", "utf-8")
    _package(lookalike.__file__, "calibrations", name).write_text(calibration.to_json() + "\n", "utf-8")
    return 0


def _package(init: str | None, folder: str, name: str) -> Path:
    return Path(init or ".").parent / folder / name


if __name__ == "__main__":
    raise SystemExit(main())
