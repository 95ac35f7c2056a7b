"""A root key that a key in a PKCS#11 token (an HSM, a smart card, SoftHSM2) wraps: the key there never leaves it.

    pkcs11:token=LABEL;object=LABEL?module-path=/usr/lib/softhsm/libsofthsm2.so

Beside the data stands the root key, encrypted by an AES-256 key of the token with GCM. The token is used when the root
is made and at each start. A wrong PIN must not lock the token however often a supervisor starts the service again: one
that was refused once is not tried again before its file changes, and the last try is left to a person.

Source: RFC 7512 for the URI, PKCS#11 2.40 for the rest.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote

from lookalike.errors import BadSettings, KeyUnavailable
from security.root_places import Kept, Place, Provider
from security.secret_files import read_secret_file
from security.secret_key import KEY_BYTES, SecretKey

if TYPE_CHECKING:
    import pkcs11

SETTING = "root.pkcs11"
REFUSED = "root.pkcs11.refused"
"""The setting that tells which state of the PIN file a token refused: nothing of the PIN itself."""

NONCE_BYTES = 12
TAG_BITS = 128
_ASSOCIATED = b"lookalike root key"
_EXAMPLE = "pkcs11:token=lookalike;object=root?module-path=/usr/lib/softhsm/libsofthsm2.so"


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key of a token, by labels. module: the library that speaks to the token."""

    token: str
    object: str
    module: str


def read_spec(name: str) -> TokenKey:
    """Raises: BadSettings."""
    path, _, query = name.partition("?")
    found: dict[str, str] = {}
    for part in (*path.split(";"), *query.split("&")):
        attribute, equals, value = part.partition("=")
        if attribute in ("pin-value", "pin-source"):
            raise BadSettings("LOOKALIKE_KEYS: no PIN goes into the URI: LOOKALIKE_PKCS11_PIN_FILE names its file")
        if part and (not equals or attribute not in ("token", "object", "module-path") or attribute in found):
            raise BadSettings(f"LOOKALIKE_KEYS: a pkcs11: URI has token, object and module-path, such as {_EXAMPLE}")
        if part:
            found[attribute] = unquote(value)
    if not all(found.get(attribute) for attribute in ("token", "object", "module-path")):
        raise BadSettings(f"LOOKALIKE_KEYS: a pkcs11: URI needs token, object and module-path, such as {_EXAMPLE}")
    return TokenKey(found["token"], found["object"], found["module-path"])


def _propose(place: Place) -> Mapping[str, bytes]:
    import pkcs11

    where, nonce = read_spec(place.name), secrets.token_bytes(NONCE_BYTES)
    with _key(place, where) as key:
        _require_good(key, where)
        try:
            wrapped = key.encrypt(
                secrets.token_bytes(KEY_BYTES), mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=_gcm(nonce)
            )
        except pkcs11.PKCS11Error as error:
            _fail(where, error)
    held = {"object": where.object, "nonce": nonce.hex(), "wrapped": wrapped.hex()}
    return {SETTING: json.dumps(held, sort_keys=True).encode()}


def _open(place: Place, kept: Kept) -> SecretKey:
    where, held = read_spec(place.name), kept(SETTING)
    if held is None:
        raise KeyUnavailable("the root key of this data folder is not wrapped by a PKCS#11 token")
    try:
        facts = json.loads(held)
        nonce, wrapped = bytes.fromhex(facts["nonce"]), bytes.fromhex(facts["wrapped"])
    except (ValueError, KeyError, TypeError) as error:
        raise KeyUnavailable("the root key as the token wrapped it is damaged: the data folder was changed") from error
    import pkcs11

    with _key(place, where) as key:
        try:
            material = key.decrypt(wrapped, mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=_gcm(nonce))
        except pkcs11.PKCS11Error as error:
            _fail(where, error)
    if len(material) != KEY_BYTES:
        raise KeyUnavailable(f"what the token {where.token!r} unwrapped is no root key")
    return SecretKey(bytes(material))


PROVIDER = Provider(SETTING, _propose, _open)


def _gcm(nonce: bytes) -> pkcs11.GCMParams:
    import pkcs11

    return pkcs11.GCMParams(nonce, _ASSOCIATED, TAG_BITS)


@contextmanager
def _key(place: Place, where: TokenKey) -> Iterator[Any]:
    """The token's key, within a session that ends. Raises: BadSettings, KeyUnavailable."""
    token = _token(where)
    import pkcs11

    with _session(place, where, token) as session:
        try:
            key = session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label=where.object)
        except pkcs11.NoSuchKey:
            raise KeyUnavailable(f"the token {where.token!r} has no secret key {where.object!r}") from None
        except pkcs11.MultipleObjectsReturned:
            raise KeyUnavailable(
                f"the token {where.token!r} has several keys {where.object!r}: give them labels"
            ) from None
        except pkcs11.PKCS11Error as error:
            _fail(where, error)
        yield key


