"""Seven roles, what each may do, and who may hand them on.

Whatever a grant does not name is refused. A role on a collection holds on the collection of that name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from lookalike import domain
from lookalike.domain import Grant, Permission, Principal
from lookalike.errors import InvalidInput, PermissionDenied

_VIEWER = frozenset({Permission.READ})
_IDENTIFIER = _VIEWER | {Permission.IDENTIFY, Permission.CONFIRM}
_ENROLLER = _IDENTIFIER | {Permission.ENROL, Permission.READ_CROPS, Permission.CONSENT}
_OPERATOR = _VIEWER | {
    Permission.MANAGE_COLLECTIONS,
    Permission.RUN_JOBS,
    Permission.MANAGE_MODELS,
    Permission.READ_EVENTS,
}
_PRIVACY = _VIEWER | {
    Permission.DELETE_COLLECTIONS,
    Permission.ERASE,
    Permission.RETENTION,
    Permission.CONSENT,
    Permission.HOLD,
    Permission.EXPORT_SUBJECT,
}

ROLES: dict[str, frozenset[Permission]] = {
    "viewer": _VIEWER,
    "identifier": _IDENTIFIER,
    "enroller": _ENROLLER,
    "operator": _OPERATOR,
    "auditor": frozenset({Permission.READ_AUDIT}),
    "privacy": _PRIVACY,
    "admin": frozenset(Permission),
}


def principal_for(id: str, grants: Sequence[Grant]) -> Principal:
    """A principal holding what its grants give. Raises: InvalidInput for an unknown role."""
    rights: dict[str | None, frozenset[Permission]] = defaultdict(frozenset)
    for grant in grants:
        rights[grant.collection] |= _permissions(grant)
    return Principal(id=id, grants=tuple(grants), rights=dict(rights))


def check_grants(grants: Sequence[Grant]) -> None:
    """Raises: InvalidInput unless there is at least one grant and each is well formed."""
    if not grants:
        raise InvalidInput("grants: at least one is needed")
    for grant in grants:
        _permissions(grant)
        if grant.collection is not None:
            domain.collection_name(grant.collection)


def check_grantable(principal: Principal, grants: Sequence[Grant]) -> None:
    """Whether this principal may hand out or take back keys with these grants.

    Raises: InvalidInput as `check_grants`; PermissionDenied unless it manages keys wherever a grant holds and has
    itself everything that the grant gives there.
    """
    check_grants(grants)
    for grant in grants:
        principal.require(Permission.MANAGE_KEYS, grant.collection)
        if not all(principal.may(permission, grant.collection) for permission in _permissions(grant)):
            raise PermissionDenied("nobody grants more than they hold")


def manages(principal: Principal, grants: Sequence[Grant]) -> bool:
    """Whether every one of these grants lies where the principal manages keys."""
    return all(principal.may(Permission.MANAGE_KEYS, grant.collection) for grant in grants)


def _permissions(grant: Grant) -> frozenset[Permission]:
    try:
        return ROLES[grant.role]
    except KeyError:
        raise InvalidInput(f"role: one of {', '.join(ROLES)} is allowed") from None
