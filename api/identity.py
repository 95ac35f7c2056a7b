"""Joins what callers are known by, as the settings say: keys, an issuer's tokens, client certificates, and the map."""

from __future__ import annotations

from lookalike.ports import Rows
from lookalike.settings import Settings
from security.access_tokens import TokenRules
from security.audit import SealedAuditLog
from security.blocks import Blocks
from security.client_certificates import Standing
from security.identities import Identities, Tokens
from security.identity_map import read_map
from security.issuer import FetchedKeys, FileKeys, IssuerKeys
from security.issuer_http import IssuerHttp, require_url
from security.keys import KeyRing
from security.known_principals import KnownPrincipals
from security.ledger_copy import Ledger
from security.oidc_login import Client, OidcLogin
from security.tokens import ApiKeys
from security.watched_file import WatchedFile


def open_identities(
    settings: Settings,
    rows: Rows,
    keyring: KeyRing,
    audit: SealedAuditLog,
    ledger: Ledger,
    api_keys: ApiKeys,
    live: bool,
) -> Identities:
    """Who may come. live: a service that answers others, and asks the issuer for its keys. Raises: BadSettings."""
    mapped = None
    if settings.identity_map is not None:
        mapped = WatchedFile(settings.identity_map, "LOOKALIKE_IDENTITY_MAP", read_map)
    standing = None
    if settings.tls_client_ca is not None:
        standing = Standing(settings.tls_client_ca, settings.tls_client_crl)
    return Identities(
        api_keys,
        KnownPrincipals(rows, keyring),
        Blocks(rows, keyring, audit, ledger),
        audit,
        mapped,
        _tokens(settings, live),
        standing,
    )


def open_login(settings: Settings, identities: Identities, keyring: KeyRing) -> OidcLogin | None:
    """The console's way to the identity provider, where it has one. Raises: BadSettings, KeyUnavailable."""
    if settings.oidc_client_id is None or settings.console_url is None or identities.tokens is None:
        return None
    url = require_url(settings.console_url.rstrip("/"), "LOOKALIKE_CONSOLE_URL")
    client = Client(
        settings.oidc_client_id, settings.oidc_client_secret_file, settings.oidc_scopes, url + "/console/oidc/back"
    )
    return OidcLogin(client, identities, identities.tokens, IssuerHttp(settings.oidc_ca), keyring)


def _tokens(settings: Settings, live: bool) -> Tokens | None:
    if settings.oidc_issuer is None or settings.oidc_audience is None:
        return None
    rules = TokenRules(
        require_url(settings.oidc_issuer, "LOOKALIKE_OIDC_ISSUER"),
        settings.oidc_audience,
        settings.oidc_groups_claim,
        settings.oidc_leeway_s,
        settings.oidc_token_type,
    )
    keys: IssuerKeys
    if settings.oidc_jwks is not None:
        keys = FileKeys(settings.oidc_jwks)
    else:
        fetched = FetchedKeys(rules.issuer, IssuerHttp(settings.oidc_ca), 3600.0 * settings.oidc_keys_kept_hours)
        if live:
            fetched.start()
        keys = fetched
    return Tokens(rules, keys)
