"""The int8 SFace, from the cache or quantised now from the pinned float32 file and the committed ranges."""

from __future__ import annotations

import hashlib
import importlib.resources
from pathlib import Path

from embedder.models import SFACE, load_bundled, load_converted

QUANTISATION = "1"
"""Part of the cached file's name and of the Space: change it whenever `embedder/quantise.py` gives another network."""


def load_sface_int8(cache_dir: Path) -> tuple[bytes, str]:
    """The int8 SFace, from the cache or made now, and what names its ranges and the way of quantising in a Space.

    Raises: BadModel.
    """
    text = importlib.resources.files("embedder").joinpath("data/sface-int8-ranges.json").read_text("utf-8")
    version = f"{hashlib.sha256(text.encode()).hexdigest()[:8]}-{QUANTISATION}"
    name = f"sface-int8-{SFACE.sha256[:12]}-{version}"

    def convert() -> bytes:
        from embedder.quantise import quantise, read_ranges  # a third of a second to import, once in a cache's life

        return quantise(load_bundled(SFACE, cache_dir), read_ranges(text))

    return load_converted(name, cache_dir, convert), version
