"""A study searches within the training classes, goes on after a kill, and says honestly whether it found anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="left out: the train extra is not installed")
pytest.importorskip("optuna", reason="left out: the train extra is not installed")

from embedder.train.config import changed, config_from, read_config, to_toml  # noqa: E402
from embedder.train.judge import differences_of  # noqa: E402
from embedder.train.measures import MAIN  # noqa: E402
from embedder.train.pictures import list_pictures  # noqa: E402
from embedder.train.runs import different_values, summarise  # noqa: E402
from embedder.train.search_space import Dimension, read_space, value_of, with_values  # noqa: E402
from embedder.train.tune import Plan, Study, tune  # noqa: E402
from lookalike.errors import InvalidInput  # noqa: E402
from tests.embedder.train.drawing import draw_classes  # noqa: E402
from tests.embedder.train.test_judge import LABELS, way  # noqa: E402

pytestmark = pytest.mark.train

SIDES = ("a", 0.9, 0), ("b", 1.2, 10)
"""Name, noise and first seed of two ways of making vectors, of which the first is better."""

RUN = """
[data]
folders = [{folder}]
held_out = 0.3
workers = 0
[model]
backbone = "timm:test_resnet"
side = 32
[optimiser]
classes = 12
pictures = 3
steps = 4
warmup = 1
evaluate_every = 2
rate = 1e-6
"""
SPACE = '[tune]\n"optimiser.rate" = {low = 1e-5, high = 1e-2, log = true}\n"model.norms" = {choices = [true, false]}\n'


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_classes(tmp_path_factory.mktemp("drawn"), 16, 4, side=32)


@pytest.fixture
def written(drawn: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(RUN.format(folder=json.dumps(str(drawn))), "utf-8")
    return path


def plan_of(written: Path, space: str = SPACE, **values: Any) -> Plan:
    path = written.parent / "space.toml"
    path.write_text(space, "utf-8")
    config, dimensions = read_space(written, path)
    return Plan(config, dimensions, **{"trials": 3, "seeds": 1, **values})


def study_in(plan: Plan, folder: Path, **how: Any) -> Study:
    return tune(plan, folder, folder / "models", how.pop("show", lambda *_: None), **how)


# ---------------------------------------------------------------------------------------------------- the space


def test_a_space_is_read_from_the_configuration_or_from_a_file_of_its_own(written: Path) -> None:
    wanted = (Dimension("optimiser.rate", 1e-5, 1e-2, True), Dimension("model.norms", choices=(True, False)))
    assert plan_of(written).space == wanted
    written.write_text(written.read_text("utf-8") + SPACE, "utf-8")
    config, own = read_space(written)
    assert own == wanted
    assert value_of(config, "optimiser.rate") == 1e-6
    assert with_values(config, {"optimiser.rate": 1e-3, "model.norms": True}).model.norms


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "nothing to search"),
        ('"optimiser.rite" = {low = 1, high = 2}', "no value of augment, model"),
        ('"optimiser" = {low = 1, high = 2}', "no value of"),
        ('"data.held_out" = {low = 0.1, high = 0.5}', "no value of"),
        ('"seed" = {low = 1, high = 9}', "no value of"),
        ('"output.flip" = {choices = ["never"]}', "no value of"),
        ('"optimiser.rate" = 3', "takes {low, high}"),
        ('"optimiser.rate" = {low = 1e-5, hi = 1e-3}', "takes {low, high}"),
        ('"optimiser.rate" = {low = 1e-5}', "low and high are numbers"),
        ('"optimiser.rate" = {low = 1e-3, high = 1e-5}', "low is below high"),
        ('"optimiser.rate" = {low = 0, high = 1e-5, log = true}', "above 0 where log"),
        ('"optimiser.classes" = {low = 2.5, high = 9}', "whole numbers"),
        ('"loss.name" = {low = 1, high = 2}', "words take choices"),
        ('"model.norms" = {low = 0, high = 1}', "words take choices"),
        ('"model.norms" = {choices = [1, 2]}', "not of its kind, bool"),
        ('"loss.name" = {choices = []}', "a list of one value or more"),
        ('"loss.name" = {choices = ["arcface"], low = 3}', "stands alone"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(written: Path, line: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        plan_of(written, f"[tune]\n{line}\n")


@given(
    folders=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=3),
    rate=st.floats(1e-12, 1e3),
    note=st.text(max_size=30),
    joined=st.booleans(),
)
def test_a_configuration_that_is_written_as_toml_is_read_the_same(
    tmp_path_factory: pytest.TempPathFactory, folders: list[str], rate: float, note: str, joined: bool
) -> None:
    config = config_from(
        {"data": {"folders": folders}, "optimiser": {"rate": rate}, "output": {"note": note, "joined": joined}}
    )
    path = tmp_path_factory.getbasetemp() / "written.toml"
    path.write_text(to_toml(config), "utf-8")
    assert read_config(path) == config


# ---------------------------------------------------------------------------------------------------- the study


def test_a_study_finds_a_better_rate_and_leaves_what_it_says(written: Path, tmp_path: Path) -> None:
    plan = plan_of(written)
    found = study_in(plan, tmp_path / "study")
    assert [trial.number for trial in found.trials] == [0, 1, 2]
    assert {trial.state for trial in found.trials} <= {"complete", "pruned"}
    assert found.best.value == max(t.value for t in found.trials if t.value is not None)
    assert found.default == {"optimiser.rate": 1e-6, "model.norms": False}

    tuned = read_config(tmp_path / "study" / "best.toml")
    assert tuned == with_values(plan.config, found.best.values)
    report = json.loads((tmp_path / "study" / "study.json").read_text("utf-8"))
    assert report["comparison"]["sentence"] == found.comparison.sentence
    assert report["best"]["number"] == found.best.number
    assert len(summarise([tmp_path / "study" / "comparison"])) == 2
    for path in (tmp_path / "study").rglob("*"):
        assert not path.read_bytes().startswith(b"\x80") if path.is_file() else True  # no pickle


def test_no_trial_sees_a_test_class_and_the_comparison_is_of_them_alone(written: Path, tmp_path: Path) -> None:
    found = study_in(plan_of(written, trials=2, seeds=2), tmp_path / "study")
    test = set(json.loads((tmp_path / "study" / "plan.json").read_text("utf-8"))["test"])
    assert len(test) == round(0.3 * 16)
    for split in (tmp_path / "study").rglob("split.json"):
        sides = json.loads(split.read_text("utf-8"))
        assert not test & set(sides["training"] + sides["held_out"])
        assert len(sides["training"]) + len(sides["held_out"]) == 16 - len(test)
    assert found.comparison.classes == len(test)
    assert [outcome.seed for outcome in found.comparison.outcomes] == [2, 3]  # no trial had them


def test_classes_may_be_left_out_by_name(drawn: Path) -> None:
    config = config_from({"data": {"folders": [str(drawn)], "without": [f"{drawn.name}/c03"]}})
    names = list_pictures(config.data).names
    assert len(names) == 15
    assert f"{drawn.name}/c03" not in names


def test_a_study_that_was_stopped_goes_on_to_the_same_trials_and_the_same_answer(written: Path, tmp_path: Path) -> None:
    plan = plan_of(written, trials=2)
    unbroken = study_in(plan, tmp_path / "unbroken")
    broken = tmp_path / "broken"

    def stopping_at(stop: int) -> Any:
        steps = 0

        def show(what: str, done: int, total: int) -> None:
            nonlocal steps
            steps += what == "training"
            if steps == stop:
                raise KeyboardInterrupt

        return show

    for place, stop in enumerate((3, 1)):
        with pytest.raises(KeyboardInterrupt):
            study_in(plan, broken, show=stopping_at(stop), resume=place > 0)
    with (broken / "study.jsonl").open("a") as file:
        file.write('{"op_code":')  # as a power cut may leave it
    assert study_in(plan, broken, resume=True) == unbroken


def test_a_folder_is_one_study_s_and_is_gone_on_with_only_when_asked(written: Path, tmp_path: Path) -> None:
    plan, folder = plan_of(written, trials=1), tmp_path / "study"
    with pytest.raises(InvalidInput, match="no study to go on with"):
        study_in(plan, folder, resume=True)
    first = study_in(plan, folder)
    with pytest.raises(InvalidInput, match="by --resume"):
        study_in(plan, folder)
    with pytest.raises(InvalidInput, match="another study"):
        study_in(plan_of(written, SPACE.replace("1e-2", "1e-3"), trials=1), folder, resume=True)
    more = study_in(plan_of(written, trials=2), folder, resume=True)
    assert more.trials[:1] == first.trials
    assert len(more.trials) == 2


def test_trials_without_promise_are_ended_early(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedder.train.tune.STARTING", 1)
    space = '[tune]\n"optimiser.rate" = {low = 1e-6, high = 10, log = true}\n"optimiser.warmup" = {choices = [0]}\n'
    found = study_in(plan_of(written, space, trials=6), tmp_path / "study")
    ended = [trial for trial in found.trials if trial.state == "pruned"]
    assert ended
    assert all(trial.steps < 4 and trial.value is None for trial in ended)
    assert found.best.state == "complete"


def test_the_same_values_are_not_tried_twice(written: Path, tmp_path: Path) -> None:
    found = study_in(
        plan_of(written, '[tune]\n"model.norms" = {choices = [false, true]}\n', trials=4), tmp_path / "study"
    )
    assert len(list((tmp_path / "study" / "trials").iterdir())) == 2
    assert len({(t.values["model.norms"], t.value) for t in found.trials}) == 2


def test_values_that_do_not_go_together_cost_a_trial_and_not_the_study(written: Path, tmp_path: Path) -> None:
    space = '[tune]\n"model.cache" = {choices = [0, 2]}\n'  # which needs frozen stages
    found = study_in(plan_of(written, space, trials=6), tmp_path / "study")
    failed = [trial for trial in found.trials if trial.state == "fail"]
    assert failed
    assert all(trial.values == {"model.cache": 2} for trial in failed)
    assert (
        "needs model.freeze" in (tmp_path / "study" / "trials" / f"{failed[0].number:03}" / "refused.txt").read_text()
    )
    assert found.best.values == {"model.cache": 0}
    assert found.comparison.word == "same"  # it is the default itself
    assert found.comparison.difference == 0


def test_time_that_is_used_up_ends_the_search(written: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no trial came to its end"):
        study_in(plan_of(written, minutes=1e-9), tmp_path / "study")


def test_too_few_classes_to_tune_on_are_refused(tmp_path: Path) -> None:
    folder = draw_classes(tmp_path / "few", 5, 2, side=16)
    config = config_from({"data": {"folders": [str(folder)], "held_out": 0.4}})
    plan = Plan(config, (Dimension("optimiser.rate", 1e-5, 1e-3),))
    with pytest.raises(InvalidInput, match="too few"):
        study_in(plan, tmp_path / "study")
    with pytest.raises(InvalidInput, match="at least two"):
        study_in(Plan(changed(config, data__held_out=0.0), plan.space), tmp_path / "study")
    with pytest.raises(InvalidInput, match="pruner: one of"):
        study_in(Plan(config, plan.space, pruner="sharp"), tmp_path / "study")


# ----------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize("kind", ["image", "face"])
def test_the_mean_over_seeds_is_the_mean_of_their_differences(kind: str) -> None:
    ours, theirs = ([way(name, noise, seed + first) for seed in range(3)] for name, noise, first in SIDES)
    found = differences_of(ours, theirs, LABELS, kind)
    single = [differences_of([a], [b], LABELS, kind) for a, b in zip(ours, theirs, strict=True)]
    for measure, judged in found.items():
        seeds = [one[measure].gain.value for one in single]
        assert judged.seeds == pytest.approx(seeds)
        assert judged.gain.value == pytest.approx(np.mean(seeds))
        assert judged.gain.low <= judged.gain.value <= judged.gain.high
    assert found[MAIN[kind]].verdict == "better"


def test_seeds_that_disagree_make_a_difference_unclear() -> None:
    theirs = [way("b", 1.2, seed) for seed in (10, 11, 12)]
    alike = differences_of([way("a", 1.0, seed) for seed in range(3)], theirs, LABELS, "image")["map_r"]
    uneven = differences_of([way("a", noise, 1) for noise in (0.4, 1.0, 1.4)], theirs, LABELS, "image")["map_r"]
    assert alike.verdict == "better"
    assert uneven.gain.value > alike.gain.value
    assert uneven.verdict == "unclear"


# ------------------------------------------------------------------------------------------------- side by side


def test_runs_stand_side_by_side_with_what_is_different_between_them(written: Path, tmp_path: Path) -> None:
    from embedder.train.export import export_run
    from embedder.train.recipe import train

    config = changed(read_config(written), optimiser__classes=5)
    for name, rate in (("slow", 1e-6), ("fast", 1e-3)):
        run = train(changed(config, optimiser__rate=rate), tmp_path / "runs" / name, tmp_path, lambda *_: None)
        if name == "fast":
            export_run(run, "by a test")
    fast, slow = summarise([tmp_path / "runs"])
    assert (fast.name, slow.name) == ("runs/fast", "runs/slow")
    assert different_values([fast, slow]) == ("optimiser.rate",)
    assert fast.verdict in ("better", "worse", "same", "unclear")
    assert fast.difference is not None
    assert (slow.verdict, slow.difference) == (None, None)
    rows = [json.loads(line) for line in (tmp_path / "runs" / "slow" / "log.jsonl").read_text().splitlines()]
    assert slow.first == rows[0]["map_r"]
    assert slow.best == max(row["map_r"] for row in rows)
    assert slow.steps == 4
    with (tmp_path / "runs" / "slow" / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "los')  # being written just now
    assert summarise([tmp_path / "runs" / "slow"])[0].steps == 4
    with pytest.raises(InvalidInput, match="no run"):
        summarise([tmp_path / "models"])
