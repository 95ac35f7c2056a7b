"""What `lookalike doctor` looks at of tokens, certificates and their map: the files, and whether the issuer answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from lookalike.settings import Settings

Answer = tuple[Literal["ok", "note", "wrong"], str]


def identities(settings: Settings) -> Answer:
    """Who may come beside keys. Raises: LookalikeError for what would end the start."""
    from lookalike.errors import IdentityUnavailable

    if settings.identity_map is None:
        return "ok", "API keys alone (LOOKALIKE_IDENTITY_MAP)"
    told = [f"{_entries(settings.identity_map)} grants in {settings.identity_map}"]
    try:
        told += [*_certificates(settings), *_issuer(settings)]
    except IdentityUnavailable as error:
        return "wrong", f"{error}: tokens would be refused"
    open_ = settings.identity_map.stat().st_mode & 0o022
    return ("note", f"{told[0]} can be written by others: chmod 600") if open_ else ("ok", "; ".join(told))


def _entries(path: Path) -> int:
    from security.identity_map import read_map
    from security.watched_file import WatchedFile

    return WatchedFile(path, "LOOKALIKE_IDENTITY_MAP", read_map).current().entries


def _certificates(settings: Settings) -> Iterator[str]:
    from security.client_certificates import Standing

    if settings.tls_client_ca is None:
        return
    ends = Standing(settings.tls_client_ca, settings.tls_client_crl).lists_end
    yield f"client certificates are {settings.tls_client_certificates}"
    if ends is not None:
        hours = (ends - datetime.now(UTC)).total_seconds() / 3600
        yield f"the first revocation list to run out does so in {hours:.0f} h"


def _issuer(settings: Settings) -> Iterator[str]:
    """Raises: IdentityUnavailable."""
    from security.issuer import FetchedKeys, FileKeys
    from security.issuer_http import IssuerHttp

    if settings.oidc_issuer is None:
        return
    if settings.oidc_jwks is not None:
        FileKeys(settings.oidc_jwks)
        yield f"tokens of {settings.oidc_issuer}, whose keys are in a file"
        return
    FetchedKeys(settings.oidc_issuer, IssuerHttp(settings.oidc_ca), 3600.0).refresh()
    yield f"tokens of {settings.oidc_issuer}, which answers"
