"""The matrix role × route × collection, made from the app's own routes: every cell is decided as the table says."""

from __future__ import annotations

import httpx
import pytest
from fastapi.routing import APIRoute

from api.app import create_app
from lookalike.domain import Grant, Permission
from security.rbac import ROLES
from tests.api import doubles

NOBODY = dict.fromkeys(
    ("subject", "sample", "id", "model", "unknown", "pending", "face", "hold", "entry", "webhook"), "nobody"
)
OPEN, ANY_KEY = "open to all", "any valid key"
PENDING = "/v1/collections/{collection}/pending"
UNKNOWNS = "/v1/collections/{collection}/unknowns"
JOBS = frozenset({Permission.RUN_JOBS, Permission.ENROL, Permission.RETENTION})
"""Any of these: an import is a job of whoever may enrol, and so is keeping to a collection's retention."""

HOLDS = "/v1/collections/{collection}/holds"
RETENTION = "/v1/collections/{collection}/retention"
SUBJECT = "/v1/collections/{collection}/subjects/{subject}"

FOREIGN = {"/": "MissingAuthenticationTokenException"}
"""Paths of others' protocols, and their word for a missing credential. tests/e2e has their rights by operation."""

COMPREFACE = "/api/v1/"
"""Its calls have no collection in their path, the key decides: tests/api/test_compreface.py has their matrix."""

