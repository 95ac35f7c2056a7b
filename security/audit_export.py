"""Audit entries for others: JSON lines with ECS fields, CEF for a SIEM, or sealed as they are for an auditor's archive.

Nobody is named in the clear: a subject is a pseudonym, always the same one for the same person of a collection, made
by the deployment's lookup key; whoever may have names gets them where the operator says so. In JSON and sealed exports
each ten thousand entries, and the last ones, are followed by a signed statement of what they are, by which they are
checked offline (export_check.py) and an interrupted export goes on:

    {"after", "before", "deployment", "epoch", "last", "left_out", "lines", "restores", "root", "sha256", "signature",
     "statement"}

    before, root: the tree's frontier after entry `after`, and its root after entry `last`; sha256: of the lines
    signature = Ed25519(signing key, "lookalike audit export\\n" | the statement without its signature)

Sources: the Elastic Common Schema, https://www.elastic.co/guide/en/ecs/current/; ArcSight's Common Event Format,
version 0.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from lookalike.domain import AuditEntry
from lookalike.errors import TamperedData
from lookalike.ports import AuditRow
from security.audit_tree import entry_leaf
from security.keys import KeyRing
from security.merkle import Frontier
from security.sealed_codec import canonical

STATEMENT = "audit.export.statement"
EXPORT = b"lookalike audit export\n"
"""Goes before a statement when it is signed, so that no other signature of the key passes for a statement's."""

STATED_EVERY = 10_000
_CATEGORIES = {"authenticate": "authentication", "api_key": "iam", "model": "configuration", "audit": "configuration"}
_TYPES = {"create": "creation", "put": "change", "enrol": "creation", "delete": "deletion", "erase": "deletion"}
_SEVERITIES = {"ok": 3, "denied": 6, "unauthenticated": 6}
_PSEUDONYM_BYTES = 16


@dataclass(frozen=True, slots=True)
class Reader:
    """Who gets an export. names: whether subjects are named as the caller named them; version: of this release.

    restores: the lines of the ledger that say what the log descends from.
    """

    keyring: KeyRing
    names: bool = False
    version: str = "-"
    restores: tuple[bytes, ...] = ()

    def subject(self, entry: AuditEntry) -> str | None:
        """How the export calls an entry's subject."""
        if entry.subject is None or self.names:
            return entry.subject
        return pseudonym(self.keyring, entry.collection or "", entry.subject)


Render = Callable[[AuditRow, AuditEntry, Reader], str]


def pseudonym(keyring: KeyRing, collection: str, subject: str) -> str:
    """The same for the same subject of a collection, and nobody can tell whose without the lookup key."""
    parts = (collection.encode("utf-8", "surrogatepass"), subject.encode("utf-8", "surrogatepass"))
    return f"p-{keyring.lookup('audit pseudonym', *parts)[:_PSEUDONYM_BYTES].hex()}"


def as_json(row: AuditRow, entry: AuditEntry, reader: Reader) -> str:
    """One JSON object in ECS fields; what ECS has no field for stands under `lookalike`."""
    kind, _, verb = entry.action.partition(".")
    held: dict[str, object] = {
        "@timestamp": moment(entry.at),
        "ecs": {"version": "8.11.0"},
        "event": {
            "kind": "event",
            "category": [_CATEGORIES.get(kind, "database")],
            "type": [_TYPES.get(verb, "access" if entry.outcome == "ok" else "denied")],
            "provider": "lookalike",
            "dataset": "lookalike.audit",
            "action": entry.action,
            "outcome": "success" if entry.outcome == "ok" else "failure",
            "reason": entry.outcome,
            "sequence": entry.seq,
            "id": f"{reader.keyring.deployment}-{entry.seq}",
            "hash": entry_leaf(row.seq, row.at, row.payload).hex(),
        },
        "service": {"type": "lookalike", "id": reader.keyring.deployment, "version": reader.version},
        "http": {"request": {"id": entry.request_id}},
        "user": {"id": entry.principal},
        "lookalike": {
            "collection": entry.collection,
            "subject": reader.subject(entry),
            "details": dict(entry.details),
        },
    }
    if "peer" in entry.details:
        held["source"] = {"address": entry.details["peer"]}
    return json.dumps(held, separators=(",", ":"))


