"""The client's calls about principals: whoever comes with an access token or a client certificate."""

from __future__ import annotations

from typing import NotRequired, TypedDict, cast

from api.client_calls import Calls, given, path_of
from api.client_shapes import GrantJson


class PrincipalJson(TypedDict):
    """issuer, subject, groups: of a token; certificate: the fingerprint of the last that was shown."""

    principal: str
    name: str | None
    issuer: NotRequired[str]
    subject: NotRequired[str]
    groups: NotRequired[list[str]]
    certificate: NotRequired[str]
    grants: list[GrantJson]
    seen_at: str
    blocked: bool


class BlockJson(TypedDict):
    """by, at, reason: None of a block that was restored from a backup's ledger."""

    blocked: str
    by: str | None
    at: str | None
    reason: str | None


class PrincipalsJson(TypedDict):
    items: list[PrincipalJson]
    blocks: list[BlockJson]


class PrincipalCalls(Calls):
    """A part of the Client."""

    def principals(self) -> PrincipalsJson:
        """Who came with rights, and who is blocked."""
        return cast(PrincipalsJson, self._read(path_of("principals")))

    def block_principal(
        self,
        *,
        principal: str | None = None,
        subject: str | None = None,
        certificate: str | None = None,
        reason: str | None = None,
    ) -> BlockJson:
        """Refuse one of a principal, a token's subject, or a certificate by its fingerprint, on every replica."""
        body = given(principal=principal, subject=subject, certificate=certificate, reason=reason)
        return cast(BlockJson, self._write("POST", path_of("principals", "block"), json=body))

    def unblock_principal(
        self, *, principal: str | None = None, subject: str | None = None, certificate: str | None = None
    ) -> None:
        """Let it in again."""
        body = given(principal=principal, subject=subject, certificate=certificate)
        self._write("POST", path_of("principals", "unblock"), json=body)
