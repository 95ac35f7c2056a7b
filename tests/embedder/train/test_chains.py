"""A chain of convolutions becomes named weights and comes back, also narrower; what does not fit is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="left out: the train extra is not installed")

from embedder.models import SFACE, load_bundled  # noqa: E402
from embedder.network_chain import Chain, read_chain  # noqa: E402
from embedder.train.backbones import open_backbone  # noqa: E402
from embedder.train.chains import chain_from_weights, chain_stages, chain_weights  # noqa: E402
from lookalike.errors import BadModel  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def chain(model_cache: Path) -> Chain:
    return read_chain(load_bundled(SFACE, model_cache))


def tensors(chain: Chain) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(np.array(value)).float().contiguous() for name, value in chain_weights(chain).items()}


def narrower(chain: Chain, count: int) -> Chain:
    """With only `count` channels out of the first convolution and through the depthwise one behind it."""
    first, depthwise, dense = chain.layers[:3]
    first = replace(first, weights=first.weights[:count], bias=first.bias[:count], slopes=first.slopes[:count])
    depthwise = replace(
        depthwise, weights=depthwise.weights[:count], bias=depthwise.bias[:count], slopes=depthwise.slopes[:count],
        groups=count,
    )  # fmt: skip
    dense = replace(dense, weights=dense.weights[:, :count])
    return replace(chain, layers=(first, depthwise, dense, *chain.layers[3:]))


def test_the_names_are_those_of_the_stages(chain: Chain) -> None:
    state = torch.nn.Sequential(*chain_stages(chain)).state_dict()
    found = tensors(chain)
    assert state.keys() == found.keys()
    assert all(torch.equal(state[name], found[name]) for name in state)


def test_weights_of_fewer_channels_are_a_narrower_backbone(chain: Chain, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    small = narrower(chain, 16)
    save_file(tensors(small), tmp_path / "small.safetensors")

    backbone = open_backbone("sface", str(tmp_path / "small.safetensors"))
    pixels = torch.rand(2, 3, 112, 112) * 255
    with torch.inference_mode():
        found = torch.nn.Sequential(*backbone.stages)(pixels)
        wanted = torch.nn.Sequential(*chain_stages(small))(pixels)
    assert torch.allclose(found, wanted, atol=1e-4)
    back = chain_from_weights(chain, tensors(small))
    assert [layer.groups for layer in back.layers[:3]] == [1, 16, 1]


@pytest.mark.parametrize("name", ["0.1.weight", "1.0.weight", "1.2.bias", "2.1.slopes", "14.1.weight", "14.1.bias"])
def test_weights_that_do_not_fit_each_other_are_refused(chain: Chain, name: str) -> None:
    state = tensors(chain)
    state[name] = state[name][: len(state[name]) - 1]
    with pytest.raises(BadModel, match="do not fit"):
        chain_from_weights(chain, state)
    del state[name]
    with pytest.raises(BadModel, match="missing"):
        chain_from_weights(chain, state)
