"""A student is taught by what the teacher gives of the very pictures that it sees, and starts as near as it can."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="left out: the train extra is not installed")

from embedder.bundles import read_export  # noqa: E402
from embedder.preprocessing import Preprocessing  # noqa: E402
from embedder.train.batches import Normalise  # noqa: E402
from embedder.train.config import TrainConfig, changed, config_from  # noqa: E402
from embedder.train.export import export_run  # noqa: E402
from embedder.train.recipe import Run, train  # noqa: E402
from embedder.train.teacher import Teacher, fit_head  # noqa: E402
from lookalike.errors import InvalidInput  # noqa: E402
from tests.embedder.train.drawing import draw_classes  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_classes(tmp_path_factory.mktemp("drawn"), 10, 6, side=32)


def config_for(folder: Path, **values: object) -> TrainConfig:
    entries: dict[str, object] = {
        "data": {"folders": [str(folder)], "held_out": 0.3, "workers": 0},
        "model": {"backbone": "timm:test_resnet", "side": 32, "dimension": 16},
        "optimiser": {"classes": 4, "pictures": 4, "steps": 4, "warmup": 1, "evaluate_every": 4, "rate": 2e-3},
        "device": "cpu",
    }
    return changed(config_from(entries), **values)


def run_in(config: TrainConfig, folder: Path) -> Run:
    return train(config, folder, folder / "models", lambda *_: None)


@pytest.fixture(scope="module")
def school(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export folder of a network of chance, whose vectors can be learned."""
    folder = tmp_path_factory.mktemp("teacher")
    return export_run(run_in(config_for(drawn, seed=9), folder), "a test").folder


def given_by(teacher: Path, squares: np.ndarray) -> np.ndarray:
    """Unit vectors of the network itself, by a runtime of its own."""
    import onnxruntime

    manifest, parts = read_export(teacher)
    session = onnxruntime.InferenceSession(parts["network.onnx"], providers=["CPUExecutionProvider"])
    (raw,) = session.run(None, {"pixels": manifest.preprocessing(list(squares))})
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


@pytest.mark.parametrize(
    "student",
    [
        Preprocessing(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        Preprocessing(32, (110.0, 120.0, 130.0), (0.02, 0.01, 0.03), channels="bgr"),
    ],
)
def test_the_teacher_sees_the_students_pixels_as_it_would_prepare_them_itself(
    school: Path, drawn: Path, student: Preprocessing
) -> None:
    squares = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    seen = Normalise(student, torch.device("cpu")).squares(squares)

    vectors = Teacher(str(school), student)(seen).numpy()

    assert (vectors * given_by(school, squares)).sum(1) == pytest.approx(1.0, abs=1e-3)


def test_a_teacher_of_another_side_is_shown_the_picture_in_its_own(school: Path) -> None:
    grey = np.full((2, 48, 48, 3), 90, np.uint8)
    student = Preprocessing(48, (127.5,) * 3, (1 / 128,) * 3, fit="stretch")
    vectors = Teacher(str(school), student)(Normalise(student, torch.device("cpu")).squares(grey)).numpy()
    assert vectors == pytest.approx(given_by(school, np.full((2, 32, 32, 3), 90, np.uint8)), abs=0.02)


def test_teacher_and_student_that_fit_pictures_into_squares_otherwise_are_refused(school: Path) -> None:
    with pytest.raises(InvalidInput, match="fitted the same way"):
        Teacher(str(school), Preprocessing(48, (0.0,) * 3, (1.0,) * 3, fit="letterbox"))


def test_a_head_begins_as_the_least_squares_fit() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(400, 12, generator=generator) + 3
    matrix, offset = torch.randn(5, 12, generator=generator), torch.randn(5, generator=generator)
    found, shift = fit_head(features, features @ matrix.T + offset)
    assert torch.allclose(features @ found.T + shift, features @ matrix.T + offset, atol=0.05)


def test_a_student_comes_nearer_to_its_teacher_and_the_log_says_how_near(
    school: Path, drawn: Path, tmp_path: Path
) -> None:
    taught = {
        "loss__name": "none", "loss__teacher": str(school), "loss__leash": 1.0, "model__norms": True,
        "optimiser__steps": 60, "optimiser__evaluate_every": 20,
    }  # fmt: skip
    run = run_in(config_for(drawn, **taught), tmp_path)
    cosines = [row["teacher_cosine"] for row in map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())]
    assert cosines[-1] > cosines[0] + 0.02
    assert run.lesson is not None
    agreed = (run.lesson.numpy() * given_by(school, run.held_out.squares)).sum(1)
    assert agreed == pytest.approx(1.0, abs=2e-3)  # the service's runtime may compute in bfloat16


def test_what_is_mixed_is_shown_to_the_teacher_mixed(school: Path, drawn: Path, tmp_path: Path, monkeypatch) -> None:
    seen = []
    ask = Teacher.__call__
    monkeypatch.setattr(Teacher, "__call__", lambda self, inputs: seen.append(inputs.clone()) or ask(self, inputs))
    values = {"loss__teacher": str(school), "loss__leash": 1.0, "augment__flip": 0.0, "augment__mixup": 1.0}
    run = run_in(config_for(drawn, **values), tmp_path)
    plain = run.normalise.squares(run.training.squares).flatten(1)
    apart = torch.cdist(seen[-1].flatten(1), plain).min(dim=1).values
    assert float(apart.median()) > 1.0, "no picture of the batch is one of the set's"


def test_a_teacher_whose_vectors_are_of_another_length_is_refused(school: Path, drawn: Path, tmp_path: Path) -> None:
    config = config_for(drawn, loss__teacher=str(school), loss__leash=1.0, model__dimension=8)
    with pytest.raises(InvalidInput, match="16 numbers"):
        run_in(config, tmp_path)
