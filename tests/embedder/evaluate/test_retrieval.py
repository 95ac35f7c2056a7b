from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedder.evaluate.retrieval import retrieval
from lookalike.errors import InvalidInput


def classes(counts: list[int], seed: int = 0, spread: float = 1.2) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around a centre per class, with so many pictures each, in mixed order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    vectors = rng.normal(size=(len(counts), 8))[labels] + spread * rng.normal(size=(len(labels), 8))
    return vectors.astype(np.float32), labels


def slow(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """By the definitions, one query and one rank after the other."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = (unit @ unit.T).tolist()
    names = ("recall@1", "recall@5", "recall@10", "r_precision", "map@r")
    figures: dict[str, list[float]] = {name: [] for name in names}
    for query in range(len(unit)):
        others = [row for row in range(len(unit)) if row != query]
        others.sort(key=lambda row: -scores[query][row])
        right = [labels[row] == labels[query] for row in others]
        wanted = sum(right)
        if wanted == 0:
            continue
        for k in (1, 5, 10):
            figures[f"recall@{k}"].append(float(any(right[:k])))
        found, precisions = 0, 0.0
        for place in range(wanted):
            if right[place]:
                found += 1
                precisions += found / (place + 1)
        figures["r_precision"].append(found / wanted)
        figures["map@r"].append(precisions / wanted)
    return {name: float(np.mean(values)) for name, values in figures.items()}


@pytest.mark.parametrize("counts", [[5] * 12, [2, 9, 1, 1, 30, 4, 3], [520, 3, 2]])
def test_every_figure_is_what_a_slow_search_finds(counts: list[int]) -> None:
    vectors, labels = classes(counts)

    assert retrieval(vectors, labels).summary == pytest.approx(slow(vectors, labels))


@pytest.mark.train
def test_figures_agree_with_the_authors_own_calculator() -> None:
    torch = pytest.importorskip("torch", reason="left out: the train extra is not installed")
    calculator = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator").AccuracyCalculator
    inference = pytest.importorskip("pytorch_metric_learning.utils.inference")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    vectors, labels = classes([6] * 20 + [3] * 10)
    by_cosine = inference.CustomKNN(distances.CosineSimilarity())
    theirs = calculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=by_cosine,
        device=torch.device("cpu"),
    ).get_accuracy(torch.from_numpy(vectors), torch.from_numpy(labels))

    ours = retrieval(vectors, labels)

    assert ours.recall_at(1) == pytest.approx(theirs["precision_at_1"])
    assert ours.mean_r_precision == pytest.approx(theirs["r_precision"])
    assert ours.map_at_r == pytest.approx(theirs["mean_average_precision_at_r"])


def test_a_network_that_sees_no_difference_finds_nothing() -> None:
    labels = np.repeat(np.arange(5), 4)

    found = retrieval(np.ones((20, 3), np.float32), labels)

    assert (found.recall_at(1), found.recall_at(10), found.map_at_r) == (0.0, 0.0, 0.0)


def test_classes_that_lie_apart_are_found_perfectly() -> None:
    found = retrieval(np.eye(6, dtype=np.float32)[np.repeat(np.arange(6), 3)], list("aaabbbcccdddeeefff"))

    assert set(found.summary.values()) == {1.0}


def test_a_picture_alone_in_its_class_asks_nothing_but_distracts() -> None:
    vectors = np.array([[1, 0], [0.9, 0.4], [1, 0.1]], np.float32)

    found = retrieval(vectors, ["a", "a", "b"])

    assert found.query.tolist() == [0, 1]
    assert found.first.tolist() == [2, 2]
    assert found.pictures == 3


@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100))
def test_neither_length_nor_order_of_the_vectors_matters(seed: int, scale: float) -> None:
    vectors, labels = classes([4, 3, 5, 2], seed)
    order = np.random.default_rng(seed).permutation(len(labels))

    assert retrieval(scale * vectors[order], labels[order]).summary == pytest.approx(retrieval(vectors, labels).summary)


@pytest.mark.parametrize(
    ("vectors", "labels"),
    [
        (np.ones((3, 2)), [1, 2, 3]),
        (np.ones((3, 2)), [1, 1]),
        (np.array([[np.nan], [1.0]]), [1, 1]),
        (np.ones(2), [1, 1]),
    ],
)
def test_what_cannot_be_searched_is_refused(vectors: np.ndarray, labels: list[int]) -> None:
    with pytest.raises(InvalidInput):
        retrieval(vectors.astype(np.float32), labels)
