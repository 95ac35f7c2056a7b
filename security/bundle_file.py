"""A model bundle in one file: signed by its maker, verified before a byte of a part is parsed.

Layout, lengths in bytes:

    magic "LKB1" 4 | length of the manifest 4, big-endian | public key 32 | signature 64 | manifest | parts

The manifest is canonical JSON; its table `parts` names each part's bytes and SHA-256, and the parts follow in the order
of their names, with nothing behind them. The signature is Ed25519 (RFC 8032) over a prefix and the manifest, so that it
covers the parts through their hashes. The key in the file only says which trusted key to try: a file that brings
its own trust has none.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lookalike.errors import BadBundle, BadSettings, UntrustedBundle

MAGIC = b"LKB1"
KEY_BYTES, SIGNATURE_BYTES = 32, 64
MAX_MANIFEST_BYTES = 1 << 20
MAX_BUNDLE_BYTES = 1 << 30

_LENGTH_AT = len(MAGIC)
_KEY_AT = _LENGTH_AT + 4
_SIGNATURE_AT = _KEY_AT + KEY_BYTES
HEADER_BYTES = _SIGNATURE_AT + SIGNATURE_BYTES

_BUNDLE = b"lookalike model bundle\n"
"""Goes before the manifest when it is signed, so that no other signature of the key passes for a bundle's."""


_OTHERS = ((b"PK\x03\x04", "a zip archive"), (b"\x80", "a pickle"), (b"\x1f\x8b", "a gzip file"), (b"{", "JSON"))


@dataclass(frozen=True, slots=True, repr=False)
class Maker:
    """Who signs bundles. public_key: 32 bytes; sign: message → 64 bytes of Ed25519."""

    public_key: bytes
    sign: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True, repr=False)
class OpenedBundle:
    """What a verified file holds. manifest: canonical JSON; parts: name → bytes, hashes checked; maker: its key."""

    manifest: bytes
    parts: Mapping[str, bytes]
    maker: bytes


def write_bundle(manifest: bytes, parts: Mapping[str, bytes], maker: Maker) -> bytes:
    """The file's bytes. manifest: canonical, naming these parts. Raises: BadBundle where it names others."""
    named = _named(manifest)
    if named.keys() != parts.keys() or any(_differs(parts[name], *named[name]) for name in named):
        raise BadBundle("the manifest does not name these parts")
    head = MAGIC + len(manifest).to_bytes(4, "big") + maker.public_key + maker.sign(_BUNDLE + manifest)
    return b"".join((head, manifest, *(parts[name] for name in sorted(parts))))


def open_bundle(
    data: bytes,
    trusted: Collection[bytes],
    *,
    check: Callable[[bytes], object] = lambda manifest: None,
    max_bytes: int = MAX_BUNDLE_BYTES,
) -> OpenedBundle:
    """Signature by a trusted key first, then every length and hash, then nothing may be left.

    check: raises for a signed manifest that cannot be used, before any part is hashed.
    Raises: BadBundle, UntrustedBundle, and as `check` does.
    """
    if len(data) > max_bytes:
        raise BadBundle(f"a bundle has at most {max_bytes} bytes")
    if len(data) < HEADER_BYTES or data[: len(MAGIC)] != MAGIC:
        looks = next((f": it looks like {kind}" for start, kind in _OTHERS if data.startswith(start)), "")
        raise BadBundle(f"this is no model bundle of a known format{looks}")
    length = int.from_bytes(data[_LENGTH_AT:_KEY_AT], "big")
    key, signature = data[_KEY_AT:_SIGNATURE_AT], data[_SIGNATURE_AT:HEADER_BYTES]
    manifest = data[HEADER_BYTES : HEADER_BYTES + length]
    if length > MAX_MANIFEST_BYTES or len(manifest) != length:
        raise BadBundle("the bundle is cut short")
    if key not in trusted:
        raise UntrustedBundle(f"the bundle is signed by a key that is not trusted here: {key.hex()}")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, _BUNDLE + manifest)
    except (InvalidSignature, ValueError):
        raise BadBundle("the bundle's signature is wrong: its manifest was changed, or it was never signed") from None
    check(manifest)
    return OpenedBundle(manifest, _cut(data, HEADER_BYTES + length, _named(manifest)), key)


def _cut(data: bytes, at: int, named: Mapping[str, tuple[int, str]]) -> dict[str, bytes]:
    """The parts from there on. Lengths are checked before anything is hashed. Raises: BadBundle."""
    whole = at + sum(size for size, _ in named.values())
    if len(data) != whole:
        raise BadBundle("the bundle is cut short" if len(data) < whole else "the bundle goes on behind its last part")
    parts, view = {}, memoryview(data)
    for name, (size, sha256) in sorted(named.items()):
        if _differs(view[at : at + size], size, sha256):
            raise BadBundle(f"the part {name} is not the one that was signed")
        parts[name], at = data[at : at + size], at + size
    return parts


def new_maker(path: Path) -> Maker:
    """A key of its own for whoever makes bundles: PATH for its owner alone, PATH.pub for those who trust them.

    Raises: BadSettings where either is there already, or cannot be written.
    """
    private = Ed25519PrivateKey.generate()
    maker = _maker(private)
    _write_new(path.with_name(path.name + ".pub"), maker.public_key.hex(), 0o644)
    _write_new(path, private.private_bytes_raw().hex(), 0o600)
    return maker


def _write_new(path: Path, text: str, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "w") as file:
            file.write(text + "\n")
    except OSError as error:
        raise BadSettings(f"the key cannot be written to {path}: {error.strerror}") from error


def read_maker(path: Path) -> Maker:
    """What `new_maker` wrote. Raises: BadSettings where it cannot be read, or others than its owner may."""
    try:
        if path.stat().st_mode & 0o077:
            raise BadSettings(f"the key {path} may be read by others: chmod 600 it")
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(path.read_text("ascii").strip()))
    except OSError as error:
        raise BadSettings(f"the key {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadSettings(f"{path} holds no key: 64 hex digits are wanted") from error
    return _maker(private)


def read_public_keys(paths: Iterable[Path]) -> tuple[bytes, ...]:
    """Keys to trust, 64 hex digits a file. Raises: BadSettings."""
    keys = []
    for path in paths:
        try:
            key = bytes.fromhex(path.read_text("ascii").strip())
        except (OSError, ValueError) as error:
            raise BadSettings(f"the public key {path} cannot be read: 64 hex digits are wanted") from error
        if len(key) != KEY_BYTES:
            raise BadSettings(f"the public key {path} has {len(key)} bytes, not {KEY_BYTES}")
        keys.append(key)
    return tuple(keys)


def maker_of_seed(seed: bytes) -> Maker:
    """seed: 32 bytes that nobody else can know."""
    return _maker(Ed25519PrivateKey.from_private_bytes(seed))


def _maker(private: Ed25519PrivateKey) -> Maker:
    return Maker(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), private.sign)


def _named(manifest: bytes) -> dict[str, tuple[int, str]]:
    """The manifest's table of parts: name → bytes and SHA-256. Raises: BadBundle."""
    try:
        named = {name: (part["bytes"], part["sha256"]) for name, part in json.loads(manifest)["parts"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadBundle("the bundle's manifest names no parts") from error
    if any(type(size) is not int or not isinstance(sha256, str) for size, sha256 in named.values()):
        raise BadBundle("the bundle's manifest gives a part no size or no hash")
    return named


def _differs(part: bytes | memoryview, size: int, sha256: str) -> bool:
    return size < 1 or len(part) != size or hashlib.sha256(part).hexdigest() != sha256
