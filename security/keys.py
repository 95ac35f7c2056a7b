"""The tree of keys: the root wraps the deployment's keys and each collection's, a collection's wraps its subjects'.

    root
    ├ collection key, versioned              in the collection's row
    │  ├ subject key                         in the subject's row; gone with it, nothing of the subject opens again
    │  └ segment key                         at the head of each snapshot
    ├ audit, model and lookup keys           in the settings, made at the first start in one transaction
    └ signing key, Ed25519                   receipts and checkpoints; its public half stands beside it in the clear

What the root wraps are envelopes, what a collection's key wraps is of key_wrap.py; each is bound to a context that
says which key it is, so that none can stand in another's place. Keys in memory are of SecretKey and show nothing of
themselves.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lookalike.errors import CollectionNotFound, Conflict, KeyMoved, KeyUnavailable, RestoreUnfinished, TamperedData
from lookalike.ports import CollectionRow, Rows, RowWriter, SubjectRow
from security.collection_keys import (
    CollectionKeys,
    KeyHistory,
    Version,
    decode_versions,
    encode_versions,
    history_setting,
    keys_of,
)
from security.envelope import Context, key_id_of, open_sealed, seal
from security.key_wrap import wrapping_key_id
from security.root import DEPLOYMENT_SETTING, PROBE_SETTING, KeyReader, KeyStore, Root
from security.root_key import LOST, root_facts, root_key
from security.root_places import RootAccess
from security.secret_key import SecretKey

T = TypeVar("T")

PUBLIC_KEY_SETTING = "signing.public"
RESTORING_SETTING = "restore.unfinished"
"""Stands among the rows while a backup is written into them."""

EPOCH_SETTING = "epoch"
"""A random id that each restore gives anew, so that two copies of one deployment are told apart; unset at first."""

_ATTEMPTS = 32
KEY_NAMES = ("audit", "lookup", "model", "signing")


def open_key_ring(
    spec: str, folder: Path, rows: Rows, *, access: RootAccess | None = None, restoring: bool = False
) -> KeyRing:
    """The key ring of a data folder, made at its first start. spec: LOOKALIKE_KEYS; folder: the data folder.

    access: by what the root is reached; restoring: for the restore itself, whose rows are opened by nobody else before
    they are whole.
    Raises: BadSettings; KeyUnavailable if the root key is missing, unsafe, or not the one of this folder;
    RestoreUnfinished.
    """
    reader = rows.read()
    if not restoring and reader.get_setting(RESTORING_SETTING) is not None:
        raise RestoreUnfinished("a restore into these records goes on or was interrupted: run it again")
    fresh = reader.get_setting(DEPLOYMENT_SETTING) is None
    return KeyRing(rows, root_key(spec, folder, rows, fresh=fresh, access=access or RootAccess()))


class KeyRing:
    """Unwraps and makes keys, and computes what needs one of them. Thread-safe."""

    def __init__(self, rows: KeyStore, root: SecretKey) -> None:
        """Raises: KeyUnavailable if `root` is not the key that this data folder was made with."""
        self._rows = rows
        self.root = Root(rows, root)
        self.deployment = _settle(rows, root)
        reader = rows.read()
        self.epoch = (reader.get_setting(EPOCH_SETTING) or b"").decode("ascii")
        keys = {name: self._open_setting(name, reader.get_setting(f"key.{name}")) for name in KEY_NAMES}
        self.audit_key = keys["audit"]
        self.model_key = keys["model"]
        self._lookup_key = keys["lookup"]
        self._signing = Ed25519PrivateKey.from_private_bytes(keys["signing"].material)
        self.public_key = _public_bytes(self._signing)
        if reader.get_setting(PUBLIC_KEY_SETTING) != self.public_key:
            raise TamperedData("the public key beside the records is not the signing key's")
        self._collections: dict[str, tuple[bytes, CollectionKeys]] = {}
        self._floors: dict[str, int] = {}

    def __repr__(self) -> str:
        return f"KeyRing({self.deployment})"

    # ------------------------------------------------------------------------------------- collection keys

    def new_collection_key(self, collection_id: str) -> bytes:
        """A fresh key for a collection, wrapped."""
        return self.wrap_versions(collection_id, [Version(1, SecretKey.generate())])

    def wrap_versions(self, collection_id: str, versions: Sequence[Version]) -> bytes:
        """A collection's key as its row holds it."""
        context = self.context("collection-key", collection=collection_id)
        return self.root.seal(encode_versions(versions), context)

    def collection_keys(self, collection_id: str) -> CollectionKeys:
        """From memory, or from the collection's row. Raises: CollectionNotFound."""
        cached = self._collections.get(collection_id)
        if cached is not None:
            return cached[1]
        return self.reread(collection_id)

    def keys_in(self, row: CollectionRow) -> CollectionKeys:
        """The keys in this very row, whether or not it is still the one in force. Raises: TamperedData."""
        cached = self._collections.get(row.id)
        if cached is not None and cached[0] == row.wrapped_key:
            return cached[1]
        plain = self.root.open(row.wrapped_key, self.context("collection-key", collection=row.id))
        keys = keys_of(row.id, decode_versions(plain))
        minimum = self._minimum(row.id)
        if keys.order >= max((minimum, minimum), cached[1].order if cached is not None else (0, 0)):
            self._collections[row.id] = (row.wrapped_key, keys)
        return keys

    def unwrap_collection(self, row: CollectionRow) -> CollectionKeys:
        """The keys of a collection whose row was just read; if it has been rotated since then, the newer ones.

        Raises: TamperedData, also where the row is of the time before a rotation and was put back.
        """
        keys, cached = self.keys_in(row), self._collections.get(row.id)
        return keys if cached is not None and cached[1] is keys else self.reread(row.id)

    def reread(self, collection_id: str) -> CollectionKeys:
        """The keys in the collection's row as it is committed now. Raises: CollectionNotFound, TamperedData."""
        minimum = self._minimum(collection_id)  # before the row, so that a rotation between the two reads is no attack
        row = next((row for row in self._rows.read().collections() if row.id == collection_id), None)
        if row is None:
            raise CollectionNotFound("there is no such collection")
        keys = self.keys_in(row)
        if keys.order < (minimum, minimum):
            raise TamperedData("a collection's key is older than the least version in force: an old row was put back")
        self._collections[row.id] = (row.wrapped_key, keys)
        return keys

    def require_newest(self, row: CollectionRow, sealed_by: bytes) -> None:
        """Have what is about to be written under a collection's key be of the newest version in its row.

        row: as the transaction that writes sees it; sealed_by: the id of the key.
        Raises: KeyMoved; then the caller seals again.
        """
        if self.keys_in(row).newest.id != sealed_by:
            self._collections.pop(row.id, None)
            raise KeyMoved("the collection's key was rotated meanwhile")

    def forget_collection(self, collection_id: str) -> None:
        """Drop a collection's keys from memory."""
        self._collections.pop(collection_id, None)

    def refuse_below(self, collection_id: str, version: int) -> None:
        """From now on no row with a version below this one is accepted, whatever else stands among the records."""
        self._floors[collection_id] = max(version, self._floors.get(collection_id, 0))

    def history(self, rows: KeyReader, collection_id: str) -> KeyHistory:
        """What is on record of a collection's versions. Raises: TamperedData."""
        name = history_setting(collection_id)
        held = rows.get_setting(name)
        if held is None:
            return KeyHistory()
        context = self.context("key-history", collection=collection_id)
        return KeyHistory.decode(open_sealed(self.derived_key("key history"), held, context))

    def put_history(self, rows: RowWriter, collection_id: str, history: KeyHistory) -> None:
        context = self.context("key-history", collection=collection_id)
        sealed = seal(self.derived_key("key history"), history.encode(), context)
        rows.put_setting(history_setting(collection_id), sealed)

    def owner_of(self, key_id: bytes) -> CollectionKeys | None:
        """The keys in memory among which is the one of this id."""
        return next((keys for _, keys in list(self._collections.values()) if key_id in keys.by_id), None)

    def key_for(self, collection_id: str, blob: bytes) -> SecretKey:
        """The version of the collection's key that sealed this envelope. Raises: CollectionNotFound, TamperedData."""
        id = key_id_of(blob)
        return self._version(collection_id, id).by_id[id]

    def _version(self, collection_id: str, id: bytes) -> CollectionKeys:
        """The collection's keys, among them the one of this id."""
        keys = self.collection_keys(collection_id)
        if id not in keys.by_id:  # another process may have made a newer version
            keys = self.reread(collection_id)
        if id not in keys.by_id:
            raise TamperedData("a sealed record names a key that its collection does not have, or has no longer")
        return keys

    def _minimum(self, collection_id: str) -> int:
        return max(self._floors.get(collection_id, 0), self.history(self._rows.read(), collection_id).minimum)

    # ------------------------------------------------------------------------- keys under a collection's key

    def new_subject_key(self, collection_id: str, subject_key: str) -> tuple[SecretKey, bytes]:
        """A fresh key for a subject, plain and wrapped. subject_key: the subject's random id."""
        return self._new_wrapped("subject-key", collection_id, subject_key)

    def subject_key(self, collection_id: str, subject_key: str, wrapped: bytes) -> SecretKey:
        """Raises: TamperedData, CollectionNotFound."""
        return self._unwrap("subject-key", collection_id, subject_key, wrapped)

    def rewrapped_subject_key(self, keys: CollectionKeys, row: SubjectRow) -> bytes:
        """A subject's wrapped key under the newest version. Raises: TamperedData."""
        return self._rewrapped(keys, "subject-key", row.key, row.wrapped_key)

    def rewrapped_segment_key(self, keys: CollectionKeys, wrapped: bytes) -> bytes:
        """A segment's wrapped key under the newest version. Raises: TamperedData."""
        return self._rewrapped(keys, "segment-key", "", wrapped)

    def new_segment_key(self, collection_id: str) -> tuple[SecretKey, bytes]:
        """A fresh key for a snapshot, plain and wrapped."""
        return self._new_wrapped("segment-key", collection_id, "")

    def segment_key(self, collection_id: str, wrapped: bytes) -> SecretKey:
        """Raises: TamperedData, CollectionNotFound."""
        return self._unwrap("segment-key", collection_id, "", wrapped)

    def _new_wrapped(self, type: str, collection_id: str, subject: str) -> tuple[SecretKey, bytes]:
        key, keys = SecretKey.generate(), self.collection_keys(collection_id)
        context = self.context(type, collection=collection_id, subject=subject)
        return key, keys.wrappers[keys.newest.id].wrap(key, context)

    def _rewrapped(self, keys: CollectionKeys, type: str, subject: str, wrapped: bytes) -> bytes:
        wrapper = keys.wrappers.get(wrapping_key_id(wrapped))
        if wrapper is None:
            raise TamperedData("a wrapped key names a key that its collection does not have, or has no longer")
        context = self.context(type, collection=keys.collection_id, subject=subject)
        return keys.wrappers[keys.newest.id].wrap(wrapper.unwrap(wrapped, context), context)

    def _unwrap(self, type: str, collection_id: str, subject: str, wrapped: bytes) -> SecretKey:
        id = wrapping_key_id(wrapped)
        context = Context(self.deployment, type, collection_id, subject)
        return self._version(collection_id, id).wrappers[id].unwrap(wrapped, context)

    # ----------------------------------------------------------------------------- what a key is needed for

    def context(
        self,
        type: str,
        *,
        collection: str = "",
        subject: str = "",
        record: str = "",
        schema: int = 1,
        model: str = "",
        version: int = 0,
    ) -> Context:
        """A context of this deployment."""
        return Context(self.deployment, type, collection, subject, record, schema, model, version)

    def lookup(self, purpose: str, *parts: bytes) -> bytes:
        """A keyed hash, 32 bytes, by which a value is found without being told: HMAC-SHA256(lookup key, …)."""
        message = b"".join(len(part).to_bytes(4, "big") + part for part in (purpose.encode(), *parts))
        return hmac.digest(self._lookup_key.material, message, "sha256")

    def derived_key(self, purpose: str, *parts: bytes) -> SecretKey:
        """A key for one purpose, always the same."""
        return SecretKey(self.lookup(f"key:{purpose}", *parts))

    def sign(self, message: bytes) -> bytes:
        """Ed25519, 64 bytes."""
        return self._signing.sign(message)

    def _open_setting(self, name: str, wrapped: bytes | None) -> SecretKey:
        if wrapped is None:
            raise TamperedData(f"the {name} key of this data folder is gone")
        return SecretKey(self.root.open(wrapped, self.context("deployment-key", record=name)))


