"""What the calls about keys answer."""

from __future__ import annotations

from pydantic import BaseModel

from api.schemas import moment
from security.rotation import CollectionKeyStatus, KeyStatus


class KeyVersionOut(BaseModel):
    """subjects: whose keys this version wraps."""

    version: int
    made_at: str
    subjects: int


class CollectionKeyOut(BaseModel):
    """minimum: the least version that is accepted; unfinished: a rotation began and has not ended.

    strays: subjects whose keys no version opens; due_since: since when erasures wait for the old key to be destroyed.
    """

    collection: str
    versions: list[KeyVersionOut]
    minimum: int
    unfinished: bool
    strays: int
    due_since: str | None

    @classmethod
    def of(cls, found: CollectionKeyStatus) -> CollectionKeyOut:
        return cls(
            collection=found.collection,
            versions=[
                KeyVersionOut(version=each.version, made_at=moment(each.made_at), subjects=each.subjects)
                for each in found.versions
            ],
            minimum=found.minimum,
            unfinished=found.unfinished,
            strays=found.strays,
            due_since=None if found.due_since is None else moment(found.due_since),
        )


class RootOut(BaseModel):
    """kind: file, passphrase, vault or pkcs11; shown: where it comes from; since: null where it was never moved before
    this was kept. id: 16 hex digits that name it; handed_over_until: until then the root before still leads to it.
    """

    kind: str
    shown: str
    since: str | None
    id: str
    handed_over_until: str | None


class KeyStatusOut(BaseModel):
    root: RootOut
    items: list[CollectionKeyOut]

    @classmethod
    def of(cls, found: KeyStatus) -> KeyStatusOut:
        until = found.handed_over_until
        return cls(
            root=RootOut(
                kind=found.root.kind,
                shown=found.root.shown,
                since=None if found.root.since is None else moment(found.root.since),
                id=found.root_id,
                handed_over_until=None if until is None else moment(until),
            ),
            items=[CollectionKeyOut.of(each) for each in found.collections],
        )
