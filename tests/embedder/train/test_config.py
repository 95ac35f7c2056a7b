"""A configuration says what it changes; anything that is unknown, of a wrong kind or senseless is refused by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.train.config import TrainConfig, changed, config_from, read_config, recipe_for, to_dict
from lookalike.errors import InvalidInput
from tests.embedder.train.drawing import draw_classes

LEAST: dict[str, object] = {"data": {"folders": ["pictures"]}}


def with_values(**tables: dict[str, object]) -> dict[str, object]:
    return {"data": {"folders": ["pictures"], **tables.pop("data", {})}, **tables}


def test_what_is_not_named_keeps_its_default() -> None:
    config = config_from({"data": {"folders": ["a"]}, "optimiser": {"rate": 3e-5}})
    assert config.optimiser.rate == 3e-5
    assert dataclasses.replace(config.optimiser, rate=1e-4) == TrainConfig().optimiser
    assert config.augment == TrainConfig().augment


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ({"folders": ["a"]}, "folders is unknown"),
        (with_values(optimiser={"learning_rate": 1.0}), "optimiser.learning_rate is unknown; there are .*rate"),
        (with_values(model=3), "model must be a table"),
    ],
)
def test_an_unknown_name_is_refused_with_those_there_are(entries: dict[str, object], names: str) -> None:
    with pytest.raises(InvalidInput, match=names):
        config_from(entries)


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        (with_values(optimiser={"rate": "fast"}), "optimiser.rate must be of the kind float"),
        (with_values(optimiser={"steps": 2.5}), "optimiser.steps must be of the kind int"),
        (with_values(optimiser={"steps": True}), "optimiser.steps must be of the kind int"),
        (with_values(model={"norms": 1}), "model.norms must be of the kind bool"),
        (with_values(loss={"name": 1}), "loss.name must be of the kind str"),
        ({"data": {"folders": "pictures"}}, "data.folders must be a list of strings"),
        ({"data": {"folders": [1]}}, "data.folders must be a list of strings"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(entries: dict[str, object], names: str) -> None:
    with pytest.raises(InvalidInput, match=names):
        config_from(entries)


def test_a_whole_number_may_stand_for_a_fraction() -> None:
    assert config_from(with_values(optimiser={"minutes": 5})).optimiser.minutes == 5.0


@pytest.mark.parametrize(
    ("entries", "names"),
    [
        ({}, "data.folders"),
        (with_values(data={"kind": "person"}), "data.kind: one of image, face"),
        (with_values(data={"crop": ["middle"]}), "crop: one of whole, face"),
        (with_values(data={"crop": ["whole", "face"]}), "data.crop: one for each"),
        (with_values(data={"folds": 3, "fold": 3}), "data.fold: from 0"),
        (with_values(data={"folds": 0}), "data.folds: at least 1"),
        (with_values(data={"held_out": 1.0}), "data.held_out: below 1"),
        (with_values(data={"held_out": 1.2}), "held_out: 0 to 1"),
        (with_values(augment={"flip": 1.5}), "flip: 0 to 1"),
        (with_values(augment={"blur": -0.5}), "blur: 0 to 1"),
        (with_values(augment={"mixup": 0.2, "cutmix": 0.2}), "not both"),
        (with_values(augment={"mixup": 0.2}, model={"freeze": 1, "cache": 2}), "cannot be mixed"),
        (with_values(model={"freeze": 1, "cache": 1}), "model.cache: 0, or at least 2"),
        (with_values(model={"cache": 2}), "needs model.freeze"),
        (with_values(model={"dimension": 64}, loss={"leash": 1.0}), "loss.leash"),
        (with_values(loss={"teacher": "sface"}), "loss.teacher: set loss.leash"),
        (with_values(loss={"name": "none", "leash": 1.0}), "none leaves nothing to learn"),
        (
            with_values(loss={"teacher": "sface", "leash": 1.0}, model={"freeze": 1, "cache": 2}),
            "loss.teacher: must see the pictures themselves",
        ),
        (with_values(optimiser={"classes": 1}), "optimiser.classes and optimiser.pictures: at least 2"),
        (with_values(optimiser={"pictures": 1}), "optimiser.classes and optimiser.pictures: at least 2"),
        (with_values(optimiser={"rate": -1.0}), "rate: not below 0"),
        (with_values(optimiser={"rate": float("nan")}), "optimiser.rate: a number"),
        (with_values(optimiser={"minutes": float("inf")}), "minutes: a number"),
        (with_values(optimiser={"schedule": "linear"}), "schedule: one of cosine, plateau, constant"),
        (with_values(optimiser={"precision": "f16"}), "precision: one of"),
        (with_values(optimiser={"accumulate": 0}), "optimiser.accumulate: at least 1"),
        (with_values(optimiser={"evaluate_every": 0}), "optimiser.evaluate_every: at least 1"),
        (with_values(optimiser={"ema": 1.0}), "optimiser.ema: below 1"),
        (with_values(model={"dimension": 3}), "model.dimension: 0, or 8 to 8192"),
        (with_values(model={"side": 16}), "model.side: 0, or 32 to 1024"),
        (with_values(output={"whiten": 4}), "output.whiten: 0, or 8 to 8192"),
        (with_values(output={"name": "my things"}), "output.name: letters, digits"),
        (with_values(output={"licence": ""}), "output.licence: one line"),
        (with_values(output={"note": "x" * 4001}), "at most 4000 characters"),
        (with_values(output={"flip": "sometimes"}), "flip: one of never, enrolment, always"),
        (with_values() | {"select": "accuracy"}, "select: one of nothing, map_r"),
        (with_values() | {"select": "open_set"}, "select: open_set is measured of faces"),
        (with_values() | {"device": "tpu"}, "device: one of"),
        (with_values() | {"seed": -1}, "seed: not below 0"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(entries: dict[str, object], names: str) -> None:
    with pytest.raises(InvalidInput, match=names):
        config_from(entries)


def test_a_file_is_read_and_a_broken_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('seed = 4\n[data]\nfolders = ["a", "b"]\ncrop = ["whole", "face"]\n', "utf-8")
    assert read_config(path).data.crop == ("whole", "face")
    path.write_text("[data\n", "utf-8")
    with pytest.raises(InvalidInput, match="not TOML"):
        read_config(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_config(tmp_path / "absent.toml")


@given(
    rate=st.floats(1e-9, 1.0),
    classes=st.integers(2, 64),
    crop=st.floats(0, 1),
    folders=st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=3),
    joined=st.booleans(),
)
def test_a_configuration_survives_being_written_down(
    rate: float, classes: int, crop: float, folders: list[str], joined: bool
) -> None:
    config = config_from(
        {
            "data": {"folders": folders},
            "optimiser": {"rate": rate, "classes": classes},
            "augment": {"crop": crop},
            "output": {"joined": joined},
        }
    )
    assert config_from(to_dict(config)) == config


def test_single_values_are_changed_by_their_path() -> None:
    config = changed(config_from(LEAST), optimiser__rate=1e-5, seed=9)
    assert (config.optimiser.rate, config.seed) == (1e-5, 9)
    with pytest.raises(InvalidInput, match="unknown"):
        changed(config, optimiser__rite=1.0)
    with pytest.raises(InvalidInput, match="there is no table 'optimizer'"):
        changed(config, optimizer__rate=1.0)


@pytest.mark.parametrize("kind", ["image", "face"])
def test_a_recipe_takes_no_more_classes_to_a_batch_than_are_left_to_learn_from(tmp_path: Path, kind: str) -> None:
    folder = draw_classes(tmp_path / "mine", 8, 2, side=16)
    (folder / "too few").mkdir()
    (folder / "too few" / "0.png").write_bytes((folder / "c00" / "0.png").read_bytes())
    config = recipe_for(folder, kind)
    assert config.data.kind == kind
    assert config.data.folders == (str(folder),)
    assert config.optimiser.classes == 6
    assert config.data.crop == (("face",) if kind == "face" else ())
    with pytest.raises(InvalidInput, match="kind"):
        recipe_for(folder, "thing")
