"""Model bundles by name: those shipped with Lookalike, and files that the settings name; verified, then made a model.

"bundle:items-1" is a shipped one, "bundle:PATH.lkb" a file. Both are opened by the same checks: a signature of a key
that is trusted, then each part's hash (security/bundle_file.py), then the manifest, entry by entry
(embedder/bundles.py).
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from embedder.bundles import Manifest, calibration, centre_of, face_model, image_model, read_manifest
from embedder.factory import DETECTORS
from embedder.images import ImageLimits
from embedder.pipeline import FaceEmbedder
from embedder.runtime import open_runtime
from embedder.whole_pictures import ImageEmbedder
from lookalike.calibration import Calibration
from lookalike.domain import Kind
from lookalike.errors import BadBundle, ModelNotAvailable
from lookalike.ports import FaceEncoder
from lookalike.settings import Settings
from security.bundle_file import MAX_BUNDLE_BYTES, OpenedBundle, open_bundle, read_public_keys

PREFIX = "bundle:"
SUFFIX = ".lkb"


def shipped_names(kind: Kind) -> list[str]:
    """As settings and collections name them. Shipped bundles say their kind in their name's first word."""
    words = {Kind.FACE: "faces", Kind.IMAGE: "items"}
    names = sorted(path.name.removesuffix(SUFFIX) for path in _shipped())
    return [PREFIX + name for name in names if name.split("-")[0] == words[kind]]


def trusted_keys(settings: Settings) -> tuple[bytes, ...]:
    """Makers that come with Lookalike, and those that the operator names. Raises: BadSettings."""
    makers = json.loads(files("security").joinpath("makers.json").read_text("utf-8"))
    return (*(bytes.fromhex(maker["public_key"]) for maker in makers), *read_public_keys(settings.model_signers))


def open_named(settings: Settings, name: str) -> tuple[Manifest, OpenedBundle]:
    """A bundle by its name or path, every check passed. Raises: ModelNotAvailable, BadModel."""
    argument = name.removeprefix(PREFIX)
    found = next((path for path in _shipped() if path.name == argument + SUFFIX), None)
    path = found or Path(argument)
    try:
        if path.is_file() and path.stat().st_size > MAX_BUNDLE_BYTES:
            raise BadBundle(f"a bundle has at most {MAX_BUNDLE_BYTES} bytes")
        data = path.read_bytes()
    except OSError as error:
        shipped = ", ".join(path.name.removesuffix(SUFFIX) for path in _shipped()) or "none"
        raise ModelNotAvailable(f"there is no bundle {argument!r}; shipped are: {shipped}") from error
    opened = open_bundle(data, trusted_keys(settings))
    return read_manifest(opened.manifest), opened


def load_bundle(settings: Settings, kind: Kind, name: str) -> tuple[FaceEncoder, Calibration | None]:
    """The encoder that a bundle holds, and what its scores mean.

    Raises: ModelNotAvailable; BadModel, also for a licence that the operator must accept first; BadSettings.
    """
    manifest, opened = open_named(settings, name)
    if manifest.kind is not kind:
        raise BadBundle(f"the bundle {manifest.name!r} is for kind: {manifest.kind.value}, not {kind.value}")
    if not manifest.licence.commercial and manifest.name not in settings.accepted_licences:
        raise BadBundle(
            f"the licence of {manifest.name!r} ({manifest.licence.id}) does not allow commercial use: "
            "where that is accepted, name it in LOOKALIKE_ACCEPTED_LICENCES"
        )
    runtime = open_runtime(settings.runtime)
    limits = ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
    centre, found = centre_of(manifest), calibration(opened.parts)
    if kind is Kind.IMAGE:
        model = image_model(manifest, opened.parts, runtime)
        return ImageEmbedder(model, limits=limits, centre=centre, flip=manifest.flip), found
    detector = DETECTORS[settings.detector](settings.data.absolute() / "models", runtime, settings.max_faces)
    faces = face_model(manifest, opened.parts, runtime)
    return FaceEmbedder(detector, faces, limits=limits, centre=centre, flip=manifest.flip), found


def _shipped() -> list[Path]:
    folder = Path(str(files("embedder"))) / "shipped"
    return sorted(folder.glob(f"*{SUFFIX}"))
