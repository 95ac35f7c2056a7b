"""Export folders of real, if simple, models, for tests of what carries them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from embedder.bundles import write_export
from tests.embedder.small_models import projection

SIDE = 32
Fields = dict[str, object]


def bundle_fields(**changed: object) -> Fields:
    """A manifest but for its parts, of a model for pictures."""
    return {
        "format": 1,
        "name": "things",
        "kind": "image",
        "dimension": 128,
        "preprocessing": {
            "side": SIDE,
            "channels": "rgb",
            "mean": [127.0] * 3,
            "scale": [1 / 128] * 3,
            "fit": "letterbox",
        },
        "flip": "always",
        "centre": None,
        "licence": {"id": "MIT", "commercial": True, "note": ""},
        "data": "Drawn by a test.",
        "metrics": {"recall@1": {"value": 0.9, "low": 0.85, "high": 0.95, "on": "made-up things"}},
        "provenance": {"command": "a test", "seeds": [1]},
        **changed,
    }


def face_fields(**changed: object) -> Fields:
    """The same for aligned faces."""
    preprocessing = {**bundle_fields()["preprocessing"], "fit": "stretch"}  # type: ignore[dict-item]
    return bundle_fields(**{"name": "faces", "kind": "face", "preprocessing": preprocessing, **changed})


def export(folder: Path, fields: Fields | None = None, *, seed: int = 1, calibrated: bool = False) -> Path:
    """Writes an export folder. calibrated: with what another model's scores mean, since any will do."""
    parts = {"network.onnx": projection(seed=seed).SerializeToString(), "card.md": b"# Things"}
    if calibrated:
        parts["calibration.json"] = (files("lookalike") / "calibrations" / "sface.json").read_bytes()
    write_export(folder, fields or bundle_fields(), parts)
    return folder