def as_cef(row: AuditRow, entry: AuditEntry, reader: Reader) -> str:
    """One line of CEF."""
    extension: dict[str, object] = {
        "rt": int(entry.at * 1000),
        "externalId": entry.seq,
        "suser": entry.principal,
        "outcome": "success" if entry.outcome == "ok" else "failure",
        "reason": entry.outcome,
        "cs1Label": "collection",
        "cs1": entry.collection,
        "cs2Label": "subject",
        "cs2": reader.subject(entry),
        "cs3Label": "requestId",
        "cs3": entry.request_id,
        "cs4Label": "leaf",
        "cs4": entry_leaf(row.seq, row.at, row.payload).hex(),
        "cs5Label": "details",
        "cs5": json.dumps(dict(entry.details), separators=(",", ":")) if entry.details else None,
        "deviceExternalId": reader.keyring.deployment,
        "src": entry.details.get("peer"),
    }
    severity = str(_SEVERITIES.get(entry.outcome, 5))
    head = ("CEF:0", "Lookalike", "Lookalike", reader.version, entry.action, entry.action, severity)
    pairs = (f"{name}={_in_extension(str(value))}" for name, value in extension.items() if _is_told(name, extension))
    return "|".join([head[0], *(_in_header(part) for part in head[1:])]) + "|" + " ".join(pairs)


def as_sealed(row: AuditRow, entry: AuditEntry, reader: Reader) -> str:
    """The entry as it is kept: whoever has the audit key can open it, anyone can check it."""
    held = {"seq": row.seq, "at": row.at, "payload": base64.b64encode(row.payload).decode("ascii")}
    return json.dumps(held, separators=(",", ":"))


FORMATS: Mapping[str, Render] = {"json": as_json, "cef": as_cef, "sealed": as_sealed}


def exported(
    rows: Iterable[tuple[AuditRow, AuditEntry]],
    before: Frontier,
    render: Render,
    reader: Reader,
    takes: Callable[[AuditEntry], bool],
) -> Iterator[str]:
    """The lines of an export. rows: from the entry after `before` on; takes: which entries are wanted.

    Raises: TamperedData where entries are missing.
    """
    segment = _Segment(reader, before)
    for row, entry in rows:
        if row.seq != segment.tree.size + 1:
            raise TamperedData(f"entry {segment.tree.size + 1} is missing from the audit log")
        segment.tree.add(entry_leaf(row.seq, row.at, row.payload))
        if takes(entry):
            line = render(row, entry, reader)
            segment.take(line)
            yield line
        if segment.tree.size - segment.before.size == STATED_EVERY and render is not as_cef:
            yield segment.statement()
            segment = _Segment(reader, segment.tree)
    if render is not as_cef and (segment.tree.size > segment.before.size or before.size == segment.tree.size):
        yield segment.statement()


class _Segment:
    """Entries between two statements."""

    def __init__(self, reader: Reader, before: Frontier) -> None:
        self.before, self.tree = before, before.copy()
        self._reader = reader
        self._digest = hashlib.sha256()
        self._lines = 0

    def take(self, line: str) -> None:
        self._digest.update(line.encode() + b"\n")
        self._lines += 1

    def statement(self) -> str:
        keyring = self._reader.keyring
        body: dict[str, object] = {
            "statement": STATEMENT,
            "deployment": keyring.deployment,
            "epoch": keyring.epoch,
            "restores": [line.decode("ascii") for line in self._reader.restores],
            "after": self.before.size,
            "before": self.before.encode().hex(),
            "last": self.tree.size,
            "root": self.tree.root().hex(),
            "lines": self._lines,
            "left_out": self.tree.size - self.before.size - self._lines,
            "sha256": self._digest.hexdigest(),
        }
        return canonical({**body, "signature": keyring.sign(EXPORT + canonical(body)).hex()}).decode("ascii")


def moment(at: float) -> str:
    """A time as ISO 8601 has it, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _is_told(name: str, extension: Mapping[str, object]) -> bool:
    """A label goes with its value, or not at all."""
    return extension[name.removesuffix("Label")] is not None


_HEADER = {ord("\\"): "\\\\", ord("|"): "\\|", ord("\n"): " ", ord("\r"): " "}
_EXTENSION = {ord("\\"): "\\\\", ord("="): "\\=", ord("\n"): "\\n", ord("\r"): "\\r"}


def _in_header(text: str) -> str:
    """Backslashes and pipes are escaped there, and no line ends."""
    return _writable(text.translate(_HEADER))


def _in_extension(text: str) -> str:
    """Backslashes, equal signs and line ends are escaped there, pipes are not."""
    return _writable(text.translate(_EXTENSION))


def _writable(text: str) -> str:
    """Without what would begin another line in some reader, and without half a surrogate pair."""
    kept = "".join(" " if c in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029" or c < " " else c for c in text)
    return kept.encode("utf-8", "replace").decode("utf-8")
