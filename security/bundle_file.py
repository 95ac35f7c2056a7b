"""The one-file form of a model: a signed manifest, then the parts that it names, nothing before and nothing after.

Layout, lengths in bytes, numbers big-endian:

    magic "LKB1" 4 | manifest's length 4 | maker's public key 32 | signature 64 | manifest | parts

    signature = Ed25519(maker's key, "lookalike model bundle" | 0x0a | magic | manifest)

The parts stand in the order of their names, each as long as the manifest says. Since the manifest has their SHA-256,
its signature covers every byte but the head's own. `open_bundle` checks in this order: the whole length, the maker,
the signature, what the manifest says, each part's length and hash; only then does anyone parse a part.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from lookalike.errors import BadBundle, TamperedData, UntrustedBundle
from security.makers import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, MakerKey, require_signed

MAGIC = b"LKB1"
MAX_MANIFEST_BYTES = 1 << 20

_HEAD = struct.Struct(f">4sI{PUBLIC_KEY_BYTES}s{SIGNATURE_BYTES}s")
HEAD_BYTES = _HEAD.size
_DOMAIN = b"lookalike model bundle\n"
"""Goes before what is signed, so that no other signature of the same key ever passes for a bundle's."""

_OTHERS = ((b"PK\x03\x04", "a zip archive"), (b"\x80", "a pickle"), (b"\x1f\x8b", "a gzip file"), (b"{", "JSON"))


@dataclass(frozen=True, slots=True)
class PartEntry:
    """A part as the manifest names it. sha256: 64 hexadecimal digits."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, repr=False)
class OpenedBundle:
    """A bundle of which every byte was verified. maker: the name of the key that signed it."""

    manifest: bytes
    parts: Mapping[str, bytes]
    maker: str


def make_bundle(manifest: bytes, parts: Mapping[str, bytes], key: MakerKey) -> bytes:
    """The file. manifest: canonical JSON that names exactly these parts."""
    signature = key.sign(_DOMAIN + MAGIC + manifest)
    head = _HEAD.pack(MAGIC, len(manifest), key.public_key, signature)
    return b"".join((head, manifest, *(parts[name] for name in sorted(parts))))


def open_bundle(
    data: bytes,
    makers: Mapping[bytes, str],
    parts_of: Callable[[bytes], Iterable[PartEntry]],
    max_bytes: int,
) -> OpenedBundle:
    """What a bundle holds, once all of it was verified.

    makers: public key → name of those who may sign; parts_of: checks a signed manifest and gives the parts it names.
    Raises: BadBundle, UntrustedBundle, and what `parts_of` raises.
    """
    size, public_key, signature = _head(data, max_bytes)
    manifest = data[HEAD_BYTES : HEAD_BYTES + size]
    if public_key not in makers:
        raise UntrustedBundle(
            f"the bundle is signed by the key {public_key.hex()[:16]}…, which is not one of the makers trusted here; "
            "LOOKALIKE_MODEL_MAKERS adds one"
        )
    try:
        require_signed(public_key, signature, _DOMAIN + MAGIC + manifest)
    except TamperedData:
        raise BadBundle("the bundle's signature does not fit its manifest: one of them was changed") from None
    parts = _cut(data, HEAD_BYTES + size, sorted(parts_of(manifest), key=lambda part: part.name))
    return OpenedBundle(manifest, parts, makers[public_key])


def digest_of(manifest: bytes) -> str:
    """64 hexadecimal digits that stand for the model: SHA-256 of the manifest, which names every part's."""
    return hashlib.sha256(manifest).hexdigest()


def _head(data: bytes, max_bytes: int) -> tuple[int, bytes, bytes]:
    """Length of the manifest, public key and signature. Raises: BadBundle."""
    if len(data) > max_bytes:
        raise BadBundle(f"a bundle of at most {max_bytes} bytes is allowed; LOOKALIKE_MAX_BUNDLE_BYTES raises that")
    if data[: len(MAGIC)] != MAGIC:
        kind = next((f": it looks like {name}" for start, name in _OTHERS if data.startswith(start)), "")
        raise BadBundle(f"this is not a model bundle{kind}; `lookalike models pack` makes one")
    if len(data) < HEAD_BYTES:
        raise BadBundle("the bundle is cut short")
    _, size, public_key, signature = _HEAD.unpack_from(data)
    if not 2 <= size <= MAX_MANIFEST_BYTES:
        raise BadBundle(f"the bundle's manifest has {size} bytes; 2 to {MAX_MANIFEST_BYTES} are allowed")
    if len(data) < HEAD_BYTES + size:
        raise BadBundle("the bundle is cut short")
    return size, public_key, signature


def _cut(data: bytes, start: int, entries: Iterable[PartEntry]) -> dict[str, bytes]:
    """The parts, each of the length and hash that was signed. Raises: BadBundle."""
    entries = list(entries)
    wanted = start + sum(part.bytes for part in entries)
    if len(data) != wanted:
        what = "is cut short" if len(data) < wanted else "has bytes after its last part"
        raise BadBundle(f"the bundle {what}: {wanted} bytes are what its manifest says, and it has {len(data)}")
    parts = {}
    for part in entries:
        found = data[start : start + part.bytes]
        start += part.bytes
        if hashlib.sha256(found).hexdigest() != part.sha256:
            raise BadBundle(f"the part {part.name} of the bundle is not the one that was signed")
        parts[part.name] = found
    return parts
