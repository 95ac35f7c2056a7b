"""Who came, as it is kept over each kind of rows: found again, sealed, and not written for every request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lookalike.errors import StorageFull
from security.known_principals import TELL_AGAIN_S, Known, KnownPrincipals

ISSUER = "https://issuer.example"


@pytest.fixture
def known(rows, keyring, clock) -> KnownPrincipals:
    return KnownPrincipals(rows, keyring, clock)


def shown(known: KnownPrincipals, *groups: str) -> Known:
    return Known(known.token_id(ISSUER, "ann"), ISSUER, "ann", frozenset(groups), name="Ann Gray")


def test_a_pseudonym_is_the_same_for_one_subject_and_another_for_any_other(known):
    made = [known.token_id(*who) for who in ((ISSUER, "ann"), (ISSUER, "bob"), (ISSUER + "a", "nn"), ("", ISSUER))]
    assert len(set(made)) == 4 and made[0] == known.token_id(ISSUER, "ann")
    assert known.certificate_id(b"CN=a") != known.certificate_id(b"CN=b")


def test_what_somebody_last_showed_is_found_by_whichever_process(known, rows, keyring, clock):
    known.remember(shown(known, "gate", "office"))
    other = KnownPrincipals(rows, keyring, clock)
    expected = replace(shown(known, "gate", "office"), seen_at=clock.now)
    assert other.find(expected.id) == expected
    assert other.all() == {expected.id: expected}
    assert other.find("oidc:" + "0" * 32) is None


def test_it_is_sealed(known, rows):
    known.remember(shown(known, "gate"))
    (kept,) = rows.read().settings("principal/").values()
    assert not any(word in kept for word in (b"ann", b"Ann", b"gate", b"issuer"))


def test_the_same_is_written_once_an_hour_and_two_machines_of_one_name_take_turns(known, rows, clock, monkeypatch):
    written = []
    write = rows.write
    monkeypatch.setattr(rows, "write", lambda work: written.append(write(work)))
    one, other = shown(known, "gate"), replace(shown(known, "gate"), certificate=b"another")
    for _ in range(10):
        known.remember(one)
        known.remember(other)
    assert len(written) == 2
    clock.now += TELL_AGAIN_S
    known.remember(one)
    assert len(written) == 3 and known.find(one.id).seen_at == clock.now


def test_a_full_disk_keeps_nobody_out(known, rows, monkeypatch):
    def full(work):
        raise StorageFull("full")

    monkeypatch.setattr(rows, "write", full)
    known.remember(shown(known, "gate"))
    monkeypatch.undo()
    known.remember(shown(known, "gate"))
    assert known.find(shown(known).id) is not None
