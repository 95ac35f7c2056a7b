"""Signatures made by botocore, which is what clients use, and what becomes of them when anything is changed."""

from __future__ import annotations

import hashlib

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import get_current_datetime
from botocore.credentials import Credentials

from lookalike.domain import Grant
from lookalike.errors import (
    IncompleteSignature,
    SignatureExpired,
    SignatureMismatch,
    Unauthenticated,
    UnknownAccessKey,
)
from security.rbac import principal_for
from security.sigv4 import MAX_SKEW_S, read_claim
from security.tokens import REMEMBERED_S, ApiKeys
from tests.security.conftest import Clock

ADMIN = principal_for("key:admin", [Grant("admin")])
BODY = b'{"CollectionId":"staff"}'
ID, SECRET = "LKIAABCDEFGHIJKLMNOP", "s" * 40


def signed(body=BODY, id=ID, secret=SECRET, service="rekognition", region="eu-west-1", **more) -> list[tuple[str, str]]:
    """The headers that botocore sends with a body."""
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "RekognitionService.ListFaces", **more}
    request = AWSRequest("POST", "https://localhost:8443/", headers=headers, data=body)
    SigV4Auth(Credentials(id, secret), service, region).add_auth(request)
    return [("host", "localhost:8443")] + [(name.lower(), value) for name, value in request.headers.items()]


def verify(headers, body=BODY, secret=SECRET, now=None, path="/", query="") -> None:
    now = get_current_datetime().timestamp() if now is None else now
    claim = read_claim("POST", path, query, headers, "rekognition", now)
    claim.verify(secret, hashlib.sha256(body).hexdigest())


def changed(headers, name, change) -> list[tuple[str, str]]:
    return [(held, change(value) if held == name else value) for held, value in headers]


def test_what_botocore_signs_is_verified():
    verify(signed())
    verify(signed(region="us-gov-east-1"))
    verify(signed(**{"X-Amz-User-Agent": "several   spaces  inside "}))


def test_a_stated_hash_is_compared_with_the_body_that_came():
    stated = hashlib.sha256(BODY).hexdigest()
    verify(signed(**{"X-Amz-Content-SHA256": stated}))
    with pytest.raises(SignatureMismatch):
        verify(signed(**{"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}))


def test_a_wrong_secret_another_body_and_another_service_are_refused():
    for attempt in (
        lambda: verify(signed(secret="t" * 40)),
        lambda: verify(signed(), body=BODY + b" "),
        lambda: verify(signed(), body=b""),
        lambda: verify(signed(service="s3")),
    ):
        with pytest.raises(SignatureMismatch):
            attempt()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("host", lambda _: "elsewhere"),
        ("content-type", lambda _: "application/json"),
        ("x-amz-target", lambda _: "RekognitionService.DeleteCollection"),
        ("authorization", lambda value: value.replace("/eu-west-1/", "/us-east-1/")),
        ("authorization", lambda value: value[:-1] + ("0" if value[-1] != "0" else "1")),
    ],
)
def test_a_signed_header_that_was_changed_is_refused(name, change):
    with pytest.raises(SignatureMismatch):
        verify(changed(signed(), name, change))


@pytest.mark.parametrize("dropped", ["host", "x-amz-target", "x-amz-date", "content-type"])
def test_a_header_that_decides_something_must_be_signed(dropped):
    headers = changed(
        signed(), "authorization", lambda value: value.replace(f"{dropped};", "").replace(f";{dropped}", "")
    )
    with pytest.raises(IncompleteSignature):
        verify(headers)


def test_an_unsigned_amz_header_that_was_added_is_refused():
    with pytest.raises(IncompleteSignature):
        verify([*signed(), ("x-amz-security-token", "x")])


@pytest.mark.parametrize("name", ["authorization", "x-amz-date", "x-amz-target", "host", "content-type"])
def test_a_header_that_comes_twice_is_refused(name):
    headers = signed()
    twin = next(pair for pair in headers if pair[0] == name)
    with pytest.raises(IncompleteSignature):
        verify([*headers, twin])
    with pytest.raises(IncompleteSignature):
        verify([(name, "other"), *headers])


def test_a_request_is_good_for_five_minutes_either_way():
    headers = signed()
    now = get_current_datetime().timestamp()
    verify(headers, now=now + MAX_SKEW_S - 10)
    verify(headers, now=now - MAX_SKEW_S + 10)
    for later in (MAX_SKEW_S + 10, -MAX_SKEW_S - 10, 86_400):
        with pytest.raises(SignatureExpired):
            verify(headers, now=now + later)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer lk_x",
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=a/b/c, SignedHeaders=host, Signature=00",
        "AWS4-HMAC-SHA1 Credential=x",
        "AWS4-HMAC-SHA256 " + "Credential=" * 5000,
        "\xff" * 100,
    ],
)
def test_a_malformed_authorization_is_refused(value):
    with pytest.raises(IncompleteSignature):
        verify(changed(signed(), "authorization", lambda _: value))


