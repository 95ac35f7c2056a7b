"""A run is the slow loop that it says it is, learns, writes everything down, and goes on exactly after a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="left out: the train extra is not installed")

from safetensors.torch import load_file  # noqa: E402

from embedder.train.batches import Normalise, cached_features, changed_pictures  # noqa: E402
from embedder.train.config import TrainConfig, changed, config_from, to_dict  # noqa: E402
from embedder.train.losses import open_objective  # noqa: E402
from embedder.train.network import open_network  # noqa: E402
from embedder.train.pictures import PictureSet, held_out_classes, list_pictures, load_pictures  # noqa: E402
from embedder.train.recipe import BEST, CHECKPOINT, PROXY_RATE, Run, train  # noqa: E402
from embedder.train.schedule import rate_factor  # noqa: E402
from lookalike.errors import BadModel, InvalidInput  # noqa: E402
from tests.conftest import ROOT  # noqa: E402
from tests.embedder.train.drawing import draw_classes  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_classes(tmp_path_factory.mktemp("drawn"), 10, 5, side=32)


def config_for(folder: Path, **values: object) -> TrainConfig:
    entries: dict[str, object] = {
        "data": {"folders": [str(folder)], "held_out": 0.4, "workers": 0},
        "model": {"backbone": "timm:test_resnet", "side": 32},
        "optimiser": {"classes": 3, "pictures": 3, "steps": 6, "warmup": 2, "evaluate_every": 2, "rate": 1e-3},
        "device": "cpu",
    }
    return changed(config_from(entries), **values)


def run_in(config: TrainConfig, folder: Path, **how: Any) -> Run:
    return train(config, folder, folder / "models", lambda *_: None, **how)


def log_of(folder: Path) -> list[dict[str, float]]:
    """Without the time that it took."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def same_tensors(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# ------------------------------------------------------------------------------------------- goes on after a kill

CHILD = """
import json, sys, time
from pathlib import Path
from embedder.train.config import config_from
from embedder.train.recipe import train

def show(what, done, total):
    if what == "training":
        print(done, flush=True)
        if done == int(sys.argv[3]):
            time.sleep(600)

train(config_from(json.loads(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[2]) / "models", show)
"""

EVERYTHING = {
    "loss__name": "arcface",
    "augment__crop": 0.5,
    "augment__mixup": 0.4,
    "model__dropout": 0.2,
    "model__dimension": 16,
    "model__norms": True,
    "optimiser__ema": 0.9,
    "optimiser__accumulate": 2,
    "optimiser__schedule": "plateau",
    "optimiser__patience": 3,
}


