"""The mean face of each bundled model, subtracted from every vector before it is compared.

Real embeddings are not centred: all faces share a direction, which only adds the same to every score. Without it
fewer people are missed at the same rate of false alarms, at no cost (docs/adr/0007).
"""

from __future__ import annotations

import json
import re
from importlib.resources import files

import numpy as np

from lookalike.domain import Floats
from lookalike.errors import BadModel

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


def bundled_centre(model: str) -> Floats | None:
    """(D,) float32, or None for a model without one. Raises: BadModel for a damaged file."""
    found = files("embedder") / "centres" / f"{model}.json"
    if not _PLAIN.fullmatch(model) or not found.is_file():
        return None
    try:
        centre = np.array(json.loads(found.read_text("utf-8"))["centre"], np.float32)
    except (ValueError, KeyError, TypeError) as error:
        raise BadModel(f"the centre of the model {model!r} is damaged") from error
    if centre.ndim != 1 or not np.isfinite(centre).all():
        raise BadModel(f"the centre of the model {model!r} is damaged")
    return centre
