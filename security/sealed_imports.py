"""Pictures that wait to be enrolled, and the list of those that were refused: sealed files that go with their job.

What was sent lies in `ID.pictures`, as "LKI1" | length of the wrapped key 2 | wrapped segment key | sealed stream. The
list is `ID.list`, "LKL1" | length 2 | wrapped segment key, then for each batch its length 4 and a record envelope that
holds JSON, bound to the import and to its place in the list; a batch that a kill cut short counts as not written.
Their keys are wrapped by the collection's, so that nothing of them opens once that is destroyed. Neither is ever in the
clear on the disk.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Collection as Container
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from lookalike.errors import JobNotFound, StorageFull, TamperedData
from security.envelope import Context, open_sealed, seal
from security.keys import KeyRing
from security.sealed_codec import canonical
from security.sealed_reader import SealedReader
from security.sealed_stream import StreamSealer
from security.secret_key import SecretKey
from security.whole_files import WRITING, WholeFile, storage_error

PICTURES, LIST = b"LKI1", b"LKL1"
LIST_NAME = "the list of refused pictures"
SWEEP_AFTER_S = 3600.0
"""Age of a file that no job names before it is taken for left behind, and not for one that is being sent."""

RESERVE_BYTES = 256 << 20
"""What is left free on the disk when something large is sent."""

_LENGTH_BYTES, _BATCH_BYTES = 2, 4
_MAX_WRAPPED, _MAX_BATCH = 1 << 10, 1 << 24


class Spool:
    """What is being sent, sealed on its way to the disk. `abort` is called in any case, and leaves what is kept."""

    def __init__(self, id: str, file: WholeFile, sealer: StreamSealer) -> None:
        self.id = id
        self._file = file
        self._sealer = sealer

    def write(self, data: bytes) -> None:
        """Raises: StorageFull, StorageUnavailable."""
        for chunk in self._sealer.seal(data):
            self._file.write(chunk)

    def keep(self) -> None:
        """It was all. Raises: StorageFull, StorageUnavailable."""
        self._file.write(self._sealer.finish())
        self._file.commit()

    def abort(self) -> None:
        """Forget it, unless it was kept."""
        self._file.abort()


class SealedList:
    """A list to append to; what a kill cut short of it is cut off first."""

    def __init__(self, file: BinaryIO, key: SecretKey, context: Callable[[int], Context]) -> None:
        """file: stands behind its head."""
        self._file = file
        self._key = key
        self._context = context
        self._number, end = 0, file.tell()
        for _ in _batches(file):
            self._number, end = self._number + 1, file.tell()
        file.seek(end)
        file.truncate()

    def append(self, items: Sequence[Mapping[str, object]]) -> None:
        """Durably. Raises: StorageFull, StorageUnavailable."""
        sealed = seal(self._key, canonical({"items": list(items)}), self._context(self._number))
        try:
            self._file.write(len(sealed).to_bytes(_BATCH_BYTES, "big") + sealed)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise storage_error(error, LIST_NAME) from error
        self._number += 1

    def close(self) -> None:
        """Close its file."""
        with contextlib.suppress(OSError):  # what did not become durable was said when it was appended
            self._file.close()


class SealedImports:
    """A folder of such files. Thread-safe, and several processes may share it."""

    def __init__(self, folder: Path, keyring: KeyRing) -> None:
        self._folder = folder
        self._keyring = keyring

    def spool(self, collection_id: str, expected_bytes: int = 0) -> Spool:
        """Begin to take in what is sent. Raises: StorageFull, also where so much would fill the disk."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if shutil.disk_usage(self._folder).free < expected_bytes + RESERVE_BYTES:
            raise StorageFull("the disk has not enough room for what is sent")
        id = secrets.token_hex(16)
        head, key = self._new_head(PICTURES, collection_id)
        sealer = StreamSealer(key, self._context("import", collection_id, id))
        file = WholeFile(self._path(id, "pictures"), "what was sent")
        try:
            file.write(head + sealer.header)
        except BaseException:
            file.abort()
            raise
        return Spool(id, file, sealer)

    def open(self, collection_id: str, id: str) -> BinaryIO:
        """What was sent, to be read from anywhere. Raises: JobNotFound where it is gone, TamperedData."""
        try:
            file = self._path(id, "pictures").open("rb")
        except FileNotFoundError:
            raise JobNotFound("what was sent for this job is gone") from None
        try:
            key = self._key(PICTURES, collection_id, file)
            reader = SealedReader(key, file, self._context("import", collection_id, id))
        except BaseException:
            file.close()
            raise
        return io.BufferedReader(reader)

    def drop(self, id: str) -> None:
        """Delete what was sent; the list stays."""
        self._path(id, "pictures").unlink(missing_ok=True)

    def sweep(self, waiting: Container[str], known: Container[str]) -> None:
        """Delete what belongs to no job any more. waiting: ids of imports still to be done; known: ended ones too."""
        for path in self._folder.glob("*.pictures"):
            if path.stem not in waiting:
                _remove_old(path, 0.0 if path.stem in known else SWEEP_AFTER_S)
        for path in self._folder.glob("*.list"):
            if path.stem not in known:
                _remove_old(path, SWEEP_AFTER_S)
        for path in self._folder.glob(f".*{WRITING}"):
            _remove_old(path, SWEEP_AFTER_S)

    # ------------------------------------------------------------------------------------------- the list

    def list_of(self, collection_id: str, id: str) -> SealedList:
        """To append to. Raises: StorageFull, StorageUnavailable."""
        try:
            descriptor = os.open(self._path(id, "list"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with contextlib.ExitStack() as stack:
                file = stack.enter_context(os.fdopen(descriptor, "r+b"))
                key = self._list_key(collection_id, file)
                opened = SealedList(file, key, self._batch_context(collection_id, id))
                stack.pop_all()
            return opened
        except OSError as error:
            raise storage_error(error, LIST_NAME) from error

    def listed(self, collection_id: str, id: str) -> Iterator[dict[str, object]]:
        """All that was appended, in order. Raises: TamperedData."""
        try:
            file = self._path(id, "list").open("rb")
        except FileNotFoundError:
            return
        with file:
            if not os.fstat(file.fileno()).st_size:
                return
            key = self._key(LIST, collection_id, file)
            for number, sealed in enumerate(_batches(file)):
                plain = open_sealed(key, sealed, self._batch_context(collection_id, id)(number))
                yield from json.loads(plain)["items"]

    def _list_key(self, collection_id: str, file: BinaryIO) -> SecretKey:
        """The key at the head of the list; a file without a whole head gets one."""
        if file.read(len(LIST)) == LIST:
            file.seek(0)
            return self._key(LIST, collection_id, file)
        head, key = self._new_head(LIST, collection_id)
        file.seek(0)
        file.truncate()
        file.write(head)
        return key

    def _batch_context(self, collection_id: str, id: str) -> Callable[[int], Context]:
        return lambda number: replace(self._context("import-list", collection_id, id), version=number)

    # ----------------------------------------------------------------------------------------------- heads

    def _new_head(self, magic: bytes, collection_id: str) -> tuple[bytes, SecretKey]:
        key, wrapped = self._keyring.new_segment_key(collection_id)
        return magic + len(wrapped).to_bytes(_LENGTH_BYTES, "big") + wrapped, key

    def _key(self, magic: bytes, collection_id: str, file: BinaryIO) -> SecretKey:
        head = file.read(len(magic) + _LENGTH_BYTES)
        length = int.from_bytes(head[len(magic) :], "big")
        if head[: len(magic)] != magic or length > _MAX_WRAPPED:
            raise TamperedData("an import's file is damaged or of an unknown format")
        return self._keyring.segment_key(collection_id, file.read(length))

    def _context(self, type: str, collection_id: str, id: str) -> Context:
        return self._keyring.context(type, collection=collection_id, record=id)

    def _path(self, id: str, suffix: str) -> Path:
        return self._folder / f"{id}.{suffix}"


def _batches(file: BinaryIO) -> Iterator[bytes]:
    """The whole batches from here on; the file stands behind each when it is given."""
    while len(head := file.read(_BATCH_BYTES)) == _BATCH_BYTES:
        length = int.from_bytes(head, "big")
        sealed = file.read(length) if length <= _MAX_BATCH else b""
        if not 0 < length == len(sealed):  # a power cut may leave zeros
            return
        yield sealed


def _remove_old(path: Path, age_s: float) -> None:
    with contextlib.suppress(FileNotFoundError):  # another process may have been quicker
        if time.time() - path.stat().st_mtime >= age_s:
            path.unlink()
