"""A whole collection in one file: sealed to its recipient, signed by the deployment that it comes from.

The file is of recipient.py, with the context type "collection". Inside are entries, one after another:

    kind 1 | length of the JSON 4 | length of the data 4 | JSON | data

    C  first: what the collection is       S  a subject, before its samples
    P  a sample; its data are its vectors (float32, little-endian), crop and image, with their lengths in the JSON
    E  last: how many there were, SHA-256 of all entries before, and the deployment's signature over
       "lookalike collection export\\n" | that hash: proof for third parties too, which the sealing alone is not

Lengths are big-endian. `verify` reads a whole file without using anything of it; only then may `entries` be taken in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection as Container
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lookalike.domain import Box, Consent, Keep, Kind, Quality, Space, Subject
from lookalike.errors import InvalidInput, TamperedData
from lookalike.exports import Entry, ExportedSample, ExportHead, checked
from security.envelope import Context
from security.recipient import Recipient, RecipientKey, Sender, open_sealed_to, seal_to, sender_in
from security.sealed_codec import canonical

CONTEXT = Context("", "collection")
FORMAT = 1
MAX_JSON_BYTES, MAX_DATA_BYTES = 1 << 20, 1 << 28

_SIGNED = b"lookalike collection export\n"
"""Goes before what is signed, so that no other signature of the key passes for this one."""

_HEAD_BYTES = 9


_RULES = ("require_consent", "erase_expired_consent")
"""Fields of the head that stand in it where they are on."""


def seal_export(head: ExportHead, entries: Iterable[Entry], recipient: Recipient, sender: Sender) -> Iterator[bytes]:
    """The file, piece by piece. Raises: BadSettings for a recipient's key that nobody can have made."""
    return seal_to(recipient, sender, _written(head, entries, sender), CONTEXT)


def verify(file: BinaryIO, key: RecipientKey, trusted: Container[bytes]) -> ExportHead:
    """Read a file to its end and check all of it; nothing of it is used. Returns what it holds.

    Raises: TamperedData, WrongRecipient, UntrustedSender.
    """
    head: ExportHead | None = None
    for found in _read(file, key, trusted):
        if isinstance(found, ExportHead):
            head = found
    if head is None:
        raise TamperedData("the export is empty")
    return head


def entries(file: BinaryIO, key: RecipientKey, trusted: Container[bytes]) -> Iterator[Entry]:
    """The entries of a file that was verified. Raises: TamperedData where it is not any more what it was."""
    for found in _read(file, key, trusted):
        if not isinstance(found, ExportHead):
            yield found


def sender_of_export(file: BinaryIO, recipient: Recipient) -> bytes:
    """The public key of the deployment that signed the head. Raises: TamperedData, WrongRecipient."""
    return sender_in(file, recipient, CONTEXT)


# -------------------------------------------------------------------------------------------------- writing


def _written(head: ExportHead, entries: Iterable[Entry], sender: Sender) -> Iterator[bytes]:
    digest, subjects, samples = hashlib.sha256(), 0, 0
    first = _frame(b"C", _head_json(head))
    digest.update(first)
    yield first
    for entry in entries:
        if isinstance(entry, Subject):
            piece, subjects = _frame(b"S", _subject_json(entry)), subjects + 1
        else:
            piece, samples = _sample_frame(entry), samples + 1
        digest.update(piece)
        yield piece
    found = digest.digest()
    signature = sender.sign(_SIGNED + found)
    counts = {"subjects": subjects, "samples": samples}
    yield _frame(b"E", {**counts, "sha256": found.hex(), "signature": signature.hex()})


def _frame(kind: bytes, held: dict[str, object], data: bytes = b"") -> bytes:
    text = canonical(held)
    return kind + len(text).to_bytes(4, "big") + len(data).to_bytes(4, "big") + text + data


def _head_json(head: ExportHead) -> dict[str, object]:
    return {
        "format": FORMAT,
        "id": head.id,
        "origin": head.origin,
        "at": head.at,
        "name": head.name,
        "kind": head.kind.value,
        "keep": head.keep.value,
        "target_fpir": head.target_fpir,
        "retention_days": head.retention_days,
        "spaces": [[space.model, space.dimension, space.preprocessing] for space in head.spaces],
        "calibration": head.calibration,
        "subjects": head.subjects,
        "samples": head.samples,
        **{rule: True for rule in _RULES if getattr(head, rule)},
        **({} if head.four_eyes_days is None else {"four_eyes_days": head.four_eyes_days}),
    }


def _subject_json(subject: Subject) -> dict[str, object]:
    return {
        "id": subject.id,
        "metadata": dict(subject.metadata),
        "consent": None if subject.consent is None else _consent_json(subject.consent),
        "valid_from": subject.valid_from,
        "valid_until": subject.valid_until,
        "created_at": subject.created_at,
        "updated_at": subject.updated_at,
        **({"renewed_at": subject.renewed_at} if subject.renewed_at else {}),
    }


def _consent_json(consent: Consent) -> list[str | None]:
    withdrawn = [] if consent.withdrawn_at is None else [consent.withdrawn_at]
    return [consent.basis, consent.reference, consent.expires_at, *withdrawn]


