"""The script of the bars: the tests that it names are there, and what was left out or failed never counts as held."""

from __future__ import annotations

import pytest

from benchmarks.attacks import Mutants, huge_png
from benchmarks.bars import BARS, FAIL, LEFT_OUT, PASS, Bar, judged
from tests.docs.conftest import ROOT
from tests.docs.test_papers import functions_of

BAR = Bar("matter", "bar", ("a.py", "b.py::test_x"))


def test_every_test_that_a_bar_names_is_there_and_each_bar_has_a_name_of_its_own() -> None:
    for test in (test for bar in BARS for test in bar.tests):
        file, _, name = test.partition("::")
        assert (ROOT / "tests" / file).is_file(), test
        assert not name or name in functions_of(ROOT / "tests" / file), test
    assert len({bar.matter for bar in BARS}) == len(BARS)


def test_every_bar_is_tried_by_something_or_says_what_is_missing() -> None:
    assert [bar.matter for bar in BARS if bool(bar.tests) + bool(bar.measure) + bool(bar.why) != 1] == []


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        ({"a.py": ["passed", "skipped"], "b.py::test_x": ["passed"]}, PASS),
        ({"a.py": ["passed"], "b.py::test_x": ["skipped"]}, LEFT_OUT),
        ({"a.py": ["passed", "failed"], "b.py::test_x": ["passed"]}, FAIL),
        ({"a.py": ["passed"], "b.py::test_x": []}, FAIL),
    ],
)
def test_a_bar_holds_only_if_something_of_each_test_was_run_and_nothing_failed(outcomes, state) -> None:
    assert judged(BAR, outcomes, "").state == state


def test_a_connection_that_ends_without_an_answer_is_a_fault_and_a_full_queue_is_none() -> None:
    assert Mutants(5, {0: 1, 200: 1, 415: 1, 500: 1, 503: 1}, 0).faults == 2


def test_the_huge_picture_is_what_it_is_said_to_be() -> None:
    assert huge_png()[16:24] == (50_000).to_bytes(4, "big") * 2