NEEDS: dict[tuple[str, str], Permission | frozenset[Permission] | str] = {
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/metrics"): ANY_KEY,
    ("GET", "/v1/limits"): ANY_KEY,
    ("POST", "/v1/collections"): Permission.MANAGE_COLLECTIONS,
    ("GET", "/v1/collections"): Permission.READ,
    ("GET", "/v1/collections/{collection}"): Permission.READ,
    ("PATCH", "/v1/collections/{collection}"): Permission.MANAGE_COLLECTIONS,
    ("DELETE", "/v1/collections/{collection}"): Permission.DELETE_COLLECTIONS,
    ("POST", "/v1/collections/{collection}/calibrate"): Permission.MANAGE_COLLECTIONS,
    ("GET", "/v1/collections/{collection}/drift"): Permission.MANAGE_COLLECTIONS,
    ("PUT", "/v1/collections/{collection}/drift/baseline"): Permission.MANAGE_COLLECTIONS,
    ("POST", "/v1/collections/{collection}/reindex"): Permission.RUN_JOBS,
    ("DELETE", "/v1/collections/{collection}/reindex"): Permission.RUN_JOBS,
    ("POST", "/v1/collections/{collection}/reindex/promote"): Permission.MANAGE_MODELS,
    ("POST", "/v1/collections/{collection}/reindex/rollback"): Permission.MANAGE_MODELS,
    ("POST", "/v1/collections/{collection}/reindex/trial"): Permission.MANAGE_MODELS,
    ("GET", "/v1/collections/{collection}/reindex/trial"): Permission.READ,
    ("POST", "/v1/collections/{collection}/reindex/finish"): Permission.RUN_JOBS,
    ("GET", "/v1/models"): Permission.READ,
    ("POST", "/v1/models"): Permission.MANAGE_MODELS,
    ("GET", "/v1/models/{model}"): Permission.READ,
    ("DELETE", "/v1/models/{model}"): Permission.MANAGE_MODELS,
    ("POST", "/v1/models/{model}/activate"): Permission.MANAGE_MODELS,
    ("POST", "/v1/models/{model}/rollback"): Permission.MANAGE_MODELS,
    ("POST", "/v1/collections/{collection}/identify"): Permission.IDENTIFY,
    ("POST", "/v1/collections/{collection}/search"): Permission.IDENTIFY,
    ("POST", "/v1/collections/{collection}/sightings"): Permission.IDENTIFY,
    ("GET", PENDING): Permission.CONFIRM,
    ("GET", f"{PENDING}/{{pending}}"): Permission.IDENTIFY,
    ("GET", f"{PENDING}/{{pending}}/review"): Permission.CONFIRM,
    ("GET", f"{PENDING}/{{pending}}/face"): Permission.CONFIRM,
    ("GET", f"{PENDING}/{{pending}}/candidates/{{subject}}/face"): Permission.CONFIRM,
    ("POST", f"{PENDING}/{{pending}}/confirm"): Permission.CONFIRM,
    ("POST", f"{PENDING}/{{pending}}/reject"): Permission.CONFIRM,
    ("GET", UNKNOWNS): Permission.READ,
    ("GET", f"{UNKNOWNS}/{{unknown}}"): Permission.READ,
    ("GET", f"{UNKNOWNS}/{{unknown}}/faces/{{face}}/crop"): Permission.READ_CROPS,
    ("POST", f"{UNKNOWNS}/{{unknown}}/enrol"): Permission.ENROL,
    ("POST", f"{UNKNOWNS}/{{unknown}}/dismiss"): Permission.ENROL,
    ("DELETE", f"{UNKNOWNS}/{{unknown}}"): Permission.ERASE,
    ("GET", "/v1/collections/{collection}/subjects"): Permission.READ,
    ("PUT", SUBJECT): Permission.ENROL,
    ("GET", RETENTION): Permission.RETENTION,
    ("PATCH", RETENTION): Permission.RETENTION,
    ("POST", f"{RETENTION}/run"): Permission.RETENTION,
    ("GET", f"{RETENTION}/receipts"): Permission.RETENTION,
    ("POST", f"{SUBJECT}/renew"): Permission.ENROL,
    ("GET", f"{SUBJECT}/export"): Permission.EXPORT_SUBJECT,
    ("POST", f"{SUBJECT}/rename"): Permission.ENROL,
    ("POST", f"{SUBJECT}/samples/{{sample}}/move"): Permission.ENROL,
    ("POST", HOLDS): Permission.HOLD,
    ("GET", HOLDS): Permission.HOLD,
    ("POST", f"{HOLDS}/{{hold}}/lift"): Permission.HOLD,
    ("PUT", f"{SUBJECT}/consent"): Permission.CONSENT,
    ("DELETE", f"{SUBJECT}/consent"): Permission.ERASE,
    ("GET", SUBJECT): Permission.READ,
    ("DELETE", SUBJECT): Permission.ERASE,
    ("POST", f"{SUBJECT}/samples"): Permission.ENROL,
    ("DELETE", f"{SUBJECT}/samples/{{sample}}"): Permission.ERASE,
    ("GET", f"{SUBJECT}/samples/{{sample}}/crop"): Permission.READ_CROPS,
    ("POST", f"{SUBJECT}/verify"): Permission.IDENTIFY,
    ("POST", "/v1/compare"): Permission.IDENTIFY,
    ("POST", "/v1/detect"): Permission.IDENTIFY,
    ("POST", "/v1/collections/{collection}/imports"): Permission.ENROL,
    ("GET", "/v1/keys"): Permission.MANAGE_KEYS,
    ("POST", "/v1/keys/rotate"): Permission.MANAGE_KEYS,
    ("POST", "/v1/collections/{collection}/keys/rotate"): Permission.MANAGE_KEYS,
    ("GET", "/v1/jobs"): JOBS,
    ("GET", "/v1/jobs/{id}"): JOBS,
    ("GET", "/v1/jobs/{id}/rejected"): JOBS,
    ("POST", "/v1/jobs/{id}/cancel"): JOBS,
    ("POST", "/v1/api-keys"): Permission.MANAGE_KEYS,
    ("GET", "/v1/api-keys"): Permission.MANAGE_KEYS,
    ("GET", "/v1/api-keys/{id}"): Permission.MANAGE_KEYS,
    ("DELETE", "/v1/api-keys/{id}"): Permission.MANAGE_KEYS,
    ("GET", "/v1/events"): Permission.READ_EVENTS,
    ("POST", "/v1/webhooks"): Permission.MANAGE_WEBHOOKS,
    ("GET", "/v1/webhooks"): Permission.MANAGE_WEBHOOKS,
    ("GET", "/v1/webhooks/{webhook}"): Permission.MANAGE_WEBHOOKS,
    ("PATCH", "/v1/webhooks/{webhook}"): Permission.MANAGE_WEBHOOKS,
    ("DELETE", "/v1/webhooks/{webhook}"): Permission.MANAGE_WEBHOOKS,
    ("POST", "/v1/webhooks/{webhook}/replay"): Permission.MANAGE_WEBHOOKS,
    ("POST", "/v1/webhooks/{webhook}/test"): Permission.MANAGE_WEBHOOKS,
    ("GET", "/v1/principals"): Permission.MANAGE_KEYS,
    ("POST", "/v1/principals/block"): Permission.MANAGE_KEYS,
    ("POST", "/v1/principals/unblock"): Permission.MANAGE_KEYS,
    ("GET", "/v1/audit"): Permission.READ_AUDIT,
    ("POST", "/"): ANY_KEY,
    ("GET", "/v1/audit/checkpoint"): Permission.READ_AUDIT,
    ("GET", "/v1/audit/consistency"): Permission.READ_AUDIT,
    ("GET", "/v1/audit/entries/{entry}/proof"): Permission.READ_AUDIT,
}

