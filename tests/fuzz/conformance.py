"""Asks every operation of the API, as its own OpenAPI describes it, with values that are allowed and that are not.

    python -m tests.fuzz.conformance [--examples 100] [--seed 1] [--operation "POST /v1/detect"]

An answer must be none of 5xx, of a status, a kind and a shape that is described, and a refusal where the values were
wrong. Requests go to the real services over a data folder of their own, in this process. Deterministic for a seed.
What schemathesis makes of the description is sent as it is, but that a collection and a subject that exist are named.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import requests
import schemathesis
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import create_app
from api.in_process import InProcessTransport
from api.wiring import open_services
from lookalike.domain import Grant
from lookalike.settings import Settings
from security.rbac import principal_for

ALWAYS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
NAMES = {"collection": "conformance", "subject": "ann"}
KEPT_FROM_HARM = {"DELETE /v1/collections/{collection}", "DELETE /v1/collections/{collection}/subjects/{subject}"}
OURS = frozenset({"content-length", "host", "x-api-key", "authorization", "accept-encoding", "cookie"})
ASKED = frozenset({"method", "url", "headers", "files", "data", "json", "params"})


@dataclass
class Found:
    """What was answered: how often each status, and what was wrong, once for each operation, check and status."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: dict[tuple[str, str, int], str] = field(default_factory=dict)


@contextmanager
def service(folder: Path) -> Iterator[tuple[httpx.Client, dict[str, Any]]]:
    """A client with all rights, and the OpenAPI that the service gives."""
    services = open_services(Settings(data=folder, max_refused_per_minute=1_000_000), live=True)
    try:
        app = create_app(services)
        app.state.streams.end()  # each begins as ever, and ends at once instead of when its listener leaves
        key = services.api_keys.create(principal_for("local:test", [Grant("admin")]), "all", (Grant("admin"),)).key
        transport = InProcessTransport(app)
        with httpx.Client(transport=transport, base_url="http://edge", headers={"x-api-key": key}) as client:
            yield client, app.openapi()
    finally:
        services.close()


def explore(
    client: httpx.Client, openapi: dict[str, Any], examples: int, seed: int, only: str | None = None
) -> Iterator[tuple[str, Found]]:
    """Each operation and what came of it. examples: with allowed values, and as many with others."""
    for result in schemathesis.openapi.from_dict(openapi).get_all_operations():
        operation, found = result.ok(), Found()
        if only not in (None, operation.label):
            continue
        client.post("/v1/collections", json={"name": NAMES["collection"]})
        client.put(f"/v1/collections/{NAMES['collection']}/subjects/{NAMES['subject']}", json={})
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            _ask(client, operation, mode, examples, seed, found)
        yield operation.label, found


def _ask(client: httpx.Client, operation: Any, mode: GenerationMode, examples: int, seed: int, found: Found) -> None:
    checks = [*ALWAYS, *([negative_data_rejection] if mode is GenerationMode.NEGATIVE else [])]

    def one(case: Any) -> None:
        if mode is GenerationMode.POSITIVE and operation.label not in KEPT_FROM_HARM:
            case.path_parameters.update({name: NAMES[name] for name in NAMES if name in case.path_parameters})
        answer = _sent(client, case)
        if answer is None:
            return
        found.statuses[answer.status_code] += 1
        try:
            case.validate_response(answer, checks=checks)
        except FailureGroup as failures:
            for each in failures.exceptions:
                key = (operation.label, type(each).__name__, answer.status_code)
                found.wrong.setdefault(
                    key, f"{each}\n{answer.request.method} {answer.request.url}\n{answer.text[:300]}"
                )

    quiet = hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    given = hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    try:
        hypothesis.seed(seed)(quiet(given(one)))()
    except Unsatisfiable:
        return  # an operation without parameters has no wrong ones


def _sent(client: httpx.Client, case: Any) -> httpx.Response | None:
    """The answer; None for what cannot be written as a request of HTTP."""
    asked = {name: value for name, value in case.as_transport_kwargs(base_url="http://edge").items() if name in ASKED}
    try:
        ready = requests.Request(**asked).prepare()
        headers = [(name, value) for name, value in ready.headers.items() if name.lower() not in OURS]
        answer = client.request(ready.method or "GET", ready.url or "", headers=headers, content=ready.body)
    except (requests.RequestException, httpx.InvalidURL, UnicodeError):
        return None
    answer.elapsed = timedelta()
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--operation")
    asked = parser.parse_args()
    statuses, wrong = Counter[int](), 0
    with tempfile.TemporaryDirectory() as place, service(Path(place) / "data") as (client, openapi):
        for label, found in explore(client, openapi, asked.examples, asked.seed, asked.operation):
            print(label, dict(sorted(found.statuses.items())), "" if not found.wrong else "WRONG", flush=True)
            statuses += found.statuses
            wrong += len(found.wrong)
            for (_, check, status), text in found.wrong.items():
                print(f"  {check} {status}: " + text.replace("\n", "\n    "))
    print(f"{sum(statuses.values())} answers {dict(sorted(statuses.items()))}, {wrong} things wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
