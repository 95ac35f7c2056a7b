"""What a model bundle holds and how it becomes a model: its manifest, checked entry by entry, and its parts.

    manifest.json        what the model is, how pixels reach it, who may use it, what was measured (`Manifest`)
    network.onnx         input (N, 3, side, side) float32, first output (N, dimension)
    weights.safetensors  optional: to train on from here
    calibration.json     optional: what its scores mean (lookalike/calibration.py)
    card.md              optional: for people

A trained model lies in a folder of these files, the export; `security/bundle_file.py` makes one signed file of it.
Whoever calls this module with bytes has checked their signature or trusts where they lie. No part is a pickle: a part's
name says its kind, and ONNX graphs with data outside themselves are refused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from embedder.batching import Batcher
from embedder.json_entries import is_finite, table_entry, text_entry, triple_entry, whole_entry
from embedder.models import write_atomically
from embedder.pipeline import FaceModel
from embedder.preprocessing import Preprocessing
from embedder.runtime import Runtime, available_threads
from embedder.whole_pictures import ImageModel
from lookalike.calibration import Calibration
from lookalike.domain import Floats, Kind
from lookalike.errors import BadModel

FORMAT = 1
MANIFEST = "manifest.json"
NETWORK, WEIGHTS, CALIBRATION, CARD = "network.onnx", "weights.safetensors", "calibration.json", "card.md"
PARTS = (NETWORK, WEIGHTS, CALIBRATION, CARD)
FLIPS = ("never", "enrolment", "always")
MAX_MANIFEST_BYTES = 1 << 20
MAX_PART_BYTES = 1 << 30

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Licence:
    """id: an SPDX name or words; commercial: whether licence and training data allow commercial use."""

    id: str
    commercial: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What must be known of a model before it may be used.

    flip: when a picture's vector is averaged with its mirror image's; centre: subtracted from unit vectors, or none;
    metrics, provenance: as they were written, for people; text: the canonical JSON that a signature is over.
    """

    name: str
    kind: Kind
    dimension: int
    preprocessing: Preprocessing
    flip: str
    centre: tuple[float, ...]
    licence: Licence
    data: str
    parts: Mapping[str, Part]
    metrics: Mapping[str, object] = field(default_factory=dict)
    provenance: Mapping[str, object] = field(default_factory=dict)
    text: bytes = b""

    @property
    def model(self) -> str:
        """The model's name in a Space: with a part of the manifest's hash, so that two of one name never mix."""
        return f"{self.name}-{hashlib.sha256(self.text).hexdigest()[:12]}"


def read_manifest(text: bytes) -> Manifest:
    """From its JSON. Raises: BadModel naming the first entry that is missing or wrong."""
    if len(text) > MAX_MANIFEST_BYTES:
        raise BadModel(f"a manifest has at most {MAX_MANIFEST_BYTES} bytes")
    try:
        entries = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadModel("the manifest is not JSON") from error
    if not isinstance(entries, dict):
        raise BadModel("the manifest is not a JSON object")
    if entries.get("format") != FORMAT:
        raise BadModel(f"the manifest's format is {entries.get('format')!r}; this version reads {FORMAT}")
    dimension = whole_entry(entries, "dimension", 8, 8192)
    return Manifest(
        name=text_entry(entries, "name", NAME.pattern),
        kind=Kind(text_entry(entries, "kind", "|".join(Kind))),
        dimension=dimension,
        preprocessing=_preprocessing(table_entry(entries, "preprocessing")),
        flip=text_entry(entries, "flip", "|".join(FLIPS)),
        centre=_centre(entries.get("centre"), dimension),
        licence=_licence(table_entry(entries, "licence")),
        data=text_entry(entries, "data", r"[\s\S]{1,4000}"),
        parts=_parts(table_entry(entries, "parts")),
        metrics=table_entry(entries, "metrics"),
        provenance=table_entry(entries, "provenance"),
        text=canonical(entries),
    )


def canonical(entries: Mapping[str, object]) -> bytes:
    """The one form of a manifest that is hashed and signed: keys sorted, no spaces, UTF-8."""
    try:
        text = json.dumps(entries, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise BadModel("the manifest holds what JSON cannot") from error


def check_parts(manifest: Manifest, parts: Mapping[str, bytes]) -> None:
    """Raises: BadModel unless these are the parts that the manifest names, byte for byte."""
    if parts.keys() != manifest.parts.keys():
        raise BadModel(f"the bundle's parts are {', '.join(sorted(parts))}, not {', '.join(sorted(manifest.parts))}")
    for name, part in manifest.parts.items():
        if len(parts[name]) != part.bytes or hashlib.sha256(parts[name]).hexdigest() != part.sha256:
            raise BadModel(f"the part {name} is not the one that the manifest names")


def parts_named(fields: Mapping[str, object], parts: Mapping[str, bytes]) -> bytes:
    """The manifest of these fields that names these parts, as canonical JSON. Raises: BadModel."""
    named = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in parts.items()}
    return canonical({**fields, "parts": named})


