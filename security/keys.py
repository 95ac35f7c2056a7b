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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lookalike.errors import CollectionNotFound, KeyUnavailable, RestoreUnfinished, TamperedData
from lookalike.ports import CollectionRow, Rows, RowWriter
from security.envelope import Context, key_id_of, open_sealed, seal
from security.key_wrap import KeyWrapper, wrapping_key_id
from security.root_key import root_key
from security.secret_key import KEY_BYTES, SecretKey

T = TypeVar("T")

DEPLOYMENT_SETTING = "deployment"
PUBLIC_KEY_SETTING = "signing.public"
RESTORING_SETTING = "restore.unfinished"
"""Stands among the rows while a backup is written into them."""

EPOCH_SETTING = "epoch"
"""A random id that each restore gives anew, so that two copies of one deployment are told apart; unset at first."""

_KEY_NAMES = ("audit", "lookup", "model", "signing")
_VERSION_BYTES = 4


@dataclass(frozen=True, slots=True)
class CollectionKeys:
    """A collection's keys; the newest version seals, all of them open.

    They stand in the collection's row, wrapped as one: for each version its number (4 bytes, big-endian) and its key.
    """

    collection_id: str
    newest: SecretKey
    by_id: Mapping[bytes, SecretKey]
    wrappers: Mapping[bytes, KeyWrapper]


def open_key_ring(
    spec: str, folder: Path, rows: Rows, *, passphrase_file: Path | None = None, restoring: bool = False
) -> KeyRing:
    """The key ring of a data folder, made at its first start. spec: LOOKALIKE_KEYS; folder: the data folder.

    restoring: for the restore itself, whose rows are opened by nobody else before they are whole.
    Raises: BadSettings; KeyUnavailable if the root key is missing, unsafe, or not the one of this folder;
    RestoreUnfinished.
    """
    reader = rows.read()
    if not restoring and reader.get_setting(RESTORING_SETTING) is not None:
        raise RestoreUnfinished("a restore into these records goes on or was interrupted: run it again")
    fresh = reader.get_setting(DEPLOYMENT_SETTING) is None
    return KeyRing(rows, root_key(spec, folder, rows, fresh=fresh, passphrase_file=passphrase_file))


class KeyReader(Protocol):
    """What a key ring reads of a store of rows."""

    def get_setting(self, name: str) -> bytes | None: ...
    def collections(self) -> list[CollectionRow]: ...


class KeyStore(Protocol):
    """What a key ring needs of a store of rows: Rows, or what a backup holds."""

    def read(self) -> KeyReader: ...
    def write(self, work: Callable[[RowWriter], T]) -> T: ...


