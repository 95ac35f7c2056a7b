"""The API does what its own description says, whatever is sent. The long run is tests/fuzz/conformance.py."""

from __future__ import annotations

import copy
import os
from collections import Counter

import pytest

from tests.fuzz.conformance import explore, service

EXAMPLES = int(os.environ.get("LOOKALIKE_TEST_EXAMPLES", "1"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory):
    with service(tmp_path_factory.mktemp("conformance") / "data") as made:
        yield made


def test_every_operation_answers_as_it_is_described_and_refuses_what_is_not_allowed(served) -> None:
    client, openapi = served
    statuses, wrong, asked = Counter[int](), {}, 0
    for _, found in explore(client, openapi, EXAMPLES, seed=6):
        asked += 1
        statuses += found.statuses
        wrong |= found.wrong
    assert wrong == {}
    assert asked == sum(len(operations) for operations in openapi["paths"].values())
    assert {200, 404, 422} <= set(statuses)


@pytest.mark.parametrize(
    ("spoil", "check"),
    [
        (lambda operation: operation["responses"].pop("200"), "UndefinedStatusCode"),
        (lambda operation: operation["responses"]["200"].update(content={"text/csv": {}}), "UndefinedContentType"),
        (
            lambda operation: operation["responses"]["200"].update(
                content={"application/json": {"schema": {"type": "array"}}}
            ),
            "JsonSchemaError",
        ),
    ],
)
def test_an_answer_that_is_not_as_described_is_found(served, spoil, check: str) -> None:
    client, openapi = served
    spoilt = copy.deepcopy(openapi)
    spoil(spoilt["paths"]["/v1/limits"]["get"])
    ((_, found),) = explore(client, spoilt, 1, seed=1, only="GET /v1/limits")
    assert [kind for _, kind, _ in found.wrong] == [check]


def test_what_is_wrong_and_not_refused_is_found(served) -> None:
    client, openapi = served
    stricter = copy.deepcopy(openapi)
    asked = {"name": "x-number", "in": "header", "required": True, "schema": {"type": "integer"}}
    stricter["paths"]["/v1/limits"]["get"]["parameters"] = [asked]
    ((_, found),) = explore(client, stricter, 3, seed=1, only="GET /v1/limits")
    assert {kind for _, kind, _ in found.wrong} == {"AcceptedNegativeData"}
