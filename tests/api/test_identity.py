"""Tokens and certificates at the API: what they may, what ends it within a moment, and what is refused of them."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import security.blocks
import security.watched_file
from api.refusals import Buckets
from lookalike.answers import Caller
from lookalike.domain import Grant, Permission
from lookalike.errors import LookalikeError
from lookalike.jobs import JobState
from tests.api.conftest import ADMIN, Real, group_of
from tests.authority import Authority
from tests.issuer import CLIENT_ID, new_key

DEADLINE_S = 60.0


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is believed for a second otherwise is looked up with every request."""
    monkeypatch.setattr(security.blocks, "REMEMBERED_S", 0.0)
    monkeypatch.setattr(security.watched_file, "LOOK_EVERY_S", 0.0)


@pytest.fixture
def changing_map(real: Real, at_once: None) -> Iterator[Path]:
    """The map, to be changed by a test; as it was after it."""
    before = real.map.read_text()
    yield real.map
    real.map.write_text(before)
    real.services.identities._mapped.current()


def status(client: httpx.Client, path: str = "/v1/collections") -> int:
    return client.get(path).status_code


def entries(real: Real, action: str) -> list[object]:
    return [e for e in real.services.gallery.audit_recent(Caller(ADMIN, "-"), None, 200) if e.action == action]