def test_a_run_that_was_killed_goes_on_to_the_same_curve_and_the_same_weights(drawn: Path, tmp_path: Path) -> None:
    config = config_for(drawn, **EVERYTHING)
    run_in(config, tmp_path / "unbroken")

    killed = tmp_path / "killed"
    command = [sys.executable, "-c", CHILD, json.dumps(to_dict(config)), str(killed), "3"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        told = [child.stdout.readline().strip() for _ in range(3)]
        child.send_signal(signal.SIGKILL)
    assert told == ["1", "2", "3"]
    assert child.returncode == -signal.SIGKILL
    assert [row["step"] for row in log_of(killed)] == [0, 2]

    run_in(config, killed, resume=True)
    assert log_of(killed) == log_of(tmp_path / "unbroken")
    assert same_tensors(killed / BEST, tmp_path / "unbroken" / BEST)
    assert same_tensors(killed / CHECKPOINT, tmp_path / "unbroken" / CHECKPOINT)


@pytest.mark.parametrize(
    "values",
    [
        {"model__freeze": 3, "model__cache": 4, "augment__crop": 0.5, "loss__leash": 0.5},
        {"augment__cutmix": 1.0, "optimiser__depth_decay": 0.5, "loss__name": "triplet-hard"},
    ],
)
def test_a_run_goes_on_from_wherever_it_was_interrupted(drawn: Path, tmp_path: Path, values: dict[str, object]) -> None:
    config = config_for(drawn, **values)
    run_in(config, tmp_path / "unbroken")
    broken = tmp_path / "broken"

    def interrupt_at(stop: int) -> Any:
        def show(what: str, done: int, total: int) -> None:
            if what == "training" and done == stop:
                raise KeyboardInterrupt

        return show

    for place, stop in enumerate((1, 3, 6)):
        with pytest.raises(KeyboardInterrupt):
            train(config, broken, broken / "models", interrupt_at(stop), resume=place > 0)
    run_in(config, broken, resume=True)
    assert log_of(broken) == log_of(tmp_path / "unbroken")
    assert same_tensors(broken / CHECKPOINT, tmp_path / "unbroken" / CHECKPOINT)


def test_what_was_logged_after_the_last_checkpoint_is_not_logged_twice(drawn: Path, tmp_path: Path) -> None:
    config = config_for(drawn)
    run_in(config, tmp_path)
    whole = log_of(tmp_path)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 8, "loss": 1}\n{"step": 9, "lo')
    run_in(config, tmp_path, resume=True)
    assert log_of(tmp_path) == whole


def test_a_folder_is_one_run_s_and_is_gone_on_with_only_when_asked(drawn: Path, tmp_path: Path) -> None:
    config = config_for(drawn, optimiser__steps=2)
    with pytest.raises(InvalidInput, match="no run to go on with"):
        run_in(config, tmp_path / "run", resume=True)
    run_in(config, tmp_path / "run")
    with pytest.raises(InvalidInput, match="go on with it by --resume"):
        run_in(config, tmp_path / "run")
    for resume in (False, True):
        with pytest.raises(InvalidInput, match="another configuration"):
            run_in(changed(config, seed=2), tmp_path / "run", resume=resume)
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"damaged")
    with pytest.raises(BadModel, match="damaged"):
        run_in(config, tmp_path / "run", resume=True)
    (tmp_path / "run" / "config.json").write_bytes(b"{")
    with pytest.raises(InvalidInput, match="not a run's"):
        run_in(config, tmp_path / "run", resume=True)


# --------------------------------------------------------------------------------------------- is what it says


def sides(config: TrainConfig) -> tuple[PictureSet, Any]:
    """The training side's pictures, and what prepares them."""
    listed = list_pictures(config.data)
    apart = np.isin(listed.labels, held_out_classes(len(listed.names), config.data, config.seed))
    prepare = open_network(config.model, config.seed).backbone.prepare
    found, _ = load_pictures(listed, np.flatnonzero(~apart), prepare, 100, {"whole": lambda pixels: pixels})
    _, labels = np.unique(found.labels, return_inverse=True)
    return PictureSet(found.squares, labels, found.paths), Normalise(prepare, torch.device("cpu"))


def slow_run(config: TrainConfig) -> tuple[torch.nn.Module, dict[str, Any]]:
    """The same run by plain loops: the last network, and the averaged weights of its learning part.

    Each step takes the gradient of the `accumulate` batches set side by side, as one batch. For ArcFace, which looks
    at each picture by itself, that is the mean of their gradients; for triplets it would not be.
    """
    pictures, normalise = sides(config)
    settings = config.optimiser
    network = open_network(config.model, config.seed).network.to(memory_format=torch.channels_last)
    objective = open_objective(config.loss, len(np.unique(pictures.labels)), network.dimension)
    groups = [{**group, "rate": group["lr"]} for group in network.groups(settings)]
    if objective.parameters:
        rate = settings.rate * PROXY_RATE
        groups.append({"params": list(objective.parameters), "lr": rate, "rate": rate, "weight_decay": 0.0})
    moving = torch.optim.AdamW(groups)
    averaged = {key: value.clone() for key, value in network.top.state_dict().items()}
    batches = changed_pictures(pictures, config, normalise, 0)
    network.train()
    for step in range(settings.steps):
        together = [next(batches) for _ in range(settings.accumulate)]
        for group in moving.param_groups:
            group["lr"] = group["rate"] * rate_factor(step, settings)
        moving.zero_grad()
        vectors = torch.nn.functional.normalize(network(torch.cat([batch.inputs for batch in together])))
        objective.loss(vectors, torch.cat([batch.labels for batch in together])).backward()
        learned = [p for group in groups for p in group["params"] if p.grad is not None]
        length = sum(float(p.grad.square().sum()) for p in learned) ** 0.5
        if settings.clip and length > settings.clip:
            for parameter in learned:
                parameter.grad.mul_(settings.clip / (length + 1e-6))
        moving.step()
        decay = min(settings.ema, (2 + step) / (11 + step))
        for key, value in network.top.state_dict().items():
            if value.is_floating_point():
                averaged[key] = decay * averaged[key] + (1 - decay) * value
    return network, averaged


