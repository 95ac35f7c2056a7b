"""Signing in and out, what ends a session, and what a form must carry."""

from __future__ import annotations

import pytest
from fastapi.routing import APIRoute

from api.console import routes
from api.console.account import own_page
from api.console.cookies import NAME
from api.console.pages import SIGN_IN
from lookalike.answers import Caller
from lookalike.domain import Grant
from lookalike.errors import Unauthenticated
from security.console_sessions import IDLE_S, LONGEST_S, ConsoleSessions
from tests.console.conftest import ADMIN, Console, Visitor


def test_a_stranger_is_shown_the_way_to_sign_in_and_back(console: Console):
    stranger = console.stranger()
    for path in ("/console/collections/c/subjects/Ann%20Gray", "/console/jobs"):
        answer = stranger.client.get(path)
        assert answer.status_code == 303
        door = stranger.get(answer.headers["location"])
        assert door.status_code == 200 and f'name="next" value="{path}"' in door.text
    assert stranger.client.get("/").headers["location"] == "/console/sign-in"


def test_a_wrong_key_is_refused_and_is_not_shown_again(console: Console):
    answer = console.stranger().client.post("/console/sign-in", data={"key": "lk_wrong_and_secret"})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers and "lk_wrong_and_secret" not in answer.text


def test_the_cookie_is_for_https_this_site_and_no_script_and_does_not_hold_the_key(console: Console):
    key = console.key(Grant("viewer"))
    answer = console.stranger().client.post("/console/sign-in", data={"key": key})
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-")
    for word in ("secure", "httponly", "samesite=strict", "path=/"):
        assert word in cookie.lower()
    assert "domain" not in cookie.lower() and key not in cookie


@pytest.mark.parametrize(
    "wanted", ["https://evil.example", "//evil.example", "/\\evil", "/v1/collections", "console/x"]
)
def test_after_signing_in_one_goes_to_a_page_of_the_console_alone(wanted):
    assert own_page(wanted) == "/"
    assert own_page("/console/jobs") == "/console/jobs"


def test_a_cookie_counts_for_nothing_at_the_api(console: Console, admin: Visitor):
    for method, path in (("GET", "/v1/collections"), ("POST", "/v1/collections"), ("GET", "/metrics")):
        assert admin.client.request(method, path).status_code == 401
    assert admin.client.post("/").json()["__type"] == "MissingAuthenticationTokenException"


def test_a_key_in_a_header_counts_for_nothing_in_the_console(console: Console):
    key = console.key(Grant("admin"))
    answer = console.stranger().client.get("/console/keys", headers={"x-api-key": key})
    assert answer.status_code == 303


def test_signing_out_ends_the_session_also_for_a_copy_of_its_cookie(console: Console):
    visitor, copy = console.visitor(Grant("viewer")), console.stranger()
    copy.client.cookies.set(NAME, visitor.client.cookies[NAME], domain="edge.local")
    cookie = {"cookie": f"{NAME}={visitor.client.cookies[NAME]}"}
    assert copy.client.get("/console/models", headers=cookie).status_code == 200
    assert visitor.post("/console/sign-out").headers["location"] == "/console/sign-in"
    assert visitor.client.get("/").status_code == 303
    assert copy.client.get("/console/models", headers=cookie).status_code == 303


def test_a_revoked_key_ends_its_sessions_at_once(console: Console):
    made = console.services.api_keys.create(ADMIN, "test", [Grant("viewer")])
    visitor = console.visitor(key=made.key)
    console.services.api_keys.revoke(ADMIN, made.id)
    assert visitor.client.get("/").status_code == 303
    assert visitor.send("/console/detect", {"image": b"x"}).status_code == 401


def timed_sessions(console: Console) -> tuple[ConsoleSessions, list[float]]:
    """Sessions under a clock that the test moves."""
    now = [1_000_000.0]
    services = console.services
    keyring = services.api_keys._keyring
    return ConsoleSessions(keyring, services.identities, services.audit, clock=lambda: now[0]), now


def test_a_session_ends_when_it_is_not_used(console: Console):
    sessions, now = timed_sessions(console)
    cookie = sessions.cookie(sessions.begin(console.key(Grant("viewer")), "-"))
    now[0] += IDLE_S - 1
    sessions.resume(cookie)
    now[0] += 2
    with pytest.raises(Unauthenticated):
        sessions.resume(cookie)


def test_a_session_ends_after_its_longest_time_however_it_is_used(console: Console):
    sessions, now = timed_sessions(console)
    session = sessions.begin(console.key(Grant("viewer")), "-")
    while now[0] - session.began_at < LONGEST_S:
        assert sessions.resume(sessions.cookie(session))[0] == session
        now[0] += IDLE_S - 1
        session = sessions.renewed(session) or session
    with pytest.raises(Unauthenticated):
        sessions.resume(sessions.cookie(session))


@pytest.mark.parametrize("spoilt", ["", "x", "é", "A" * 400, "A" * 5000])
def test_a_cookie_that_was_not_made_here_is_no_session(console: Console, spoilt: str):
    visitor = console.visitor(Grant("viewer"))
    for value in (spoilt, visitor.client.cookies[NAME][:-4] + "AAAA", visitor.client.cookies[NAME] + "AAAA"):
        answer = console.stranger().client.get("/", headers={"cookie": f"{NAME}={value}".encode("latin-1")})
        assert answer.status_code == 303


def test_signing_in_and_out_is_on_record(console: Console):
    visitor = console.visitor(Grant("auditor"))
    visitor.post("/console/sign-out")
    last = console.services.gallery.audit_recent(Caller(ADMIN, "-"), None, 20)
    assert {"console.sign_in", "console.sign_out"} <= {entry.action for entry in last}


def posts() -> list[str]:
    found = [route for router in routes.ROUTERS for route in router.routes]
    return [r.path for r in found if isinstance(r, APIRoute) and "POST" in r.methods and r.path != SIGN_IN]


NOBODY = dict.fromkeys(("collection", "subject", "sample", "unknown", "pending", "id"), "nobody")


@pytest.mark.parametrize("path", posts())
def test_no_form_is_taken_without_its_session_s_token_or_from_another_site(admin: Visitor, path: str):
    address = path.format(**NOBODY)
    for token in ("", "wrong", admin.token[:-1]):
        assert admin.client.post(address, data={"csrf": token, "typed": "nobody"}).status_code == 403
        assert admin.client.post(address, headers={"x-csrf-token": token}).status_code == 403
    for header in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
    ):
        assert admin.client.post(address, data={"csrf": admin.token}, headers=header).status_code == 403


def test_signing_in_from_another_site_s_page_is_refused(console: Console):
    key = console.key(Grant("viewer"))
    answer = console.stranger().client.post(
        "/console/sign-in", data={"key": key}, headers={"sec-fetch-site": "cross-site"}
    )
    assert answer.status_code == 403 and "set-cookie" not in answer.headers
