"""Tokens and certificates in an installation: the command speaks by them, and a block from elsewhere holds."""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect, sync_playwright

from api.client import Client, ClientError
from tests.authority import Authority
from tests.e2e.conftest import Installation
from tests.issuer import AUDIENCE, CLIENT_ID, CLIENT_SECRET, Issuer, running_issuer

DEADLINE_S = 60.0
MAP = """
[[grant]]
group = "operators"
role = "operator"

[[grant]]
group = "readers"
role = "viewer"
collections = ["staff"]

[[grant]]
certificate = "OU=gates,O=Example"
role = "identifier"
collections = ["staff"]
"""


@dataclass
class Site:
    installation: Installation
    client: Client
    issuer: Issuer
    authority: Authority
    folder: Path

    def command(self, *arguments: str, **settings: str) -> tuple[int, str]:
        """The command as a client of the service. Returns its exit code and what it said."""
        named = {f"LOOKALIKE_{name.upper()}": value for name, value in settings.items()}
        named |= {
            "LOOKALIKE_URL": self.installation.url,
            "LOOKALIKE_CA": str(self.installation.data / "tls" / "ca.crt"),
        }
        done = self.installation.command(*arguments, **named)
        return done.returncode, done.stdout + done.stderr


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, authority, port = tmp_path_factory.mktemp("identity"), Authority(), free_port()
    (folder / "issuer").mkdir()
    (folder / "clients.crt").write_bytes(authority.pem())
    (folder / "map.toml").write_text(MAP)
    (folder / "secret").write_text(CLIENT_SECRET)
    (folder / "secret").chmod(0o400)
    with running_issuer(folder / "issuer") as issuer:
        settings = {
            "PORT": str(port),
            "CONSOLE_URL": f"https://127.0.0.1:{port}",
            "OIDC_ISSUER": issuer.url,
            "OIDC_AUDIENCE": AUDIENCE,
            "OIDC_CA": str(issuer.ca),
            "OIDC_CLIENT_ID": CLIENT_ID,
            "OIDC_CLIENT_SECRET_FILE": str(folder / "secret"),
            "TLS_CLIENT_CA": str(folder / "clients.crt"),
            "IDENTITY_MAP": str(folder / "map.toml"),
        }
        made = Installation(folder, {f"LOOKALIKE_{name}": value for name, value in settings.items()})
        try:
            with made.start() as client:
                client.create_collection("staff")
                client.create_collection("visitors")
                yield Site(made, client, issuer, authority, folder)
        finally:
            made.stop()


def test_the_command_speaks_by_a_token_from_a_file_and_sees_what_its_groups_may(site):
    file = site.folder / "token"
    file.write_text(site.issuer.token("ann", ["readers"]) + "\n")
    code, said = site.command("collections", "list", "--json", token_file=str(file))
    assert code == 0, said
    assert [each["name"] for each in json.loads(said)["items"]] == ["staff"]


def test_the_command_speaks_by_a_client_certificate(site):
    certificate, key = site.authority.issue("CN=gate-1,OU=gates,O=Example").files(site.folder)
    shown = {"client_certificate": str(certificate), "client_key": str(key)}
    code, said = site.command("collections", "list", "--json", **shown)
    assert code == 0, said
    assert [each["name"] for each in json.loads(said)["items"]] == ["staff"]


def test_a_client_that_is_told_to_wait_for_the_issuer_s_keys_gets_its_answer_by_itself(site):
    site.issuer.rotate()
    with Client(
        site.installation.url,
        token=lambda: site.issuer.token("bob", ["readers"]),
        ca=site.installation.data / "tls" / "ca.crt",
        retries=12,
    ) as client:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                assert [each["name"] for each in client.collections()] == ["staff"]
                return
            except ClientError as error:  # the issuer was asked a moment ago, for another test
                assert error.code == "unauthenticated" and time.monotonic() < deadline
                time.sleep(0.5)


def test_a_block_by_the_command_on_the_data_folder_holds_in_the_running_service_within_five_seconds(site):
    token = site.issuer.token("lost", ["readers"])
    with httpx.Client(
        base_url=site.installation.url,
        verify=ssl.create_default_context(cafile=site.installation.data / "tls" / "ca.crt"),
        headers={"authorization": f"Bearer {token}"},
    ) as client:
        until_in(client)
        done = site.installation.command("principals", "block", "--subject", "lost", "--reason", "laptop", "--json")
        assert done.returncode == 0, done.stderr
        blocked_at = time.monotonic()
        while client.get("/v1/collections").status_code == 200:
            assert time.monotonic() < blocked_at + DEADLINE_S
            time.sleep(0.02)
        print(f"a block of another process held after {time.monotonic() - blocked_at:.2f} s")
    listed = site.client.principals()
    assert json.loads(done.stdout) in listed["blocks"]
    assert [each["blocked"] for each in listed["items"] if each.get("subject") == "lost"] == [True]


def until_in(client: httpx.Client) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while client.get("/v1/collections").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.service
def test_in_a_real_browser_one_signs_in_at_the_provider_and_is_out_once_blocked(site):
    chromium = os.environ.get("LOOKALIKE_TEST_CHROMIUM")
    if chromium is None:
        pytest.skip("left out: there is no Chromium (tests/services/chromium/run installs it)")
    site.issuer.user = {"subject": "paula", "groups": ["operators"]}
    url = site.installation.url
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        context = browser.new_context(ignore_https_errors=True, locale="en-GB")
        context.set_default_timeout(DEADLINE_S * 1000)
        page = context.new_page()
        page.goto(f"{url}/console/collections/staff/settings")
        _picture(page, "oidc-door")
        page.get_by_role("link", name="Sign in with your organisation").click()
        page.wait_for_url(f"{url}/console/collections/staff/settings")
        expect(page.get_by_role("heading", level=1)).to_contain_text("staff")
        _picture(page, "oidc-signed-in")
        page.goto(f"{url}/")
        expect(page.get_by_role("link", name="New collection")).to_be_visible()
        site.client.block_principal(subject="paula", reason="left")
        page.goto(f"{url}/console/jobs")
        page.wait_for_url(f"{url}/console/sign-in**")
        page.get_by_role("link", name="Sign in with your organisation").click()
        expect(page.get_by_role("alert")).to_contain_text("blocked")
        _picture(page, "oidc-blocked")
        browser.close()


def _picture(page, name: str) -> None:
    folder = os.environ.get("LOOKALIKE_TEST_SCREENSHOTS")
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