def test_accumulated_clipped_and_averaged_steps_are_those_of_a_slow_loop(drawn: Path, tmp_path: Path) -> None:
    # SGD's like would hide nothing, but AdamW forgets a gradient's length: clipping shows only as steps differ.
    config = config_for(
        drawn,
        loss__name="arcface",
        optimiser__accumulate=2,
        optimiser__ema=0.5,
        optimiser__clip=0.3,
        optimiser__steps=4,
        optimiser__rate=1e-5,
        optimiser__depth_decay=0.7,
    )
    network, averaged = slow_run(config)
    run_in(config, tmp_path / "run")
    found = load_file(tmp_path / "run" / CHECKPOINT)
    for key, value in network.top.state_dict().items():
        assert torch.allclose(found[f"top/{key}"], value, atol=2e-6), key
        assert torch.allclose(found[f"averaged/{key}"], averaged[key], atol=2e-6), key
    moved = found["top/4.0.conv1.weight"] - found["averaged/4.0.conv1.weight"]
    assert float(moved.abs().max()) > 0


def test_accumulated_triplets_are_picked_within_each_batch(drawn: Path, tmp_path: Path) -> None:
    config = config_for(drawn, optimiser__steps=1, optimiser__accumulate=2, optimiser__evaluate_every=1)
    pictures, normalise = sides(config)
    network = open_network(config.model, config.seed).network.to(memory_format=torch.channels_last).train()
    objective = open_objective(config.loss, 6, network.dimension)
    batches = changed_pictures(pictures, config, normalise, 0)
    losses = []
    for batch in (next(batches), next(batches)):
        with torch.no_grad():
            losses.append(float(objective.loss(torch.nn.functional.normalize(network(batch.inputs)), batch.labels)))
    run_in(config, tmp_path)
    assert log_of(tmp_path)[1]["loss"] == pytest.approx(np.mean(losses), rel=1e-4)


def test_the_best_weights_are_the_averaged_ones_also_where_nothing_is_held_out(drawn: Path, tmp_path: Path) -> None:
    config = config_for(drawn, data__held_out=0.0, optimiser__ema=0.9)
    run = run_in(config, tmp_path)
    averaged = {k.removeprefix("averaged/"): v for k, v in load_file(tmp_path / CHECKPOINT).items() if "averaged/" in k}
    assert averaged
    assert all(torch.equal(averaged[key], value) for key, value in run.network.top.state_dict().items())
    assert [row["step"] for row in log_of(tmp_path)] == [0, 2, 4, 6]
    assert "map_r" not in log_of(tmp_path)[-1]


def test_a_leash_pulls_to_what_the_network_gave_before_training(drawn: Path, tmp_path: Path) -> None:
    def kept(leash: float, place: str) -> float:
        config = config_for(drawn, loss__leash=leash, optimiser__steps=10, optimiser__evaluate_every=10)
        run = run_in(config, tmp_path / place)
        before = open_network(config.model, config.seed).network.eval()
        checkpoint = load_file(tmp_path / place / CHECKPOINT)
        run.network.top.load_state_dict({k[4:]: v for k, v in checkpoint.items() if k.startswith("top/")})
        given = run.normalise.squares(run.training.squares)
        with torch.inference_mode():
            return float(torch.nn.functional.cosine_similarity(before(given), run.network.eval()(given)).mean())

    assert kept(30.0, "leashed") > kept(0.0, "loose") + 0.02


