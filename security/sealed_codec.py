"""The plaintexts inside sealed records: domain values to bytes and back, each layout with its version.

A sample is its vector first (float32, little-endian), so that it can be read in place, then JSON; the others are JSON
with sorted keys. What the row beside it says in the clear (random ids, times) is not repeated inside, but bound as
context.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from lookalike.domain import (
    FIRST_GENERATION,
    AuditEntry,
    Box,
    Collection,
    Consent,
    Floats,
    Generation,
    GenerationState,
    Grant,
    Keep,
    Kind,
    NewSample,
    Quality,
    Sample,
    Space,
    Subject,
    Trial,
    TrialMode,
)

_LENGTH_BYTES = 4
_RULES = ("require_consent", "erase_expired_consent")
"""Fields of a collection that its row names where they are on."""

_scan = json.JSONDecoder().raw_decode
"""Quicker than json.loads, and strict enough: what is decoded here was sealed by us and has just been verified."""


def canonical(value: Mapping[str, object]) -> bytes:
    """JSON with sorted keys, no spaces and ASCII only: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def encode_collection(collection: Collection) -> bytes:
    """What a collection's row seals: all of it but its id and creation time."""
    held: dict[str, object] = {
        "name": collection.name,
        "kind": collection.kind.value,
        "space": _encode_space(collection.space),
        "keep": collection.keep.value,
        "target_fpir": collection.target_fpir,
        "retention_days": collection.retention_days,
    }
    if collection.generation != FIRST_GENERATION:
        held["generation"] = collection.generation
    if collection.index:
        held["index"] = collection.index
    if collection.others:
        held["others"] = [_encode_generation(other) for other in collection.others]
    if collection.first_space is not None:
        held["first_space"] = _encode_space(collection.first_space)
    if collection.past:
        held["past"] = [_encode_space(space) for space in collection.past]
    if collection.keep_unknown_days is not None:
        held["keep_unknown_days"] = collection.keep_unknown_days
    if collection.four_eyes_days is not None:
        held["four_eyes_days"] = collection.four_eyes_days
    for rule in _RULES:
        if getattr(collection, rule):
            held[rule] = True
    if (trial := collection.trial) is not None:
        held["trial"] = [trial.generation, trial.mode.value, trial.share, trial.worse]
    return canonical(held)


def decode_collection(id: str, created_at: float, data: bytes) -> Collection:
    """The collection; id and creation time come from its row."""
    held = _scan(data.decode("ascii"))[0]
    first, trial = held.get("first_space"), held.get("trial")
    return Collection(
        id=id,
        name=held["name"],
        kind=Kind(held["kind"]),
        space=Space(*held["space"]),
        keep=Keep(held["keep"]),
        target_fpir=held["target_fpir"],
        retention_days=held["retention_days"],
        created_at=created_at,
        generation=held.get("generation", FIRST_GENERATION),
        index=held.get("index", ""),
        others=tuple(_decode_generation(other) for other in held.get("others", ())),
        first_space=Space(*first) if first is not None else None,
        past=tuple(Space(*space) for space in held.get("past", ())),
        trial=Trial(trial[0], TrialMode(trial[1]), trial[2], trial[3]) if trial is not None else None,
        keep_unknown_days=held.get("keep_unknown_days"),
        four_eyes_days=held.get("four_eyes_days"),
        **{rule: held.get(rule, False) for rule in _RULES},
    )


def _encode_space(space: Space) -> list[str | int]:
    return [space.model, space.dimension, space.preprocessing]


def _encode_generation(generation: Generation) -> dict[str, object]:
    return {
        "id": generation.id,
        "space": _encode_space(generation.space),
        "index": generation.index,
        "state": generation.state.value,
        "created_at": generation.created_at,
        "until": generation.until,
    }


def _decode_generation(held: Any) -> Generation:
    return Generation(
        held["id"],
        Space(*held["space"]),
        held["index"],
        GenerationState(held["state"]),
        held["created_at"],
        held["until"],
    )


