"""A run's state in one safetensors file, written whole or not at all, so that a killed run goes on exactly.

Tensors of the network, of the loss, of AdamW and of the averaged weights; numbers and history as JSON in its header.
Nothing is pickled.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from embedder.models import write_atomically
from lookalike.errors import BadModel


@dataclass(slots=True)
class State:
    """Where a run stands. step: steps done; best, best_step: of the measure that chooses; waited: evaluations since
    then; cut: what plateaus have multiplied the rate with; history: a row per evaluation; seconds: worked so far."""

    step: int = 0
    best: float = float("-inf")
    best_step: int = -1
    waited: int = 0
    cut: float = 1.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)


def save_checkpoint(path: Path, state: State, parts: dict[str, Any], optimiser: torch.optim.Optimizer) -> None:
    """parts: name → module or dict of tensors."""
    tensors: dict[str, torch.Tensor] = {}
    for name, part in parts.items():
        values = part.state_dict() if isinstance(part, torch.nn.Module) else part
        tensors |= {f"{name}/{key}": value.detach().cpu().contiguous().clone() for key, value in values.items()}
    for number, values in optimiser.state_dict()["state"].items():
        tensors |= {
            f"optimiser/{number}/{key}": torch.as_tensor(value).cpu().contiguous() for key, value in values.items()
        }
    numbers = asdict(state)
    numbers["best"] = None if state.best == float("-inf") else state.best
    write_atomically(path, save(tensors, {"state": json.dumps(numbers)}))


def load_checkpoint(path: Path, parts: dict[str, Any], optimiser: torch.optim.Optimizer) -> State:
    """Put everything back where it was. Raises: BadModel where the file is not this run's."""
    try:
        with safe_open(path, "pt") as file:
            numbers = json.loads(file.metadata()["state"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (it is not a dict)
        for name, part in parts.items():
            values = {key.removeprefix(f"{name}/"): t for key, t in tensors.items() if key.startswith(f"{name}/")}
            if isinstance(part, torch.nn.Module):
                part.load_state_dict(values)
            else:
                for key in part:
                    part[key].copy_(values[key])
        states: dict[int, dict[str, torch.Tensor]] = {}
        for key, tensor in tensors.items():
            if key.startswith("optimiser/"):
                _, number, field_name = key.split("/")
                states.setdefault(int(number), {})[field_name] = tensor
        optimiser.load_state_dict({**optimiser.state_dict(), "state": states})
        numbers["best"] = float("-inf") if numbers["best"] is None else numbers["best"]
        return State(**numbers)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BadModel("the run's checkpoint is damaged or of another configuration") from error
