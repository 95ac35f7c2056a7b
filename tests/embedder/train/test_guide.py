"""The guide to training names every value of a configuration with its default, and no other."""

from __future__ import annotations

import json
import re
import tomllib

from embedder.train.config import CHOICES, TrainConfig, config_from, to_dict
from embedder.train.losses import LOSSES
from embedder.train.search_space import SEARCHED
from tests.conftest import ROOT

GUIDE = (ROOT / "docs" / "training.md").read_text("utf-8")


def defaults() -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in to_dict(TrainConfig()).items():
        inner = {f"{name}.{key}": of for key, of in value.items()} if isinstance(value, dict) else {name: value}
        found |= {key: json.dumps(of) for key, of in inner.items()}
    return found


def test_every_value_stands_in_the_guide_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([a-z_.]+)` \| `([^`]+)` \|", GUIDE, re.MULTILINE))
    assert rows == defaults()


def test_every_word_that_a_value_may_have_stands_beside_it() -> None:
    rows = re.findall(r"^\| `(?:\w+\.)?(\w+)` \| `([^`]+)` \| (.*) \|$", GUIDE, re.MULTILINE)
    said = {name: f"{default} {meaning}" for name, default, meaning in rows if not default[0].isdigit()}
    assert CHOICES.keys() <= said.keys()
    for name, words in CHOICES.items():
        assert [word for word in words if word not in said[name]] == [], name


def test_the_guide_s_examples_are_configurations() -> None:
    example, space = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    assert config_from(tomllib.loads(example)).data.folders == ("my-things",)
    assert {name.split(".")[0] for name in tomllib.loads(space)["tune"]} <= set(SEARCHED)


def test_every_loss_is_named() -> None:
    assert [name for name in LOSSES if f"`{name}`" not in GUIDE and f'"{name}"' not in GUIDE] == []
