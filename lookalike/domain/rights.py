"""Who may do what: permissions, grants of roles, and whoever holds them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from lookalike.errors import PermissionDenied


class Permission(enum.StrEnum):
    """Every right that a use case can ask for; security/rbac.py says which role holds which."""

    READ = "read"  # collections and subjects
    IDENTIFY = "identify"  # identify, search, verify, compare, detect
    CONFIRM = "confirm"  # review, confirm and reject identifications that wait for two people
    ENROL = "enrol"  # write subjects and samples
    READ_CROPS = "read_crops"
    MANAGE_COLLECTIONS = "manage_collections"  # create and change, calibrate
    RUN_JOBS = "run_jobs"
    MANAGE_MODELS = "manage_models"
    DELETE_COLLECTIONS = "delete_collections"
    ERASE = "erase"  # subjects and samples
    RETENTION = "retention"  # the rules of how long people are kept and on what consent, and keeping to them
    CONSENT = "consent"  # write down a subject's consent
    HOLD = "hold"  # set and lift a legal hold
    EXPORT_SUBJECT = "export_subject"  # answer an access request
    READ_AUDIT = "read_audit"
    MANAGE_KEYS = "manage_keys"
    READ_EVENTS = "read_events"  # what happens, as it happens
    MANAGE_WEBHOOKS = "manage_webhooks"  # where events are sent
    TRANSFER = "transfer"  # whole collections to another deployment and from there


@dataclass(frozen=True, slots=True)
class Grant:
    """One role on one collection, or on all of them when `collection` is None."""

    role: str
    collection: str | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. rights: for a collection's name, or None for all collections, the permissions held there."""

    id: str
    grants: tuple[Grant, ...]
    rights: Mapping[str | None, frozenset[Permission]]

    def may(self, permission: Permission, collection: str | None) -> bool:
        """Whether this principal holds the permission on a collection; None asks for it on all of them."""
        if permission in self.rights.get(None, frozenset()):
            return True
        return collection is not None and permission in self.rights.get(collection, frozenset())

    def may_anywhere(self, permission: Permission) -> bool:
        return any(permission in held for held in self.rights.values())

    def require(self, permission: Permission, collection: str | None) -> None:
        """Raises: PermissionDenied unless it is held; says nothing of what exists."""
        if not self.may(permission, collection):
            raise PermissionDenied(f"this needs the permission {permission.value!r}, which the credential lacks")