def until(found: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --------------------------------------------------------------------------------------------- what one may


def test_a_refused_token_is_a_401_that_says_why_and_a_sound_one_without_rights_a_403(real):
    for token, word in (
        (real.issuer.token(exp=int(time.time()) - 300), "expired"),
        (real.issuer.token(aud=CLIENT_ID), "audience"),
        (real.issuer.sign(real.issuer.claims(), new_key("ES256")), "key"),
        (real.issuer.sign(real.issuer.claims(nonce="x"), typ="JWT"), "ID token"),
    ):
        answer = real.sending(token).get("/v1/collections")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert word in answer.json()["detail"] and "www-authenticate" in answer.headers
    answer = real.sending(real.issuer.token("bob", ["nobody's"])).get("/v1/limits")
    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    assert [entry.outcome for entry in entries(real, "authenticate") if entry.principal.startswith("oidc:")]


def test_the_audit_log_names_a_pseudonym_and_who_may_sees_who_it_is(real):
    subject = f"subject-{secrets.token_hex(4)}"
    answer = real.bearer(Grant("operator"), subject=subject).get("/v1/collections/nobody/drift")
    entry = next(e for e in entries(real, "drift.read") if e.request_id == answer.headers["x-request-id"])
    assert entry.principal.startswith("oidc:") and subject not in entry.principal
    listed = real.client(Grant("admin")).get("/v1/principals").json()["items"]
    found = next(each for each in listed if each.get("subject") == subject)
    assert (found["principal"], found["issuer"], found["blocked"]) == (entry.principal, real.issuer.url, False)
    assert found["grants"] == [{"role": "operator", "collection": None}]


def test_what_is_kept_of_who_came_is_sealed(real):
    subject = f"canary-{secrets.token_hex(8)}"
    assert status(real.bearer(Grant("viewer"), subject=subject)) == 200
    assert real.services.identities.known.find(real.services.identities.known.token_id(real.issuer.url, subject))
    kept = b"".join(file.read_bytes() for file in real.services.settings.data.rglob("*") if file.is_file())
    assert subject.encode() not in kept and group_of(Grant("viewer")).encode() not in kept


@pytest.mark.parametrize("shown", ["token", "certificate"])
def test_a_grant_on_one_collection_holds_for_listings_jobs_and_exports(real, shown):
    made = {"token": real.bearer, "certificate": real.certified}[shown]
    admin = real.client(Grant("admin"))
    for name in ("own", "other"):
        if status(admin, f"/v1/collections/{name}") == 404:
            assert admin.post("/v1/collections", json={"name": name}).status_code == 201
        assert admin.put(f"/v1/collections/{name}/subjects/ann", json={"metadata": {}}).status_code in (200, 201)
    operator = made(Grant("operator", "own"))
    assert [c["name"] for c in operator.get("/v1/collections").json()["items"]] == ["own"]
    begun = admin.post("/v1/collections/other/keys/rotate").json()
    assert begun["id"] not in [job["id"] for job in operator.get("/v1/jobs").json()["items"]]
    assert status(operator, f"/v1/jobs/{begun['id']}") == 404
    assert operator.post(f"/v1/jobs/{begun['id']}/cancel").status_code == 404
    privacy = made(Grant("privacy", "own"))
    assert status(privacy, "/v1/collections/own/subjects/ann/export") == 200
    assert status(privacy, "/v1/collections/other/subjects/ann/export") == 403


# ------------------------------------------------------------------------------------------ what ends it


def test_whoever_is_blocked_is_refused_though_the_token_is_still_good(real, at_once):
    subject = f"s{secrets.token_hex(4)}"
    client, other = real.bearer(Grant("viewer"), subject=subject), real.bearer(Grant("viewer"), subject="other")
    assert status(client) == status(other) == 200
    admin = real.client(Grant("admin"))
    done = admin.post("/v1/principals/block", json={"subject": subject, "reason": "laptop lost"}).json()
    assert (done["reason"], done["blocked"][:5]) == ("laptop lost", "oidc:")
    answer = client.get("/v1/collections")
    assert (answer.status_code, "blocked" in answer.json()["detail"]) == (401, True)
    assert status(real.sending(real.issuer.token(subject, [group_of(Grant("admin"))]))) == 401
    assert status(other) == 200
    assert done in admin.get("/v1/principals").json()["blocks"]
    assert admin.post("/v1/principals/unblock", json={"principal": done["blocked"]}).status_code == 204
    assert status(client) == 200
    assert admin.post("/v1/principals/unblock", json={"principal": done["blocked"]}).status_code == 404
    for action in ("principal.block", "principal.unblock"):
        assert done["blocked"] in [entry.details["blocked"] for entry in entries(real, action)]


def test_a_block_by_one_replica_holds_on_another_within_a_second(real):
    subject = f"s{secrets.token_hex(4)}"
    client = real.bearer(Grant("viewer"), subject=subject)
    assert status(client) == 200
    first = real.services.identities
    other = security.blocks.Blocks(
        real.services.api_keys._rows, real.services.api_keys._keyring, real.services.audit, first.blocks._ledger
    )
    other.block(Caller(ADMIN, "-"), first.known.token_id(real.issuer.url, subject))
    until(lambda: status(client) == 401)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"subject": "a", "principal": "oidc:" + "0" * 32},
        {"principal": "key:" + "0" * 32},
        {"principal": "../../x"},
        {"principal": "oidc:x"},
        {"certificate": "zz"},
        {"subject": "a", "reason": "\n"},
        {"nobody": "a"},
    ],
    ids=str,
)
def test_a_block_of_nobody_is_refused(real, body):
    answer = real.client(Grant("admin")).post("/v1/principals/block", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


def test_a_changed_map_holds_at_once_and_one_that_is_wrong_changes_nothing(real, changing_map):
    client = real.bearer(Grant("viewer"))
    assert status(client) == 200
    changing_map.write_text("[[grant")
    assert status(client) == 200
    changing_map.write_text('[[grant]]\ngroup = "others"\nrole = "viewer"\n')
    assert status(client) == 403


@pytest.mark.parametrize("how", ["block", "map"])
def test_rights_that_are_taken_in_mid_job_end_the_job(real, changing_map, how):
    subject = f"s{secrets.token_hex(4)}"
    assert status(real.bearer(Grant("operator"), subject=subject)) == 200
    identities, jobs = real.services.identities, real.services.jobs
    principal = identities.principal(identities.known.token_id(real.issuer.url, subject))
    running, go = threading.Event(), threading.Event()

    def work(caller, job, progress):
        caller.principal.require(Permission.RUN_JOBS, None)
        running.set()
        assert go.wait(DEADLINE_S)
        while True:
            progress(1, 2)
            time.sleep(0.05)

    jobs._kinds = {**jobs._kinds, "wait": work}
    job = jobs.submit("wait", principal)
    assert running.wait(DEADLINE_S)
    if how == "block":
        identities.blocks.block(Caller(ADMIN, "-"), principal.id)
    else:
        changing_map.write_text("")
    go.set()
    until(lambda: jobs.job(job.id).state is JobState.FAILED)
    expected = "unauthenticated" if how == "block" else "permission_denied"
    assert jobs.job(job.id).error[0] == expected


def test_a_job_goes_on_after_its_token_has_expired_but_not_for_more_than_a_day(real, monkeypatch):
    subject = f"s{secrets.token_hex(4)}"
    assert status(real.bearer(Grant("operator"), subject=subject)) == 200
    identities = real.services.identities
    id = identities.known.token_id(real.issuer.url, subject)
    monkeypatch.setattr(identities, "_clock", lambda: time.time() + 80_000)
    assert identities.principal(id).may(Permission.RUN_JOBS, None)
    monkeypatch.setattr(identities, "_clock", lambda: time.time() + 90_000)
    with pytest.raises(LookalikeError, match="for a day"):
        identities.principal(id)


# ---------------------------------------------------------------------------------------- certificates


def test_a_certificate_is_on_record_by_a_pseudonym_that_outlives_its_renewal(real):
    unit = group_of(Grant("viewer"))
    ids = set()
    for _ in range(2):
        answer = real.holder(real.authority.issue(f"CN=camera,OU={unit}")).get("/v1/collections/nobody")
        assert answer.status_code == 404
        ids |= {e.principal for e in entries(real, "collection.read") if e.request_id == answer.headers["x-request-id"]}
    assert len(ids) == 1 and ids.pop().startswith("cert:")


def test_one_certificate_is_blocked_by_its_fingerprint_and_all_of_a_holder_by_the_principal(real, at_once):
    subject = f"CN={secrets.token_hex(4)},OU={group_of(Grant('viewer'))}"
    old, new = real.authority.issue(subject), real.authority.issue(subject)
    admin = real.client(Grant("admin"))
    assert status(real.holder(old)) == status(real.holder(new)) == 200
    colons = ":".join(old.fingerprint.upper()[i : i + 2] for i in range(0, 64, 2))
    assert admin.post("/v1/principals/block", json={"certificate": colons}).status_code == 200
    assert (status(real.holder(old)), status(real.holder(new))) == (401, 200)
    listed = admin.get("/v1/principals").json()["items"]
    principal = next(e["principal"] for e in listed if e.get("certificate") == f"sha256:{new.fingerprint}")
    assert admin.post("/v1/principals/block", json={"principal": principal}).status_code == 200
    assert status(real.holder(new)) == 401


def test_a_blocked_certificate_opens_nothing_whatever_key_is_sent_with_it(real, at_once):
    held = real.authority.issue(f"CN={secrets.token_hex(4)},OU={group_of(Grant('viewer'))}")
    key = real.services.api_keys.create(ADMIN, "test", [Grant("admin")]).key
    client = real.holder(held, authorization=f"Bearer {key}")
    assert status(client) == 200
    real.client(Grant("admin")).post("/v1/principals/block", json={"certificate": held.fingerprint})
    for path in ("/v1/collections", "/healthz", "/console/sign-in"):
        assert status(client, path) == 401


def test_a_key_decides_where_both_are_shown(real):
    held = real.authority.issue(f"CN=gate,OU={group_of(Grant('viewer'))}")
    key = real.services.api_keys.create(ADMIN, "test", [Grant("auditor")]).key
    assert status(real.holder(held)) == 200
    assert status(real.holder(held, authorization=f"Bearer {key}")) == 403
    assert status(real.holder(held, authorization="Bearer wrong")) == 401


@pytest.mark.parametrize(
    "header",
    [
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-mode": "no-cors"},
        {"cookie": "a=b"},
    ],
    ids=str,
)
def test_no_page_in_a_browser_can_use_the_certificate_that_the_browser_holds(real, header):
    held = real.authority.issue(f"CN=gate,OU={group_of(Grant('viewer'))}")
    assert status(real.holder(held, **header)) == 401


@pytest.mark.parametrize(
    "name",
    [
        "x-client-cert",
        "ssl-client-cert",
        "x-ssl-client-verify",
        "x-forwarded-client-cert",
        "client-cert",
        "x-client-dn",
    ],
)
def test_no_header_is_believed_to_be_a_certificate(real, name):
    held = real.authority.issue(f"CN=gate,OU={group_of(Grant('admin'))}")
    client = httpx.Client(transport=real.transport, base_url="http://edge")
    for value in ("SUCCESS", f"CN=gate,OU={group_of(Grant('admin'))}", held.der.hex(), f"By=x;Hash={held.fingerprint}"):
        assert client.get("/v1/collections", headers={name: value}).status_code == 401


def test_a_certificate_whose_time_is_over_or_that_names_nobody_in_the_map_gives_nothing(real):
    assert status(real.holder(real.authority.issue(f"CN=x,OU={group_of(Grant('viewer'))}", days=-1))) == 401
    assert status(real.holder(real.authority.issue("CN=x,OU=others"))) == 403
    assert status(real.holder(Authority().issue("CN=x,OU=others"))) == 403  # OpenSSL is who verifies the chain


# -------------------------------------------------------------------------------------------------- limits


def test_a_principal_beyond_its_bound_is_told_when_to_come_again_and_no_other_is(real, monkeypatch):
    monkeypatch.setattr(real.services.refusals, "_principals", Buckets(3, 1.0))
    one, other = real.bearer(Grant("viewer"), subject="busy"), real.bearer(Grant("viewer"), subject="calm")
    held = real.authority.issue(f"CN=busy,OU={group_of(Grant('viewer'))}")
    assert [status(one) for _ in range(3)] == [200] * 3
    answer = one.get("/v1/collections")
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert int(answer.headers["retry-after"]) >= 1
    assert status(real.bearer(Grant("viewer"), subject="busy")) == 429  # a fresh token is the same principal
    assert status(other) == 200
    assert [status(real.holder(held)) for _ in range(4)] == [200, 200, 200, 429]


def test_after_many_refused_tokens_or_certificates_an_address_is_told_to_wait_and_a_good_one_is_served(
    real, monkeypatch
):
    monkeypatch.setattr(real.services.refusals, "_peers", Buckets(2, 1.0))
    expired = real.authority.issue(f"CN=x,OU={group_of(Grant('viewer'))}", days=-1)
    assert status(real.sending(real.issuer.token(aud="another"))) == 401
    assert status(real.holder(expired)) == 401
    assert status(real.sending(real.issuer.token(aud="another"))) == 429
    assert status(real.holder(expired)) == 429
    assert status(real.bearer(Grant("viewer"))) == 200