@pytest.mark.parametrize("date", ["", "20261131T000000Z", "2026-01-01T00:00:00Z", "99999999T999999Z", "now"])
def test_a_date_that_is_none_is_refused(date):
    with pytest.raises(IncompleteSignature):
        verify(changed(signed(), "x-amz-date", lambda _: date))


def test_the_form_in_the_query_is_not_taken():
    with pytest.raises(IncompleteSignature):
        verify(signed(), query="X-Amz-Signature=0")
    with pytest.raises(IncompleteSignature):
        verify(signed(), path="/v1/collections")


# ---------------------------------------------------------------------------------------------- whose secret


@pytest.fixture
def timer() -> Clock:
    return Clock(100.0)


@pytest.fixture
def keys(rows, keyring, audit, clock, timer) -> ApiKeys:
    return ApiKeys(rows, keyring, audit, clock, timer)


def test_a_pair_signs_for_the_key_that_it_was_made_with(keys):
    made = keys.create(ADMIN, "k", [Grant("identifier", "staff")], aws=True)
    keys.create(ADMIN, "another", [Grant("admin")], aws=True)
    claim = read_claim(
        "POST",
        "/",
        "",
        signed(id=made.access_key_id, secret=made.secret_access_key),
        "rekognition",
        get_current_datetime().timestamp(),
    )
    who = keys.signer(claim.access_key_id).verify(claim, hashlib.sha256(BODY).hexdigest())
    assert (who, who.grants) == (keys.authenticate(made.key), (Grant("identifier", "staff"),))


def test_an_unknown_access_key_a_revoked_and_an_expired_one_are_refused_in_the_same_words(keys, clock):
    revoked = keys.create(ADMIN, "k", [Grant("viewer")], aws=True)
    expiring = keys.create(ADMIN, "k", [Grant("viewer")], expires_days=1, aws=True)
    for made in (revoked, expiring):
        keys.signer(made.access_key_id)
    keys.revoke(ADMIN, revoked.id)
    clock.now += 86_400
    words = set()
    for id in (revoked.access_key_id, expiring.access_key_id, ID):
        with pytest.raises(UnknownAccessKey) as refused:
            keys.signer(id)
        words.add(str(refused.value))
    assert len(words) == 1


def test_a_pair_revoked_elsewhere_signs_for_a_second_at_most(rows, keyring, audit, clock, timer):
    here, elsewhere = (ApiKeys(rows, keyring, audit, clock, timer) for _ in range(2))
    made = here.create(ADMIN, "k", [Grant("viewer")], aws=True)
    elsewhere.signer(made.access_key_id)
    here.revoke(ADMIN, made.id)
    timer.now += REMEMBERED_S
    with pytest.raises(Unauthenticated):
        elsewhere.signer(made.access_key_id)


def test_the_secret_stands_nowhere_in_the_clear(keys, rows):
    made = keys.create(ADMIN, "k", [Grant("viewer")], aws=True)
    reader = rows.read()
    held = b"".join([*reader.settings("").values(), *(payload for _, _, payload in reader.api_keys())])
    names = "".join(reader.settings(""))
    assert made.secret_access_key.encode() not in held
    assert made.access_key_id.encode() not in held and made.access_key_id not in names
    assert made.secret_access_key not in repr(keys.signer(made.access_key_id))
