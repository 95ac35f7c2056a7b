"""One table tells every code; the documents know them all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import api.errors
from api.errors import FAULTS, InvalidFields, problem_of
from lookalike import errors
from lookalike.errors import AllRejected, LookalikeError, Overloaded, TamperedData, Unauthenticated

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "errors.md"


def every_error(root: type[LookalikeError] = LookalikeError) -> list[type[LookalikeError]]:
    return [root, *(found for child in root.__subclasses__() for found in every_error(child))]


def test_every_error_s_code_stands_in_the_table():
    ours = [e for e in every_error() if e.__module__ in (errors.__name__, api.errors.__name__)]
    assert len(ours) > 25
    assert {e.code for e in ours} <= set(FAULTS)


def test_every_code_is_documented_with_its_status():
    text = DOCUMENT.read_text()
    for code, fault in FAULTS.items():
        assert f"| `{code}` | {fault.status} |" in text, code


def test_busy_answers_say_when_to_come_back():
    answer = problem_of(Overloaded("full"), "id")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert all(fault.retry_after_s for fault in FAULTS.values() if fault.status == 503)


def test_an_unauthenticated_answer_names_the_scheme():
    assert "Bearer" in problem_of(Unauthenticated("no"), "id").headers["www-authenticate"]


def test_a_server_s_fault_keeps_its_details_to_itself():
    assert b"row 17" not in problem_of(TamperedData("row 17 of the store"), "id").body


def test_rejected_pictures_are_told_one_by_one():
    answer = problem_of(AllRejected("none", [("a.jpg", ("blurred", "too_small"))]), "id")
    assert json.loads(answer.body)["rejected"] == [{"filename": "a.jpg", "reasons": ["blurred", "too_small"]}]


@pytest.mark.parametrize("error", every_error(), ids=lambda e: e.__name__)
def test_every_error_becomes_a_problem(error):
    told = error([]) if error is InvalidFields else error("told")
    body = json.loads(problem_of(told, "the-id").body)
    assert set(body) >= {"type", "title", "status", "detail", "code", "request_id"}
    assert body["request_id"] == "the-id" and 400 <= body["status"] < 600
