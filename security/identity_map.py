"""The operator's map from groups, people and certificates to roles: what a token or a certificate may do here.

    [[grant]]
    group = "faces-gate"             # in the token's groups claim
    role = "identifier"
    collections = ["staff"]          # left out: all collections

    [[grant]]
    certificate = "OU=gates,O=Example"     # all of these stand in the subject; or "dns:gate-3.example.org"
    role = "identifier"
    collections = ["staff"]

Each entry names one of `group`, `subject` (a token's `sub`) and `certificate`. What no entry names gets nothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509

from lookalike.domain import Grant
from lookalike.errors import BadSettings, InvalidInput
from security.rbac import check_grants

MAX_ENTRIES = 10_000
_WHOM = ("group", "subject", "certificate")
_ALTERNATIVES = ("dns", "email", "uri")
_EXAMPLE = 'such as "OU=gates,O=Example", "dns:gate-3.example.org", "email:…" or "uri:…"'

Attributes = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class CertificateNames:
    """What a certificate says of whom it is for. attributes: of its subject, (dotted OID, value).

    alternatives: as they stand in the map, `dns:gate-3.example.org`.
    """

    attributes: Attributes
    alternatives: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Entry:
    """whom: one of _WHOM; attributes: of a certificate's subject, where it is not an alternative name."""

    whom: str
    name: str
    attributes: Attributes
    grants: tuple[Grant, ...]


class IdentityMap:
    """Who gets which grants. Immutable."""

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self._entries = tuple(entries)

    def of_token(self, subject: str, groups: Iterable[str]) -> tuple[Grant, ...]:
        """What a person may who is in these groups; nothing where none of them is named."""
        mine = {("subject", subject), *(("group", group) for group in groups)}
        return _joined(entry for entry in self._entries if (entry.whom, entry.name) in mine)

    def of_certificate(self, names: CertificateNames) -> tuple[Grant, ...]:
        """What the holder of a certificate may; nothing where no entry fits it."""
        return _joined(e for e in self._entries if e.whom == "certificate" and _fits(e, names))

    @property
    def entries(self) -> int:
        return len(self._entries)


def read_map(text: bytes) -> IdentityMap:
    """Raises: BadSettings that says which entry is wrong, and what is allowed."""
    try:
        held = tomllib.loads(text.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise BadSettings(f"it is not TOML: {error}") from error
    listed = held.get("grant", [])
    if set(held) - {"grant"} or not isinstance(listed, list) or len(listed) > MAX_ENTRIES:
        raise BadSettings("entries that begin with [[grant]] are allowed, and nothing else")
    return IdentityMap([_entry(number, each) for number, each in enumerate(listed, 1)])


def _entry(number: int, held: Any) -> _Entry:
    where = f"entry {number}"
    if not isinstance(held, dict) or set(held) - {*_WHOM, "role", "collections"}:
        raise BadSettings(f"{where}: allowed are {', '.join(_WHOM)}, role and collections")
    named = [whom for whom in _WHOM if whom in held]
    if len(named) != 1 or not isinstance(held[named[0]], str) or not held[named[0]].strip():
        raise BadSettings(f"{where}: exactly one of {', '.join(_WHOM)} is needed, as a text")
    whom, name = named[0], held[named[0]]
    attributes: Attributes = frozenset()
    if whom == "certificate" and name.partition(":")[0] not in _ALTERNATIVES:
        attributes = _attributes(where, name)
    elif whom == "certificate":
        name = _lowered(name)
    return _Entry(whom, name, attributes, _grants(where, held))


def _grants(where: str, held: dict[str, Any]) -> tuple[Grant, ...]:
    role, collections = held.get("role"), held.get("collections")
    if not isinstance(role, str):
        raise BadSettings(f"{where}: role: a text is needed")
    if collections is not None and not (
        isinstance(collections, list) and collections and all(isinstance(each, str) for each in collections)
    ):
        raise BadSettings(f"{where}: collections: a list of names is allowed; left out, it means all of them")
    grants = tuple(Grant(role, name) for name in collections) if collections is not None else (Grant(role),)
    try:
        check_grants(grants)
    except InvalidInput as error:
        raise BadSettings(f"{where}: {error}") from error
    return grants


def _attributes(where: str, name: str) -> Attributes:
    try:
        found = names_of(x509.Name.from_rfc4514_string(name))
    except ValueError:
        found = frozenset()
    if not found:
        raise BadSettings(f"{where}: certificate: attributes of the subject are allowed, {_EXAMPLE}")
    return found


def names_of(name: x509.Name) -> Attributes:
    """The attributes of a distinguished name."""
    return frozenset((each.oid.dotted_string, str(each.value)) for each in name)


def _lowered(alternative: str) -> str:
    """Host names and mail addresses are the same in any case."""
    kind, _, value = alternative.partition(":")
    return f"{kind}:{value if kind == 'uri' else value.lower()}"


def _fits(entry: _Entry, names: CertificateNames) -> bool:
    if entry.attributes:
        return entry.attributes <= names.attributes
    return entry.name in names.alternatives


def _joined(entries: Iterable[_Entry]) -> tuple[Grant, ...]:
    return tuple(dict.fromkeys(grant for entry in entries for grant in entry.grants))
