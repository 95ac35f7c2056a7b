"""A real Keycloak, set up as docs/identity.md says: its access tokens are taken and no others, and people sign in.

LOOKALIKE_TEST_KEYCLOAK names one that runs for tests alone, with its admin's password after a blank; without it this is
left out, since it takes minutes and half a gigabyte to start:

    mvn dependency:copy -Dartifact=org.keycloak:keycloak-quarkus-dist:26.7.3:zip -DoutputDirectory=.
    unzip keycloak-quarkus-dist-26.7.3.zip && cd keycloak-26.7.3
    KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD=test bin/kc.sh start-dev --http-port=18080
    LOOKALIKE_TEST_KEYCLOAK="http://127.0.0.1:18080 test"
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import httpx
import pytest

from api.app import create_app
from api.in_process import InProcessTransport
from api.wiring import open_services
from lookalike.settings import Settings

AUDIENCE, CLIENT = "lookalike-api", "lookalike-console"
CONSOLE = "https://edge"
USER, PASSWORD = "paula", "a-password-of-the-tests"
DEADLINE_S = 60.0

pytestmark = pytest.mark.service


@dataclass
class Realm:
    """A realm of its own. tokens: by name, as the token endpoint gave them to the user."""

    issuer: str
    client_secret: str

    def tokens(self) -> dict[str, str]:
        answer = httpx.post(
            f"{self.issuer}/protocol/openid-connect/token",
            data={
                "grant_type": "password",
                "client_id": CLIENT,
                "client_secret": self.client_secret,
                "username": USER,
                "password": PASSWORD,
                "scope": "openid",
            },
            timeout=DEADLINE_S,
        )
        return answer.raise_for_status().json()


@pytest.fixture(scope="module")
def realm() -> Iterator[Realm]:
    named = os.environ.get("LOOKALIKE_TEST_KEYCLOAK")
    if named is None:
        pytest.skip("left out: there is no Keycloak (LOOKALIKE_TEST_KEYCLOAK)")
    base, _, password = named.partition(" ")
    admin = httpx.Client(base_url=base, timeout=DEADLINE_S)
    granted = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": password}
    token = admin.post("/realms/master/protocol/openid-connect/token", data=granted).raise_for_status().json()
    admin.headers["authorization"] = f"Bearer {token['access_token']}"
    name, secret = f"test-{secrets.token_hex(4)}", secrets.token_urlsafe(24)
    mappers = [
        {
            "name": "audience",
            "protocol": "openid-connect",
            "protocolMapper": "oidc-audience-mapper",
            "config": {"included.custom.audience": AUDIENCE, "access.token.claim": "true", "id.token.claim": "false"},
        },
        {
            "name": "groups",
            "protocol": "openid-connect",
            "protocolMapper": "oidc-group-membership-mapper",
            "config": {
                "claim.name": "groups",
                "full.path": "false",
                "access.token.claim": "true",
                "id.token.claim": "true",
            },
        },
    ]
    client = {
        "clientId": CLIENT,
        "secret": secret,
        "redirectUris": [f"{CONSOLE}/console/oidc/back"],
        "directAccessGrantsEnabled": True,
        "standardFlowEnabled": True,
        "attributes": {"pkce.code.challenge.method": "S256"},
        "protocolMappers": mappers,
    }
    user = {
        "username": USER,
        "enabled": True,
        "email": "paula@example.org",
        "emailVerified": True,
        "firstName": "Paula",
        "lastName": "Example",
        "groups": ["gate"],
        "credentials": [{"type": "password", "value": PASSWORD, "temporary": False}],
    }
    made = {"realm": name, "enabled": True, "sslRequired": "none", "clients": [client], "users": [user]}
    admin.post("/admin/realms", json=made | {"groups": [{"name": "gate"}]}).raise_for_status()
    yield Realm(f"{base}/realms/{name}", secret)
    admin.delete(f"/admin/realms/{name}").raise_for_status()
    admin.close()


@pytest.fixture(scope="module")
def transport(realm: Realm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcessTransport]:
    folder: Path = tmp_path_factory.mktemp("keycloak")
    (folder / "map.toml").write_text('[[grant]]\ngroup = "gate"\nrole = "operator"\n')
    (folder / "secret").write_text(realm.client_secret)
    (folder / "secret").chmod(0o400)
    settings = Settings(
        data=folder / "data",
        oidc_issuer=realm.issuer,
        oidc_audience=AUDIENCE,
        identity_map=folder / "map.toml",
        oidc_client_id=CLIENT,
        oidc_client_secret_file=folder / "secret",
        console_url=CONSOLE,
    )
    services = open_services(settings, live=True)
    deadline = time.monotonic() + DEADLINE_S
    while services.identities.tokens.keys._keys is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    made = InProcessTransport(create_app(services))
    yield made
    made.close()
    services.close()


def asked(transport: InProcessTransport, token: str) -> httpx.Response:
    client = httpx.Client(transport=transport, base_url=CONSOLE, headers={"authorization": f"Bearer {token}"})
    return client.get("/v1/jobs")


def test_its_access_token_is_taken_and_its_id_and_refresh_tokens_are_not(realm, transport):
    tokens = realm.tokens()
    assert asked(transport, tokens["access_token"]).status_code == 200
    for name in ("id_token", "refresh_token"):
        assert asked(transport, tokens[name]).status_code == 401, name


def test_somebody_signs_in_to_the_console_by_its_page(realm, transport):
    here = httpx.Client(transport=transport, base_url=CONSOLE)
    to = here.get("/console/oidc/sign-in").headers["location"]
    with httpx.Client(timeout=DEADLINE_S) as there:
        form = there.get(to)
        action = unescape(re.search(r'<form[^>]*action="([^"]+)"', form.text).group(1))
        # They are for HTTPS alone, which a browser takes this machine's own address for.
        cookies = "; ".join(each.partition(";")[0] for each in form.headers.get_list("set-cookie"))
        named = {"username": USER, "password": PASSWORD}
        sent = there.post(urljoin(str(form.url), action), data=named, headers={"cookie": cookies})
    back = sent.headers["location"]
    assert back.startswith(f"{CONSOLE}/console/oidc/back?"), sent.text
    answer = here.get(back.removeprefix(CONSOLE))
    assert answer.status_code == 200, answer.text
    assert "operator" in here.get("/console/jobs").text
