"""Who may sign model bundles: makers' Ed25519 keys, the shipped ones, those of the settings and the deployment's own.

A maker's key pair is two PEM files: PKCS #8, readable by its owner alone, and the public half beside it (`.pub`). The
deployment's own key is derived from its key tree for this purpose alone, so that it never signs anything else and the
data folder needs nothing new.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from lookalike.errors import BadSettings, TamperedData
from security.keys import KeyRing

PUBLIC_KEY_BYTES, SIGNATURE_BYTES = 32, 64
OWN = "this deployment"
"""The name of the maker whose key the deployment itself holds."""

_MAX_KEY_FILE = 4096


class MakerKey:
    """A maker's private key. It shows nothing of itself."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public_key = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def __repr__(self) -> str:
        return f"MakerKey({self.public_key.hex()[:16]})"

    def sign(self, message: bytes) -> bytes:
        """Ed25519, 64 bytes."""
        return self._private.sign(message)

    def write(self, path: Path) -> Path:
        """Write the pair, the private half for its owner alone, over nothing that is there. Returns the public file."""
        public = path.with_name(path.name + ".pub")
        private = self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write_new(path, private, 0o600)
        held = self._private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        _write_new(public, held, 0o644)
        return public


def new_maker_key() -> MakerKey:
    """A fresh key."""
    return MakerKey(Ed25519PrivateKey.generate())


def read_maker_key(path: Path) -> MakerKey:
    """Raises: BadSettings for a file that others may read, or that holds no Ed25519 private key."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise BadSettings(f"the key file {path} can be read by others; make it yours alone: chmod 600")
            found = load_pem_private_key(file.read(_MAX_KEY_FILE), None)
    except OSError as error:
        raise BadSettings(f"the key file {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise BadSettings(f"the key file {path} holds no private key as `lookalike models keygen` writes it") from None
    if not isinstance(found, Ed25519PrivateKey):
        raise BadSettings(f"the key file {path} holds a key of another kind than Ed25519")
    return MakerKey(found)


def read_public_key(path: Path) -> bytes:
    """32 bytes. Raises: BadSettings."""
    try:
        found = load_pem_public_key(path.read_bytes()[:_MAX_KEY_FILE])
    except OSError as error:
        raise BadSettings(f"the public key {path} cannot be read: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm):
        raise BadSettings(f"{path} holds no public key as `lookalike models keygen` writes it") from None
    if not isinstance(found, Ed25519PublicKey):
        raise BadSettings(f"{path} holds a key of another kind than Ed25519")
    return found.public_bytes(Encoding.Raw, PublicFormat.Raw)


def own_key(keyring: KeyRing) -> MakerKey:
    """The deployment's own key for models."""
    seed = keyring.derived_key("model bundles")
    return MakerKey(Ed25519PrivateKey.from_private_bytes(seed.material))


def trusted_makers(extra: Iterable[Path], own: MakerKey | None = None) -> dict[bytes, str]:
    """Public key → the maker's name. extra: files of public keys, each named after its file. Raises: BadSettings."""
    found = shipped_makers()
    found.update({read_public_key(path): path.stem for path in extra})
    if own is not None:
        found[own.public_key] = OWN
    return found


def shipped_makers() -> dict[bytes, str]:
    """The makers that this version trusts from the start. Raises: TamperedData."""
    try:
        listed = json.loads((files("security") / "makers.json").read_text("utf-8"))
        found = {bytes.fromhex(item["public_key"]): str(item["name"]) for item in listed}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TamperedData("the list of makers that comes with this version is damaged") from error
    if any(len(key) != PUBLIC_KEY_BYTES for key in found):
        raise TamperedData("the list of makers that comes with this version is damaged")
    return found


def require_signed(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Raises: TamperedData unless this key signed this message."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (ValueError, InvalidSignature):
        raise TamperedData("the signature does not fit") from None


def _write_new(path: Path, data: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
