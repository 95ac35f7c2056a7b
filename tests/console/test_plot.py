"""The plot of a gallery's scores, and what a choice of a rate says, from numbers alone."""

from __future__ import annotations

import numpy as np
import pytest

from api.console.plot import HEIGHT, WIDTH, draw
from api.console.texts import read_catalogues
from api.console.thresholds import told
from lookalike.domain import Collection, Kind, Space, Threshold
from lookalike.gallery_scores import Choice, GalleryScores
from lookalike.impostors import GRID

WHERE = Collection("0" * 32, "c", Kind.FACE, Space("m", 4, "none"), target_fpir=0.01)


def scores(own: dict[float, int], misses: float | None = None) -> GalleryScores:
    """Strangers reach 0.2, in a bell; the enrolled what `own` says."""
    strangers = np.exp(-0.5 * ((GRID - 0.2) / 0.05) ** 2)
    counted = np.zeros(len(GRID))
    for similarity, count in own.items():
        counted[int(np.argmin(np.abs(GRID - similarity)))] = count
    choices = tuple(
        Choice(rate, Threshold(bar, "model", rate, 120, (rate / 2, rate * 2)), misses)
        for rate, bar in ((0.1, 0.3), (0.01, 0.36), (1 / 300, 0.41))
    )
    return GalleryScores(WHERE, 120, False, strangers / strangers.sum(), counted, 30, choices)


def points(shape: str) -> np.ndarray:
    return np.array([[float(v) for v in point.split(",")] for point in shape.split()])


def peak(shape: str, left: float, right: float) -> float:
    """The similarity at which a curve is highest."""
    found = points(shape)
    return left + (right - left) * float(found[np.argmin(found[:, 1]), 0]) / WIDTH


def test_curves_stand_where_their_scores_are_and_stay_inside():
    plot = draw(scores({0.6: 3, 0.62: 9, 0.66: 4}))
    assert peak(plot.strangers, plot.left, plot.right) == pytest.approx(0.2, abs=0.011)
    assert peak(plot.own, plot.left, plot.right) == pytest.approx(0.62, abs=0.021)
    for shape in (plot.strangers, plot.own):
        found = points(shape)
        assert (found[:, 0] >= 0).all() and (found[:, 0] <= WIDTH).all()
        assert (found[:, 1] >= 0).all() and (found[:, 1] <= HEIGHT).all()
        assert (np.diff(found[:, 0]) >= 0).all()


def test_the_line_stands_at_the_threshold_in_force_and_every_other_fits_too():
    given = scores({0.6: 3})
    plot = draw(given)
    at = plot.left + (plot.right - plot.left) * plot.threshold / WIDTH
    assert at == pytest.approx(0.36, abs=0.002)
    assert all(plot.left < choice.threshold.similarity < plot.right for choice in given.choices)
    assert all(0 <= tick.x <= WIDTH for tick in plot.ticks) and len(plot.ticks) >= 3


def test_a_gallery_without_scores_of_its_own_is_drawn_too():
    assert points(draw(scores({})).own)[:, 1].min() == HEIGHT


def test_a_choice_is_said_in_words():
    words = read_catalogues()["en"]
    given = scores({0.6: 340}, misses=0.0123)
    said = told(words, given, given.choices[2])
    assert said["alarms"] == "About 1 false alarm in 300 visitors who are not enrolled."
    assert "With 120 people enrolled, a match needs a similarity of 0.410" in said["bar"]
    assert "1.2\u202f% would be missed: 340 pictures of 30 subjects" in said["misses"]
    assert said["interval"] == "With other people counted it could be between 1 in 600 and 1 in 150."


def test_misses_that_too_few_can_show_are_not_told():
    words = read_catalogues()["en"]
    given = scores({0.6: 4})
    assert "cannot be told yet" in told(words, given, given.choices[0])["misses"]
