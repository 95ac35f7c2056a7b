"""The issuer's keys over real HTTPS: found, renewed, kept while it is away, and taken from nobody else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lookalike.errors import BadSettings, IdentityUnavailable, Unauthenticated
from security.issuer import AT_MOST_EVERY_S, FetchedKeys, FileKeys, discover
from security.issuer_http import IssuerHttp, require_url
from tests.issuer import Issuer, new_key, running_issuer

DEADLINE_S = 60.0


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    with running_issuer(tmp_path) as running:
        yield running


class Timer:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fetched(issuer: Issuer, timer: Timer | None = None, kept_s: float = 3600.0) -> FetchedKeys:
    return FetchedKeys(issuer.url, IssuerHttp(issuer.ca), kept_s, timer or Timer())


def until(found: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def has(keys: FetchedKeys, id: str) -> bool:
    try:
        return keys.key(id, "ES256") is not None
    except (IdentityUnavailable, Unauthenticated):
        return False


def test_keys_are_found_by_the_discovery_document(issuer):
    keys = fetched(issuer)
    keys.refresh()
    assert keys.key(issuer.keys[0].id, "ES256") == issuer.keys[0].private.public_key()
    assert issuer.asked == ["/.well-known/openid-configuration", "/keys"]


def test_a_request_never_waits_for_the_issuer_and_is_told_to_come_again(issuer):
    keys = fetched(issuer)
    with pytest.raises(IdentityUnavailable):
        keys.key(issuer.keys[0].id, "ES256")
    assert issuer.asked == []
    keys.start()
    try:
        until(lambda: has(keys, issuer.keys[0].id))
    finally:
        keys.close()


def test_a_new_key_is_fetched_when_a_token_names_it_however_young_the_others_are(issuer):
    timer = Timer()
    keys = fetched(issuer, timer)
    keys.start()
    try:
        until(lambda: has(keys, issuer.keys[0].id))
        old, new = issuer.keys[0], issuer.rotate()
        with pytest.raises(Unauthenticated):  # it has just been asked
            keys.key(new.id, "ES256")
        timer.now += AT_MOST_EVERY_S
        until(lambda: has(keys, new.id))
        assert not has(keys, old.id)
    finally:
        keys.close()


def test_tokens_with_invented_keys_do_not_make_the_issuer_be_asked_again_and_again(issuer):
    keys = fetched(issuer)
    keys.start()
    try:
        until(lambda: has(keys, issuer.keys[0].id))
        for n in range(200):
            with pytest.raises(Unauthenticated):
                keys.key(f"invented {n}", "ES256")
        assert issuer.asked.count("/keys") == 1
    finally:
        keys.close()


def test_known_keys_go_on_while_the_issuer_is_away_for_as_long_as_is_set_and_the_log_says_so(issuer, caplog):
    timer = Timer()
    keys = fetched(issuer, timer, kept_s=7200.0)
    keys.start()
    try:
        until(lambda: has(keys, issuer.keys[0].id))
        issuer.down = True
        timer.now += AT_MOST_EVERY_S
        assert not has(keys, "another")
        until(lambda: keys.trouble)
        assert "answers 503; known keys go on for 2.0 hours" in caplog.text
        timer.now += 7100.0
        assert has(keys, issuer.keys[0].id)
        timer.now += 200.0
        with pytest.raises(IdentityUnavailable, match="out of date"):
            keys.key(issuer.keys[0].id, "ES256")
    finally:
        keys.close()


def test_an_issuer_whose_certificate_is_not_trusted_is_not_believed(issuer):
    with pytest.raises(IdentityUnavailable, match="LOOKALIKE_OIDC_CA"):
        FetchedKeys(issuer.url, IssuerHttp(None), 3600.0).refresh()


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/keys"])
@pytest.mark.parametrize(
    "answer",
    [(302, b""), (200, b""), (200, b"[]"), (200, b"{}"), (200, b"x" * 300_000), (200, b"\xff\xfe"), (500, b"{}")],
    ids=["redirect", "empty", "list", "hollow", "huge", "bytes", "failure"],
)
def test_a_spoilt_answer_is_refused_and_no_redirect_is_followed(issuer, path, answer):
    issuer.answers[path] = answer
    with pytest.raises(IdentityUnavailable):
        fetched(issuer).refresh()
    assert "/moved" not in issuer.asked


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"jwks_uri": "http://evil.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
        {"jwks_uri": ["x"]},
        {"token_endpoint": "http://evil.example/token"},
    ],
    ids=str,
)
def test_a_discovery_document_that_leads_astray_is_refused(issuer, changes):
    sound = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
    issuer.answers["/.well-known/openid-configuration"] = 200, json.dumps({**sound, **changes}).encode()
    with pytest.raises(IdentityUnavailable):
        discover(issuer.url, IssuerHttp(issuer.ca))


@pytest.mark.parametrize(
    "url",
    ["http://issuer.example", "ftp://localhost", "https://", "https://u:p@issuer.example", "https://[", "issuer", ""],
)
def test_an_issuer_is_spoken_to_over_https_or_on_this_machine(url):
    with pytest.raises(BadSettings, match="LOOKALIKE_OIDC_ISSUER"):
        require_url(url, "LOOKALIKE_OIDC_ISSUER")
    assert require_url("http://127.0.0.1:5556/dex", "x") and require_url("https://issuer.example/realms/a", "x")


def test_without_a_network_the_keys_come_from_a_file_that_is_read_anew_when_it_changes(issuer, tmp_path, monkeypatch):
    monkeypatch.setattr("security.watched_file.LOOK_EVERY_S", 0.0)
    file = tmp_path / "keys.json"
    file.write_bytes(issuer.jwks())
    keys, old = FileKeys(file), issuer.keys[0]
    assert keys.key(old.id, "ES256")
    file.write_bytes(b"{half")
    assert keys.key(old.id, "ES256")
    issuer.keys = [new_key()]
    file.write_bytes(issuer.jwks())
    assert keys.key(issuer.keys[0].id, "ES256")
    with pytest.raises(Unauthenticated):
        keys.key(old.id, "ES256")


def test_a_file_without_keys_ends_the_start(tmp_path):
    file = tmp_path / "keys.json"
    for text in (None, "{}"):
        if text is not None:
            file.write_text(text)
        with pytest.raises(BadSettings, match=r"LOOKALIKE_OIDC_JWKS.*keys\.json"):
            FileKeys(file)
