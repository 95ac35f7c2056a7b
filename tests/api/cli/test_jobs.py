from __future__ import annotations

from typing import Any

import pytest

from api.commands.jobs import _facts


def job(**changes: Any) -> Any:
    return {
        "id": "1",
        "kind": "import",
        "collection": "staff",
        "state": "running",
        "progress": {"done": 0, "total": 0},
    } | changes


@pytest.mark.parametrize(
    ("progress", "rows"),
    [
        ({"done": 474, "total": 2002}, [("progress", "474/2002")]),
        (
            {"done": 474, "total": 2002, "per_second": 1.15, "seconds_left": 1333.1},
            [("progress", "474/2002"), ("a second", 1.15), ("time left", "0:22:13")],
        ),
    ],
)
def test_a_job_is_shown_with_its_rate_and_the_time_that_is_left_while_they_are_known(progress, rows) -> None:
    assert list(_facts(job(progress=progress)))[4:] == rows


def test_why_a_job_waits_and_what_came_of_it_are_a_row_each() -> None:
    shown = dict(_facts(job(error={"code": "storage_full", "detail": "no room"}, result={"left_behind": 2})))
    assert (shown["error: code"], shown["error: detail"], shown["result: left behind"]) == (
        "storage_full",
        "no room",
        2,
    )
