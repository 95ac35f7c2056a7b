from __future__ import annotations

import re

import pytest

from lookalike.domain import Grant, Permission
from lookalike.errors import BadSettings, InvalidInput, KeyNotFound, PermissionDenied, TamperedData, Unauthenticated
from security.rbac import principal_for
from security.tokens import REMEMBERED_S, ApiKeys
from tests.security.conftest import Clock

ADMIN = principal_for("key:admin", [Grant("admin")])


@pytest.fixture
def timer() -> Clock:
    return Clock(100.0)


@pytest.fixture
def keys(rows, keyring, audit, clock, timer) -> ApiKeys:
    return ApiKeys(rows, keyring, audit, clock, timer)


def test_a_made_key_authenticates_as_who_it_was_granted_to_be(keys):
    made = keys.create(ADMIN, "door 4", [Grant("identifier", "visitors")])
    assert re.fullmatch(r"lk_[0-9A-Za-z]{43}", made.key)
    who = keys.authenticate(made.key)
    assert (who.id, who.grants) == (f"key:{made.id}", (Grant("identifier", "visitors"),))
    assert who.may(Permission.IDENTIFY, "visitors") and not who.may(Permission.IDENTIFY, "staff")


def test_every_key_is_another_one(keys):
    made = [keys.create(ADMIN, "k", [Grant("viewer")]) for _ in range(20)]
    assert len({m.key for m in made}) == len({m.id for m in made}) == 20


@pytest.mark.parametrize("wrong", ["", "lk_", "x" * 43, "x" * 10_000, "ключ", "\ud800", "lk_" + "A" * 43])
def test_an_unknown_credential_is_refused(keys, wrong):
    with pytest.raises(Unauthenticated):
        keys.authenticate(wrong)


def test_a_changed_character_or_case_is_refused(keys):
    made = keys.create(ADMIN, "k", [Grant("viewer")])
    for wrong in (made.key[:-1], made.key + "0", made.key.swapcase(), f" {made.key}"):
        with pytest.raises(Unauthenticated):
            keys.authenticate(wrong)


def test_unknown_expired_and_revoked_are_refused_in_the_same_words(keys, clock):
    expiring = keys.create(ADMIN, "k", [Grant("viewer")], expires_days=1)
    revoked = keys.create(ADMIN, "k", [Grant("viewer")])
    keys.authenticate(expiring.key)
    keys.revoke(ADMIN, revoked.id)
    clock.now += 86_400
    words = set()
    for secret in (expiring.key, revoked.key, "unknown"):
        with pytest.raises(Unauthenticated) as refused:
            keys.authenticate(secret)
        words.add(str(refused.value))
    assert len(words) == 1


def test_an_expired_key_is_refused_even_while_it_is_remembered(keys, clock):
    made = keys.create(ADMIN, "k", [Grant("viewer")], expires_days=1)
    clock.now += 86_399
    keys.authenticate(made.key)
    clock.now += 1
    with pytest.raises(Unauthenticated):
        keys.authenticate(made.key)


def test_a_key_revoked_here_is_refused_at_once_and_one_revoked_elsewhere_within_a_second(
    rows, keyring, audit, clock, timer
):
    here, elsewhere = (ApiKeys(rows, keyring, audit, clock, timer) for _ in range(2))
    made = here.create(ADMIN, "k", [Grant("viewer")])
    for process in (here, elsewhere):
        process.authenticate(made.key)
    here.revoke(ADMIN, made.id)
    with pytest.raises(Unauthenticated):
        here.authenticate(made.key)
    timer.now += REMEMBERED_S
    with pytest.raises(Unauthenticated):
        elsewhere.authenticate(made.key)
    assert REMEMBERED_S <= 1.0


def test_a_remembered_key_does_not_ask_the_store(keys, rows, monkeypatch):
    made = keys.create(ADMIN, "k", [Grant("viewer")])
    keys.authenticate(made.key)
    monkeypatch.setattr(rows, "read", lambda: pytest.fail("asked the store"))
    keys.authenticate(made.key)


def test_aws_secrets_are_given_once_and_listed_never(keys):
    plain = keys.create(ADMIN, "k", [Grant("viewer")])
    assert plain.access_key_id is plain.secret_access_key is None
    made = keys.create(ADMIN, "aws", [Grant("viewer")], aws=True)
    assert re.fullmatch(r"LKIA[A-Z2-7]{16}", made.access_key_id)
    assert re.fullmatch(r"[0-9A-Za-z]{40}", made.secret_access_key)
    listed = keys.list(ADMIN)
    assert made.access_key_id in repr(listed)
    for secret in (made.key, made.secret_access_key, plain.key):
        assert secret not in repr(listed)
        assert secret not in repr(made)


def test_a_list_shows_what_its_reader_manages(keys):
    one = keys.create(ADMIN, "one", [Grant("viewer", "c")])
    keys.create(ADMIN, "two", [Grant("viewer", "c"), Grant("viewer", "d")])
    keys.create(ADMIN, "all", [Grant("viewer")])
    own = principal_for("key:own", [Grant("admin", "c")])
    assert [key.id for key in keys.list(own)] == [one.id]
    assert {key.name for key in keys.list(ADMIN)} == {"one", "two", "all"}


