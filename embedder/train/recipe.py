"""A training run from top to bottom: configuration, pictures, network, loop; then the judge and the export.

The loop is the usual one for metric learning: P×K batches, a triplet loss over what the network makes of them, AdamW.
Every so often the held-out classes are embedded; the weights at the best moment are kept. A run that is killed goes on
from its last checkpoint as if nothing had been (tests/embedder/train/test_recipe.py compares the curves).
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from embedder.models import write_atomically
from embedder.train.augment import mix
from embedder.train.batches import (
    Batch,
    Normalise,
    cached_features,
    changed_pictures,
    embed_pictures,
    frozen_features,
)
from embedder.train.checkpoints import State, load_checkpoint, save_checkpoint
from embedder.train.config import TrainConfig, changed, config_from, to_dict
from embedder.train.journal import Journal
from embedder.train.losses import Objective, open_objective
from embedder.train.measures import MAIN, measures
from embedder.train.network import EmbeddingNetwork, Opened, open_network
from embedder.train.onnx_export import compiled
from embedder.train.pictures import (
    Listed,
    PictureSet,
    held_out_classes,
    list_pictures,
    load_pictures,
    picture_cutters,
    with_two_or_more,
)
from embedder.train.schedule import rate_factor
from embedder.train.teacher import Teacher, meet_teacher
from lookalike.errors import InvalidInput

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""

Watcher = Callable[[dict[str, float]], bool]
"""Called with each row of the history as it is made; says whether the run is to end there."""

CHECKPOINT, BEST = "checkpoint.safetensors", "best.safetensors"
PROXY_RATE = 100
"""Class vectors of arcface and proxy-anchor start from chance, and learn so much faster than the network."""


@dataclass(slots=True)
class Run:
    """What a run works with. start: unit vectors of the training pictures before training, for the leash.

    lesson: the teacher's vectors of the held-out pictures, upright.
    steps, worked_s: done in the end, also by a run that this one went on with.
    """

    config: TrainConfig
    folder: Path
    device: torch.device
    network: EmbeddingNetwork
    opened: Opened
    normalise: Normalise
    training: PictureSet
    held_out: PictureSet
    names: tuple[str, ...]
    left_out: list[tuple[Path, str]]
    start: torch.Tensor | None = None
    teacher: Teacher | None = None
    lesson: torch.Tensor | None = None
    features: torch.Tensor | None = None
    held_features: torch.Tensor | None = None
    averaged: dict[str, torch.Tensor] | None = None
    steps: int = 0
    worked_s: float = 0.0


def train(
    config: TrainConfig,
    folder: Path,
    cache_dir: Path,
    on_progress: Progress,
    *,
    resume: bool = False,
    kept: dict[str, torch.Tensor] | None = None,
    watch: Watcher | None = None,
) -> Run:
    """Train, and leave the best weights in the run's folder. The network in the answer has them.

    kept: what frozen stages gave in runs before this one in the same process, by what it depends on; added to.
    watch: told of each evaluation, such as by a tuner that ends runs without promise.
    Raises: InvalidInput where configuration, pictures or folder do not allow it; ModelNotAvailable; BadModel.
    """
    _claim(config, folder, resume)
    run, objective, optimiser = begin(config, folder, cache_dir, on_progress, {} if kept is None else kept)

    # Where the run stands.
    own = {f"p{i}": p.data for i, p in enumerate(objective.parameters)}
    parts = {"top": run.network.top, "averaged": run.averaged or {}, "objective": own}
    state = load_checkpoint(folder / CHECKPOINT, parts, optimiser) if (folder / CHECKPOINT).exists() else State()

    # The loop.
    journal = Journal(folder, state.history)
    try:
        _loop(run, objective, optimiser, state, parts, journal, on_progress, watch or _to_the_end)
        _restore_best(run)
        if len(run.held_out):
            upright, _ = embed_pictures(run.network, run.held_out, run.normalise, run.held_features, mirrored=False)
            journal.projector(run.held_out, upright.numpy(), run.names, state.step)
    finally:
        journal.close()
    run.steps, run.worked_s = state.step, state.seconds
    return run


def begin(
    config: TrainConfig, folder: Path, cache_dir: Path, on_progress: Progress, kept: dict[str, torch.Tensor]
) -> tuple[Run, Objective, torch.optim.AdamW]:
    """All that a run needs before its first step. The folder is there; kept: as `train` has it."""
    # Pictures: no class is on both sides.
    torch.set_num_threads(config.threads or torch.get_num_threads())
    listed = list_pictures(config.data)
    apart = np.isin(listed.labels, held_out_classes(len(listed.names), config.data, config.seed))
    run = _prepare(config, folder, cache_dir, listed, apart, on_progress, kept)

    # Network, loss and optimiser.
    classes, labels = np.unique(run.training.labels, return_inverse=True)
    run.training = PictureSet(run.training.squares, labels.astype(np.int64), run.training.paths)
    objective = open_objective(config.loss, len(classes), run.network.dimension)
    for parameter in objective.parameters:
        parameter.data = parameter.data.to(run.device)
    groups = list(run.network.groups(config.optimiser))
    if objective.parameters:
        rate = config.optimiser.rate * PROXY_RATE
        groups.append({"params": list(objective.parameters), "lr": rate, "base_lr": rate, "weight_decay": 0.0})
    if config.optimiser.ema:
        run.averaged = {k: v.detach().clone() for k, v in run.network.top.state_dict().items()}
    return run, objective, torch.optim.AdamW(groups)


def _to_the_end(row: dict[str, float]) -> bool:
    return False


def _loop(
    run: Run,
    objective: Objective,
    optimiser: torch.optim.AdamW,
    state: State,
    parts: dict[str, object],
    journal: Journal,
    on_progress: Progress,
    watch: Watcher,
) -> None:
    settings = run.config.optimiser
    if not state.history:
        _evaluate(run, state, journal, {})
        save_checkpoint(run.folder / CHECKPOINT, state, parts, optimiser)
    ended = any(watch(row) for row in state.history)
    begun, losses = time.monotonic() - state.seconds, []
    batches = batches_from(run, state.step * settings.accumulate)
    run.network.train()
    while state.step < settings.steps and not ended and not _is_over(state, settings):
        rate = settings.rate * state.cut * rate_factor(state.step, settings)
        losses += step(run, objective, optimiser, state, batches)
        on_progress("training", state.step, settings.steps)
        if state.step % settings.evaluate_every == 0 or state.step == settings.steps:
            state.seconds = time.monotonic() - begun
            if not math.isfinite(losses[-1]):
                raise InvalidInput(f"the loss is no number any more at step {state.step}: lower optimiser.rate")
            _evaluate(run, state, journal, {"loss": float(np.mean(losses)), "rate": rate})
            losses.clear()
            save_checkpoint(run.folder / CHECKPOINT, state, parts, optimiser)
            ended = watch(state.history[-1])
            run.network.train()


def step(
    run: Run, objective: Objective, optimiser: torch.optim.AdamW, state: State, batches: Iterator[Batch]
) -> list[float]:
    """One step of the optimiser over `accumulate` batches. Gives each one's loss."""
    settings, losses = run.config.optimiser, []
    for group in optimiser.param_groups:
        group["lr"] = group["base_lr"] * state.cut * rate_factor(state.step, settings)
    optimiser.zero_grad(set_to_none=True)
    for part in range(settings.accumulate):
        number, batch = state.step * settings.accumulate + part, next(batches)
        torch.manual_seed(run.config.seed * 7_919 + number)  # dropout's draws; the first batch's making draws too
        loss = _loss_of(run, batch, objective, number)
        (loss / settings.accumulate).backward()
        losses.append(float(loss.detach()))
    if settings.clip:
        torch.nn.utils.clip_grad_norm_([p for g in optimiser.param_groups for p in g["params"]], settings.clip)
    optimiser.step()
    state.step += 1
    if run.averaged is not None:
        _average(run.averaged, run.network.top, min(settings.ema, (1 + state.step) / (10 + state.step)))
    return losses


