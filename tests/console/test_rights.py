"""What each role sees and may do in the console: the table of its routes, asked by every role."""

from __future__ import annotations

import re

import pytest
from fastapi.routing import APIRoute

from api.app import create_app
from lookalike.domain import Grant, Permission
from security.rbac import ROLES
from tests.api import doubles
from tests.console.conftest import Console

OPEN, SIGNED_IN = "open to all", "any session"
JOBS = frozenset({Permission.RUN_JOBS, Permission.ENROL, Permission.RETENTION})
COLLECTION = "/console/collections/{collection}"
SUBJECT = COLLECTION + "/subjects/{subject}"
UNKNOWNS = COLLECTION + "/unknowns"
PENDING = COLLECTION + "/pending"

NEEDS: dict[tuple[str, str], Permission | frozenset[Permission] | str] = {
    ("GET", "/"): SIGNED_IN,
    ("GET", "/console/static/{name}"): OPEN,
    ("GET", "/console/sign-in"): OPEN,
    ("POST", "/console/sign-in"): OPEN,
    ("POST", "/console/sign-out"): SIGNED_IN,
    ("GET", "/console/oidc/sign-in"): OPEN,
    ("GET", "/console/oidc/back"): OPEN,
    ("GET", "/console/jobs"): JOBS,
    ("POST", "/console/jobs/{id}/cancel"): JOBS,
    ("GET", "/console/models"): Permission.READ,
    ("GET", "/console/audit"): Permission.READ_AUDIT,
    ("GET", "/console/keys"): Permission.MANAGE_KEYS,
    ("POST", "/console/keys"): Permission.MANAGE_KEYS,
    ("POST", "/console/keys/{id}/revoke"): Permission.MANAGE_KEYS,
    ("GET", "/console/new-collection"): Permission.MANAGE_COLLECTIONS,
    ("POST", "/console/new-collection"): Permission.MANAGE_COLLECTIONS,
    ("GET", COLLECTION): Permission.READ,
    ("GET", COLLECTION + "/settings"): Permission.READ,
    ("POST", COLLECTION + "/settings"): Permission.MANAGE_COLLECTIONS,
    ("POST", COLLECTION + "/delete"): Permission.DELETE_COLLECTIONS,
    ("POST", COLLECTION + "/find"): Permission.READ,
    ("GET", COLLECTION + "/subjects"): Permission.READ,
    ("GET", SUBJECT): Permission.READ,
    ("POST", SUBJECT): Permission.ENROL,
    ("POST", SUBJECT + "/erase"): Permission.ERASE,
    ("POST", SUBJECT + "/samples"): Permission.ENROL,
    ("POST", SUBJECT + "/samples/{sample}/delete"): Permission.ERASE,
    ("GET", SUBJECT + "/samples/{sample}/crop"): Permission.READ_CROPS,
    ("GET", COLLECTION + "/enrol"): Permission.ENROL,
    ("POST", "/console/detect"): Permission.IDENTIFY,
    ("GET", COLLECTION + "/identify"): Permission.IDENTIFY,
    ("POST", COLLECTION + "/identify"): Permission.IDENTIFY,
    ("GET", COLLECTION + "/search"): Permission.IDENTIFY,
    ("POST", COLLECTION + "/search"): Permission.IDENTIFY,
    ("GET", COLLECTION + "/threshold"): Permission.MANAGE_COLLECTIONS,
    ("POST", COLLECTION + "/threshold"): Permission.MANAGE_COLLECTIONS,
    ("POST", COLLECTION + "/calibrate"): Permission.MANAGE_COLLECTIONS,
    ("GET", PENDING): Permission.CONFIRM,
    ("GET", PENDING + "/{pending}/face"): Permission.CONFIRM,
    ("GET", PENDING + "/{pending}/candidates/{subject}/face"): Permission.CONFIRM,
    ("POST", PENDING + "/{pending}/confirm"): Permission.CONFIRM,
    ("POST", PENDING + "/{pending}/reject"): Permission.CONFIRM,
    ("GET", UNKNOWNS): Permission.READ,
    ("GET", UNKNOWNS + "/{unknown}/faces/{face}/crop"): Permission.READ_CROPS,
    ("POST", UNKNOWNS + "/{unknown}/enrol"): Permission.ENROL,
    ("POST", UNKNOWNS + "/{unknown}/dismiss"): Permission.ENROL,
    ("POST", UNKNOWNS + "/{unknown}/erase"): Permission.ERASE,
    ("GET", "/console"): OPEN,
    ("GET", "/console/"): OPEN,
    ("GET", "/console/{rest:path}"): OPEN,
}
VALUES = dict.fromkeys(("collection", "subject", "sample", "unknown", "pending", "face", "id", "name"), "nobody")
ENDS_THE_SESSION = ("POST", "/console/sign-out")
EVERYWHERE_ONLY = {("GET", "/console/audit")}