def _token(where: TokenKey) -> pkcs11.Token:
    try:
        import pkcs11
    except ImportError as error:
        raise BadSettings("LOOKALIKE_KEYS: pkcs11: needs python-pkcs11: pip install 'lookalike[pkcs11]'") from error
    try:
        module = pkcs11.lib(where.module)
        found = list(module.get_tokens(token_label=where.token))
    except (pkcs11.PKCS11Error, RuntimeError, OSError) as error:
        raise KeyUnavailable(f"the PKCS#11 module {where.module} cannot be used ({type(error).__name__})") from error
    if len(found) != 1:
        what = "no token" if not found else "several tokens"
        raise KeyUnavailable(f"the PKCS#11 module {where.module} has {what} {where.token!r}: is it connected?")
    return found[0]


@contextmanager
def _session(place: Place, where: TokenKey, token: pkcs11.Token) -> Iterator[pkcs11.Session]:
    import pkcs11

    file = place.access.pkcs11_pin_file
    if file is None:
        raise BadSettings("LOOKALIKE_KEYS: pkcs11: needs LOOKALIKE_PKCS11_PIN_FILE, the file that holds the user PIN")
    state = _state(file)
    try:
        pin = read_secret_file(file, "the PIN file", at_most=256).rstrip(b"\r\n").decode()
    except UnicodeDecodeError:
        raise KeyUnavailable(f"the PIN file holds no text: {file}") from None
    _require_tries(place, where, token, state)
    try:
        session = token.open(user_pin=pin)
    except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange):
        place.rows.write(lambda tx: tx.put_setting(REFUSED, state))
        raise KeyUnavailable(
            f"the token {where.token!r} refuses the PIN in {file}: it is not tried again before that file changes"
        ) from None
    except pkcs11.PinLocked:
        raise KeyUnavailable(_locked(where)) from None
    except pkcs11.PKCS11Error as error:
        _fail(where, error)
    if place.rows.read().get_setting(REFUSED) is not None:
        place.rows.write(lambda tx: tx.delete_setting(REFUSED))
    with session:
        yield session


def _require_tries(place: Place, where: TokenKey, token: pkcs11.Token, state: bytes) -> None:
    """Raises: KeyUnavailable where a wrong PIN could lock the token, or this one was refused before."""
    import pkcs11

    flags = token.flags
    if pkcs11.TokenFlag.USER_PIN_LOCKED in flags:
        raise KeyUnavailable(_locked(where))
    if pkcs11.TokenFlag.USER_PIN_FINAL_TRY in flags:
        raise KeyUnavailable(
            f"the token {where.token!r} has one try left for its PIN, which is not made here: log in by hand first"
        )
    if place.rows.read().get_setting(REFUSED) == state:
        raise KeyUnavailable(
            f"the token {where.token!r} refused the PIN in this file before, so it is not tried again: correct the file"
        )


def _state(file: Path) -> bytes:
    """Tells the file from the one that it was before somebody wrote it."""
    facts = file.stat()
    told = f"{file.absolute()}|{facts.st_ino}|{facts.st_size}|{facts.st_mtime_ns}|{facts.st_ctime_ns}"
    return hashlib.sha256(told.encode()).digest()


def _require_good(key: Any, where: TokenKey) -> None:
    """Have the key be one that never leaves the token. Raises: KeyUnavailable."""
    import pkcs11

    try:
        kind, bits = key.key_type, key.key_length
        leaves = bool(key[pkcs11.Attribute.EXTRACTABLE]) or not bool(key[pkcs11.Attribute.SENSITIVE])
    except pkcs11.PKCS11Error as error:
        _fail(where, error)
    if kind is not pkcs11.KeyType.AES or bits != 8 * KEY_BYTES:
        raise KeyUnavailable(f"the key {where.object!r} is none of AES with 256 bits")
    if leaves:
        raise KeyUnavailable(
            f"the key {where.object!r} can be taken out of the token: make one that is sensitive, not extractable"
        )


def _locked(where: TokenKey) -> str:
    return f"the PIN of the token {where.token!r} is locked: its security officer sets a new one"


def _fail(where: TokenKey, error: Exception) -> NoReturn:
    """The error of a token in our words. Raises: KeyUnavailable."""
    import pkcs11

    said = type(error).__name__
    if isinstance(error, pkcs11.MechanismInvalid | pkcs11.FunctionNotSupported):
        said = "it does not know AES-GCM"
    if isinstance(error, pkcs11.exceptions.EncryptedDataInvalid | pkcs11.GeneralError | pkcs11.FunctionFailed):
        said = "what is kept was not wrapped by this key, or was changed"
    raise KeyUnavailable(f"the token {where.token!r} cannot be used: {said}") from error
