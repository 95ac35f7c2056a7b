"""Blocks over each kind of rows: who is refused, for how long that is believed, and what stands on disk."""

from __future__ import annotations

import pytest

from lookalike.answers import Caller
from lookalike.domain import Grant
from lookalike.errors import InvalidInput, PermissionDenied, PrincipalNotFound, TamperedData, Unauthenticated
from security.blocks import REMEMBERED_S, Block, Blocks
from security.ledger import blocked_setting
from security.ledger_copy import Ledger
from security.rbac import principal_for
from tests.security.conftest import Clock

ADMIN = Caller(principal_for("key:admin", [Grant("admin")]), "request-1")
ANN, BOB, CERTIFICATE = "oidc:" + "a" * 32, "cert:" + "b" * 32, "sha256:" + "c" * 64


@pytest.fixture
def timer() -> Clock:
    return Clock(100.0)


@pytest.fixture
def blocks(rows, keyring, audit, clock, timer) -> Blocks:
    return Blocks(rows, keyring, audit, Ledger(rows, keyring, audit), clock, timer)


@pytest.mark.parametrize("what", [ANN, BOB, CERTIFICATE])
def test_who_is_blocked_is_refused_at_once_until_the_block_is_lifted(blocks, what):
    blocks.require_free(ANN, BOB, CERTIFICATE)
    blocks.block(ADMIN, what)
    with pytest.raises(Unauthenticated, match="blocked"):
        blocks.require_free(ANN, BOB, CERTIFICATE)
    blocks.lift(ADMIN, what)
    blocks.require_free(ANN, BOB, CERTIFICATE)


def test_another_process_believes_what_it_read_for_a_second_at_most(blocks, rows, keyring, audit, clock, timer):
    other = Blocks(rows, keyring, audit, Ledger(rows, keyring, audit), clock, timer)
    other.require_free(ANN)
    blocks.block(ADMIN, ANN)
    other.require_free(ANN)
    timer.now += REMEMBERED_S
    with pytest.raises(Unauthenticated):
        other.require_free(ANN)


def test_who_blocked_when_and_why_is_told_and_on_disk_is_sealed(blocks, rows, clock):
    blocks.block(ADMIN, ANN, "laptop lost on the train")
    assert blocks.all() == [Block(ANN, "key:admin", clock.now, "laptop lost on the train")]
    assert b"train" not in rows.read().get_setting(blocked_setting(ANN))


def test_one_block_s_seal_does_not_pass_for_another_s(blocks, rows):
    blocks.block(ADMIN, ANN, "why")
    moved = rows.read().get_setting(blocked_setting(ANN))
    rows.write(lambda tx: tx.put_setting(blocked_setting(BOB), moved))
    with pytest.raises(TamperedData):
        blocks.all()
    with pytest.raises(Unauthenticated):
        blocks.require_free(BOB)


@pytest.mark.parametrize("grants", [[Grant("operator")], [Grant("privacy")], [Grant("admin", "staff")]], ids=str)
def test_only_an_admin_of_all_collections_blocks(blocks, audit, grants):
    with pytest.raises(PermissionDenied):
        blocks.block(Caller(principal_for("key:other", grants), "-"), ANN)
    blocks.require_free(ANN)
    assert audit.page(0, 10)[-1].outcome == "denied"


@pytest.mark.parametrize("what", ["", "ann", "key:" + "a" * 32, ANN + "/..", ANN.upper(), "sha256:" + "c" * 63, "%"])
def test_what_is_no_principal_is_not_blocked(blocks, what):
    with pytest.raises(InvalidInput):
        blocks.block(ADMIN, what)


def test_what_is_not_blocked_cannot_be_let_in(blocks):
    with pytest.raises(PrincipalNotFound):
        blocks.lift(ADMIN, ANN)