def _loss_of(run: Run, batch: Batch, objective: Objective, number: int) -> torch.Tensor:
    """The loss of batch `number`, mixed and held back as the configuration says."""
    config = run.config
    inputs = batch.inputs.to(run.device, non_blocking=True)
    labels = batch.labels.to(run.device)
    inputs, mixture = mix(inputs, config.augment, np.random.default_rng([config.seed, 6, number]))
    reduced = config.optimiser.precision == "bf16"
    with torch.autocast(run.device.type, torch.bfloat16, enabled=reduced):
        raw = run.network.top(inputs) if run.features is not None else run.network(inputs)
    embeddings = torch.nn.functional.normalize(raw.float())
    loss = _unmixed_loss(run, objective, embeddings, labels, batch.rows)
    if mixture is not None:
        others, rows = labels[mixture.other.to(run.device)], batch.rows[mixture.other]
        other = _unmixed_loss(run, objective, embeddings, others, rows)
        loss = mixture.share * loss + (1 - mixture.share) * other
    if run.teacher is not None:  # it sees the mixture too
        loss = loss + config.loss.leash * (1 - (embeddings * run.teacher(inputs)).sum(1)).mean()
    return loss


def _unmixed_loss(
    run: Run, objective: Objective, embeddings: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor
) -> torch.Tensor:
    """The loss as if each embedding were of the picture at its row, with the leash to what that picture gave."""
    loss: torch.Tensor = objective.loss(embeddings, labels)
    if run.start is not None:
        held_to = run.start[rows].to(run.device)
        loss = loss + run.config.loss.leash * (1 - (embeddings * held_to).sum(1)).mean()
    return loss


