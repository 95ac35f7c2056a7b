from __future__ import annotations

import pytest

from lookalike.domain import Grant, Permission
from lookalike.errors import InvalidInput, PermissionDenied
from security.rbac import ROLES, check_grantable, manages, principal_for

P = Permission
MATRIX = {  # from the contract's table of roles; every cell stands here once
    P.READ: {"viewer", "identifier", "enroller", "operator", "privacy", "admin"},
    P.IDENTIFY: {"identifier", "enroller", "admin"},
    P.CONFIRM: {"identifier", "enroller", "admin"},
    P.ENROL: {"enroller", "admin"},
    P.READ_CROPS: {"enroller", "admin"},
    P.MANAGE_COLLECTIONS: {"operator", "admin"},
    P.RUN_JOBS: {"operator", "admin"},
    P.MANAGE_MODELS: {"operator", "admin"},
    P.DELETE_COLLECTIONS: {"privacy", "admin"},
    P.ERASE: {"privacy", "admin"},
    P.RETENTION: {"privacy", "admin"},
    P.CONSENT: {"enroller", "privacy", "admin"},
    P.HOLD: {"privacy", "admin"},
    P.EXPORT_SUBJECT: {"privacy", "admin"},
    P.READ_AUDIT: {"auditor", "admin"},
    P.MANAGE_KEYS: {"admin"},
    P.TRANSFER: {"admin"},
    P.READ_EVENTS: {"operator", "admin"},
    P.MANAGE_WEBHOOKS: {"admin"},
}
ALL_ROLES = ("viewer", "identifier", "enroller", "operator", "auditor", "privacy", "admin")


def test_the_matrix_names_every_permission_and_every_role():
    assert set(MATRIX) == set(Permission)
    assert tuple(ROLES) == ALL_ROLES


@pytest.mark.parametrize("role", ALL_ROLES)
@pytest.mark.parametrize("permission", list(Permission))
def test_a_role_may_exactly_what_the_contract_says(role, permission):
    expected = role in MATRIX[permission]
    everywhere = principal_for("p", [Grant(role)])
    assert everywhere.may(permission, None) == everywhere.may(permission, "c") == expected
    somewhere = principal_for("p", [Grant(role, "c")])
    assert somewhere.may(permission, "c") == expected
    assert not somewhere.may(permission, "d")
    assert not somewhere.may(permission, None)
    assert somewhere.may_anywhere(permission) == expected


def test_without_a_grant_nothing_is_allowed():
    nobody = principal_for("p", [])
    assert not any(nobody.may_anywhere(permission) for permission in Permission)


def test_two_roles_on_one_collection_add_up_there_only():
    both = principal_for("p", [Grant("identifier", "c"), Grant("privacy", "c"), Grant("viewer", "d")])
    assert both.may(P.IDENTIFY, "c") and both.may(P.ERASE, "c") and both.may(P.READ, "d")
    assert not both.may(P.ENROL, "c") and not both.may(P.IDENTIFY, "d")


@pytest.mark.parametrize("role", ["root", "", "Admin", "admin "])
def test_an_unknown_role_is_refused_with_the_known_ones(role):
    with pytest.raises(InvalidInput, match="viewer, identifier, enroller, operator, auditor, privacy, admin"):
        principal_for("p", [Grant(role)])


@pytest.mark.parametrize("role", ALL_ROLES)
def test_an_admin_of_everything_may_grant_every_role(role):
    check_grantable(principal_for("p", [Grant("admin")]), [Grant(role), Grant(role, "c")])


@pytest.mark.parametrize("role", ALL_ROLES)
def test_an_admin_of_one_collection_grants_roles_there_only(role):
    own = principal_for("p", [Grant("admin", "c"), Grant(role)] if role != "admin" else [Grant("admin", "c")])
    check_grantable(own, [Grant(role, "c")])
    for elsewhere in (Grant(role, "d"), Grant(role)):
        with pytest.raises(PermissionDenied):
            check_grantable(own, [Grant(role, "c"), elsewhere])


@pytest.mark.parametrize("role", [role for role in ALL_ROLES if role != "admin"])
def test_who_is_no_admin_grants_nothing_not_even_what_they_hold(role):
    with pytest.raises(PermissionDenied):
        check_grantable(principal_for("p", [Grant(role)]), [Grant(role)])


def test_malformed_grants_are_refused():
    admin = principal_for("p", [Grant("admin")])
    for grants in ([], [Grant("root")], [Grant("viewer", "../etc")], [Grant("viewer", "")]):
        with pytest.raises(InvalidInput):
            check_grantable(admin, grants)


def test_a_key_is_managed_only_where_all_of_its_grants_are():
    own = principal_for("p", [Grant("admin", "c")])
    assert manages(own, [Grant("viewer", "c")])
    assert not manages(own, [Grant("viewer", "c"), Grant("viewer", "d")])
    assert not manages(own, [Grant("viewer")])
    assert manages(principal_for("p", [Grant("admin")]), [Grant("viewer"), Grant("viewer", "d")])
