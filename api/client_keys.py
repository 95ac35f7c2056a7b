"""The client's calls about collections' keys: how they stand, and rotating them."""

from __future__ import annotations

from typing import TypedDict, cast

from api.client_calls import Calls, path_of
from api.client_shapes import JobJson


class KeyVersionJson(TypedDict):
    version: int
    made_at: str
    subjects: int


class CollectionKeyJson(TypedDict):
    """minimum: the least version that is accepted; due_since: since when erasures wait for a rotation."""

    collection: str
    versions: list[KeyVersionJson]
    minimum: int
    unfinished: bool
    strays: int
    due_since: str | None


class RootJson(TypedDict):
    """kind: file, passphrase, vault or pkcs11; handed_over_until: until then the root before still leads to it."""

    kind: str
    shown: str
    since: str | None
    id: str
    handed_over_until: str | None


class KeyStatusJson(TypedDict):
    root: RootJson
    items: list[CollectionKeyJson]


class KeyCalls(Calls):
    """A part of the Client."""

    def key_status(self) -> KeyStatusJson:
        """The versions of collections' keys, their ages, whose keys they wrap, and what is due or unfinished."""
        return cast(KeyStatusJson, self._read(path_of("keys")))

    def rotate_keys(self, collection: str | None = None) -> JobJson:
        """Give one collection's key, or all of them, a new version and destroy the old one: a job."""
        of = () if collection is None else ("collections", collection)
        return cast(JobJson, self._write("POST", path_of(*of, "keys", "rotate")))