def _sample_frame(sample: ExportedSample) -> bytes:
    vectors = {place: np.ascontiguousarray(v, dtype="<f4").tobytes() for place, v in sorted(sample.vectors.items())}
    box, quality, crop, image = sample.box, sample.quality, sample.crop or b"", sample.image or b""
    held: dict[str, object] = {
        "id": sample.id,
        "box": [float(side) for side in (box.x, box.y, box.width, box.height)],
        "score": float(quality.score),
        "reasons": list(quality.reasons),
        "measures": {name: float(value) for name, value in quality.measures.items()},
        "created_at": sample.created_at,
        "vectors": [[place, len(data)] for place, data in vectors.items()],
        "crop": len(crop),
        "image": len(image),
    }
    if sample.carried:
        held["carried"] = sorted(sample.carried)
    return _frame(b"P", held, b"".join((*vectors.values(), crop, image)))


# -------------------------------------------------------------------------------------------------- reading


def _read(file: BinaryIO, key: RecipientKey, trusted: Container[bytes]) -> Iterator[ExportHead | Entry]:
    """All that the file holds, each authentic; that it was whole and signed is known once the iterator has ended."""
    file.seek(0)
    sender = sender_of_export(file, key.recipient)
    file.seek(0)
    source = _Pieces(open_sealed_to(key, file, CONTEXT, trusted))
    digest, counts, head = hashlib.sha256(), [0, 0], None
    while True:
        kind, held, data, raw = source.frame()
        try:
            if (kind == b"C") == (head is not None):
                raise TamperedData("the export does not begin with what it is")
            if kind == b"E":
                _require_end(held, digest.digest(), counts, sender, source)
                return
            digest.update(raw)
            if kind == b"C":
                head = _head(held)
                yield head
            elif kind in (b"S", b"P") and head is not None:
                counts[kind == b"P"] += 1
                yield checked(_subject(held) if kind == b"S" else _sample(held, data), head.spaces)
            else:
                raise TamperedData("the export holds something that this version does not know")
        except (KeyError, TypeError, ValueError, InvalidInput) as error:
            raise TamperedData("the export holds a value that no deployment would have written") from error


def _require_end(held: Any, digest: bytes, counts: list[int], sender: bytes, source: _Pieces) -> None:
    if held["sha256"] != digest.hex() or [held["subjects"], held["samples"]] != counts or source.more():
        raise TamperedData("the export is not whole")
    try:
        Ed25519PublicKey.from_public_bytes(sender).verify(bytes.fromhex(held["signature"]), _SIGNED + digest)
    except InvalidSignature:
        raise TamperedData("the export's own signature is wrong") from None


def _head(held: Any) -> ExportHead:
    if held["format"] != FORMAT:
        raise TamperedData("the export is of a newer format than this version reads")
    return ExportHead(
        str(held["id"]),
        str(held["origin"]),
        float(held["at"]),
        str(held["name"]),
        Kind(held["kind"]),
        Keep(held["keep"]),
        float(held["target_fpir"]),
        held["retention_days"],
        tuple(Space(str(model), int(dimension), str(prepared)) for model, dimension, prepared in held["spaces"]),
        held["calibration"],
        int(held["subjects"]),
        int(held["samples"]),
        **{rule: bool(held.get(rule)) for rule in _RULES},
        four_eyes_days=held.get("four_eyes_days"),
    )


def _subject(held: Any) -> Subject:
    consent = held["consent"]
    return Subject(
        "",
        held["id"],
        held["metadata"],
        Consent(*consent) if consent is not None else None,
        held["valid_from"],
        held["valid_until"],
        float(held["created_at"]),
        float(held["updated_at"]),
        float(held.get("renewed_at", 0.0)),
    )


def _sample(held: Any, data: bytes) -> ExportedSample:
    at, vectors = 0, {}
    for place, size in held["vectors"]:
        vectors[place] = np.frombuffer(data, dtype="<f4", count=size // 4, offset=at)
        at += size
    crop = data[at : at + held["crop"]] or None
    image = data[at + held["crop"] :] or None
    if len(image or b"") != held["image"] or len(crop or b"") != held["crop"]:
        raise TamperedData("the export holds a value that no deployment would have written")
    quality = Quality(held["score"], tuple(held["reasons"]), held["measures"])
    carried = frozenset(held.get("carried", ()))
    return ExportedSample(
        held["id"], Box(*held["box"]), quality, float(held["created_at"]), vectors, crop, image, carried
    )


class _Pieces:
    """Entries out of a stream of chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = bytearray()

    def frame(self) -> tuple[bytes, Any, bytes, bytes]:
        """Kind, JSON, data, and the bytes of them all. Raises: TamperedData."""
        head = self._take(_HEAD_BYTES)
        text_size, data_size = int.from_bytes(head[1:5], "big"), int.from_bytes(head[5:9], "big")
        if text_size > MAX_JSON_BYTES or data_size > MAX_DATA_BYTES:
            raise TamperedData("the export holds an entry of an impossible length")
        body = self._take(text_size + data_size)
        try:
            held = json.loads(body[:text_size])
        except (ValueError, RecursionError):
            raise TamperedData("the export holds an entry that is not JSON") from None
        return head[:1], held, body[text_size:], head + body

    def more(self) -> bool:
        """Whether anything is left; the stream is read to its end."""
        return bool(self._held) or any(self._chunks)

    def _take(self, size: int) -> bytes:
        while len(self._held) < size:
            try:
                self._held += next(self._chunks)
            except StopIteration:
                raise TamperedData("the export is not whole") from None
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken
