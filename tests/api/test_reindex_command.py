from __future__ import annotations

import pytest

from api.commands.reindex import _show_job

RESULT = {
    "model": "new", "promoted": True, "samples": 9, "recall": 1.0, "judged": 4, "lost": 0, "gained": 0,
    "verdict": "same", "threshold_before": 0.3, "threshold": 0.4, "left_behind": 0, "carried": 0, "carriage": None,
}  # fmt: skip
GOOD = {"pairs": 300, "judged": 60, "known": 58, "lost": 1, "alarms": [0, 0], "why": ""}
BAD = GOOD | {"lost": 20, "why": "it loses 20 of 58 people, and 2% may be lost"}


@pytest.mark.parametrize(
    ("facts", "said", "unsaid"),
    [
        ({}, "new answers now", "no kept picture"),
        ({"carried": 3, "carriage": GOOD}, "3 samples have no kept picture: carried", "are not in it"),
        ({"carried": 3, "carriage": GOOD}, "loses 1 of 58 people", "are not in it"),
        ({"left_behind": 3, "carriage": BAD}, "are not in it (it loses 20 of 58 people", "carried"),
        ({"left_behind": 3}, "3 samples have no kept picture and are not in it;", "carried"),
    ],
)
def test_it_says_what_became_of_samples_without_a_picture(capsys, facts, said, unsaid):
    _show_job("staff", {"result": RESULT | facts}, False)
    printed = capsys.readouterr().out
    assert said in printed and unsaid not in printed
