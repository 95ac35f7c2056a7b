"""Any ONNX network as an embedder: a JSON manifest names the file, its SHA-256 and how pixels become its input.

    {"name": "arcface-r50", "file": "r50.onnx", "sha256": "…64 hex…", "licence": "MIT", "dimension": 512,
     "side": 112, "channels": "rgb", "mean": [127.5, 127.5, 127.5], "scale": [0.00784, 0.00784, 0.00784]}

`file` lies beside the manifest. "kind": "image" says that it embeds whole pictures, fitted into the square with their
aspect ratio kept; without it, it embeds aligned faces. A pixel's value becomes (value - mean) * scale; mean and scale
follow the order that `channels` gives. The network takes (N, 3, side, side) and its first output is (N, dimension).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from embedder.json_entries import text_entry, triple_entry, whole_entry
from lookalike.domain import Kind
from lookalike.errors import BadModel


@dataclass(frozen=True, slots=True)
class Manifest:
    """What must be known of an ONNX file before it may be used. channels: "rgb" or "bgr"."""

    name: str
    kind: Kind
    file: Path
    sha256: str
    licence: str
    dimension: int
    side: int
    channels: str
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]

    @property
    def model(self) -> str:
        """The name of the model in a Space: another file is another model."""
        return f"{self.name}-{self.sha256[:12]}"


def read_manifest(path: Path) -> Manifest:
    """Raises: BadModel naming the first entry that is missing or wrong."""
    try:
        entries = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadModel(f"the manifest {path.name!r} cannot be read: {type(error).__name__}") from error
    except ValueError as error:
        raise BadModel(f"the manifest {path.name!r} is not JSON") from error
    if not isinstance(entries, dict):
        raise BadModel(f"the manifest {path.name!r} is not a JSON object")
    file = text_entry(entries, "file", r"[^/\\]+\.onnx")
    return Manifest(
        name=text_entry(entries, "name", r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"),
        kind=Kind(text_entry({"kind": "face", **entries}, "kind", "face|image")),
        file=path.parent / file,
        sha256=text_entry(entries, "sha256", r"[0-9a-f]{64}"),
        licence=text_entry(entries, "licence", r".{1,200}"),
        dimension=whole_entry(entries, "dimension", 8, 4096),
        side=whole_entry(entries, "side", 32, 512),
        channels=text_entry(entries, "channels", "rgb|bgr"),
        mean=triple_entry(entries, "mean"),
        scale=triple_entry(entries, "scale"),
    )
