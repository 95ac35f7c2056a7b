"""A long byte string sealed to a recipient's public key and signed by its sender: it needs no secret that both hold.

Layout, lengths in bytes:

    magic "LKX1" 4 | suite 1 | recipient's fingerprint 16 | ephemeral public key 32 | sender's public key 32
    | signature 64 | sealed stream of sealed_stream.py

With R the recipient's public key, H the head before the signature, C the canonical context:

    signature = Ed25519(sender, "lookalike sealed to a recipient\\n" | H | R | C)
    stream's key = HKDF-SHA512(X25519(ephemeral, R), no salt, "lookalike recipient" | H | signature | R)

X25519 is of RFC 7748, Ed25519 of RFC 8032; the ephemeral key serves one file and is kept nowhere, so that the sender
cannot open what it sealed. The signature is checked first; each chunk is then authentic because only the recipient and
whoever made the signed ephemeral key can derive the stream's key. So the file convinces its recipient of its sender,
and nobody else: whoever holds the recipient's private half could have written the chunks.

A file that brings its own trust has none: the key in the head only says which trusted sender to try.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from lookalike.errors import BadSettings, TamperedData, UntrustedSender, WrongRecipient
from security.envelope import SUITE, Context
from security.keys import KeyRing
from security.sealed_stream import open_stream, seal_stream
from security.secret_key import KEY_BYTES, SecretKey

MAGIC = b"LKX1"
PUBLIC_BYTES, SIGNATURE_BYTES, FINGERPRINT_BYTES = 32, 64, 16

_FINGERPRINT_AT = len(MAGIC) + len(SUITE)
_EPHEMERAL_AT = _FINGERPRINT_AT + FINGERPRINT_BYTES
_SENDER_AT = _EPHEMERAL_AT + PUBLIC_BYTES
_SIGNATURE_AT = _SENDER_AT + PUBLIC_BYTES
HEAD_BYTES = _SIGNATURE_AT + SIGNATURE_BYTES

_SIGNED = b"lookalike sealed to a recipient\n"
"""Goes before what is signed, so that no other signature of the key passes for this one."""

_PUBLIC, _PRIVATE = "lookalike-recipient-public-1", "lookalike-recipient-private-1"


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom files can be sealed to. public_key: 32 bytes of X25519."""

    public_key: bytes

    @property
    def fingerprint(self) -> str:
        """32 hex digits that name the key, in the head of a file and in the audit log."""
        return _fingerprint(self.public_key).hex()


class RecipientKey:
    """The private half, which opens what was sealed to the public one. It shows nothing of itself."""

    __slots__ = ("_private", "recipient")

    def __init__(self, material: bytes) -> None:
        """material: 32 bytes that nobody else knows."""
        self._private = X25519PrivateKey.from_private_bytes(material)
        self.recipient = Recipient(self._private.public_key().public_bytes_raw())

    def agree(self, public_key: bytes) -> bytes:
        """What this key and another's public half have in common, 32 bytes. Raises: ValueError for a weak key."""
        return self._private.exchange(X25519PublicKey.from_public_bytes(public_key))

    def __repr__(self) -> str:
        return f"<RecipientKey {self.recipient.fingerprint}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a key is never serialised in the clear")


@dataclass(frozen=True, slots=True, repr=False)
class Sender:
    """Who seals. public_key: 32 bytes; sign: message → 64 bytes of Ed25519."""

    public_key: bytes
    sign: Callable[[bytes], bytes]


def sender_of(keyring: KeyRing) -> Sender:
    """The deployment, by the key that signs its receipts."""
    return Sender(keyring.public_key, keyring.sign)


# --------------------------------------------------------------------------------------------- seal and open


def seal_to(recipient: Recipient, sender: Sender, pieces: Iterable[bytes], context: Context) -> Iterator[bytes]:
    """Head, then the sealed stream of all pieces joined; the pieces may have any sizes.

    context: what is sealed and for whom it is meant, such as Context("", "backup"): it opens under an equal one only.
    Raises: BadSettings for a recipient's key that nobody can have made.
    """
    ephemeral = RecipientKey(SecretKey.generate().material)
    head = _head(recipient, sender, ephemeral.recipient, context)
    try:
        shared = ephemeral.agree(recipient.public_key)
    except ValueError:
        raise BadSettings("the recipient's key is no usable X25519 key") from None
    return itertools.chain([head], seal_stream(_stream_key(shared, head, recipient), pieces, context))


def open_sealed_to(
    key: RecipientKey, source: BinaryIO, context: Context, trusted: Collection[bytes]
) -> Iterator[bytes]:
    """The plaintext chunk by chunk, each authentic; that it was whole is known once the iterator has ended.

    trusted: public keys of senders. Whatever can be told from the head is refused before anything is yielded.
    Raises: TamperedData, WrongRecipient, UntrustedSender.
    """
    head = source.read(HEAD_BYTES)
    sender = _checked_sender(head, key.recipient, context)
    if sender not in trusted:
        raise UntrustedSender(f"the file is sealed by a sender who is not trusted here: {sender.hex()}")
    try:
        shared = key.agree(head[_EPHEMERAL_AT:_SENDER_AT])
    except ValueError:
        raise TamperedData("the sealed file names a key that nobody can have made") from None
    return open_stream(_stream_key(shared, head, key.recipient), source, context)


