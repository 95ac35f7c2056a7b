"""A root key that HashiCorp Vault's transit engine (or OpenBao's) wraps: the key there never leaves it.

    vault:https://HOST:PORT/MOUNT/KEY           such as vault:https://vault.example:8200/transit/lookalike

Beside the data stands the root key as Vault encrypted it, and what opens it is a token from a file. Vault is spoken to
when the root is made and at each start, over HTTPS alone, with a known CA, without a proxy and without following a
redirect, which could lead the token elsewhere.

Source: https://developer.hashicorp.com/vault/api-docs/secret/transit
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx

from lookalike.errors import BadSettings, KeyUnavailable
from security.root_places import Kept, Place, Provider, RootAccess
from security.secret_files import read_secret_file
from security.secret_key import KEY_BYTES, SecretKey

SETTING = "root.vault"
TIMEOUT_S = 10.0
_MOST_BYTES = 65_536
_SEALED, _DENIED, _UNKNOWN, _BAD = 503, 403, 404, 400
_STANDBY = (429, 472, 473)
_EXAMPLE = "vault:https://vault.example:8200/transit/lookalike"


@dataclass(frozen=True, slots=True)
class Transit:
    """A key of a transit engine. base: scheme, host and port."""

    base: str
    mount: str
    key: str

    def path(self, verb: str) -> str:
        return f"{self.base}/v1/{quote(self.mount)}/{verb}/{quote(self.key, safe='')}"


@dataclass(frozen=True, slots=True, repr=False)
class _Answer:
    """What came back, read whole."""

    status: int
    redirects: bool
    body: bytes


def read_spec(name: str) -> Transit:
    """Raises: BadSettings."""
    parts = urlsplit(name)
    mount, _, key = unquote(parts.path).strip("/").rpartition("/")
    try:
        sound = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or not mount or not key or parts.query or parts.fragment:
        raise BadSettings(f"LOOKALIKE_KEYS: vault: needs the key's URL over https, such as {_EXAMPLE}")
    if "@" in parts.netloc:
        raise BadSettings(
            "LOOKALIKE_KEYS: no credential goes into a URL: LOOKALIKE_VAULT_TOKEN_FILE names the token's file"
        )
    if any(step in ("", ".", "..") for step in (*mount.split("/"), key)):
        raise BadSettings(f"LOOKALIKE_KEYS: the path of a vault: URL is MOUNT/KEY, such as {_EXAMPLE}")
    return Transit(f"https://{parts.netloc}", mount, key)


def _propose(place: Place) -> Mapping[str, bytes]:
    transit = read_spec(place.name)
    with _client(place.access) as client:
        _require_good(client, transit)
        plaintext = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")
        answer = _call(client, transit, "encrypt", {"plaintext": plaintext})
    held = {"key": f"{transit.mount}/{transit.key}", "wrapped": _text(answer, "ciphertext")}
    return {SETTING: json.dumps(held, sort_keys=True).encode()}


def _open(place: Place, kept: Kept) -> SecretKey:
    transit, held = read_spec(place.name), kept(SETTING)
    if held is None:
        raise KeyUnavailable("the root key of this data folder is not wrapped by Vault")
    try:
        wrapped = str(json.loads(held)["wrapped"])
    except (ValueError, KeyError, TypeError) as error:
        raise KeyUnavailable("the root key as Vault wrapped it is damaged: the data folder was changed") from error
    with _client(place.access) as client:
        answer = _call(client, transit, "decrypt", {"ciphertext": wrapped})
    try:
        material = base64.b64decode(_text(answer, "plaintext"), validate=True)
    except ValueError as error:
        raise KeyUnavailable(f"{_where(transit)} does not answer as Vault does") from error
    if len(material) != KEY_BYTES:
        raise KeyUnavailable(f"what {_where(transit)} unwrapped is no root key")
    return SecretKey(material)


PROVIDER = Provider(SETTING, _propose, _open)


def _require_good(client: httpx.Client, transit: Transit) -> None:
    """Have the key be there, so that a typing error does not make one, and be of a kind that can keep a root."""
    answer = _send(client, transit, "GET", "keys", None)
    if answer.status == _DENIED:
        return  # a token that may only encrypt and decrypt is a good one
    facts = _data(transit, "keys", answer)
    if facts.get("derived"):
        raise KeyUnavailable(
            f"the key {transit.key!r} in Vault wants a context with each call: take one that is not derived"
        )
    if facts.get("supports_encryption") is False or facts.get("supports_decryption") is False:
        raise KeyUnavailable(f"the key {transit.key!r} in Vault cannot encrypt: take one of the type aes256-gcm96")


def _client(access: RootAccess) -> httpx.Client:
    if access.vault_token_file is None:
        raise BadSettings("LOOKALIKE_KEYS: vault: needs LOOKALIKE_VAULT_TOKEN_FILE, the file that holds its token")
    token = read_secret_file(access.vault_token_file, "the Vault token file", at_most=8192).strip()
    if not token or not all(33 <= byte <= 126 for byte in token):
        raise KeyUnavailable("the Vault token file does not hold a token: one line of printable characters is expected")
    try:
        context = ssl.create_default_context(cafile=access.vault_ca)
    except (OSError, ssl.SSLError) as error:
        raise BadSettings(f"LOOKALIKE_VAULT_CA: {access.vault_ca} holds no certificates") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    headers = {"x-vault-token": token.decode("ascii"), "x-vault-request": "true"}
    return httpx.Client(headers=headers, verify=context, timeout=TIMEOUT_S, trust_env=False, follow_redirects=False)


def _call(client: httpx.Client, transit: Transit, verb: str, body: dict[str, str]) -> dict[str, Any]:
    return _data(transit, verb, _send(client, transit, "POST", verb, body))


def _send(client: httpx.Client, transit: Transit, method: str, verb: str, body: dict[str, str] | None) -> _Answer:
    """Raises: KeyUnavailable where nothing answers, or not as it should."""
    try:
        with client.stream(method, transit.path(verb), json=body) as answer:
            read = b""
            for piece in answer.iter_bytes():
                read += piece
                if len(read) > _MOST_BYTES:
                    raise KeyUnavailable(f"{_where(transit)} does not answer as Vault does")
            return _Answer(answer.status_code, answer.has_redirect_location, read)
    except httpx.ConnectError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise KeyUnavailable(
                f"{_where(transit)} shows a certificate that is not trusted: LOOKALIKE_VAULT_CA names its CA"
            ) from error
        raise KeyUnavailable(f"{_where(transit)} cannot be reached: start again when it answers") from error
    except httpx.TimeoutException as error:
        raise KeyUnavailable(
            f"{_where(transit)} does not answer within {TIMEOUT_S:.0f} s: start again when it does"
        ) from error
    except (httpx.HTTPError, ValueError) as error:
        raise KeyUnavailable(f"{_where(transit)} cannot be spoken to ({type(error).__name__})") from error


def _data(transit: Transit, verb: str, answer: _Answer) -> dict[str, Any]:
    """What an answer says. Raises: KeyUnavailable with what is wrong and what mends it."""
    where, status = _where(transit), answer.status
    if status == _SEALED:
        raise KeyUnavailable(f"{where} is sealed or not ready: unseal it, then start again")
    if status in _STANDBY or answer.redirects:
        raise KeyUnavailable(f"{where} is a standby: name the active node, or what stands before all of them")
    if status == _DENIED:
        raise KeyUnavailable(
            f"{where} denies the token: it has ended, or may not update {transit.mount}/{verb}/{transit.key}"
        )
    if status == _UNKNOWN:
        raise KeyUnavailable(f"{where} has no key {transit.key!r} at {transit.mount!r}")
    if status == _BAD:
        raise KeyUnavailable(f"{where} refuses the root key: {_reason(answer)}")
    if status != httpx.codes.OK:
        raise KeyUnavailable(f"{where} answers {status}")
    try:
        data = json.loads(answer.body)["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise KeyUnavailable(f"{where} does not answer as Vault does") from error
    if not isinstance(data, dict):
        raise KeyUnavailable(f"{where} does not answer as Vault does")
    return data


def _text(answer: dict[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str):
        raise KeyUnavailable("Vault's answer lacks what was asked for")
    return value


def _reason(answer: _Answer) -> str:
    """What Vault says is wrong; it does not repeat what it was sent."""
    try:
        said = " ".join(str(each) for each in json.loads(answer.body)["errors"])
    except (ValueError, KeyError, TypeError):
        said = ""
    return "".join(c for c in said if c.isprintable())[:200] or "it does not say why"


def _where(transit: Transit) -> str:
    return f"Vault at {transit.base}"
