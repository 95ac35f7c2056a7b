"""What a run writes down as it goes: a line of JSON per evaluation, and TensorBoard's curves, triplets, projector."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embedder.models import write_atomically
from embedder.train.pictures import PictureSet
from lookalike.domain import Floats

SHOWN_TRIPLETS = 8
PROJECTED = 1_000
SPRITE_SIDE = 32


class Journal:
    """Writes into a run's folder. The pictures of triplets and projector are the training pictures themselves."""

    def __init__(self, folder: Path, history: list[dict[str, float]]) -> None:
        """history: rows of before, where a run goes on; whatever a killed run wrote after them is taken back."""
        from torch.utils.tensorboard import SummaryWriter

        self._lines = folder / "log.jsonl"
        write_atomically(self._lines, "".join(_line(row) for row in history).encode())
        next_step = int(history[-1]["step"]) + 1 if history else 0
        self._board_folder = folder / "tensorboard"
        self._board: Any = SummaryWriter(str(self._board_folder), purge_step=next_step)

    def row(self, values: dict[str, float]) -> None:
        """values: with "step"."""
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(_line(values))
        for name, value in values.items():
            if name != "step":
                self._board.add_scalar(name, value, int(values["step"]))
        self._board.flush()

    def triplets(self, pictures: PictureSet, vectors: Floats, step: int) -> None:
        """Held-out pictures between their farthest of one class and their nearest of another, the hardest first."""
        scores = vectors @ vectors.T
        same = pictures.labels[:, None] == pictures.labels[None, :]
        far = np.where(same, scores, 2).argmin(axis=1)
        near = np.where(same, -2, scores).argmax(axis=1)
        rows = np.arange(len(pictures))
        gap = scores[rows, near] - scores[rows, far]
        hardest = np.argsort(-gap)[:SHOWN_TRIPLETS]
        strips = [np.concatenate([pictures.squares[i] for i in (far[a], a, near[a])], axis=1) for a in hardest]
        self._board.add_image("hardest triplets: same, anchor, other", np.concatenate(strips), step, dataformats="HWC")

    def projector(self, pictures: PictureSet, vectors: Floats, names: tuple[str, ...], step: int) -> None:
        """Embeddings for TensorBoard's projector, with a thumbnail each; not again where they are there."""
        import cv2

        if (self._board_folder / f"{step:05}").exists():
            return
        rows = np.linspace(0, len(pictures) - 1, min(PROJECTED, len(pictures))).astype(int)
        small = [cv2.resize(pictures.squares[r], (SPRITE_SIDE, SPRITE_SIDE)) for r in rows]
        self._board.add_embedding(
            torch.from_numpy(vectors[rows]),
            [names[int(pictures.labels[r])] for r in rows],
            torch.from_numpy(np.stack(small).transpose(0, 3, 1, 2)).float() / 255,
            step,
            "held-out classes",
        )

    def close(self) -> None:
        self._board.close()


def _line(values: dict[str, float]) -> str:
    return json.dumps({key: float(f"{value:.6g}") for key, value in values.items()}) + "\n"
