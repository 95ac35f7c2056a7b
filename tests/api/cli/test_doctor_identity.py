"""What the doctor says of tokens, certificates and their map."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.commands.doctor_identity import identities
from lookalike.errors import BadSettings
from lookalike.settings import Settings
from tests.authority import Authority
from tests.issuer import AUDIENCE, Issuer, running_issuer

MAP = '[[grant]]\ngroup = "gate"\nrole = "identifier"\n'


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    with running_issuer(tmp_path) as running:
        yield running


def settings(folder: Path, text: str = MAP, **named: object) -> Settings:
    (folder / "map.toml").write_text(text)
    (folder / "map.toml").chmod(0o600)
    return Settings(data=folder / "data", identity_map=folder / "map.toml", **named)


def oidc(issuer: Issuer, **named: object) -> dict[str, object]:
    return {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "oidc_ca": issuer.ca, **named}


def test_without_a_map_keys_alone_are_taken(tmp_path):
    assert identities(Settings(data=tmp_path)) == ("ok", "API keys alone (LOOKALIKE_IDENTITY_MAP)")


def test_an_issuer_that_answers_and_a_list_with_time_left_are_good(tmp_path, issuer):
    authority = Authority()
    (tmp_path / "clients.crt").write_bytes(authority.pem())
    (tmp_path / "clients.crl").write_bytes(authority.revocations())
    named = oidc(issuer, tls_client_ca=tmp_path / "clients.crt", tls_client_crl=tmp_path / "clients.crl")
    state, said = identities(settings(tmp_path, **named))
    assert state == "ok"
    for words in ("1 grants", "optional", "in 24 h", f"tokens of {issuer.url}, which answers"):
        assert words in said


def test_an_issuer_that_cannot_be_asked_is_wrong(tmp_path, issuer):
    issuer.down = True
    state, said = identities(settings(tmp_path, **oidc(issuer)))
    assert (state, "answers 503: tokens would be refused" in said) == ("wrong", True)


def test_a_map_that_others_can_write_is_told(tmp_path):
    made = settings(tmp_path)
    (tmp_path / "map.toml").chmod(0o666)
    assert identities(made)[0] == "note"


@pytest.mark.parametrize("text", ["[[grant", '[[grant]]\ngroup = "a"\nrole = "root"\n'])
def test_a_map_that_would_end_the_start_is_told_with_its_file(tmp_path, text):
    with pytest.raises(BadSettings, match=r"LOOKALIKE_IDENTITY_MAP.*map\.toml"):
        identities(settings(tmp_path, text))


@pytest.mark.parametrize(
    ("named", "word"),
    [
        ({"oidc_issuer": "https://x"}, "oidc_audience"),
        ({"oidc_issuer": "https://x", "oidc_audience": "y"}, "identity_map"),
        ({"tls_client_ca": "x"}, "identity_map"),
        ({"tls_client_ca": "x", "tls": "off"}, "without TLS"),
        ({"tls_client_crl": "x"}, "tls_client_ca"),
        ({"client_certificate": "x"}, "client_key"),
        ({"oidc_client_id": "x"}, "console_url"),
        ({"oidc_client_secret_file": "x"}, "oidc_client_id"),
        ({"oidc_scopes": "profile"}, "openid"),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together_are_refused(tmp_path, named, word):
    with pytest.raises(ValueError, match=word):
        Settings(data=tmp_path, **named)
