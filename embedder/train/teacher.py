"""What a teacher gives of the pictures that a student is shown: distillation by the cosine between both vectors.

Both see the very same input, changed and mixed the same way (Beyer et al. 2022, arXiv:2106.05237: a good teacher is
patient and consistent), so every change is another lesson, and no label is asked for. On a processor the teacher runs
in the service's runtime, which is several times faster than torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from embedder.bundles import NETWORK, read_export
from embedder.preprocessing import Preprocessing
from embedder.runtime import open_runtime
from embedder.train.backbones import open_backbone
from embedder.train.batches import CHUNK, Normalise
from embedder.train.config import Loss
from embedder.train.network import EmbeddingNetwork
from embedder.train.onnx_export import compiled
from embedder.train.pictures import PictureSet
from lookalike.domain import Floats
from lookalike.errors import InvalidInput

HEAD_PICTURES = 4000
"""Pictures that a new head is fitted to."""

RIDGE = 1e-3
"""Added to the diagonal when a head is fitted, as a share of its mean."""


class Teacher:
    """(N, 3, side, side) as the student takes them → (N, D) unit vectors of the teacher."""

    def __init__(self, name: str, student: Preprocessing) -> None:
        """name: of a backbone, or the path of an export folder. Raises: BadModel, ModelNotAvailable, InvalidInput."""
        self._run, prepare = _opened(name)
        if (prepare.fit, prepare.side) != (student.fit, student.side) and not _both_square(prepare, student):
            raise InvalidInput("loss.teacher: teacher and student must be shown pictures fitted the same way")
        self._side = prepare.side
        self._factor, self._shift = _between(student, prepare)
        self._swap = student.channels != prepare.channels

    @torch.no_grad()
    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        given = inputs.detach().float().cpu()
        pixels = given.flip(1) if self._swap else given
        if pixels.shape[-1] != self._side:
            size = (self._side, self._side)
            pixels = torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
        shown = pixels * self._factor + self._shift
        vectors = torch.from_numpy(np.asarray(self._run(np.ascontiguousarray(shown.numpy())), np.float32))
        return torch.nn.functional.normalize(vectors).to(inputs.device)


def meet_teacher(
    loss: Loss,
    network: EmbeddingNetwork,
    prepare: Preprocessing,
    normalise: Normalise,
    training: PictureSet,
    held_out: PictureSet,
    on_progress: Callable[[str, int, int], None],
) -> tuple[Teacher, torch.Tensor | None]:
    """The teacher, and its vectors of the held-out pictures; a new head then begins where it comes nearest to them.

    prepare: the student's. Raises: as `Teacher`, and InvalidInput where its vectors are of another length.
    """
    teacher = Teacher(loss.teacher, prepare)
    few = np.linspace(0, len(training) - 1, min(HEAD_PICTURES, len(training))).astype(np.int64)
    some = PictureSet(training.squares[few], training.labels[few], tuple(training.paths[i] for i in few))
    wanted = _over(teacher, some, normalise, lambda *at: on_progress("teacher", *at))
    if wanted.shape[1] != network.dimension:
        raise InvalidInput(f"loss.teacher: its vectors have {wanted.shape[1]} numbers; set model.dimension to that")
    if network.head:
        body = torch.nn.Sequential(network.base, *list(network.top.children())[:-1]).eval()
        device = next(network.parameters()).device
        side = prepare.side
        run = compiled(body, (3, side, side)) if device.type == "cpu" else None

        @torch.no_grad()
        def features(inputs: torch.Tensor) -> torch.Tensor:
            return body(inputs) if run is None else torch.from_numpy(run(inputs.contiguous().numpy()))

        matrix, offset = fit_head(_over(features, some, normalise, lambda *at: on_progress("head", *at)), wanted)
        with torch.no_grad():
            network.top[-1].weight.copy_(matrix)
            network.top[-1].bias.copy_(offset)
    if not len(held_out):
        return teacher, None
    return teacher, _over(teacher, held_out, normalise, lambda *at: on_progress("teacher, held-out", *at))


def _over(
    function: Callable[[torch.Tensor], torch.Tensor],
    pictures: PictureSet,
    normalise: Normalise,
    on_progress: Callable[[int, int], None],
) -> torch.Tensor:
    found = []
    for start in range(0, len(pictures), CHUNK):
        found.append(function(normalise.squares(pictures.squares[start : start + CHUNK])).cpu())
        on_progress(min(start + CHUNK, len(pictures)), len(pictures))
    return torch.cat(found)


def fit_head(features: torch.Tensor, wanted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The matrix (D, F) and offset (D,) by which features (N, F) come nearest to wanted (N, D): ridge regression.

    A student whose head begins there has only the rest to learn.
    """
    of, to = features.double(), wanted.double()
    mean, middle = of.mean(0), to.mean(0)
    centred = of - mean
    gram = centred.T @ centred
    gram.diagonal().add_(RIDGE * gram.diagonal().mean())
    matrix = torch.linalg.solve(gram, centred.T @ (to - middle)).T
    return matrix.float(), (middle - matrix @ mean).float()


def _opened(name: str) -> tuple[Callable[[Floats], Floats], Preprocessing]:
    if Path(name).is_dir():
        manifest, parts = read_export(Path(name))
        run = open_runtime().load(parts[NETWORK], "teacher")
        return lambda pixels: next(iter(run(pixels).values())), manifest.preprocessing
    backbone = open_backbone(name)
    side = backbone.prepare.side
    return compiled(torch.nn.Sequential(*backbone.stages), (3, side, side)), backbone.prepare


def _both_square(teacher: Preprocessing, student: Preprocessing) -> bool:
    """Aligned faces are square already: fitting them either way is resizing, which the teacher can do itself."""
    return "stretch" in (teacher.fit, student.fit)


def _between(student: Preprocessing, teacher: Preprocessing) -> tuple[torch.Tensor, torch.Tensor]:
    """Factor and shift, (3, 1, 1) in the teacher's order of channels, from the student's numbers to the teacher's."""
    order = slice(None, None, -1 if student.channels != teacher.channels else 1)
    mean, scale = (np.array(values, np.float64)[order] for values in (student.mean, student.scale))
    factor = np.array(teacher.scale) / scale
    shift = (mean - np.array(teacher.mean)) * np.array(teacher.scale)
    return tuple(torch.from_numpy(v.astype(np.float32))[:, None, None] for v in (factor, shift))