def encode_subject(subject: Subject) -> bytes:
    """What a subject's row seals: the caller's id, metadata, consent, validity, creation time."""
    held: dict[str, object] = {"id": subject.id, "metadata": dict(subject.metadata), "created_at": subject.created_at}
    if subject.consent is not None:
        consent = subject.consent
        withdrawn = [] if consent.withdrawn_at is None else [consent.withdrawn_at]
        held["consent"] = [consent.basis, consent.reference, consent.expires_at, *withdrawn]
    if subject.valid_from is not None:
        held["valid_from"] = subject.valid_from
    if subject.valid_until is not None:
        held["valid_until"] = subject.valid_until
    if subject.renewed_at:
        held["renewed_at"] = subject.renewed_at
    return canonical(held)


def decode_subject(key: str, updated_at: float, data: bytes) -> Subject:
    """The subject; its key and last change come from its row."""
    held = _scan(data.decode("ascii"))[0]
    consent = held.get("consent")
    return Subject(
        key,
        held["id"],
        held["metadata"],
        Consent(*consent) if consent is not None else None,
        held.get("valid_from"),
        held.get("valid_until"),
        held["created_at"],
        updated_at,
        held.get("renewed_at", 0.0),
    )


def encode_sample(sample: NewSample | Sample, template: Floats | None = None) -> bytes:
    """Length of the vector in bytes (4, little-endian), the vector, then box and quality as JSON.

    template: the vector to put there instead of the sample's own.
    """
    vector = np.ascontiguousarray(sample.vector if template is None else template, dtype="<f4").tobytes()
    box, quality = sample.box, sample.quality
    held: dict[str, object] = {
        "box": [float(side) for side in (box.x, box.y, box.width, box.height)],
        "score": float(quality.score),
        "reasons": list(quality.reasons),
        "measures": {name: float(value) for name, value in quality.measures.items()},
    }
    if sample.carried:
        held["carried"] = True
    return len(vector).to_bytes(_LENGTH_BYTES, "little") + vector + canonical(held)


def decode_sample(id: str, number: int, subject_key: str, created_at: float, data: bytes) -> Sample:
    """The sample; its vector is a read-only view of `data`."""
    end = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    facts = _scan(data[end:].decode("ascii"))[0]
    vector: Floats = np.frombuffer(data, dtype="<f4", count=(end - _LENGTH_BYTES) // 4, offset=_LENGTH_BYTES)
    return Sample(
        id,
        number,
        subject_key,
        Box(*facts["box"]),
        Quality(facts["score"], tuple(facts["reasons"]), facts["measures"]),
        vector,
        created_at,
        facts.get("carried", False),
    )


def encode_entry(entry: AuditEntry) -> bytes:
    """What an audit row seals: all of the entry but seq and time."""
    return canonical(
        {
            "action": entry.action,
            "principal": entry.principal,
            "outcome": entry.outcome,
            "request_id": entry.request_id,
            "collection": entry.collection,
            "subject": entry.subject,
            "details": dict(entry.details),
        }
    )


def decode_entry(seq: int, at: float, data: bytes) -> AuditEntry:
    """The entry; seq and time come from its row."""
    held = _scan(data.decode("ascii"))[0]
    return AuditEntry(
        action=held["action"],
        principal=held["principal"],
        outcome=held["outcome"],
        request_id=held["request_id"],
        collection=held["collection"],
        subject=held["subject"],
        details=held["details"],
        seq=seq,
        at=at,
    )


def encode_grants(grants: tuple[Grant, ...]) -> list[list[str | None]]:
    """Pairs of role and collection, for JSON."""
    return [[grant.role, grant.collection] for grant in grants]


def decode_grants(held: list[Any]) -> tuple[Grant, ...]:
    """Grants from pairs of role and collection."""
    return tuple(Grant(role, collection) for role, collection in held)