def _settle(rows: KeyStore, root: SecretKey) -> str:
    """The deployment's id; at the first start it is made, with its keys, in one transaction.

    Of several processes that start at once the first settles them, and the others find them there.
    Raises: KeyUnavailable if they were wrapped by another root key.
    """
    reader = rows.read()
    if reader.get_setting(DEPLOYMENT_SETTING) is None:
        rows.write(_first_start(root))
    deployment, probe = reader.get_setting(DEPLOYMENT_SETTING), reader.get_setting(PROBE_SETTING)
    if deployment is None or probe is None:
        raise TamperedData("the keys of this data folder are gone")
    if key_id_of(probe) != root.id:
        facts = root_facts(reader)
        since = "" if facts.since is None else f" since {time.strftime('%Y-%m-%d', time.gmtime(facts.since))}"
        raise KeyUnavailable(
            "the root key, or the passphrase, is not the key this data folder is sealed by: that comes from "
            f"{facts.shown}{since} (set LOOKALIKE_KEYS to it); {LOST}"
        )
    return deployment.decode("ascii")


def _first_start(root: SecretKey) -> _Settler:
    deployment = secrets.token_hex(16)
    keys = {name: SecretKey.generate() for name in KEY_NAMES}
    settings = {
        f"key.{name}": seal(root, key.material, Context(deployment, "deployment-key", record=name))
        for name, key in keys.items()
    }
    settings[PUBLIC_KEY_SETTING] = _public_bytes(Ed25519PrivateKey.from_private_bytes(keys["signing"].material))
    settings[DEPLOYMENT_SETTING] = deployment.encode("ascii")
    return _Settler(settings)


@dataclass(frozen=True, slots=True, repr=False)
class _Settler:
    """A transaction that writes the deployment's settings unless another process was first."""

    settings: dict[str, bytes]

    def __call__(self, rows: RowWriter) -> None:
        if rows.get_setting(DEPLOYMENT_SETTING) is None:
            for name, value in self.settings.items():
                rows.put_setting(name, value)


def _public_bytes(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def until_unmoved(attempt: Callable[[], T]) -> T:
    """Try a write again whose keys were changed by others between its sealing and its transaction. Raises: Conflict."""
    for _ in range(_ATTEMPTS):
        try:
            return attempt()
        except KeyMoved:
            continue
    raise Conflict("this is being changed by others again and again; try later")
