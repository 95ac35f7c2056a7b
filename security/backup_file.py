"""A backup in one file: a statement that anyone can read, records sealed to an offline key, and a signature over all.

Layout, lengths in bytes:

    magic "LKBK" 4 | format 1 | length of the statement 4, big-endian | statement | sealed to a recipient, recipient.py
    | magic "LKBE" 4 | length of all before this trailer 8 | signature 64

    signature = Ed25519(the deployment's signing key, "lookalike backup\\n" | SHA-512 of all before the trailer)

The statement is canonical JSON: which deployment this is of, when it was made, where its audit log and its erasure
ledger ended then, and to whom it is sealed. What is sealed is bound to the statement's hash. So without a key it can be
told whether a file is whole and who made it; with it, each chunk's own tag is checked too. A file that brings its own
trust has none: whether the signer is the right one is for the reader to say.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lookalike.errors import BadBackup, DataTooNew, StorageUnavailable, TamperedData
from security.envelope import Context
from security.recipient import Recipient, RecipientKey, Sender, open_sealed_to, seal_to
from security.sealed_codec import canonical

FORMAT = 1
MAGIC, END_MAGIC = b"LKBK", b"LKBE"
MAX_STATEMENT_BYTES = 1 << 16
SIGNATURE_BYTES = 64
TRAILER_BYTES = len(END_MAGIC) + 8 + SIGNATURE_BYTES

_STATEMENT_AT = len(MAGIC) + 1 + 4
_BACKUP = b"lookalike backup\n"
"""Goes before what is signed, so that no other signature of the key passes for a backup's."""

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Statement:
    """What a backup says of itself in the clear. public_key: of the signer; recipient: the offline key's fingerprint.

    audit_seq, audit_chain, ledger_number, ledger_head: where the audit log and the erasure ledger ended, hex.
    root_key: whether the root key is inside; created_at: seconds since 1970; made_by: the release.
    """

    id: str
    deployment: str
    epoch: str
    public_key: str
    recipient: str
    created_at: float
    made_by: str
    root_key: bool
    audit_seq: int
    audit_chain: str
    ledger_number: int
    ledger_head: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A file whose signature is right. digest: SHA-512 of what was signed; sealed_at: where its sealed part begins."""

    statement: Statement
    digest: bytes
    bytes: int
    sealed_at: int


Told = Callable[[int, int], None]
"""Is told how many bytes are done, of how many."""


def write_backup(
    statement: Statement, recipient: Recipient, sender: Sender, pieces: Iterable[bytes]
) -> Iterator[bytes]:
    """The bytes of a backup whose sealed part is the pieces."""
    text = canonical(asdict(statement))
    digest, length = hashlib.sha512(), 0
    head = MAGIC + bytes([FORMAT]) + len(text).to_bytes(4, "big") + text
    sealed = seal_to(recipient, sender, pieces, _context(statement, text))
    for piece in itertools.chain([head], sealed):
        digest.update(piece)
        length += len(piece)
        yield piece
    yield END_MAGIC + length.to_bytes(8, "big") + sender.sign(_BACKUP + digest.digest())


def check_backup(path: Path, told: Told = lambda done, total: None) -> Checked:
    """Read the whole file and check its lengths and signature, by the key that it names itself.

    Raises: BadBackup for a file that is none or is cut short; DataTooNew; TamperedData; StorageUnavailable.
    """
    with _opened(path) as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        statement, _, sealed_at = _read_head(file)
        if size < sealed_at + TRAILER_BYTES:
            raise BadBackup("the backup is cut short")
        file.seek(size - TRAILER_BYTES)
        trailer = file.read(TRAILER_BYTES)
        length = int.from_bytes(trailer[len(END_MAGIC) : -SIGNATURE_BYTES], "big")
        if trailer[: len(END_MAGIC)] != END_MAGIC or length != size - TRAILER_BYTES:
            raise BadBackup("the backup is cut short, or something was added to it")
        file.seek(0)
        digest, left = hashlib.sha512(), length
        while left:
            piece = file.read(min(left, _READ_BYTES))
            if not piece:
                raise BadBackup("the backup became shorter while it was read")
            digest.update(piece)
            left -= len(piece)
            told(length - left, length)
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(statement.public_key))
        key.verify(trailer[-SIGNATURE_BYTES:], _BACKUP + digest.digest())
    except (InvalidSignature, ValueError):
        raise TamperedData("the backup's signature is wrong: it was changed, or is put together from parts") from None
    return Checked(statement, digest.digest(), size, sealed_at)


def open_backup(
    path: Path, checked: Checked, key: RecipientKey, told: Told = lambda done, total: None
) -> Iterator[bytes]:
    """The plaintext of a file that was checked; it is the one that was checked only once the iterator has ended.

    Raises: TamperedData, WrongRecipient, BadBackup if the file was exchanged meanwhile.
    """
    with _opened(path) as file:
        digest = hashlib.sha512()
        text = _read_head(file)[1]
        file.seek(0)
        digest.update(file.read(checked.sealed_at))
        signed = checked.bytes - TRAILER_BYTES
        source = _Bounded(file, signed - checked.sealed_at, digest.update)
        context, stream = _context(checked.statement, text), cast("BinaryIO", source)
        # The signature over the whole file is by this key, so it is the sender whom the head may name.
        trusted = [bytes.fromhex(checked.statement.public_key)]
        for chunk in open_sealed_to(key, stream, context, trusted):
            told(signed - source.left, signed)
            yield chunk
        if source.left or digest.digest() != checked.digest:
            raise BadBackup("the backup was exchanged while it was read")


def _read_head(file: BinaryIO) -> tuple[Statement, bytes, int]:
    """The statement, its bytes, and where the sealed part begins."""
    head = file.read(_STATEMENT_AT)
    if head[: len(MAGIC)] != MAGIC[: len(head)] or not head:
        raise BadBackup("this is no backup of Lookalike")
    if len(head) < _STATEMENT_AT:
        raise BadBackup("the backup is cut short")
    if head[len(MAGIC)] > FORMAT:
        raise DataTooNew(f"the backup has format {head[len(MAGIC)]}, this release knows up to {FORMAT}")
    length = int.from_bytes(head[-4:], "big")
    text = file.read(length) if length <= MAX_STATEMENT_BYTES else b""
    if len(text) != length or head[len(MAGIC)] != FORMAT:
        raise BadBackup("the backup is cut short, or its head is damaged")
    return _statement(text), text, _STATEMENT_AT + length


def _statement(text: bytes) -> Statement:
    try:
        held = json.loads(text)
        statement = Statement(**held)
        types = {name: type(value) for name, value in asdict(statement).items()}
    except (ValueError, TypeError, RecursionError) as error:
        raise BadBackup("the backup's statement is damaged") from error
    kinds = {"created_at": float, "root_key": bool, "audit_seq": int, "ledger_number": int}
    if any(found is not kinds.get(name, str) for name, found in types.items()):
        raise BadBackup("the backup's statement is damaged")
    return statement


def _context(statement: Statement, text: bytes) -> Context:
    return Context(statement.deployment, "backup", record=hashlib.sha256(text).hexdigest(), schema=FORMAT)


class _Bounded(io.RawIOBase):
    """The next bytes of a file and no more; `seen` is told each piece that was read."""

    def __init__(self, file: BinaryIO, left: int, seen: Callable[[bytes], None]) -> None:
        self.left = left
        self._file = file
        self._seen = seen

    def read(self, size: int = -1) -> bytes:
        piece = self._file.read(self.left if size < 0 else min(size, self.left))
        self.left -= len(piece)
        self._seen(piece)
        return piece


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise StorageUnavailable(f"the backup cannot be read: {error.strerror}") from error