EVERYWHERE_ONLY = {
    ("GET", "/v1/principals"),
    ("POST", "/v1/principals/block"),
    ("POST", "/v1/principals/unblock"),
    ("POST", "/v1/keys/rotate"),
    ("GET", "/v1/audit"),
    ("GET", "/v1/audit/checkpoint"),
    ("GET", "/v1/audit/consistency"),
    ("GET", "/v1/audit/entries/{entry}/proof"),
    ("POST", "/v1/models"),
    ("DELETE", "/v1/models/{model}"),
    ("POST", "/v1/models/{model}/activate"),
    ("POST", "/v1/models/{model}/rollback"),
}
"""Calls that concern no collection and all of them: a grant on one is not enough."""

REFUSED_LATER = {("GET", "/v1/events"): {"after": "-1"}}
"""Queries that are wrong, of calls that would go on for long: the right is decided before them."""


def test_every_route_is_in_the_table_and_nothing_else_is(tmp_path):
    # The console's pages have a table of their own, tests/console/test_rights.py.
    services = doubles.services(tmp_path)
    app = create_app(services)  # type: ignore[arg-type]
    routes = {
        (method, route.path)
        for route in app.routes
        if isinstance(route, APIRoute) and not route.path.startswith((COMPREFACE, "/console"))
        for method in route.methods
    }
    assert routes - {("GET", "/")} == set(NEEDS)
    others = {getattr(route, "path", "?") for route in app.routes if not isinstance(route, APIRoute)}
    assert others <= {"/openapi.json"}
    services.close()


def allowed(
    needs: Permission | frozenset[Permission] | str,
    held: frozenset[Permission],
    call: tuple[str, str],
    scope: str | None,
) -> bool:
    """What the contract says. scope: the collection of the grant, None for all."""
    if needs in (OPEN, ANY_KEY):
        return True
    if not (needs if isinstance(needs, frozenset) else {needs}) & held:
        return False
    return scope is None or scope == "own" or ("{collection}" not in call[1] and call not in EVERYWHERE_ONLY)


SHOWN = [*(("key", scope) for scope in (None, "own", "other")), ("token", "own"), ("certificate", "own")]
"""What shows who one is, and on what the role holds."""


@pytest.mark.parametrize("role", sorted(ROLES))
@pytest.mark.parametrize(("shown", "scope"), SHOWN)
def test_a_role_may_call_exactly_what_the_table_says_whatever_shows_who_has_it(real, role, shown, scope):
    made = {"key": real.client, "token": real.bearer, "certificate": real.certified}
    client = made[shown](Grant(role, scope))
    wrong = []
    for call, needs in NEEDS.items():
        path = call[1].format(collection="own", **NOBODY)
        answer = client.request(call[0], path, params=REFUSED_LATER.get(call))
        expected = allowed(needs, ROLES[role], call, scope) and not (scope == "own" and call in EVERYWHERE_ONLY)
        if (answer.status_code in (401, 403)) == expected:
            wrong.append((call, needs, answer.status_code))
    assert wrong == []


