"""An export is what was judged: a service computes the judged vectors from it. It says nothing of where it was made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="left out: the train extra is not installed")

from embedder.bundles import centre_of, image_model, read_export  # noqa: E402
from embedder.runtime import open_runtime  # noqa: E402
from embedder.train.config import TrainConfig, changed, config_from  # noqa: E402
from embedder.train.export import Exported, export_run  # noqa: E402
from embedder.train.network import open_network  # noqa: E402
from embedder.train.recipe import Run, train  # noqa: E402
from embedder.train.runs import summarise  # noqa: E402
from embedder.train.vectors import compare_ways, embed_sides, unit  # noqa: E402
from embedder.whole_pictures import ImageEmbedder  # noqa: E402
from lookalike.calibration import Calibration  # noqa: E402
from lookalike.domain import Floats  # noqa: E402
from tests.embedder.train.drawing import draw_classes  # noqa: E402

pytestmark = pytest.mark.train

SIDE = 32
SECRET = "jane-roe"  # a class's name, as people's are


def config_for(folder: Path, **values: object) -> TrainConfig:
    entries: dict[str, object] = {
        "data": {"folders": [str(folder)], "held_out": 0.4, "workers": 0},
        "model": {"backbone": "timm:test_resnet", "side": SIDE},
        "optimiser": {"classes": 3, "pictures": 3, "steps": 2, "warmup": 0, "evaluate_every": 2, "rate": 1e-3},
        "output": {"name": "stripes", "licence": "MIT", "commercial": True, "note": "drawn", "data": "stripes"},
        "device": "cpu",
    }
    return changed(config_from(entries), **values)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = draw_classes(tmp_path_factory.mktemp("hidden-place") / "stripes", 10, 5, side=SIDE)
    (folder / "c00").rename(folder / SECRET)
    return folder


@pytest.fixture(scope="module")
def made(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Run, Exported]]:
    """A run with these values and its export; the same one for the same values."""
    kept: dict[str, tuple[Run, Exported]] = {}

    def make(**values: object) -> tuple[Run, Exported]:
        name = repr(values)
        if name not in kept:
            folder = tmp_path_factory.mktemp("run")
            run = train(config_for(drawn, **values), folder, folder / "models", lambda *_: None)
            kept[name] = run, export_run(run, "lookalike train stripes --seed 1")
        return kept[name]

    return make


def served(folder: Path) -> ImageEmbedder:
    manifest, parts = read_export(folder)
    model = image_model(manifest, parts, open_runtime("onnxruntime"))
    return ImageEmbedder(model, centre=centre_of(manifest), flip=manifest.flip)


def test_the_folder_holds_four_parts_each_with_its_length_and_hash(made: Any) -> None:
    _, exported = made()
    manifest = json.loads((exported.folder / "manifest.json").read_text("utf-8"))
    files = {path.name for path in exported.folder.iterdir()}
    assert files == {"manifest.json", "network.onnx", "weights.safetensors", "card.md"}
    assert manifest["parts"].keys() == files - {"manifest.json"}
    for name, part in manifest["parts"].items():
        data = (exported.folder / name).read_bytes()
        assert part == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.parametrize(
    "values",
    [
        {"output__flip": "enrolment"},
        {"output__flip": "always", "output__whiten": 8},
        {"output__flip": "never", "output__centred": False, "output__joined": True},
        {"model__freeze": 2, "model__cache": 3, "model__dimension": 12},
    ],
    ids=["mirrored at enrolment", "whitened", "joined with its start", "a head on cached stages"],
)
def test_a_service_computes_the_vectors_that_were_judged(made: Any, values: dict[str, object]) -> None:
    run, exported = made(**values)
    embedder = served(exported.folder)
    judged = compare_ways(run, embed_sides(run), run.config.output).trained
    assert embedder.space.dimension == judged.probes.shape[1]
    for wanted, enrolment in ((judged.probes, False), (judged.templates, True)):
        pictures = [path.read_bytes() for path in run.held_out.paths]
        found = embedder.encode_crops(pictures, enrolment=enrolment).vectors
        assert _least_cosine(found, wanted) > 0.998
        assert _least_cosine(np.roll(found, 5, axis=0), wanted) < 0.99  # another class's are not these


def _least_cosine(found: Floats, wanted: Floats) -> float:
    return float((unit(found) * wanted).sum(axis=1).min())


def test_the_weights_are_a_start_for_another_run(made: Any) -> None:
    run, exported = made()
    model = replace(run.config.model, weights=str(exported.folder / "weights.safetensors"))
    again = open_network(model, seed=7).network.state_dict()
    for key, value in run.network.state_dict().items():
        assert torch.equal(again[key], value.half().to(value.dtype)), key


def test_the_manifest_says_what_it_is_and_what_was_measured(made: Any) -> None:
    run, exported = made()
    manifest, _ = read_export(exported.folder)
    prepare = run.opened.backbone.prepare
    assert (manifest.name, manifest.kind, manifest.preprocessing) == ("stripes", "image", prepare)
    assert (manifest.licence.id, manifest.licence.commercial, manifest.licence.note) == ("MIT", True, "drawn")
    written = json.loads((exported.folder / "manifest.json").read_text("utf-8"))
    verdict = exported.verdict
    trained = dict(zip(verdict.names, list(verdict.table.values())[-1], strict=True))
    for name, value in trained.items():
        assert written["metrics"][name]["value"] == pytest.approx(value, abs=1e-6)
    gain = written["metrics"][f"map_r less {verdict.rival}"]
    assert (gain["value"], gain["low"], gain["high"]) == pytest.approx(verdict.differences["map_r"], abs=1e-6)
    assert written["provenance"]["seeds"] == [1]
    assert written["provenance"]["config"]["optimiser"]["rate"] == 1e-3
    assert json.loads((run.folder / "verdict.json").read_text("utf-8"))["sentence"] == verdict.sentence


def test_the_card_says_the_verdict_and_the_licence(made: Any) -> None:
    _, exported = made()
    card = (exported.folder / "card.md").read_text("utf-8")
    assert f"**{exported.verdict.sentence}**" in card
    assert "Licence: MIT. drawn" in card
    for name in exported.verdict.table:
        assert f"| {name} |" in card


def test_nothing_exported_says_where_pictures_lay_or_who_is_on_them(made: Any) -> None:
    _, exported = made(data__without=("stripes/c03",))
    for path in exported.folder.iterdir():
        data = path.read_bytes()
        for secret in (SECRET, "hidden-place", "c03", "c04"):
            assert secret.encode() not in data, (path.name, secret)


def test_what_held_nothing_out_is_exported_without_a_figure(made: Any) -> None:
    _, exported = made(data__held_out=0.0)
    manifest = json.loads((exported.folder / "manifest.json").read_text("utf-8"))
    assert exported.verdict.word == "untested"
    assert manifest["metrics"] == {}
    assert "No class was held out" in (exported.folder / "card.md").read_text("utf-8")


def test_enough_held_out_classes_bring_a_calibration(tmp_path: Path) -> None:
    folder = draw_classes(tmp_path / "many", 104, 2, side=SIDE)
    run = train(config_for(folder, data__held_out=0.975), tmp_path / "run", tmp_path, lambda *_: None)
    exported = export_run(run, "lookalike train many")
    assert len(np.unique(run.held_out.labels)) == 101
    held = Calibration.from_json((exported.folder / "calibration.json").read_text("utf-8"))
    way, labels = compare_ways(run, embed_sides(run), run.config.output).trained, run.held_out.labels
    others = (way.probes @ way.templates.T)[labels[:, None] != labels[None, :]]
    for rate in (0.3, 0.1):
        assert held.fmr(float(np.quantile(others, 1 - rate))) == pytest.approx(rate, rel=0.3)
    assert held.provenance["learned_from"] == "held-out classes"


def test_too_few_held_out_classes_bring_none(made: Any) -> None:
    assert not (made()[1].folder / "calibration.json").exists()


# ---------------------------------------------------------------------------------------------- the end of a run


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"model__norms": True, "optimiser__steps": 20, "optimiser__evaluate_every": 20}, "better"),
        ({"optimiser__rate": 1e-12}, "unclear"),
        ({"optimiser__rate": 1e-12, "model__dimension": 8}, "worse"),
    ],
    ids=["learned", "learned nothing", "eight directions drawn by chance"],
)
def test_a_run_ends_with_how_it_stands_to_what_costs_no_training(
    tmp_path: Path, values: dict[str, object], word: str
) -> None:
    folder = draw_classes(tmp_path / "stripes", 24, 4, side=SIDE)
    config = config_for(
        folder, data__held_out=0.5, optimiser__classes=8, optimiser__pictures=4, output__flip="always", **values
    )
    run = train(config, tmp_path / "run", tmp_path, lambda *_: None)
    exported = export_run(run, "lookalike train stripes")
    assert exported.verdict.word == word
    assert "(12 classes not trained on)" in exported.verdict.sentence
    assert summarise([tmp_path / "run"])[0].verdict == word


def test_what_training_spoilt_is_not_exported(drawn: Path, tmp_path: Path) -> None:
    config = config_for(drawn, model__norms=True, optimiser__rate=3.0, optimiser__clip=0.0)
    spoilt = train(config, tmp_path / "run", tmp_path, lambda *_: None)
    start = open_network(config.model, config.seed).network.state_dict()
    assert all(torch.equal(start[key], value) for key, value in spoilt.network.state_dict().items())
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text("utf-8").splitlines()]
    assert rows[-1]["map_r"] < rows[0]["map_r"]