@pytest.mark.parametrize("freeze", [3, 5])
def test_frozen_stages_computed_once_give_what_they_give_anew(drawn: Path, tmp_path: Path, freeze: int) -> None:
    values: dict[str, object] = {"model__freeze": freeze, "model__dimension": 16, "augment__flip": 0.0}
    anew, once = config_for(drawn, **values), config_for(drawn, model__cache=3, **values)
    for name, config in (("anew", anew), ("once", once)):
        run_in(config, tmp_path / name)
    for a, b in zip(log_of(tmp_path / "anew"), log_of(tmp_path / "once"), strict=True):
        assert a.keys() == b.keys()
        assert a.get("loss", 0) == pytest.approx(b.get("loss", 0), rel=5e-3)  # kept in bfloat16


def test_cached_variants_are_upright_mirrored_and_others_and_mirrored_only_where_flips_are_wanted(drawn: Path) -> None:
    features = torch.arange(3.0)[:, None, None].expand(3, 40, 2)  # which variant it is
    labels = np.repeat(np.arange(10), 4)

    def seen(flip: float) -> set[float]:
        config = config_for(drawn, augment__flip=flip, optimiser__steps=20)
        return {float(v) for batch in cached_features(features, labels, config, 0) for v in batch.inputs[:, 0]}

    assert seen(0.5) == {0.0, 1.0, 2.0}
    assert seen(0.0) == {0.0, 2.0}


def test_batches_made_by_another_process_are_the_same_batches(drawn: Path) -> None:
    made = []
    for workers in (0, 1):
        config = config_for(drawn, data__workers=workers, augment__crop=0.4, augment__colour=0.3)
        pictures, normalise = sides(config)
        made.append(list(changed_pictures(pictures, config, normalise, 2)))
    assert len(made[0]) == 4
    for one, other in zip(*made, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.rows, other.rows)


# ----------------------------------------------------------------------------------------------------- learns


def test_the_loss_falls_and_unseen_classes_are_told_apart_better(drawn: Path, tmp_path: Path) -> None:
    config = config_for(
        drawn,
        model__norms=True,
        optimiser__steps=40,
        optimiser__evaluate_every=10,
        optimiser__classes=6,
    )
    run_in(config, tmp_path)
    log = log_of(tmp_path)
    losses = [row["loss"] for row in log[1:]]
    assert losses[-1] < 0.8 * losses[0]
    assert max(row["map_r"] for row in log) > log[0]["map_r"] + 0.05


def test_reduced_precision_learns_alike(drawn: Path, tmp_path: Path) -> None:
    losses = {}
    for precision in ("f32", "bf16", "frozen-bf16"):
        config = config_for(drawn, optimiser__precision=precision, model__freeze=2)
        run_in(config, tmp_path / precision)
        losses[precision] = log_of(tmp_path / precision)[1]["loss"]
    assert losses["bf16"] != losses["f32"]
    assert losses["bf16"] == pytest.approx(losses["f32"], rel=0.05)
    assert losses["frozen-bf16"] == pytest.approx(losses["f32"], rel=0.05)


def test_a_run_ends_when_evaluations_bring_nothing_more(drawn: Path, tmp_path: Path) -> None:
    config = config_for(
        drawn, optimiser__rate=1e-12, optimiser__evaluate_every=1, optimiser__steps=20, optimiser__patience=3
    )
    run_in(config, tmp_path)
    assert [row["step"] for row in log_of(tmp_path)] == [0, 1, 2, 3]


def test_a_plateau_cuts_the_rate_to_a_quarter(drawn: Path, tmp_path: Path) -> None:
    config = config_for(
        drawn,
        optimiser__rate=1e-12,
        optimiser__schedule="plateau",
        optimiser__patience=4,
        optimiser__evaluate_every=1,
        optimiser__steps=20,
        optimiser__warmup=0,
    )
    run_in(config, tmp_path)
    assert [row["rate"] for row in log_of(tmp_path)[1:]] == pytest.approx([1e-12, 1e-12, 2.5e-13, 2.5e-13], rel=1e-5)


