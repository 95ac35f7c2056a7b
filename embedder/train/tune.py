"""Looks for better values of a configuration: trials within the training classes, then an honest comparison outside.

The classes are parted once: those held out by the configuration are the test, which no trial sees; the others are
parted again by each run into classes to learn from and classes to choose its best moment by. Optuna draws trials
(TPE, Bergstra et al. 2011) and ends those without promise early. The best one's values and the configuration's own are
then trained anew with seeds that no trial had, and both are judged on the test classes (embedder/train/tuned.py).

Trial n's draw follows from the seed and the trials before it, and each trial is a run that can go on after a kill: so
does a study. Its storage is a file of JSON lines; nothing is pickled.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.trial import TrialState

from embedder.models import write_atomically
from embedder.train.config import TrainConfig, changed, to_dict, to_toml
from embedder.train.measures import MAIN
from embedder.train.pictures import held_out_classes, list_pictures
from embedder.train.recipe import BEST, CHECKPOINT, Progress, train
from embedder.train.search_space import SEARCHED, Dimension, Value, value_of, with_values
from embedder.train.tune_plot import draw_study
from embedder.train.tuned import Comparison, compare_on_test
from lookalike.errors import InvalidInput

STORAGE, PLAN, REPORT, BEST_CONFIG = "study.jsonl", "plan.json", "study.json", "best.toml"
STARTING = 5
"""Trials drawn at random before the sampler and the pruner rely on what was seen."""

PRUNERS: dict[str, Callable[[TrainConfig], Any]] = {
    "median": lambda config: optuna.pruners.MedianPruner(STARTING, n_warmup_steps=config.optimiser.evaluate_every),
    "hyperband": lambda config: optuna.pruners.HyperbandPruner(config.optimiser.evaluate_every, config.optimiser.steps),
    "none": lambda config: optuna.pruners.NopPruner(),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """trials: finished ones in all; minutes: no longer, 0 for no limit; seeds: runs of each side in the comparison."""

    config: TrainConfig
    space: tuple[Dimension, ...]
    trials: int = 20
    minutes: float = 0.0
    seeds: int = 3
    pruner: str = "median"


@dataclass(frozen=True, slots=True)
class Trial:
    """state: "complete", "pruned", "fail" or "running"; value: the best of its measure, None unless complete."""

    number: int
    state: str
    value: float | None
    values: dict[str, Value]
    steps: int


@dataclass(frozen=True, slots=True)
class Study:
    """What came of it. default: what the configuration had; importance: name → share of the differences between trials
    that it explains."""

    measure: str
    default: dict[str, Value]
    trials: tuple[Trial, ...]
    best: Trial
    importance: dict[str, float]
    comparison: Comparison


def tune(plan: Plan, folder: Path, cache_dir: Path, on_progress: Progress, *, resume: bool = False) -> Study:
    """Search, compare, and leave study.json, best.toml and study.png in the folder.

    Raises: InvalidInput where plan, pictures or folder do not allow it; ModelNotAvailable; BadModel.
    """
    if plan.pruner not in PRUNERS:
        raise InvalidInput(f"pruner: one of {', '.join(PRUNERS)}")
    if plan.trials < 1 or plan.seeds < 1:
        raise InvalidInput("trials and seeds: at least 1")
    test = _test_classes(plan.config)
    _claim(plan, folder, resume, test)
    inner = changed(plan.config, data__without=(*plan.config.data.without, *test), data__folds=1, data__fold=0)
    _check_sides(inner)

    study = _open_study(plan, folder)
    _search(study, plan, inner, folder, cache_dir, on_progress)
    trials = tuple(_seen(trial) for trial in study.trials)
    best = _best(trials)
    tuned = with_values(plan.config, best.values)
    write_atomically(folder / BEST_CONFIG, to_toml(tuned).encode())

    seeds = [plan.config.seed + 1 + place for place in range(plan.seeds)]
    sides = fitted(inner), fitted(with_values(inner, best.values))
    comparison = compare_on_test(sides, test, plan.config.data, seeds, folder / "comparison", cache_dir, on_progress)
    found = Study(_measure(plan.config), _default(plan), trials, best, _importance(study), comparison)
    write_atomically(folder / REPORT, json.dumps(asdict(found), indent=1).encode() + b"\n")
    draw_study(folder / "study.png", found.measure, [(t.number, t.value) for t in trials], found.importance)
    return found


# ------------------------------------------------------------------------------------------------------- search


def _search(study: Any, plan: Plan, inner: TrainConfig, folder: Path, cache_dir: Path, on_progress: Progress) -> None:
    """Trials until there are enough of them, or the time is used up; one that was under way goes on first."""
    ends = time.monotonic() + 60 * plan.minutes if plan.minutes else None
    distributions = {dimension.name: dimension.distribution() for dimension in plan.space}
    kept: dict[str, torch.Tensor] | None = {} if _same_frozen(plan.space) else None
    default = _default(plan)
    if not study.trials and all(dimension.holds(default[dimension.name]) for dimension in plan.space):
        study.enqueue_trial(default)  # what is to be beaten is the first trial
    while True:
        broken = [trial for trial in study.trials if trial.state == TrialState.RUNNING]
        finished = sum(trial.state.is_finished() for trial in study.trials)
        on_progress("trials", finished, plan.trials)
        if finished >= plan.trials or (ends is not None and time.monotonic() > ends):
            return
        if broken and broken[0].params.keys() != distributions.keys():  # killed before all was drawn
            study.tell(broken[0].number, state=TrialState.FAIL)
            continue
        if broken:
            trial = optuna.trial.Trial(study, broken[0]._trial_id)
        else:
            study.sampler = optuna.samplers.TPESampler(n_startup_trials=STARTING, seed=plan.config.seed + finished)
            trial = study.ask(distributions)
        same = [t.value for t in study.trials if t.state == TrialState.COMPLETE and t.params == trial.params]
        if same:  # the same run would give the same
            study.tell(trial.number, same[0])
            continue
        _try(study, trial, inner, folder / "trials" / f"{trial.number:03}", cache_dir, on_progress, ends, kept)


def _try(
    study: Any,
    trial: Any,
    inner: TrainConfig,
    place: Path,
    cache_dir: Path,
    on_progress: Progress,
    ends: float | None,
    kept: dict[str, torch.Tensor] | None,
) -> None:
    """One trial: a run of its own that may be ended at each of its evaluations."""
    measure, values, pruned = _measure(inner), [], False
    told = set(study.trials[trial.number].intermediate_values)

    def watch(row: dict[str, float]) -> bool:
        nonlocal pruned
        step = int(row["step"])
        if not step:  # before training all trials are alike
            return False
        values.append(row[measure])
        if step not in told:
            trial.report(row[measure], step)
        pruned = trial.should_prune() or (ends is not None and time.monotonic() > ends)
        return pruned

    try:
        config = fitted(with_values(inner, trial.params))
        going_on = (place / "config.json").exists()
        train(config, place, cache_dir, on_progress, resume=going_on, kept=kept, watch=watch)
    except InvalidInput as error:  # values that do not go together, or a rate too high
        study.tell(trial.number, state=TrialState.FAIL)
        place.mkdir(parents=True, exist_ok=True)
        (place / "refused.txt").write_text(f"{error}\n", "utf-8")
        return
    if pruned:
        study.tell(trial.number, state=TrialState.PRUNED)
    else:
        study.tell(trial.number, max(values))
    for name in (CHECKPOINT, BEST):  # its curves stay; its weights are not needed again
        (place / name).unlink(missing_ok=True)


def _open_study(plan: Plan, folder: Path) -> Any:
    """The study in the folder, new or gone on with."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = folder / STORAGE
    if path.exists():  # a line that a kill cut short is none
        whole = path.read_bytes()
        write_atomically(path, whole[: whole.rfind(b"\n") + 1])
    storage = JournalStorage(JournalFileBackend(str(path)))
    pruner = PRUNERS[plan.pruner](plan.config)
    return optuna.create_study(
        storage=storage, study_name="tune", direction="maximize", pruner=pruner, load_if_exists=True
    )


