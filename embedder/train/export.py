"""From a finished run to an export folder: what was measured, the graph that was measured, and a card that says so."""

from __future__ import annotations

import datetime
import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from embedder.bundles import write_export
from embedder.train.config import to_dict
from embedder.train.finishing import FinishedNetwork
from embedder.train.judge import Verdict, judge
from embedder.train.onnx_export import export_onnx
from embedder.train.recipe import Run
from embedder.train.vectors import Compared, compare_ways, embed_sides, output_dimension
from lookalike.calibration import Calibration
from lookalike.domain import Floats
from lookalike.errors import NotCalibratable
from lookalike.thresholds import learn

PROBES = 16
"""Held-out pictures that the exported graph is checked with."""

CALIBRATING_CLASSES = 101


@dataclass(frozen=True, slots=True)
class Exported:
    """folder: holds manifest.json and its parts; verdict: how it stands to what costs no training."""

    folder: Path
    verdict: Verdict


def export_run(run: Run, command: str) -> Exported:
    """Judge the run on its held-out classes, and write the export folder within the run's. Raises: BadModel."""
    compared = compare_ways(run, embed_sides(run), run.config.output)
    verdict = judge(compared, run.config)
    (run.folder / "verdict.json").write_text(json.dumps(asdict(verdict), indent=1) + "\n", "utf-8")
    branches = [(run.network.top, compared.finish)]
    if run.config.output.joined:
        branches.insert(0, (compared.start.top, compared.start_finish))
    network = FinishedNetwork(run.network.base, branches)
    side = run.opened.backbone.prepare.side
    shown = run.held_out if len(run.held_out) else run.training
    probe = run.opened.backbone.prepare(list(shown.squares[:PROBES]))
    parts = {
        "network.onnx": export_onnx(network, side, probe),
        "weights.safetensors": save({k: v.detach().half().contiguous() for k, v in _trained(run).items()}),
        "card.md": card(run, verdict).encode(),
    }
    calibration = _calibration(compared)
    if calibration is not None:
        parts["calibration.json"] = calibration.to_json().encode()
    folder = run.folder / "export"
    dimension = output_dimension(run.config.output, run.network.dimension, compared.finish)
    write_export(folder, _fields(run, verdict, dimension, command), parts)
    return Exported(folder, verdict)


def _trained(run: Run) -> dict[str, torch.Tensor]:
    """The learned weights as one flat network, as `weights` of another run takes them."""
    stages = [*run.network.base.children(), *run.network.top.children()]
    return {f"{i}.{key}": value for i, stage in enumerate(stages) for key, value in stage.state_dict().items()}


def _fields(run: Run, verdict: Verdict, dimension: int, command: str) -> dict[str, object]:
    """The manifest but for its parts."""
    output, prepare = run.config.output, run.opened.backbone.prepare
    return {
        "format": 1,
        "name": output.name,
        "kind": run.config.data.kind,
        "dimension": dimension,
        "preprocessing": {
            "side": prepare.side,
            "channels": prepare.channels,
            "mean": list(prepare.mean),
            "scale": list(prepare.scale),
            "fit": prepare.fit,
        },
        "flip": output.flip,
        "centre": None,
        "licence": {"id": output.licence, "commercial": output.commercial, "note": output.note},
        "data": output.data or f"{run.training!r} in {', '.join(Path(f).name for f in run.config.data.folders)}",
        "metrics": verdict.metrics(),
        "provenance": {
            "command": command,
            "revision": _revision(),
            "seeds": [run.config.seed],
            "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "parent": run.opened.backbone.origin,
            "config": _without_places(to_dict(run.config)),
        },
    }


def _without_places(config: dict[str, object]) -> dict[str, object]:
    """Where the pictures lay is nobody's business, nor who is on them: the folders' names alone."""
    data = config["data"]
    if isinstance(data, Mapping):
        folders = [Path(str(folder)).name for folder in data["folders"]]
        return {**config, "data": {**data, "folders": folders, "without": []}}
    return config


def card(run: Run, verdict: Verdict) -> str:
    """The model's card, for people."""
    output = run.config.output
    lines = [
        f"# {output.name}",
        "",
        f"Started from: {run.opened.backbone.origin}. Trained on: {output.data or repr(run.training)}.",
        f"Licence: {output.licence}. {output.note}".strip(),
        "",
        f"**{verdict.sentence}**",
    ]
    if verdict.table:
        lines += [
            "",
            "| on held-out classes | " + " | ".join(verdict.names) + " |",
            "|---|" + "---|" * len(verdict.names),
        ]
        for name, values in verdict.table.items():
            lines.append(f"| {name} | " + " | ".join(f"{100 * value:.2f}" for value in values) + " |")
        lines += ["", f"On {run.held_out!r}, none of them in training; in per cent."]
    return "\n".join([*lines, ""])


def _calibration(compared: Compared) -> Calibration | None:
    """From the held-out classes' pairs; None where they are too few, or not faces' many."""
    labels = compared.labels
    classes, first = np.unique(labels, return_index=True)
    if len(classes) < CALIBRATING_CLASSES:
        return None
    order = np.argsort(labels, kind="stable")
    last = order[np.append(np.searchsorted(labels[order], classes[1:]), len(labels)) - 1]
    way = compared.trained
    provenance: dict[str, str | int | float] = {"learned_from": "held-out classes", "pictures": len(labels)}
    try:
        return learn(_rows(way.templates[first], way.probes[last]), provenance=provenance)
    except NotCalibratable:
        return None


def _rows(templates: Floats, probes: Floats) -> list[tuple[int, Floats]]:
    """For each class, its last picture's scores with the first pictures of all others."""
    scores = probes @ templates.T
    return [(row, np.delete(scores[row], row)) for row in range(len(scores))]


def _revision() -> str:
    """The revision of this program, where it is a git checkout."""
    root = Path(__file__).resolve().parent.parent.parent
    try:
        command = ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"]
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=5)  # noqa: S603
        return found.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        from importlib.metadata import version

        return version("lookalike")
