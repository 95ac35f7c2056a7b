"""Model bundles as files: those shipped with Lookalike and those that the settings name; verified, then made a model.

"bundle:items-1" is a shipped one, "bundle:PATH.lkb" a file. These and imported ones (api/bundle_store.py) are opened by
the same checks: a signature of a key that is trusted, then the manifest, entry by entry (embedder/bundles.py), then
each part's length and hash (security/bundle_file.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np

from embedder.bundles import Manifest, calibration, centre_of, face_model, image_model, read_manifest
from embedder.factory import DETECTORS
from embedder.images import Decode, ImageLimits, decode_image, encode_jpeg
from embedder.pipeline import FaceEmbedder
from embedder.runtime import open_runtime
from embedder.whole_pictures import ImageEmbedder
from lookalike.calibration import Calibration
from lookalike.domain import Kind
from lookalike.errors import BadBundle, BadModel, ModelNotAvailable
from lookalike.ports import FaceEncoder
from lookalike.settings import Settings
from security.bundle_file import MAX_BUNDLE_BYTES, OpenedBundle, open_bundle
from security.makers import trusted_makers

PREFIX = "bundle:"
SUFFIX = ".lkb"


def shipped_names(kind: Kind) -> list[str]:
    """As settings and collections name them. Shipped bundles say their kind in their name's first word."""
    words = {Kind.FACE: "faces", Kind.IMAGE: "items"}
    names = sorted(path.name.removesuffix(SUFFIX) for path in _shipped())
    return [PREFIX + name for name in names if name.split("-")[0] == words[kind]]


def trusted_keys(settings: Settings) -> tuple[bytes, ...]:
    """Makers that come with Lookalike, and those that the operator names. Raises: BadSettings."""
    return tuple(trusted_makers(settings.model_signers))


def open_named(
    settings: Settings, name: str, trusted: Collection[bytes] | None = None
) -> tuple[Manifest, OpenedBundle]:
    """A bundle by its name or path, every check passed. trusted: by default those of the settings and the shipped ones.

    Raises: ModelNotAvailable, BadModel.
    """
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
    return open_verified(data, trusted_keys(settings) if trusted is None else trusted)


def open_verified(
    data: bytes, trusted: Collection[bytes], max_bytes: int = MAX_BUNDLE_BYTES
) -> tuple[Manifest, OpenedBundle]:
    """A bundle's bytes, every check passed. Raises: BadBundle, UntrustedBundle."""
    opened = open_bundle(data, trusted, check=_manifest, max_bytes=max_bytes)
    return _manifest(opened.manifest), opened


def _manifest(text: bytes) -> Manifest:
    """Raises: BadBundle."""
    try:
        manifest = read_manifest(text)
    except BadModel as error:
        raise BadBundle(str(error)) from error
    if manifest.text != text:
        raise BadBundle("the bundle's manifest is not written in its canonical form")
    return manifest


def load_bundle(
    settings: Settings, kind: Kind, name: str, decode: Decode = decode_image
) -> tuple[FaceEncoder, Calibration | None]:
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
    return make_encoder(settings, manifest, opened.parts, decode), calibration(opened.parts)


def make_encoder(
    settings: Settings, manifest: Manifest, parts: Mapping[str, bytes], decode: Decode = decode_image
) -> FaceEncoder:
    """What a verified bundle makes. Raises: BadModel, BadSettings."""
    runtime = open_runtime(settings.runtime)
    limits = ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)
    centre = centre_of(manifest)
    if manifest.kind is Kind.IMAGE:
        model = image_model(manifest, parts, runtime)
        return ImageEmbedder(model, limits=limits, centre=centre, flip=manifest.flip, decode=decode)
    detector = DETECTORS[settings.detector](settings.data.absolute() / "models", runtime, settings.max_faces)
    faces = face_model(manifest, parts, runtime)
    return FaceEmbedder(detector, faces, limits=limits, centre=centre, flip=manifest.flip, decode=decode)


def try_out(settings: Settings, manifest: Manifest, parts: Mapping[str, bytes]) -> FaceEncoder:
    """Load the model and embed two pictures of noise. Raises: BadBundle where that gives no sound vectors."""
    noise = np.random.default_rng(0).integers(0, 256, (2, 112, 112, 3), np.uint8)
    try:
        calibration(parts)
        encoder = make_encoder(settings, manifest, parts)
        found = encoder.encode_crops([encode_jpeg(picture) for picture in noise], enrolment=True).vectors
    except BadModel as error:
        raise BadBundle(str(error)) from error
    lengths = np.linalg.norm(found, axis=1)
    if found.shape != (2, manifest.dimension) or not np.allclose(lengths, 1, atol=1e-3):
        raise BadBundle(f"the model {manifest.name!r} gives no unit vectors of {manifest.dimension} numbers")
    if np.array_equal(found[0], found[1]):
        raise BadBundle(f"the model {manifest.name!r} gives one vector for different pictures")
    return encoder


def _shipped() -> list[Path]:
    folder = Path(str(files("embedder"))) / "shipped"
    return sorted(folder.glob(f"*{SUFFIX}"))