def test_a_run_ends_when_its_minutes_are_used_up(drawn: Path, tmp_path: Path) -> None:
    run_in(config_for(drawn, optimiser__minutes=1e-9), tmp_path)
    assert [row["step"] for row in log_of(tmp_path)] == [0, 2]


def test_a_run_whose_time_was_used_up_goes_on_with_more_of_it(drawn: Path, tmp_path: Path) -> None:
    run_in(config_for(drawn), tmp_path / "unbroken")
    assert run_in(config_for(drawn, optimiser__minutes=1e-9), tmp_path / "short").steps == 2
    longer = config_for(drawn, optimiser__minutes=60)
    assert run_in(longer, tmp_path / "short", resume=True).steps == 6
    assert log_of(tmp_path / "short") == log_of(tmp_path / "unbroken")
    assert config_from(json.loads((tmp_path / "short" / "config.json").read_text("utf-8"))) == longer


def test_whoever_watches_sees_every_evaluation_and_may_end_the_run(drawn: Path, tmp_path: Path) -> None:
    seen: list[float] = []

    def watch(row: dict[str, float]) -> bool:
        seen.append(row["step"])
        return row["step"] >= 4

    run_in(config_for(drawn), tmp_path, watch=watch)
    assert seen == [0, 2, 4]
    run_in(config_for(drawn), tmp_path, watch=watch, resume=True)
    assert seen == [0, 2, 4] * 2


def test_a_rate_that_is_far_too_high_is_said_to_be(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"lower optimiser\.rate"):
        run_in(config_for(drawn, optimiser__rate=1e30, optimiser__warmup=0), tmp_path)


# ---------------------------------------------------------------------------------------------- writes it down


def test_the_folder_says_everything_of_a_run(drawn: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (drawn / "c00" / "broken.png").write_bytes(b"not a picture")
    try:
        config = config_for(drawn)
        run = run_in(config, tmp_path)
    finally:
        (drawn / "c00" / "broken.png").unlink()
    assert config_from(json.loads((tmp_path / "config.json").read_text("utf-8"))) == config
    split = json.loads((tmp_path / "split.json").read_text("utf-8"))
    assert len(split["training"]) == 6
    assert len(split["held_out"]) == 4
    assert not set(split["training"]) & set(split["held_out"])
    assert [Path(bad["picture"]).name for bad in split["left_out"]] == ["broken.png"]
    assert [row["step"] for row in log_of(tmp_path)] == [0, 2, 4, 6]
    assert log_of(tmp_path)[-1].keys() == {"step", "loss", "rate", "recall_1", "map_r"}
    assert load_file(tmp_path / BEST).keys() == run.network.state_dict().keys()

    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert {"loss", "rate", "recall_1", "map_r"} <= set(board.Tags()["scalars"])
    assert [event.step for event in board.Scalars("loss")] == [2, 4, 6]
    assert board.Tags()["images"]
    assert (tmp_path / "tensorboard" / "projector_config.pbtxt").exists()


def test_the_same_seed_gives_the_same_run_and_another_seed_another(drawn: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("other", 1), ("third", 2)):
        run_in(config_for(drawn, seed=seed, optimiser__steps=2), tmp_path / name)
    assert log_of(tmp_path / "one") == log_of(tmp_path / "other")
    assert same_tensors(tmp_path / "one" / BEST, tmp_path / "other" / BEST)
    assert log_of(tmp_path / "one") != log_of(tmp_path / "third")


def test_a_cuda_that_is_not_there_is_not_replaced_in_silence(drawn: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("left out: there is a GPU here")
    with pytest.raises(InvalidInput, match="cuda was asked for"):
        run_in(config_for(drawn, device="cuda"), tmp_path)