def test_every_page_is_in_the_table_and_in_no_description_of_the_api(tmp_path):
    services = doubles.services(tmp_path)
    app = create_app(services)  # type: ignore[arg-type]
    hidden = {
        (method, route.path)
        for route in app.routes
        if isinstance(route, APIRoute) and not route.include_in_schema and not route.path.startswith("/api/v1/")
        for method in route.methods
    }
    assert hidden - {("POST", "/")} == set(NEEDS)  # other tests have the rights of others' protocols
    assert not [path for path in app.openapi()["paths"] if path == "/" or path.startswith("/console")]
    services.close()


ASKED = [*((role, scope) for role in sorted(ROLES) for scope in (None, "nobody")), ("admin", "other")]


@pytest.mark.parametrize(("role", "scope"), ASKED)
def test_a_role_may_ask_for_exactly_what_the_table_says(console: Console, role: str, scope: str | None):
    visitor = console.visitor(Grant(role, scope))
    wrong = []
    for call, needs in NEEDS.items():
        if call == ENDS_THE_SESSION:
            continue
        address = call[1].replace("{rest:path}", "nowhere").format(**VALUES)
        answer = visitor.get(address) if call[0] == "GET" else visitor.post(address)
        held = needs if isinstance(needs, frozenset) else {needs}
        expected = needs in (OPEN, SIGNED_IN) or bool(held & ROLES[role])
        if needs not in (OPEN, SIGNED_IN) and scope is not None:
            expected &= call not in EVERYWHERE_ONLY and (scope == "nobody" or "{collection}" not in call[1])
        # Whoever may goes on to what is wrong with so empty a form: never to a refusal, nor to a failure of ours.
        if (answer.status_code == 403) == expected or (answer.status_code >= 500):
            wrong.append((call, needs, answer.status_code))
    assert wrong == []


@pytest.mark.parametrize("role", sorted(ROLES))
def test_a_page_leads_nowhere_that_its_reader_may_not_go(console: Console, collection: str, role: str):
    visitor = console.visitor(Grant(role))
    seen, waiting = set(), ["/"]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        answer = visitor.get(path)
        assert answer.status_code == 200, (role, path)
        for link in re.findall(r'<a [^>]*href="(/[^"]*)"', answer.text):
            if collection in link or "/collections/" not in link:
                waiting.append(link.replace("&amp;", "&"))
        for form in re.findall(r'<form method="post"(?: action="([^"]*)")?', answer.text):
            action = form or path
            if not action.endswith(("/sign-out", "/revoke")):
                refused = visitor.post(action, typed="not the name", target_fpir="no rate", rate="no rate", keep="no")
                assert refused.status_code != 403, (role, action)
    assert len(seen) >= (2 if role == "auditor" else 4)


def test_a_refusal_is_on_record_like_that_of_the_api(console: Console):
    visitor = console.visitor(Grant("viewer"))
    answer = visitor.post("/console/collections/audited/delete", typed="audited")
    assert answer.status_code == 403
    auditor = console.visitor(Grant("auditor"))
    page = auditor.get("/console/audit").text
    entry = next(row for row in page.split("<tr>") if "audited" in row)
    assert "Deleted a collection" in entry and "refused" in entry


def test_a_look_up_is_on_record_with_who_asked(console: Console, collection: str):
    visitor = console.visitor(Grant("viewer"))
    visitor.get(f"/console/collections/{collection}/subjects")
    row = next(r for r in console.visitor(Grant("auditor")).get("/console/audit").text.split("<tr>") if collection in r)
    assert "key:" in row and "done" in row
