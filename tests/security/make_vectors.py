"""Writes tests/security/vectors from the reference implementation: `python -m tests.security.make_vectors`.

Keys and salts are made of counters, so that a run gives the same files; nothing real is sealed with them.
"""

from __future__ import annotations

import json
import struct
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from tests.security.reference_envelope import context_bytes, key_id, seal_record, seal_stream, seal_to, wrap_key

FOLDER = Path(__file__).parent / "vectors"
KEY, OTHER = bytes(range(32)), bytes(range(100, 132))
PASSPHRASE = "eine lange Passphrase für den Test".encode()
SALT, PREFIX, NONCE = bytes(range(32, 64)), bytes(range(7)), bytes(range(12))
CONTEXT: dict[str, str | int] = {
    "deployment": "d" * 32,
    "collection": "c" * 32,
    "subject": "5" * 32,
    "record": "",
    "type": "subject",
    "schema": 1,
    "model": "",
    "version": 1_800_000_000_250_000,
}
SAMPLE = {**CONTEXT, "record": "a" * 32, "type": "sample", "model": "sface:ü"}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    made = {
        "records": records(),
        "streams": streams(),
        "keys": keys(),
        "roots": roots(),
        "bundles": bundles(),
        "recipients": recipients(),
    }
    for name, cases in made.items():
        text = json.dumps(cases, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        (FOLDER / f"{name}.json").write_text(text, "utf-8")


def case(
    note: str, key: bytes, context: dict[str, str | int], sealed: bytes, plaintext: bytes | None
) -> dict[str, object]:
    """plaintext None: an implementation must refuse it."""
    return {
        "note": note,
        "key": key.hex(),
        "context": context,
        "sealed": sealed.hex(),
        "plaintext": None if plaintext is None else plaintext.hex(),
    }


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def records() -> list[dict[str, object]]:
    text = b'{"id":"Ada"}'
    good, empty = seal_record(KEY, text, CONTEXT, SALT), seal_record(KEY, b"", SAMPLE, SALT)
    other = seal_record(OTHER, text, CONTEXT, SALT)
    places = {"magic": 0, "suite": 4, "key id": 5, "salt": 13, "commitment": 45, "ciphertext": 77, "tag": -1}
    hostile = [
        case(f"{part} flipped", KEY, CONTEXT, flipped(good, at % len(good)), None) for part, at in places.items()
    ]
    moved = [
        case(f"another {name}", KEY, {**CONTEXT, name: value}, good, None)
        for name, value in {
            "deployment": "e" * 32,
            "collection": "b" * 32,
            "subject": "6" * 32,
            "record": "a",
            "type": "sample",
            "schema": 2,
            "model": "m",
            "version": 1,
        }.items()
    ]
    return [
        case("a subject", KEY, CONTEXT, good, text),
        case("an empty sample", KEY, SAMPLE, empty, b""),
        *hostile,
        *moved,
        case(
            "texts shifted between two fields",
            KEY,
            {**CONTEXT, "collection": "c" * 33, "subject": "5" * 31},
            good,
            None,
        ),
        case("another key", OTHER, CONTEXT, good, None),
        case("head of one, body of another key", KEY, CONTEXT, good[:77] + other[77:], None),
        case("cut by one byte", KEY, CONTEXT, good[:-1], None),
        case("one byte more", KEY, CONTEXT, good + b"\x00", None),
        case("shorter than its header", KEY, CONTEXT, good[:92], None),
        case("nothing", KEY, CONTEXT, b"", None),
    ]


def streams() -> list[dict[str, object]]:
    text, chunk = bytes(range(40)), 16
    good = seal_stream(KEY, text, CONTEXT, SALT, PREFIX, chunk)
    twin = seal_stream(KEY, text, CONTEXT, SALT[::-1], PREFIX, chunk)
    head, size = good[:88], chunk + 16
    chunks = [good[88 + n * size : 88 + (n + 1) * size] for n in range(3)]
    hostile = {
        "chunk size flipped": flipped(good, 16),
        "nonce prefix flipped": flipped(good, 50),
        "salt flipped": flipped(good, 20),
        "commitment flipped": flipped(good, 60),
        "first chunk flipped": flipped(good, 88),
        "last tag flipped": flipped(good, len(good) - 1),
        "last chunk left out": head + chunks[0] + chunks[1],
        "all chunks left out": head,
        "first chunk left out": head + chunks[1] + chunks[2],
        "two chunks swapped": head + chunks[1] + chunks[0] + chunks[2],
        "a chunk doubled": head + chunks[0] + chunks[0] + chunks[1] + chunks[2],
        "a chunk of another stream": head + twin[88 : 88 + size] + chunks[1] + chunks[2],
        "another stream after the end": good + twin,
        "cut within a chunk": good[:-5],
        "cut within the header": good[:80],
        "one byte more": good + b"\x00",
    }
    return [
        case("three chunks", KEY, CONTEXT, good, text),
        case("one full chunk", KEY, CONTEXT, seal_stream(KEY, text[:16], CONTEXT, SALT, PREFIX, chunk), text[:16]),
        case("two full chunks", KEY, CONTEXT, seal_stream(KEY, text[:32], CONTEXT, SALT, PREFIX, chunk), text[:32]),
        case("nothing inside", KEY, CONTEXT, seal_stream(KEY, b"", CONTEXT, SALT, PREFIX, chunk), b""),
        *(case(note, KEY, CONTEXT, sealed, None) for note, sealed in hostile.items()),
        case("another context", KEY, SAMPLE, good, None),
        case("another key", OTHER, CONTEXT, good, None),
    ]


def keys() -> list[dict[str, object]]:
    good = wrap_key(KEY, OTHER, CONTEXT, NONCE)
    places = {"magic": 0, "suite": 4, "key id": 5, "nonce": 13, "key": 25, "tag": 72}
    return [
        case("a subject's key", KEY, CONTEXT, good, OTHER),
        *(case(f"{part} flipped", KEY, CONTEXT, flipped(good, at), None) for part, at in places.items()),
        case("another subject's place", KEY, SAMPLE, good, None),
        case("another wrapping key", OTHER, CONTEXT, good, None),
        case("cut by one byte", KEY, CONTEXT, good[:-1], None),
        case("one byte more", KEY, CONTEXT, good + b"\x00", None),
        case("nothing", KEY, CONTEXT, b"", None),
    ]


def roots() -> list[dict[str, object]]:
    """What a root opens: a collection's versions, a handover to another root; and a passphrase that gives a root.

    gives: version → key in hex, or the root in hex; None: an implementation must refuse it.
    """
    row = {**dict.fromkeys(CONTEXT, ""), "deployment": "d" * 32, "collection": "c" * 32, "type": "collection-key"}
    row |= {"schema": 1, "version": 0}
    first, second = (1, OTHER), (2, OTHER[::-1])

    def versions(*held: tuple[int, bytes], cut: int = 0, context: dict[str, str | int] = row, root: bytes = KEY) -> str:
        plain = b"".join(number.to_bytes(4, "big") + key for number, key in held)
        return seal_record(root, plain[: len(plain) - cut], context, SALT).hex()

    def wrapped(note: str, sealed: str, gives: dict[str, str] | None, context: dict[str, str | int] = row) -> dict:
        return {
            "kind": "versions",
            "note": note,
            "key": KEY.hex(),
            "context": context,
            "sealed": sealed,
            "gives": gives,
        }

    one, both = {"1": OTHER.hex()}, {"1": OTHER.hex(), "2": OTHER[::-1].hex()}
    made = [
        wrapped("one version", versions(first), one),
        wrapped("two versions, in the middle of a rotation", versions(first, second), both),
        wrapped("the first one destroyed", versions(second), {"2": OTHER[::-1].hex()}),
        wrapped("newest first", versions(second, first), None),
        wrapped("a version twice", versions(first, (1, KEY)), None),
        wrapped("version 0", versions((0, OTHER)), None),
        wrapped("no version", versions(), None),
        wrapped("cut within a key", versions(first, second, cut=1), None),
        wrapped("wrapped by another root", versions(first, root=OTHER), None),
        wrapped("another collection's", versions(first, context={**row, "collection": "b" * 32}), None),
        wrapped("a deployment key in its place", versions(first, context={**row, "type": "deployment-key"}), None),
    ]
    return [*made, *_handovers(), *_passphrases()]


def _handovers() -> list[dict[str, object]]:
    """From KEY to OTHER. now: seconds since 1970."""
    until = 1_800_000_600.0
    held = struct.pack(">d", until)
    context = {**dict.fromkeys(CONTEXT, ""), "deployment": "d" * 32, "type": "root-handover", "schema": 1, "version": 0}
    good = held + seal_record(KEY, OTHER, {**context, "record": f"{key_id(KEY).hex()}/{held.hex()}"}, SALT)
    unbound = held + seal_record(KEY, OTHER, {**context, "record": key_id(KEY).hex()}, SALT)
    cases: list[tuple[str, bytes, float, str | None]] = [
        ("a handover", good, until - 1, OTHER.hex()),
        ("a handover that is over", good, until + 1, None),
        ("a handover that was prolonged", struct.pack(">d", until + 3600) + good[8:], until + 1, None),
        ("a handover whose time is not bound", unbound, until - 1, None),
        ("a handover with a changed tag", flipped(good, len(good) - 1), until - 1, None),
        ("a handover that is cut", good[:20], until - 1, None),
        ("a handover without a time", b"", until - 1, None),
    ]
    return [
        {"kind": "handover", "note": note, "key": KEY.hex(), "sealed": sealed.hex(), "now": now, "gives": gives}
        for note, sealed, now, gives in cases
    ]


def _passphrases() -> list[dict[str, object]]:
    """The root that the costs asked for give of a passphrase. What is refused is refused before it is derived."""
    costs: dict[str, object] = {
        "kdf": "argon2id",
        "iterations": 3,
        "memory_kib": 262_144,
        "lanes": 4,
        "salt": "07" * 16,
    }
    derived = Argon2id(salt=b"\x07" * 16, length=32, iterations=3, lanes=4, memory_cost=262_144).derive(PASSPHRASE)
    hostile: dict[str, dict[str, object]] = {
        "fewer passes": {**costs, "iterations": 2},
        "less memory": {**costs, "memory_kib": 262_143},
        "memory beyond reason": {**costs, "memory_kib": 1 << 40},
        "another derivation": {**costs, "kdf": "pbkdf2"},
        "a short salt": {**costs, "salt": "07" * 15},
        "no salt": {name: value for name, value in costs.items() if name != "salt"},
    }
    made: list[tuple[str, dict[str, object], str | None]] = [("a passphrase", costs, derived.hex())]
    made += [(note, held, None) for note, held in hostile.items()]
    return [
        {"kind": "passphrase", "note": note, "passphrase": PASSPHRASE.decode(), "held": held, "gives": gives}
        for note, held, gives in made
    ]


def recipients() -> list[dict[str, object]]:
    """key: the recipient's private half; trusted: the public key of the sender whom it trusts."""
    text, context = bytes(range(40)), {**dict.fromkeys(CONTEXT, ""), "type": "backup", "schema": 1, "version": 0}
    other = {**context, "type": "collection"}
    ours, theirs, once, sender = KEY, OTHER, bytes(range(200, 232)), bytes(range(50, 82))
    good = sealed_to(ours, once, sender, text, context)
    twin = sealed_to(ours, once[::-1], sender, text, context)
    forged = sealed_to(ours, once, theirs, text, context)
    trusted = Ed25519PrivateKey.from_private_bytes(sender).public_key().public_bytes_raw().hex()
    places = {
        "magic": 0,
        "suite": 4,
        "fingerprint": 5,
        "ephemeral key": 21,
        "sender": 53,
        "signature": 85,
        "stream's head": 149,
        "first chunk": 237,
        "last tag": len(good) - 1,
    }
    hostile = {
        **{f"{part} flipped": flipped(good, at) for part, at in places.items()},
        "sealed to somebody else": sealed_to(theirs, once, sender, text, context),
        "sealed by somebody else": forged,
        "sealed by somebody else, signed head of the trusted one": good[:149] + forged[149:],
        "sealed by somebody else who says to be the trusted one": good[:85] + forged[85:],
        "head of another file": twin[:149] + good[149:],
        "sealed as something else": sealed_to(ours, once, sender, text, other),
        "an ephemeral key that gives nothing": weak(ours, sender, context) + good[149:],
        "cut within the head": good[:100],
        "cut after the head": good[:149],
        "cut within a chunk": good[:-5],
        "one byte more": good + b"\x00",
        "nothing": b"",
    }
    cases = [case("three chunks", ours, context, good, text)]
    cases += [case("nothing inside", ours, context, sealed_to(ours, once, sender, b"", context), b"")]
    cases += [case(note, ours, context, sealed, None) for note, sealed in hostile.items()]
    return [{**made, "trusted": trusted} for made in cases]


def sealed_to(recipient: bytes, ephemeral: bytes, sender: bytes, text: bytes, context: dict[str, str | int]) -> bytes:
    public = X25519PrivateKey.from_private_bytes(recipient).public_key().public_bytes_raw()
    return seal_to(public, ephemeral, sender, text, context, SALT, PREFIX, 16)


def weak(recipient: bytes, sender: bytes, context: dict[str, str | int]) -> bytes:
    """A well signed head whose ephemeral key is zero, with which every private key has zero in common."""
    signer = Ed25519PrivateKey.from_private_bytes(sender)
    public = X25519PrivateKey.from_private_bytes(recipient).public_key().public_bytes_raw()
    head = b"LKX1\x01" + sha256(b"lookalike recipient key" + public).digest()[:16] + bytes(32)
    head += signer.public_key().public_bytes_raw()
    return head + signer.sign(b"lookalike sealed to a recipient\n" + head + public + context_bytes(context))


def bundles() -> list[dict[str, object]]:
    """manifest None: an implementation must refuse it, for the reason that `refused` says a word of."""
    one, two = b"a network", b"# a card"
    manifest = bundle_manifest({"network.onnx": one, "card.md": two})
    good = bundle(KEY, manifest, two + one)
    other = bundle(KEY, bundle_manifest({"network.onnx": two, "card.md": one}), one + two)
    at = 104 + len(manifest)
    undomained = Ed25519PrivateKey.from_private_bytes(KEY).sign(manifest)
    hostile = {
        "cut within the head": ("no model bundle", good[:50]),
        "cut within the manifest": ("cut short", good[:150]),
        "cut within the last part": ("cut short", good[:-1]),
        "a byte after the last part": ("behind", good + b"x"),
        "signed by a maker who is not trusted": ("trusted", bundle(OTHER, manifest, two + one)),
        "the trusted maker's key over another's signature": (
            "signature",
            bundle(OTHER, manifest, two + one, named=KEY),
        ),
        "signed without the words that stand before": ("signature", good[:40] + undomained + good[104:]),
        "signature of another bundle of the same maker": ("signature", good[:40] + other[40:104] + good[104:]),
        "magic flipped": ("no model bundle", flipped(good, 0)),
        "signature flipped": ("signature", flipped(good, 50)),
        "manifest flipped": ("signature", flipped(good, 120)),
        "first part flipped": ("card.md", flipped(good, at)),
        "last part flipped": ("network.onnx", flipped(good, len(good) - 1)),
        "parts in another order": ("card.md", good[:at] + one + two),
        "parts of another bundle": ("card.md", good[:at] + other[at:]),
        "a manifest longer than allowed": ("cut short", good[:4] + (1 << 31).to_bytes(4, "big") + good[8:]),
        "a manifest of no length": ("signature", good[:4] + bytes(4) + good[8:]),
        "a zip archive": ("zip", b"PK\x03\x04" + bytes(200)),
        "a pickle": ("pickle", b"\x80\x04K\x01." + bytes(200)),
        "nothing": ("no model bundle", b""),
    }
    trusted = Ed25519PrivateKey.from_private_bytes(KEY).public_key().public_bytes_raw().hex()
    whole: dict[str, object] = {"note": "good", "trusted": trusted, "bundle": good.hex(), "manifest": manifest.decode()}
    return [
        whole,
        *({**whole, "note": n, "refused": why, "bundle": b.hex(), "manifest": None} for n, (why, b) in hostile.items()),
    ]


def bundle(key: bytes, manifest: bytes, parts: bytes, named: bytes | None = None) -> bytes:
    """named: the private key whose public half the head names, by default the one that signs."""
    signature = Ed25519PrivateKey.from_private_bytes(key).sign(b"lookalike model bundle\n" + manifest)
    public = Ed25519PrivateKey.from_private_bytes(named or key).public_key().public_bytes_raw()
    return b"LKB1" + len(manifest).to_bytes(4, "big") + public + signature + manifest + parts


def bundle_manifest(parts: dict[str, bytes]) -> bytes:
    """The least that the container looks at."""
    named = {name: {"bytes": len(data), "sha256": sha256(data).hexdigest()} for name, data in parts.items()}
    return json.dumps({"parts": named}, sort_keys=True, separators=(",", ":")).encode()


if __name__ == "__main__":
    main()