def test_an_admin_of_one_collection_cannot_touch_the_keys_of_others(keys):
    wide = keys.create(ADMIN, "wide", [Grant("viewer", "c"), Grant("viewer", "d")])
    own = principal_for("key:own", [Grant("admin", "c")])
    for id in (wide.id, "unknown"):
        with pytest.raises(KeyNotFound):
            keys.revoke(own, id)
    with pytest.raises(PermissionDenied):
        keys.create(own, "k", [Grant("viewer")])
    keys.authenticate(wide.key)


@pytest.mark.parametrize("role", ["viewer", "identifier", "enroller", "operator", "auditor", "privacy"])
def test_who_manages_no_keys_is_refused_and_that_is_on_record(keys, audit, role):
    someone = principal_for("key:x", [Grant(role)])
    for refused in (
        lambda: keys.create(someone, "k", [Grant(role)]),
        lambda: keys.list(someone),
        lambda: keys.revoke(someone, "any"),
    ):
        with pytest.raises(PermissionDenied):
            refused()
    assert [(e.action, e.outcome, e.principal) for e in audit.page(0, 10)] == [
        ("api_key.create", "denied", "key:x"),
        ("api_key.list", "denied", "key:x"),
        ("api_key.revoke", "denied", "key:x"),
    ]


def test_making_and_revoking_stand_in_the_audit_log_once_each(keys, audit):
    made = keys.create(ADMIN, "k", [Grant("viewer")], request_id="r-1")
    keys.revoke(ADMIN, made.id, request_id="r-2")
    with pytest.raises(KeyNotFound):
        keys.revoke(ADMIN, made.id)
    found = [(e.action, e.outcome, e.request_id, e.details.get("api_key")) for e in audit.page(0, 10)]
    assert found == [
        ("api_key.create", "ok", "r-1", made.id),
        ("api_key.revoke", "ok", "r-2", made.id),
        ("api_key.revoke", "api_key_not_found", "-", None),
    ]


@pytest.mark.parametrize(
    ("name", "grants", "days"),
    [
        ("", [Grant("viewer")], None),
        ("a\nb", [Grant("viewer")], None),
        ("k" * 257, [Grant("viewer")], None),
        ("k", [], None),
        ("k", [Grant("boss")], None),
        ("k", [Grant("viewer", "a/b")], None),
        ("k", [Grant("viewer")], 0),
        ("k", [Grant("viewer")], -1),
        ("k", [Grant("viewer")], 10**9),
    ],
)
def test_malformed_wishes_are_refused(keys, name, grants, days):
    with pytest.raises(InvalidInput):
        keys.create(ADMIN, name, grants, days)
    assert keys.list(ADMIN) == []


# ---------------------------------------------------------------------------------------------- bootstrap


def test_the_first_start_makes_one_admin_key_and_later_ones_none(keys):
    first = keys.bootstrap()
    assert keys.authenticate(first).grants == (Grant("admin"),)
    assert keys.bootstrap() is None
    assert len(keys.list(ADMIN)) == 1


@pytest.mark.parametrize("key", ["x" * 32, "!" + "~ " * 99 + "!", "correct horse battery staple, twice"])
def test_a_given_first_key_is_taken_as_it_is(keys, tmp_path, key):
    (tmp_path / "first").write_text(f"{key}\n")
    assert keys.bootstrap(tmp_path / "first") == key
    assert keys.authenticate(key).may(Permission.MANAGE_KEYS, None)


@pytest.mark.parametrize("key", ["", "x" * 31, "x" * 201, "x" * 40 + "\t", "ключ" * 10, "x" * 20 + "\n" + "x" * 20])
def test_a_first_key_of_a_wrong_form_is_refused_and_not_shown(keys, tmp_path, key):
    (tmp_path / "first").write_text(key)
    with pytest.raises(BadSettings, match="32-200 printable ASCII") as refused:
        keys.bootstrap(tmp_path / "first")
    assert not key or key not in str(refused.value)
    assert keys.list(ADMIN) == []


def test_a_first_key_file_is_not_read_once_a_key_exists(keys, tmp_path):
    keys.create(ADMIN, "k", [Grant("viewer")])
    assert keys.bootstrap(tmp_path / "missing") is None


def test_a_first_key_file_that_is_missing_is_told(keys, tmp_path):
    with pytest.raises(BadSettings, match="cannot be read"):
        keys.bootstrap(tmp_path / "missing")


# -------------------------------------------------------------------------------------- an attacker at the disk


def test_a_keys_grants_cannot_be_taken_over_by_another_key(memory, memory_keyring, clock, timer):
    from security.audit import SealedAuditLog

    keys = ApiKeys(memory, memory_keyring, SealedAuditLog(memory, memory_keyring), clock, timer)
    strong = keys.create(ADMIN, "strong", [Grant("admin")])
    weak = keys.create(ADMIN, "weak", [Grant("viewer")])
    held = memory.tables.api_keys
    held[weak.id] = (held[weak.id][0], held[strong.id][1])
    with pytest.raises(TamperedData):
        keys.authenticate(weak.key)


def test_no_secret_lies_in_the_store(memory, memory_keyring, clock, timer):
    from security.audit import SealedAuditLog

    keys = ApiKeys(memory, memory_keyring, SealedAuditLog(memory, memory_keyring), clock, timer)
    made = keys.create(ADMIN, "door four", [Grant("viewer", "visitors")], aws=True)
    kept = b"".join(b"".join(row) for row in memory.tables.api_keys.values())
    for secret in (made.key, made.access_key_id, made.secret_access_key, "door four", "visitors", "viewer"):
        assert secret.encode() not in kept