@pytest.mark.parametrize("key", [None, "", "wrong", "lk_" + "x" * 43])
def test_without_a_valid_key_every_call_but_the_open_ones_is_401(real, key):
    client = httpx.Client(
        transport=real.transport, base_url="http://edge", headers={} if key is None else {"x-api-key": key}
    )
    for (method, path), needs in NEEDS.items():
        answer = client.request(method, path.format(collection="own", **NOBODY))
        if path in FOREIGN:
            assert (answer.status_code, answer.json()["__type"]) == (400, FOREIGN[path])
        elif needs is not OPEN:
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), path


def test_a_refusal_says_nothing_of_what_exists(real, gallery):
    _, existing = gallery
    stranger = real.client(Grant("identifier", "elsewhere"))
    told = []
    for path in (existing, "/v1/collections/never-made"):
        answer = stranger.get(f"{path}/subjects").json()
        told.append({k: v for k, v in answer.items() if k != "request_id"})
    assert told[0] == told[1] and told[0]["code"] == "permission_denied"


def test_the_right_is_decided_before_the_query_and_the_body(real):
    viewer = real.client(Grant("viewer"))
    for path in ("/v1/collections/c/identify?threshold=62", "/v1/collections/c/identify?nonsense=1"):
        assert viewer.post(path, content=b"not multipart").status_code == 403


def test_refusals_are_audited_with_the_request_id(real):
    answer = real.client(Grant("viewer")).post("/v1/collections/audited/identify")
    auditor = real.client(Grant("auditor"))
    found, cursor = [], "0"
    while cursor is not None:
        page = auditor.get("/v1/audit", params={"cursor": cursor, "limit": 100}).json()
        found += [e for e in page["items"] if e["request_id"] == answer.headers["x-request-id"]]
        cursor = page["next_cursor"]
    assert [(e["action"], e["outcome"], e["collection"]) for e in found] == [("identify", "denied", "audited")]


def test_an_operator_of_one_collection_creates_no_other(real):
    operator = real.client(Grant("operator", "mine"))
    assert operator.post("/v1/collections", json={"name": "yours"}).status_code == 403
    assert operator.post("/v1/collections", json={"name": "mine"}).status_code == 201
    assert [c["name"] for c in operator.get("/v1/collections").json()["items"]] == ["mine"]


def test_nobody_grants_more_than_they_hold(real):
    admin = real.client(Grant("admin", "mine"))
    body = {"name": "k", "grants": [{"role": "viewer"}]}
    assert admin.post("/v1/api-keys", json=body).status_code == 403
    body["grants"] = [{"role": "viewer", "collection": "mine"}]
    made = admin.post("/v1/api-keys", json=body)
    assert made.status_code == 201 and made.json()["key"].startswith("lk_")
    assert made.json()["key"] not in admin.get("/v1/api-keys").text
    assert admin.get(f"/v1/api-keys/{made.json()['id']}").json()["grants"] == body["grants"]
    assert real.client(Grant("admin", "theirs")).delete(f"/v1/api-keys/{made.json()['id']}").status_code == 404


def test_a_revoked_key_is_refused(real):
    admin = real.client(Grant("admin"))
    made = admin.post("/v1/api-keys", json={"name": "k", "grants": [{"role": "viewer"}]}).json()
    client = httpx.Client(transport=real.transport, base_url="http://edge", headers={"x-api-key": made["key"]})
    assert client.get("/v1/limits").status_code == 200
    assert admin.delete(f"/v1/api-keys/{made['id']}").status_code == 204
    assert client.get("/v1/limits").status_code == 401
