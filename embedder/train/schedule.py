"""How the learning rate goes with the steps. Pure."""

from __future__ import annotations

import math

from embedder.train.config import Optimiser


def rate_factor(step: int, settings: Optimiser) -> float:
    """What the rates are multiplied with at a step, from 0 on: a linear warm-up, then as `schedule` says."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    if settings.schedule != "cosine":
        return 1.0
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