class KeyRing:
    """Unwraps and makes keys, and computes what needs one of them. Thread-safe."""

    def __init__(self, rows: KeyStore, root: SecretKey) -> None:
        """Raises: KeyUnavailable if `root` is not the key that this data folder was made with."""
        self._rows = rows
        self._root = root
        self.deployment = _settle(rows, root)
        reader = rows.read()
        self.epoch = (reader.get_setting(EPOCH_SETTING) or b"").decode("ascii")
        keys = {name: self._open_setting(name, reader.get_setting(f"key.{name}")) for name in _KEY_NAMES}
        self.audit_key = keys["audit"]
        self.model_key = keys["model"]
        self._lookup_key = keys["lookup"]
        self._signing = Ed25519PrivateKey.from_private_bytes(keys["signing"].material)
        self.public_key = _public_bytes(self._signing)
        if reader.get_setting(PUBLIC_KEY_SETTING) != self.public_key:
            raise TamperedData("the public key beside the records is not the signing key's")
        self._collections: dict[str, tuple[bytes, CollectionKeys]] = {}

    def __repr__(self) -> str:
        return f"KeyRing({self.deployment})"

    # ------------------------------------------------------------------------------------- collection keys

    def new_collection_key(self, collection_id: str) -> bytes:
        """A fresh key for a collection, wrapped."""
        plain = (1).to_bytes(_VERSION_BYTES, "big") + SecretKey.generate().material
        return seal(self._root, plain, self.context("collection-key", collection=collection_id))

    def collection_keys(self, collection_id: str) -> CollectionKeys:
        """From memory, or from the collection's row. Raises: CollectionNotFound."""
        cached = self._collections.get(collection_id)
        if cached is not None:
            return cached[1]
        return self._read_collection(collection_id)

    def unwrap_collection(self, row: CollectionRow) -> CollectionKeys:
        """The keys in a collection's row. Raises: TamperedData."""
        cached = self._collections.get(row.id)
        if cached is not None and cached[0] == row.wrapped_key:
            return cached[1]
        plain = open_sealed(self._root, row.wrapped_key, self.context("collection-key", collection=row.id))
        width = _VERSION_BYTES + KEY_BYTES
        versions = [SecretKey(plain[at + _VERSION_BYTES : at + width]) for at in range(0, len(plain), width)]
        keys = CollectionKeys(
            row.id,
            versions[-1],
            {key.id: key for key in versions},
            {key.id: KeyWrapper(key) for key in versions},
        )
        self._collections[row.id] = (row.wrapped_key, keys)
        return keys

    def forget_collection(self, collection_id: str) -> None:
        """Drop a deleted collection's keys from memory."""
        self._collections.pop(collection_id, None)

    def key_for(self, collection_id: str, blob: bytes) -> SecretKey:
        """The version of the collection's key that sealed this envelope. Raises: CollectionNotFound, TamperedData."""
        id = key_id_of(blob)
        return self._version(collection_id, id).by_id[id]

    def _version(self, collection_id: str, id: bytes) -> CollectionKeys:
        """The collection's keys, among them the one of this id."""
        keys = self.collection_keys(collection_id)
        if id not in keys.by_id:  # another process may have made a newer version
            keys = self._read_collection(collection_id)
        if id not in keys.by_id:
            raise TamperedData("a sealed record names a key that its collection does not have")
        return keys

    def _read_collection(self, collection_id: str) -> CollectionKeys:
        for row in self._rows.read().collections():
            if row.id == collection_id:
                return self.unwrap_collection(row)
        raise CollectionNotFound("there is no such collection")

    # ------------------------------------------------------------------------- keys under a collection's key

    def new_subject_key(self, collection_id: str, subject_key: str) -> tuple[SecretKey, bytes]:
        """A fresh key for a subject, plain and wrapped. subject_key: the subject's random id."""
        return self._new_wrapped("subject-key", collection_id, subject_key)

    def subject_key(self, collection_id: str, subject_key: str, wrapped: bytes) -> SecretKey:
        """Raises: TamperedData, CollectionNotFound."""
        return self._unwrap("subject-key", collection_id, subject_key, wrapped)

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
        return SecretKey(open_sealed(self._root, wrapped, self.context("deployment-key", record=name)))


def _settle(rows: KeyStore, root: SecretKey) -> str:
    """The deployment's id; at the first start it is made, with its keys, in one transaction.

    Of several processes that start at once the first settles them, and the others find them there.
    Raises: KeyUnavailable if they were wrapped by another root key.
    """
    reader = rows.read()
    if reader.get_setting(DEPLOYMENT_SETTING) is None:
        rows.write(_first_start(root))
    deployment, probe = reader.get_setting(DEPLOYMENT_SETTING), reader.get_setting("key.lookup")
    if deployment is None or probe is None:
        raise TamperedData("the keys of this data folder are gone")
    if key_id_of(probe) != root.id:
        raise KeyUnavailable("the root key is not the key this data folder was made with")
    return deployment.decode("ascii")


def _first_start(root: SecretKey) -> _Settler:
    deployment = secrets.token_hex(16)
    keys = {name: SecretKey.generate() for name in _KEY_NAMES}
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