def sender_in(source: BinaryIO, recipient: Recipient, context: Context) -> bytes:
    """The public key of who signed the head, for somebody to decide whether to trust it; nothing is opened.

    Raises: TamperedData, WrongRecipient.
    """
    return _checked_sender(source.read(HEAD_BYTES), recipient, context)


def _head(recipient: Recipient, sender: Sender, ephemeral: Recipient, context: Context) -> bytes:
    head = MAGIC + SUITE + _fingerprint(recipient.public_key) + ephemeral.public_key + sender.public_key
    return head + sender.sign(_signed(head, recipient, context))


def _checked_sender(head: bytes, recipient: Recipient, context: Context) -> bytes:
    if len(head) < HEAD_BYTES or head[: len(MAGIC)] != MAGIC:
        raise TamperedData("this is no file sealed to a recipient, or it is cut short")
    if head[len(MAGIC) : _FINGERPRINT_AT] != SUITE:
        raise TamperedData("the sealed file names an unknown cipher suite")
    named = head[_FINGERPRINT_AT:_EPHEMERAL_AT].hex()
    if named != recipient.fingerprint:
        raise WrongRecipient(f"the file is sealed to the key {named}, not to {recipient.fingerprint}")
    sender, signature = head[_SENDER_AT:_SIGNATURE_AT], head[_SIGNATURE_AT:]
    try:
        Ed25519PublicKey.from_public_bytes(sender).verify(signature, _signed(head[:_SIGNATURE_AT], recipient, context))
    except (InvalidSignature, ValueError):
        raise TamperedData("the sealed file's signature is wrong: it was changed, or is of another kind") from None
    return sender


def _signed(head: bytes, recipient: Recipient, context: Context) -> bytes:
    return _SIGNED + head + recipient.public_key + context.encode()


def _stream_key(shared: bytes, head: bytes, recipient: Recipient) -> SecretKey:
    info = b"lookalike recipient" + head + recipient.public_key
    return SecretKey(HKDF(SHA512(), KEY_BYTES, None, info).derive(shared))


def _fingerprint(public_key: bytes) -> bytes:
    return hashlib.sha256(b"lookalike recipient key" + public_key).digest()[:FINGERPRINT_BYTES]


# ------------------------------------------------------------------------------------------------- key files


def new_recipient_key(path: Path) -> RecipientKey:
    """A key of its own for whoever receives: PATH for its owner alone, PATH.pub for those who send.

    Raises: BadSettings where either is there already, or cannot be written; then neither is made.
    """
    material = SecretKey.generate().material
    key = RecipientKey(material)
    _write_new(path, f"{_PRIVATE}:{material.hex()}", 0o600)
    try:
        _write_new(path.with_name(path.name + ".pub"), recipient_line(key.recipient), 0o644)
    except BadSettings:
        path.unlink()
        raise
    return key


def recipient_line(recipient: Recipient) -> str:
    """The public half as text. The fingerprint stands behind it, so that a mistyped key is found out before its use."""
    return f"{_PUBLIC}:{recipient.public_key.hex()}:{recipient.fingerprint}"


def recipient_from(line: str) -> Recipient:
    """What `recipient_line` gave. Raises: BadSettings."""
    kind, _, rest = line.strip().partition(":")
    if kind == _PRIVATE:
        raise BadSettings("this is a private key: what is wanted is the file beside it that ends in .pub")
    digits, _, fingerprint = rest.partition(":")
    public_key = _bytes_of(digits)
    if kind != _PUBLIC or public_key is None:
        raise BadSettings(f"this is no recipient's public key: {_PUBLIC}:KEY:FINGERPRINT is wanted")
    recipient = Recipient(public_key)
    if recipient.fingerprint != fingerprint:
        raise BadSettings("the recipient's public key was changed or mistyped: its fingerprint does not fit")
    return recipient


def read_recipient(path: Path) -> Recipient:
    """A file of `recipient_line`. Raises: BadSettings."""
    return recipient_from(_text(path))


def read_recipient_key(path: Path) -> RecipientKey:
    """What `new_recipient_key` wrote. Raises: BadSettings where it cannot be read, or others than its owner may."""
    kind, _, digits = _text(path).strip().partition(":")
    material = _bytes_of(digits)
    if kind != _PRIVATE or material is None:
        raise BadSettings(f"{path} holds no recipient's private key")
    if path.stat().st_mode & 0o077:
        raise BadSettings(f"the key {path} may be read by others: chmod 600 it")
    return RecipientKey(material)


def _bytes_of(digits: str) -> bytes | None:
    """32 bytes, or None for anything but 64 hex digits."""
    try:
        found = bytes.fromhex(digits)
    except ValueError:
        return None
    return found if len(found) == PUBLIC_BYTES else None


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii")
    except OSError as error:
        raise BadSettings(f"the key {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadSettings(f"{path} holds no key of Lookalike") from error


def _write_new(path: Path, text: str, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise BadSettings(f"the key cannot be written to {path}: {error.strerror}") from error
