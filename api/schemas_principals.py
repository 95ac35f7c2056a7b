"""JSON of the calls about principals: whoever comes with an access token or a client certificate."""

from __future__ import annotations

from pydantic import BaseModel, Field

from api.schemas import Incoming, Text, is_none, moment
from api.schemas_service import GrantOut
from security.blocks import Block
from security.identities import Seen, Whom


class WhomIn(Incoming):
    """One of them. subject: a token's `sub`; certificate: its SHA-256 fingerprint in hex, which blocks it alone."""

    principal: Text | None = None
    subject: Text | None = None
    certificate: Text | None = None

    def value(self) -> Whom:
        return Whom(self.principal, self.subject, self.certificate)


class BlockIn(WhomIn):
    """reason: sealed, and shown to those who may block."""

    reason: Text | None = None


class BlockOut(BaseModel):
    """blocked: a principal, or `sha256:…` of one certificate; by, at, reason: null of a block that was restored."""

    blocked: str
    by: str | None
    at: str | None
    reason: str | None

    @classmethod
    def of(cls, block: Block) -> BlockOut:
        at = None if block.at is None else moment(block.at)
        return cls(blocked=block.what, by=block.by, at=at, reason=block.reason)


class PrincipalOut(BaseModel):
    """Somebody who came with rights. grants: what they have now; seen_at: exact to an hour.

    issuer, subject, groups: of a token. name: of a token as people call them, of a certificate its subject.
    """

    principal: str
    name: str | None
    issuer: str | None = Field(default=None, exclude_if=is_none)
    subject: str | None = Field(default=None, exclude_if=is_none)
    groups: list[str] | None = Field(default=None, exclude_if=is_none)
    certificate: str | None = Field(default=None, exclude_if=is_none)
    grants: list[GrantOut]
    seen_at: str
    blocked: bool

    @classmethod
    def of(cls, seen: Seen) -> PrincipalOut:
        known = seen.known
        return cls(
            principal=known.id,
            name=known.name,
            issuer=known.issuer or None,
            subject=known.subject or None,
            groups=sorted(known.groups) if known.issuer else None,
            certificate=seen.fingerprint,
            grants=[GrantOut(role=grant.role, collection=grant.collection) for grant in seen.grants],
            seen_at=moment(known.seen_at),
            blocked=seen.blocked,
        )


class PrincipalList(BaseModel):
    """blocks: all that is blocked, also of those who never came."""

    items: list[PrincipalOut]
    blocks: list[BlockOut]
