"""Maps of models whose secrets are known: which pixels they look at was written here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from embedder.explain import (
    SIDE,
    blur_filling,
    enlarged,
    explain,
    heat_map,
    hide,
    mean_filling,
    most_important,
    random_cells,
    random_fifths,
    scattered_fifths,
    smoother,
)
from embedder.pipeline import unit_rows
from lookalike.domain import Floats, Pixels

WINDOW = (slice(16, 64), slice(48, 96))
"""Where the model below looks: 48×48 of 112×112, a little less than a fifth."""


def looks_at(window: tuple[slice, slice], constant: float = 8.0) -> Callable[[Pixels], Floats]:
    """A model that sees a 6×6 thumbnail of one window, contrasts alone, beside a constant."""

    def embed(pictures: Pixels) -> Floats:
        seen = pictures[:, window[0], window[1]].astype(np.float32).mean(axis=-1)
        size = seen.shape[1] // 6
        thumbnail = seen[:, : 6 * size, : 6 * size].reshape(len(seen), 6, size, 6, size).mean(axis=(2, 4))
        contrasts = (thumbnail - thumbnail.mean(axis=(1, 2), keepdims=True)).reshape(len(seen), -1)
        return unit_rows(np.hstack([contrasts, np.full((len(seen), 1), constant, np.float32)]))

    return embed


def textured(seed: int, height: int = SIDE, width: int = SIDE) -> Pixels:
    """Squares of random grey, 8 pixels wide."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (height // 8, width // 8), dtype=np.uint8)
    return np.repeat(np.kron(coarse, np.ones((8, 8), np.uint8))[..., None], 3, axis=2)


def window_mask(window: tuple[slice, slice], height: int = SIDE, width: int = SIDE) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[window] = True
    return mask


def test_the_marked_fifth_is_where_the_model_looks() -> None:
    picture = textured(1)

    found = explain(looks_at(WINDOW), picture, picture)

    assert found.similarity == pytest.approx(1, abs=1e-5)
    for side in found.sides:
        marked = most_important(side.heat)
        assert (marked & window_mask(WINDOW)).sum() / marked.sum() > 0.7
        assert side.holds


def test_what_two_pictures_do_not_share_speaks_against_the_match() -> None:
    first = textured(1)
    second = first.copy()
    different = (slice(16, 64), slice(72, 96))
    second[different] = 255 - second[different]

    found = explain(looks_at(WINDOW), first, second, against=True)

    for side in found.sides:
        heat = enlarged(side.heat)
        shared = window_mask((slice(16, 64), slice(48, 72)))
        assert heat[window_mask(different)].mean() < 0 < heat[shared].mean()
        assert side.marked > side.random
        assert side.holds


def test_a_part_is_said_to_be_worth_what_hiding_it_does() -> None:
    first, second, embed = textured(1), textured(1), looks_at(WINDOW)
    second[40:64] = 128
    part = window_mask((slice(16, 40), slice(48, 96)))

    found = explain(embed, first, second, {"upper": part}).sides[0].parts[0]

    other = embed(second[None])[0]
    fillings = (mean_filling(first), blur_filling(first))
    expected = [float(embed(hide(first, part[None], filling))[0] @ other) for filling in fillings]
    assert found.without == pytest.approx(np.mean(expected), abs=1e-6)
    assert found.area == pytest.approx(24 * 48 / SIDE**2)


def test_the_shares_of_parts_that_cover_a_picture_make_one() -> None:
    left = window_mask((slice(None), slice(0, 56)))

    parts = explain(looks_at(WINDOW), textured(1), textured(1), {"left": left, "right": ~left}).sides[0].parts

    assert sum(part.area for part in parts) == pytest.approx(1)
    assert sum(part.weight for part in parts) == pytest.approx(1, abs=1e-5)
    assert parts[1].weight > parts[0].weight


def test_a_model_that_sees_nothing_gives_a_map_that_does_not_hold() -> None:
    def blind(pictures: Pixels) -> Floats:
        return np.tile(np.array([1.0, 0.0], np.float32), (len(pictures), 1))

    found = explain(blind, textured(1), textured(2))

    assert not any(side.holds for side in found.sides)
    assert not np.concatenate([side.heat for side in found.sides]).any()


def test_the_same_seed_gives_the_same_map_and_another_a_like_one() -> None:
    picture, embed = textured(1), looks_at(WINDOW)

    heats = [explain(embed, picture, picture, seed=seed).sides[0].heat.ravel() for seed in (1, 1, 2)]

    assert np.array_equal(heats[0], heats[1])
    assert 0.6 < np.corrcoef(heats[0], heats[2])[0, 1] < 1


def test_pictures_of_other_sizes_are_explained_too() -> None:
    tall, wide = textured(1, 224, 160), textured(1, 96, 184)
    window = (slice(0, 48), slice(0, 48))
    wide[window] = tall[window]

    first, second = explain(looks_at(window), tall, wide).sides

    assert most_important(first.heat)[:24, :34].mean() > 0.5  # 48 of 224 rows, 48 of 160 columns
    assert most_important(second.heat)[:56, :29].mean() > 0.5  # 48 of 96 rows, 48 of 184 columns


def test_hiding_changes_what_the_mask_says_and_nothing_else() -> None:
    picture = textured(3, 56, 80)
    mask = np.zeros((1, SIDE, SIDE), bool)
    mask[:, :56] = True

    hidden = hide(picture, mask, mean_filling(picture))[0]

    assert np.array_equal(hidden[28:], picture[28:])
    assert (hidden[:28] == mean_filling(picture)[0, 0]).all()


def test_random_fifths_cover_a_fifth() -> None:
    for masks in (random_fifths(20, 1), scattered_fifths(20, 1)):
        assert masks.shape == (20, SIDE, SIDE)
        assert masks.mean(axis=(1, 2)) == pytest.approx(0.2, abs=0.005)


def test_the_regression_finds_what_blocks_are_worth() -> None:
    y, x = np.indices((28, 28))
    worth = np.exp(-((y - 9) ** 2 + (x - 18) ** 2) / 30) - 0.6 * np.exp(-((y - 20) ** 2 + (x - 6) ** 2) / 20)
    masks = random_cells(200, 1)
    shares = masks.reshape(200, 28, 4, 28, 4).mean(axis=(2, 4))
    falls = (shares * worth).sum(axis=(1, 2)).astype(np.float32)

    heat = heat_map(smoother(masks), falls)

    assert np.corrcoef(heat.ravel(), worth.ravel())[0, 1] > 0.9
