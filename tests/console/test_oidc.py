"""Signing in to the console at an identity provider: the way there and back, and every way to go it wrongly."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from api.app import create_app
from api.console.cookies import NAME, ON_THE_WAY
from api.in_process import InProcessTransport
from api.wiring import Services, open_services
from lookalike.answers import Caller
from lookalike.domain import Grant
from lookalike.settings import Settings
from tests.console.conftest import ADMIN, URL, Visitor
from tests.issuer import AUDIENCE, CLIENT_ID, CLIENT_SECRET, Issuer, running_issuer

DEADLINE_S = 60.0
MAP = '[[grant]]\ngroup = "office"\nrole = "admin"\n\n[[grant]]\ngroup = "gate"\nrole = "viewer"\n'


@dataclass(frozen=True)
class Site:
    """A console whose people sign in at an issuer."""

    services: Services
    transport: InProcessTransport
    issuer: Issuer
    map: Path

    def stranger(self) -> Visitor:
        return Visitor(httpx.Client(transport=self.transport, base_url=URL))

    def at_provider(self, address: str) -> httpx.Response:
        """What the provider does with a browser that comes there."""
        status, body, headers = self.issuer.answer(address.removeprefix(self.issuer.url), {})
        return httpx.Response(status, content=body, headers=headers)

    def way_back(self, visitor: Visitor, next: str = "") -> str:
        """Go to the provider, sign in there, and see where it sends the browser."""
        there = visitor.client.get("/console/oidc/sign-in", params={"next": next})
        assert there.status_code == 303, there.text
        back = self.at_provider(there.headers["location"]).headers["location"]
        return back.removeprefix(URL)

    def signed_in(self, subject: str, *groups: str) -> Visitor:
        self.issuer.user = {"subject": subject, "groups": list(groups)}
        visitor = self.stranger()
        answer = visitor.client.get(self.way_back(visitor))
        assert answer.status_code == 200, answer.text
        visitor.get("/")
        return visitor


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("oidc")
    (folder / "map.toml").write_text(MAP)
    secret = folder / "secret"
    secret.write_text(CLIENT_SECRET)
    secret.chmod(0o400)
    with running_issuer(folder) as issuer:
        settings = Settings(
            data=folder / "data",
            oidc_issuer=issuer.url,
            oidc_audience=AUDIENCE,
            oidc_ca=issuer.ca,
            oidc_client_id=CLIENT_ID,
            oidc_client_secret_file=secret,
            console_url=URL,
            identity_map=folder / "map.toml",
            max_refused_per_minute=100_000,
        )
        made = open_services(settings, live=True)
        transport = InProcessTransport(create_app(made))
        until(lambda: made.identities.tokens.keys._keys)
        yield Site(made, transport, issuer, folder / "map.toml")
        transport.close()
        made.close()


@pytest.fixture(autouse=True)
def sound(site: Site) -> Iterator[None]:
    """The issuer as it should be, after whatever a test did to it."""
    site.issuer.user = {"subject": "ann", "groups": ["office"]}
    yield
    site.issuer.spoil = lambda claims: claims
    site.issuer.answers.clear()
    site.issuer.access_audience = AUDIENCE


def until(found: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_refused(answer: httpx.Response, word: str, status: int = 401) -> bool:
    return answer.status_code == status and word in answer.text and NAME not in answer.cookies


def test_the_page_to_sign_in_shows_the_way_to_the_provider_and_back_to_where_one_was(site):
    door = site.stranger().get("/console/sign-in?next=/console/jobs")
    assert 'href="/console/oidc/sign-in?next=/console/jobs"' in door.text and "API key" in door.text


def test_where_no_provider_is_named_there_is_no_way_to_one(console):
    assert "oidc" not in console.stranger().get("/console/sign-in").text
    assert console.stranger().get("/console/oidc/sign-in").status_code == 404
    assert console.stranger().get("/console/oidc/back?code=x&state=y").status_code == 404


def test_the_way_there_asks_for_a_code_with_pkce_state_and_nonce(site):
    answer = site.stranger().client.get("/console/oidc/sign-in")
    asked = {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}
    assert answer.headers["location"].startswith(f"{site.issuer.url}/authorize?")
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    assert asked["redirect_uri"] == f"{URL}/console/oidc/back"
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    cookie = answer.headers["set-cookie"].lower()
    for word in ("__host-", "secure", "httponly", "samesite=lax", "max-age=600"):
        assert word in cookie
    assert not any(asked[name].lower() in cookie for name in ("state", "nonce"))


def test_whoever_comes_back_is_signed_in_and_led_on_by_a_page_of_this_site(site):
    visitor = site.stranger()
    answer = visitor.client.get(site.way_back(visitor, "/console/keys"))
    assert answer.status_code == 200 and 'content="0;url=/console/keys"' in answer.text
    given = [header for header in answer.headers.get_list("set-cookie") if header.startswith(f"{NAME}=")]
    assert "samesite=strict" in given[0].lower()
    assert visitor.client.get("/console/keys").status_code == 200
    assert ON_THE_WAY not in visitor.client.cookies
    last = site.services.gallery.audit_recent(Caller(ADMIN, "-"), None, 20)
    assert any(e.action == "console.sign_in" and e.principal.startswith("oidc:") for e in last)


def test_no_page_elsewhere_is_gone_on_to(site):
    visitor = site.stranger()
    answer = visitor.client.get(site.way_back(visitor, "https://evil.example/"))
    assert 'content="0;url=/"' in answer.text and "evil" not in answer.text


def test_a_session_may_what_the_map_gives_the_groups(site):
    assert site.signed_in("ann", "office").client.get("/console/keys").status_code == 200
    assert site.signed_in("bob", "gate").client.get("/console/keys").status_code == 403


def test_one_is_the_same_principal_at_the_api_and_in_the_console(site):
    site.signed_in("same", "office")
    token = site.issuer.token("same", ["office"])
    api = httpx.Client(transport=site.transport, base_url=URL, headers={"authorization": f"Bearer {token}"})
    assert api.get("/v1/principals").status_code == 200
    assert [e["subject"] for e in api.get("/v1/principals").json()["items"]].count("same") == 1


def test_groups_come_from_the_id_token_where_the_access_token_is_for_another(site):
    site.issuer.access_audience = "https://graph.example"
    assert site.signed_in("carl", "office").client.get("/console/keys").status_code == 200


def test_somebody_without_rights_is_told_so_and_gets_no_session(site):
    site.issuer.user = {"subject": "eve", "groups": ["strangers"]}
    visitor = site.stranger()
    assert is_refused(visitor.client.get(site.way_back(visitor)), "LOOKALIKE_IDENTITY_MAP", 403)
    assert visitor.client.get("/").status_code == 303


@pytest.mark.parametrize("query", ["", "?code=x", "?state=y", "?code=x&state=y", "?error=access_denied&state=y"])
def test_a_way_back_that_was_not_begun_in_this_browser_is_refused(site, query):
    assert is_refused(site.stranger().client.get(f"/console/oidc/back{query}"), "sign in again")


def test_another_s_way_back_does_not_sign_one_in_as_them(site):
    attacker, victim = site.stranger(), site.stranger()
    theirs = site.way_back(attacker)
    assert is_refused(victim.client.get(theirs), "sign in again")
    site.way_back(victim)
    assert is_refused(victim.client.get(theirs), "sign in again")


def test_a_way_back_counts_once(site):
    visitor = site.stranger()
    back = site.way_back(visitor)
    cookie = visitor.client.cookies[ON_THE_WAY]
    assert visitor.client.get(back).status_code == 200
    again = site.stranger().client.get(back, headers={"cookie": f"{ON_THE_WAY}={cookie}"})
    assert again.status_code == 503 and NAME not in again.cookies  # the provider redeems a code once


def test_a_way_back_counts_for_ten_minutes(site, monkeypatch):
    visitor = site.stranger()
    back = site.way_back(visitor)
    monkeypatch.setattr(site.services.login, "_clock", lambda: time.time() + 700)
    assert is_refused(visitor.client.get(back), "sign in again")


def test_a_code_of_another_way_is_not_redeemed(site):
    one, other = site.stranger(), site.stranger()
    stolen = re.search(r"code=([^&]+)", site.way_back(one)).group(1)
    back = re.sub(r"code=[^&]+", f"code={stolen}", site.way_back(other))
    answer = other.client.get(back)
    assert answer.status_code == 503 and NAME not in answer.cookies


def test_an_answer_of_another_issuer_is_refused(site):
    visitor = site.stranger()
    back = re.sub(r"iss=[^&]+", "iss=https%3A%2F%2Fevil.example", site.way_back(visitor))
    assert is_refused(visitor.client.get(back), "another identity provider")


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"azp": "another-client"},
        {"sub": ""},
    ],
    ids=str,
)
def test_an_id_token_that_is_not_for_this_way_signs_nobody_in(site, changes):
    site.issuer.spoil = lambda claims: {k: v for k, v in {**claims, **changes}.items() if v is not None}
    visitor = site.stranger()
    answer = visitor.client.get(site.way_back(visitor))
    assert answer.status_code == 401 and NAME not in answer.cookies


@pytest.mark.parametrize(
    "answer", [(500, b""), (200, b"{}"), (200, b"nonsense"), (302, b""), (200, b'{"id_token": 7}')]
)
def test_a_provider_that_answers_badly_signs_nobody_in(site, answer):
    site.issuer.answers["/token"] = answer
    visitor = site.stranger()
    back = visitor.client.get(site.way_back(visitor))
    assert back.status_code in (401, 503) and NAME not in back.cookies


def test_a_provider_that_cannot_be_reached_is_said_and_keys_go_on(site, monkeypatch):
    monkeypatch.setattr(site.services.login, "_endpoints", None)
    site.issuer.answers["/.well-known/openid-configuration"] = 500, b""
    assert site.stranger().client.get("/console/oidc/sign-in").status_code == 503
    key = site.services.api_keys.create(ADMIN, "test", [Grant("viewer")]).key
    assert site.stranger().client.post("/console/sign-in", data={"key": key}).status_code == 303


def test_a_block_ends_the_session(site):
    visitor = site.signed_in("dora", "office")
    assert visitor.client.get("/console/keys").status_code == 200
    identities = site.services.identities
    identities.blocks.block(Caller(ADMIN, "-"), identities.known.token_id(site.issuer.url, "dora"))
    until(lambda: visitor.client.get("/").status_code == 303)
    again = site.stranger()
    site.issuer.user = {"subject": "dora", "groups": ["office"]}
    assert is_refused(again.client.get(site.way_back(again)), "blocked")


def test_a_map_that_gives_nothing_more_ends_the_session(site):
    visitor = site.signed_in("emil", "gate")
    assert visitor.client.get("/").status_code == 200
    site.map.write_text(MAP.replace("gate", "others"))
    try:
        until(lambda: visitor.client.get("/").status_code == 303)
    finally:
        site.map.write_text(MAP)
    until(lambda: site.services.identities._mapped.current().of_token("emil", ["gate"]))


def test_signing_out_ends_it(site):
    visitor = site.signed_in("fritz", "gate")
    assert visitor.post("/console/sign-out").headers["location"] == "/console/sign-in"
    assert visitor.client.get("/").status_code == 303
