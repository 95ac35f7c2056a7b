"""Access tokens: the sound one is taken, and every way to forge, stretch or reuse one that we know of is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from itertools import count
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.errors import InvalidInput, Unauthenticated
from security.access_tokens import Bearer, TokenRules, groups_in, header_of, looks_like_token, verified
from security.jwks import read_keys
from tests.issuer import AUDIENCE, Issuer, SigningKey, encode, new_key, signed_raw

URL = "https://issuer.example/realm"
RULES = TokenRules(URL, AUDIENCE, leeway_s=5)
KEY = new_key("ES256")
HEADER = {"alg": "ES256", "typ": "at+jwt", "kid": KEY.id}


@pytest.fixture
def issuer() -> Issuer:
    return Issuer(URL, None, [KEY])


def judge(issuer: Issuer, token: str, rules: TokenRules = RULES) -> Bearer:
    """What becomes of a token with the keys that the issuer publishes."""
    header = header_of(token)
    key = read_keys(issuer.jwks()).find(header.key_id, header.algorithm)
    if key is None:
        raise Unauthenticated("unknown key")
    return verified(token, header, key, rules)


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_a_sound_token_of_each_algorithm_is_taken(issuer, algorithm):
    issuer.rotate(algorithm)
    token = issuer.token("ann", ["gate", "office"], preferred_username="Ann")
    assert looks_like_token(token)
    assert judge(issuer, token) == Bearer("ann", frozenset({"gate", "office"}), "Ann")


def test_a_token_of_an_issuer_with_one_key_needs_no_key_id(issuer):
    assert judge(issuer, issuer.sign(issuer.claims(), kid=None)).subject == "ann"
    issuer.keys.append(new_key("ES256"))
    with pytest.raises(Unauthenticated):
        judge(issuer, issuer.sign(issuer.claims(), kid=None))


NOW = int(time.time())


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "another"},
        {"aud": ["another", "third"]},
        {"aud": AUDIENCE + "x"},
        {"aud": None},
        {"iss": URL + "/"},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": NOW - 60},
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": float("inf")},
        {"exp": -1},
        {"nbf": NOW + 600},
        {"iat": NOW + 600},
        {"iat": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 1000},
        {"groups": {"gate": True}},
        {"groups": [["gate"]]},
        {"groups": ["g"] * 1001},
        {"groups": 7},
    ],
    ids=map(str, count()),
)
def test_a_token_with_a_wrong_or_missing_claim_is_refused(issuer, changes):
    claims = {name: value for name, value in {**issuer.claims(), **changes}.items() if value is not None}
    with pytest.raises(Unauthenticated):
        judge(issuer, signed_raw(KEY, HEADER, claims))


def test_clocks_may_differ_by_the_leeway_and_no_more(issuer):
    now = int(time.time())
    assert judge(issuer, issuer.token(exp=now - 20), TokenRules(URL, AUDIENCE, leeway_s=60)).subject == "ann"
    with pytest.raises(Unauthenticated, match="expired"):
        judge(issuer, issuer.token(exp=now - 90), TokenRules(URL, AUDIENCE, leeway_s=60))


def forged(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    return ".".join([encode(header), encode(claims), encode(signature)])


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", None, 7, "HS256", "RS1", "ES512", "RS384"])
def test_no_other_algorithm_is_taken_least_of_all_none(issuer, algorithm):
    with pytest.raises(Unauthenticated):
        judge(issuer, forged({"alg": algorithm, "typ": "at+jwt", "kid": KEY.id}, issuer.claims()))


@pytest.mark.parametrize("form", ["pem", "jwk", "der"])
def test_the_public_key_is_no_shared_secret(issuer, form):
    issuer.rotate("RS256")
    public = issuer.keys[0].private.public_key()
    secret = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwk": json.dumps(issuer.keys[0].jwk()).encode(),
    }[form]
    signed = forged({"alg": "HS256", "typ": "at+jwt", "kid": issuer.keys[0].id}, issuer.claims()).rpartition(".")[0]
    tag = hmac.digest(secret, signed.encode(), hashlib.sha256)
    with pytest.raises(Unauthenticated):
        judge(issuer, f"{signed}.{encode(tag)}")


@pytest.mark.parametrize("kid", ["../../../../dev/null", "/etc/passwd", "' OR '1'='1", "", "x" * 5000, 7, ["a"], {}])
def test_a_key_id_leads_to_a_key_of_the_issuer_or_nowhere(issuer, kid):
    with pytest.raises(Unauthenticated):
        judge(issuer, forged({"alg": "ES256", "typ": "at+jwt", "kid": kid}, issuer.claims(), b"x" * 64))


@pytest.mark.parametrize("place", ["jku", "x5u", "jwk", "x5c"])
def test_a_key_that_the_token_brings_along_is_not_used(issuer, place):
    own = new_key("ES256", KEY.id)
    brought = {"jku": "https://evil.example/keys", "x5u": "https://evil.example/cert", "jwk": own.jwk(), "x5c": ["x"]}
    with pytest.raises(Unauthenticated, match="signature"):
        judge(issuer, issuer.sign(issuer.claims(), own, **{place: brought[place]}))
    assert judge(issuer, issuer.sign(issuer.claims(), jku="https://evil.example/keys")).subject == "ann"


def test_a_token_of_another_issuer_with_the_same_key_id_is_refused(issuer):
    other = Issuer("https://other.example", None, [new_key("ES256", KEY.id)])
    with pytest.raises(Unauthenticated):
        judge(issuer, other.token())
    with pytest.raises(Unauthenticated):
        judge(issuer, other.token(iss=URL))


@pytest.mark.parametrize(
    "header", [{"crit": ["exp"]}, {"crit": []}, {"b64": False, "crit": ["b64"]}, {"zip": "DEF"}, {"typ": 7}]
)
def test_a_header_that_asks_for_more_than_is_understood_is_refused(issuer, header):
    with pytest.raises(Unauthenticated):
        judge(issuer, signed_raw(KEY, {**HEADER, **header}, issuer.claims()))


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ('{"alg":"ES256","typ":"at+jwt","kid":"KID","alg":"ES256"}', None),
        (None, '{"sub":"eve","sub":"ann",REST}'),
        (None, '{REST,"groups":["admins"]}'),
        (None, '{REST,"deep":{"a":1,"a":2}}'),
    ],
)
def test_whatever_says_something_twice_is_refused_however_well_it_is_signed(issuer, header, claims):
    rest = json.dumps(issuer.claims())[1:-1]
    first = (header or '{"alg":"ES256","typ":"at+jwt","kid":"KID"}').replace("KID", KEY.id)
    second = (claims or "{REST}").replace("REST", rest)
    with pytest.raises(Unauthenticated):
        judge(issuer, signed_raw(KEY, first.encode(), second.encode()))


@pytest.mark.parametrize("claim", ["nonce", "at_hash", "c_hash"])
def test_an_id_token_is_no_access_token_even_where_its_audience_fits(issuer, claim):
    with pytest.raises(Unauthenticated, match="ID token"):
        judge(issuer, issuer.sign(issuer.claims(**{claim: "x"}), typ="JWT"))


@pytest.mark.parametrize("kind", ["logout+jwt", "secevent+jwt", "dpop+jwt", "id_token", "JWE"])
def test_a_token_of_another_kind_is_refused(issuer, kind):
    with pytest.raises(Unauthenticated, match="another kind"):
        judge(issuer, issuer.sign(issuer.claims(), typ=kind))


def test_keycloak_s_refresh_token_is_refused_and_its_bearer_token_is_taken(issuer):
    assert judge(issuer, issuer.sign(issuer.claims(typ="Bearer"), typ="JWT")).subject == "ann"
    for kind in ("Refresh", "ID", "Offline"):
        with pytest.raises(Unauthenticated):
            judge(issuer, issuer.sign(issuer.claims(typ=kind), typ="JWT"))


def test_where_the_settings_ask_for_at_jwt_a_plain_jwt_is_refused(issuer):
    strict = TokenRules(URL, AUDIENCE, kind="at+jwt")
    assert judge(issuer, issuer.token(), strict).subject == "ann"
    with pytest.raises(Unauthenticated):
        judge(issuer, issuer.sign(issuer.claims(), typ="JWT"), strict)


def test_where_the_settings_say_any_a_token_that_is_made_as_an_id_token_is_taken(issuer):
    token = issuer.sign(issuer.claims(at_hash="x", nonce="y"), typ="JWT")
    assert judge(issuer, token, TokenRules(URL, AUDIENCE, kind="any")).subject == "ann"
    with pytest.raises(Unauthenticated):
        judge(issuer, issuer.sign(issuer.claims(), typ="logout+jwt"), TokenRules(URL, AUDIENCE, kind="any"))


def test_a_huge_token_is_refused_before_it_is_read(issuer):
    with pytest.raises(Unauthenticated, match="at most"):
        judge(issuer, issuer.token(padding="x" * 20_000))


@pytest.mark.parametrize(
    "spoilt", ["eyJ..", "eyJ.e.", "eyJhbGciOiJFUzI1NiJ9", "eyJ!.eyJ.x", "eyJ" + "[" * 5000 + ".eyJ.x", "..", "a.b.c"]
)
def test_what_is_no_token_is_refused(issuer, spoilt):
    with pytest.raises(Unauthenticated):
        judge(issuer, spoilt)


def test_deeply_nested_claims_break_nothing(issuer):
    deep = b"[" * 5000 + b"]" * 5000
    with pytest.raises(Unauthenticated):
        judge(issuer, signed_raw(KEY, HEADER, b'{"sub":' + deep + b"}"))


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_token_with_any_bit_changed_is_refused(at, bit):
    issuer = Issuer(URL, None, [KEY])
    token = issuer.token("ann", ["gate"])
    parts = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split(".")]
    place = at % sum(map(len, parts))
    changed = []
    for part in parts:
        if 0 <= place < len(part):
            part = part[:place] + bytes([part[place] ^ 1 << bit]) + part[place + 1 :]
            place = -1
        elif place >= 0:
            place -= len(part)
        changed.append(encode(part))
    with pytest.raises(Unauthenticated):
        judge(issuer, ".".join(changed))


# ------------------------------------------------------------------------------------------------ the keys


def other_keys() -> list[dict[str, Any]]:
    """What an issuer might publish, and must not be used."""
    weak = SigningKey("weak", "RS256", rsa.generate_private_key(65537, 1024))
    curve = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)
    ed = jwt.algorithms.OKPAlgorithm.to_jwk(ed448.Ed448PrivateKey.generate().public_key(), as_dict=True)
    private = jwt.algorithms.ECAlgorithm.to_jwk(KEY.private, as_dict=True)
    return [
        weak.jwk(),
        {**curve, "kid": "p384", "alg": "ES256"},
        {**ed, "kid": "ed448"},
        {**private, "kid": "private"},
        {"kty": "oct", "k": encode(b"secret" * 8), "kid": "shared", "alg": "HS256"},
        KEY.jwk(use="enc"),
        KEY.jwk(alg="ES512"),
        KEY.jwk(key_ops=["sign"]),
        KEY.jwk(x="AAAA"),
        {"kty": "RSA", "kid": "hollow"},
        {"kty": ["RSA"]},
        7,
    ]


@pytest.mark.parametrize("key", other_keys(), ids=map(str, count()))
def test_a_key_that_is_weak_or_for_something_else_is_not_used(key):
    found = read_keys(json.dumps({"keys": [key, new_key("EdDSA", "good").jwk()]}).encode())
    assert [each.id for each in found.keys] == ["good"]


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[]", b'{"keys": 7}', b'{"keys": []}', b"\xff", b"[" * 9000, b"x" * 300_000]
)
def test_what_is_no_key_set_is_refused(text):
    with pytest.raises(InvalidInput):
        read_keys(text)


def test_a_key_counts_for_its_own_algorithm_alone(issuer):
    issuer.rotate("RS256")
    key = issuer.keys[0]
    with pytest.raises(Unauthenticated):
        judge(issuer, issuer.sign(issuer.claims(), SigningKey(key.id, "PS256", key.private)))


# ---------------------------------------------------------------------------------------------- the groups


def test_groups_are_found_by_name_or_by_path():
    claims = {"realm_access": {"roles": ["a"]}, "https://example.org/groups": ["b"], "one": "c"}
    assert groups_in(claims, "realm_access.roles") == {"a"}
    assert groups_in(claims, "https://example.org/groups") == {"b"}
    assert groups_in(claims, "one") == {"c"}
    assert groups_in(claims, "groups") == groups_in(claims, "realm_access.other.deep") == frozenset()
