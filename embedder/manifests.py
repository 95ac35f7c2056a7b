"""Any ONNX network as an embedder: a JSON manifest names the file, its SHA-256 and how pixels become its input.

    {"name": "arcface-r50", "file": "r50.onnx", "sha256": "…64 hex…", "licence": "MIT", "dimension": 512,
     "side": 112, "channels": "rgb", "mean": [127.5, 127.5, 127.5], "scale": [0.00784, 0.00784, 0.00784]}

`file` lies beside the manifest. "kind": "image" says that it embeds whole pictures, fitted into the square with their
aspect ratio kept; without it, it embeds aligned faces. A pixel's value becomes (value - mean) * scale; mean and scale
follow the order that `channels` gives. The network takes (N, 3, side, side) and its first output is (N, dimension).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
    file = _text(entries, "file", r"[^/\\]+\.onnx")
    return Manifest(
        name=_text(entries, "name", r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"),
        kind=Kind(_text({"kind": "face", **entries}, "kind", "face|image")),
        file=path.parent / file,
        sha256=_text(entries, "sha256", r"[0-9a-f]{64}"),
        licence=_text(entries, "licence", r".{1,200}"),
        dimension=_whole(entries, "dimension", 8, 4096),
        side=_whole(entries, "side", 32, 512),
        channels=_text(entries, "channels", "rgb|bgr"),
        mean=_triple(entries, "mean"),
        scale=_triple(entries, "scale"),
    )


def _text(entries: Mapping[str, object], key: str, pattern: str) -> str:
    value = entries.get(key)
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise BadModel(f"the manifest's {key!r} must be a string that matches {pattern}")
    return value


def _whole(entries: Mapping[str, object], key: str, low: int, high: int) -> int:
    value = entries.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadModel(f"the manifest's {key!r} must be a whole number from {low} to {high}")
    return value


def _triple(entries: Mapping[str, object], key: str) -> tuple[float, float, float]:
    value = entries.get(key)
    if not isinstance(value, list) or len(value) != 3 or not all(_is_finite(item) for item in value):
        raise BadModel(f"the manifest's {key!r} must be three finite numbers")
    first, second, third = (float(item) for item in value)
    return first, second, third


def _is_finite(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9