def _default(plan: Plan) -> dict[str, Value]:
    return {dimension.name: value_of(plan.config, dimension.name) for dimension in plan.space}


def _same_frozen(space: Sequence[Dimension]) -> bool:
    """Whether what frozen stages give is the same in all trials, and may be kept from one to the next."""
    return not any(dimension.name.startswith(("model.", "augment.")) for dimension in space)


def _best(trials: Sequence[Trial]) -> Trial:
    """The first of those with the highest value. Raises: InvalidInput where none came to its end."""
    complete = [trial for trial in trials if trial.value is not None]
    if not complete:
        raise InvalidInput("no trial came to its end; give more trials or minutes, or a smaller space")
    return max(complete, key=lambda trial: trial.value or 0.0)


def _seen(trial: Any) -> Trial:
    state = trial.state.name.lower()
    value = None if trial.value is None or state != "complete" else float(trial.value)
    return Trial(trial.number, state, value, dict(trial.params), max(trial.intermediate_values, default=0))


def _importance(study: Any) -> dict[str, float]:
    """By functional ANOVA over the finished trials (Hutter et al. 2014); empty where they are too few to tell."""
    complete = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    if len({trial.value for trial in complete}) < 3:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=1)
    return {name: float(share) for name, share in
            optuna.importance.get_param_importances(study, evaluator=evaluator).items()}  # fmt: skip