def write_export(folder: Path, fields: Mapping[str, object], parts: Mapping[str, bytes]) -> Manifest:
    """Write parts, and then a manifest that names them. fields: all of it but `parts`. Raises: BadModel."""
    manifest = read_manifest(parts_named(fields, parts))
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in parts.items():
        write_atomically(folder / name, data)
    write_atomically(folder / MANIFEST, json.dumps(json.loads(manifest.text), indent=1, ensure_ascii=False).encode())
    return manifest


def read_export(folder: Path) -> tuple[Manifest, dict[str, bytes]]:
    """What `write_export` wrote. Raises: BadModel where anything is missing or another."""
    try:
        manifest = read_manifest((folder / MANIFEST).read_bytes())
        parts = {name: (folder / name).read_bytes() for name in manifest.parts}
    except OSError as error:
        raise BadModel(f"the export folder cannot be read: {error.strerror}") from error
    check_parts(manifest, parts)
    return manifest, parts


def calibration(parts: Mapping[str, bytes]) -> Calibration | None:
    """What the model's scores mean, None where that was not learned. Raises: BadModel."""
    if CALIBRATION not in parts:
        return None
    try:
        return Calibration.from_json(parts[CALIBRATION].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise BadModel("the bundle's calibration is not text") from error


def face_model(manifest: Manifest, parts: Mapping[str, bytes], runtime: Runtime) -> FaceModel:
    """For aligned crops. Raises: BadModel where the network is not what the manifest says."""
    batched = _network(manifest, parts, runtime)
    prepare = manifest.preprocessing
    described = f"align=arcface112;{prepare.describe()}"
    return FaceModel(
        manifest.model, manifest.dimension, described, lambda crops: batched(prepare(list(crops))), runtime.description
    )


def image_model(manifest: Manifest, parts: Mapping[str, bytes], runtime: Runtime) -> ImageModel:
    """For whole pictures. Raises: BadModel where the network is not what the manifest says."""
    batched = _network(manifest, parts, runtime)
    prepare = manifest.preprocessing
    return ImageModel(
        manifest.model,
        manifest.dimension,
        prepare.describe(),
        lambda pictures: batched(prepare(pictures)),
        runtime.description,
    )


def centre_of(manifest: Manifest) -> Floats | None:
    """(D,), to be subtracted from unit vectors."""
    return np.array(manifest.centre, np.float32) if manifest.centre else None


def _network(manifest: Manifest, parts: Mapping[str, bytes], runtime: Runtime) -> Callable[[Floats], Floats]:
    """The loaded network, tried on two empty pictures."""
    from embedder.onnx_files import simplify  # a third of a second to import, and needed only where a bundle is loaded

    graph = simplify(parts[NETWORK], {0: "N"})
    network = runtime.load(graph, manifest.name)
    side = manifest.preprocessing.side
    try:
        found = next(iter(network(np.zeros((2, 3, side, side), np.float32)).values()))
    except Exception as error:  # each runtime has its own, for a graph that does not take this input
        raise BadModel(f"the model {manifest.name!r} does not take (2, 3, {side}, {side})") from error
    if found.shape != (2, manifest.dimension) or not np.isfinite(found).all():
        raise BadModel(f"the model {manifest.name!r} gives {found.shape}, not (2, {manifest.dimension}) finite numbers")
    return Batcher(lambda rows: next(iter(network(rows).values())), slots=available_threads())


def _preprocessing(entries: Mapping[str, object]) -> Preprocessing:
    return Preprocessing(
        side=whole_entry(entries, "side", 32, 1024),
        mean=triple_entry(entries, "mean"),
        scale=triple_entry(entries, "scale"),
        channels=text_entry(entries, "channels", "rgb|bgr"),
        fit=text_entry(entries, "fit", "letterbox|stretch"),
    )


def _licence(entries: Mapping[str, object]) -> Licence:
    commercial = entries.get("commercial")
    if not isinstance(commercial, bool):
        raise BadModel("the manifest's licence.commercial must be true or false")
    return Licence(text_entry(entries, "id", r".{1,200}"), commercial, text_entry(entries, "note", r"[\s\S]{0,4000}"))


def _parts(entries: Mapping[str, object]) -> dict[str, Part]:
    if NETWORK not in entries or not entries.keys() <= set(PARTS):
        raise BadModel(f"the manifest's parts: {NETWORK}, and of {', '.join(PARTS[1:])} what there is")
    parts = {}
    for name in entries:
        part = table_entry(entries, name)
        parts[name] = Part(whole_entry(part, "bytes", 1, MAX_PART_BYTES), text_entry(part, "sha256", "[0-9a-f]{64}"))
    return parts


def _centre(value: object, dimension: int) -> tuple[float, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) != dimension or not all(is_finite(item) for item in value):
        raise BadModel(f"the manifest's centre must be null or {dimension} finite numbers")
    return tuple(float(item) for item in value)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")