def _evaluate(run: Run, state: State, journal: Journal, facts: dict[str, float]) -> None:
    """Measure the held-out classes; keep the weights where they are the best so far."""
    row = {"step": float(state.step), **facts, "seconds": state.seconds}
    state.history.append(row)
    with _AveragedWeights(run):
        if not len(run.held_out):
            journal.row(row)
            _keep_best(run)
            return
        mirror = run.config.output.flip != "never"
        upright, mirrored = embed_pictures(run.network, run.held_out, run.normalise, run.held_features, mirrored=mirror)
        both = torch.nn.functional.normalize(upright + mirrored).numpy()
        probes = both if run.config.output.flip == "always" else upright.numpy()
        found = measures(probes, both, run.held_out.labels, run.config.data.kind)
        if run.lesson is not None:
            row["teacher_cosine"] = float((upright * run.lesson).sum(1).mean())
        row |= found
        journal.row(row)
        value = found[run.config.select or MAIN[run.config.data.kind]]
        if value > state.best:
            state.best, state.best_step, state.waited = value, state.step, 0
            _keep_best(run)
            journal.triplets(run.held_out, probes, state.step)
        else:
            state.waited += 1
            patience = max(1, run.config.optimiser.patience // 2)
            if run.config.optimiser.schedule == "plateau" and state.waited % patience == 0:
                state.cut /= 4


def _is_over(state: State, settings: object) -> bool:
    """Whether waiting longer is not worth it, or the time that was given is used up."""
    patience, minutes = getattr(settings, "patience", 0), getattr(settings, "minutes", 0.0)
    return bool((patience and state.waited >= patience) or (minutes and state.seconds >= 60 * minutes))


# ------------------------------------------------------------------------------------------------ beginnings


def _claim(config: TrainConfig, folder: Path, resume: bool) -> None:
    """Make the folder this run's own.

    Raises: InvalidInput where it holds another run, or this one unasked, or none that could be gone on with.
    """
    written = folder / "config.json"
    if not written.exists():
        if resume:
            raise InvalidInput("the run's folder holds no run to go on with; leave out --resume to begin one")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(written, json.dumps(to_dict(config), indent=1).encode() + b"\n")
        return
    try:
        held = config_from(json.loads(written.read_text("utf-8")))
    except ValueError as error:
        raise InvalidInput("the run's folder holds a config.json that is not a run's") from error
    if changed(held, optimiser__minutes=config.optimiser.minutes) != config:
        raise InvalidInput("the run's folder holds another configuration; give this run a folder of its own")
    if not resume:
        raise InvalidInput("the run's folder holds this run already; go on with it by --resume")
    write_atomically(written, json.dumps(to_dict(config), indent=1).encode() + b"\n")  # only its time may be another


def _prepare(
    config: TrainConfig,
    folder: Path,
    cache_dir: Path,
    listed: Listed,
    apart: NDArray[np.bool_],
    on_progress: Progress,
    kept: dict[str, torch.Tensor],
) -> Run:
    """Open the network and read both sides' pictures for it."""
    device = torch.device("cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu")
    if config.device == "cuda" and device.type != "cuda":
        raise InvalidInput("device: cuda was asked for, and there is none")
    opened = open_network(config.model, config.seed)
    prepare = opened.backbone.prepare
    cutters = picture_cutters(config.data, cache_dir)
    left_out: list[tuple[Path, str]] = []

    def side(what: str, chosen: NDArray[np.bool_]) -> PictureSet:
        rows = np.flatnonzero(chosen)
        found, bad = load_pictures(
            listed, rows, prepare, config.data.memory_mb, cutters, lambda done, total: on_progress(what, done, total)
        )
        left_out.extend(bad)
        return with_two_or_more(found)

    training, held_out = side("training pictures", ~apart), side("held-out pictures", apart)
    if len(np.unique(held_out.labels)) < 2:  # one class cannot be confused with another
        held_out = PictureSet(held_out.squares[:0], held_out.labels[:0], ())
    (folder / "split.json").write_text(
        json.dumps(
            {
                "training": sorted({listed.names[c] for c in training.labels}),
                "held_out": sorted({listed.names[c] for c in held_out.labels}),
                "left_out": [{"picture": str(path), "reason": reason} for path, reason in left_out],
            },
            indent=1,
        ),
        "utf-8",
    )
    network = opened.network.to(device, memory_format=torch.channels_last)
    if config.optimiser.precision != "f32":
        network.base_precision = torch.bfloat16
    normalise = Normalise(prepare, device)
    run = Run(config, folder, device, network, opened, normalise, training, held_out, listed.names, left_out)
    if config.model.cache:
        network.eval()
        for name, pictures, variants in (("training", run.training, config.model.cache), ("held-out", run.held_out, 2)):
            depends = repr((name, config.seed, config.data, config.model, config.augment))
            if depends not in kept and len(pictures):
                kept[depends] = _frozen(run, pictures, variants, on_progress)
            if name == "training":
                run.features = kept[depends]
            else:
                run.held_features = kept.get(depends)
    if config.loss.teacher:
        run.teacher, run.lesson = meet_teacher(
            config.loss, network, prepare, normalise, training, held_out, on_progress
        )
    elif config.loss.leash:
        upright, mirrored = embed_pictures(network, run.training, normalise, run.features)
        run.start = torch.nn.functional.normalize(upright + mirrored)
    return run


def _frozen(run: Run, pictures: PictureSet, variants: int, on_progress: Progress) -> torch.Tensor:
    """What the frozen stages give of these pictures, computed once: on a processor by the service's runtime."""
    network = run.network

    def show(done: int, total: int) -> None:
        on_progress("frozen stages", done, total)

    if run.device.type != "cpu":
        return frozen_features(network.below, pictures, run.normalise, run.config, variants, show)
    side = run.opened.backbone.prepare.side
    quick = compiled(network.base, (3, side, side))

    def below(inputs: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(quick(inputs.contiguous().numpy()))

    return frozen_features(below, pictures, run.normalise, run.config, variants, show)


def batches_from(run: Run, first: int) -> Iterator[Batch]:
    """The run's batches from number `first` on."""
    if run.features is not None:
        return cached_features(run.features, run.training.labels, run.config, first)
    return changed_pictures(run.training, run.config, run.normalise, first)


# --------------------------------------------------------------------------------------------------- weights


class _AveragedWeights:
    """The averaged weights in the network's place for the time of a measurement."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._own: dict[str, torch.Tensor] | None = None

    def __enter__(self) -> None:
        if self._run.averaged is not None:
            self._own = copy.deepcopy(self._run.network.top.state_dict())
            self._run.network.top.load_state_dict(self._run.averaged)

    def __exit__(self, *_: object) -> None:
        if self._own is not None:
            self._run.network.top.load_state_dict(self._own)


@torch.no_grad()
def _average(averaged: dict[str, torch.Tensor], top: torch.nn.Module, decay: float) -> None:
    for key, value in top.state_dict().items():
        if value.is_floating_point():
            averaged[key].lerp_(value, 1 - decay)
        else:
            averaged[key].copy_(value)


def _keep_best(run: Run) -> None:
    from safetensors.torch import save

    whole = {key: value.detach().cpu().contiguous().clone() for key, value in run.network.state_dict().items()}
    write_atomically(run.folder / BEST, save(whole))


def _restore_best(run: Run) -> None:
    from safetensors.torch import load_file

    run.network.load_state_dict(load_file(run.folder / BEST))
    run.network.eval()