# ------------------------------------------------------------------------------------------------------ classes


def fitted(config: TrainConfig) -> TrainConfig:
    """With no more classes to a batch than there are to learn from."""
    classes = len(list_pictures(config.data).names)
    learning = classes - len(held_out_classes(classes, config.data, config.seed))
    return changed(config, optimiser__classes=max(2, min(config.optimiser.classes, learning)))


def _test_classes(config: TrainConfig) -> tuple[str, ...]:
    """The classes that no trial sees: those that the configuration holds out. Raises: InvalidInput."""
    names = list_pictures(config.data).names
    test = held_out_classes(len(names), config.data, config.seed)
    if len(test) < 2:
        raise InvalidInput("data.held_out: tuning is judged on held-out classes, at least two of them")
    return tuple(names[number] for number in test)


def _check_sides(inner: TrainConfig) -> None:
    """Raises: InvalidInput where too few classes are left for trials."""
    count = len(list_pictures(inner.data).names)
    if not inner.data.held_out or not len(held_out_classes(count, inner.data, inner.seed)):
        raise InvalidInput(
            f"beside the test classes {count} are left, too few to learn from and to choose by; "
            "four are needed, and data.held_out above 0"
        )


def _measure(config: TrainConfig) -> str:
    return config.select or MAIN[config.data.kind]


def _claim(plan: Plan, folder: Path, resume: bool, test: Sequence[str]) -> None:
    """Make the folder this study's own. Raises: InvalidInput as a run does."""
    written, held = folder / PLAN, {"config": to_dict(plan.config), "space": [asdict(d) for d in plan.space]}
    held |= {"pruner": plan.pruner, "searched": list(SEARCHED), "test": list(test)}
    text = json.dumps(held, indent=1) + "\n"
    if not written.exists():
        if resume:
            raise InvalidInput("the study's folder holds no study to go on with; leave out --resume to begin one")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(written, text.encode())
        return
    if written.read_text("utf-8") != text:
        raise InvalidInput("the study's folder holds another study; give this one a folder of its own")
    if not resume:
        raise InvalidInput("the study's folder holds this study already; go on with it by --resume")
