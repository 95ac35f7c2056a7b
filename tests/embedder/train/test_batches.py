"""Sets of pictures are embedded alike however they are computed: many by the service's runtime, few by torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="left out: the train extra is not installed")

from embedder.train import batches  # noqa: E402
from embedder.train.batches import Normalise, embed_pictures, frozen_features  # noqa: E402
from embedder.train.config import config_from  # noqa: E402
from embedder.train.network import open_network  # noqa: E402
from embedder.train.pictures import PictureSet  # noqa: E402
from tests.embedder.train.drawing import stripes  # noqa: E402

pytestmark = pytest.mark.train

SIDE = 64


@pytest.mark.parametrize("cached", [False, True], ids=["from pixels", "from cached features"])
def test_the_service_s_runtime_and_torch_embed_a_set_alike(cached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_from(
        {"data": {"folders": ["x"]}, "model": {"backbone": "efficientnet_lite0", "side": SIDE, "freeze": 3}}
    )
    opened = open_network(config.model, 1)
    normalise = Normalise(opened.backbone.prepare, torch.device("cpu"))
    squares = np.stack([stripes(kind, number, SIDE) for kind in range(5) for number in range(2)])
    pictures = PictureSet(squares, np.repeat(np.arange(5), 2), (Path("x"),) * 10)
    opened.network.eval()
    features = None
    if cached:
        features = frozen_features(opened.network.below, pictures, normalise, config, 2, lambda *_: None)
    compile_it, compiled = batches.compiled, []
    monkeypatch.setattr(batches, "compiled", lambda *given: compiled.append(given) or compile_it(*given))
    found = {}
    for name, least in (("few", 1 << 30), ("many", 0)):
        monkeypatch.setattr(batches, "WORTH_COMPILING", least)
        found[name] = embed_pictures(opened.network, pictures, normalise, features)
    assert len(compiled) == 1
    upright, mirrored = found["many"]
    unlike = float((upright * mirrored).sum(1).max())
    for few, many in zip(found["few"], found["many"], strict=True):
        assert few.shape == (10, opened.network.dimension)
        assert float((few * many).sum(1).min()) > max(0.99, unlike)  # bf16, where the processor has it, costs 3e-3
