"""Sealed files of derived data, one per generation of a collection: written whole or not at all, read likewise.

Layout: magic "LKN1" | length of the wrapped key 2, big-endian | wrapped segment key | sealed stream. Each file has a
fresh segment key, wrapped by its collection's key: once that is destroyed, no copy of the file opens again.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lookalike.domain import FIRST_GENERATION, Collection
from lookalike.errors import CollectionNotFound, LookalikeError, TamperedData
from lookalike.ports import Plaintext
from security.envelope import Context
from security.keys import KeyRing
from security.sealed_stream import open_stream, seal_stream
from security.whole_files import WRITING, write_whole

MAGIC = b"LKN1"
_LENGTH_BYTES = 2

log = logging.getLogger(__name__)


class SealedSnapshots:
    """The port Snapshots over a folder, which is made if it is not there."""

    def __init__(self, folder: Path, keyring: KeyRing) -> None:
        self._folder = folder
        self._keyring = keyring
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in folder.glob(f".*{WRITING}"):
            leftover.unlink(missing_ok=True)

    def save(self, collection: Collection, chunks: Iterable[bytes]) -> None:
        """Replace the collection's file. Raises: StorageFull, StorageUnavailable; the old file is then still there."""
        key, wrapped = self._keyring.new_segment_key(collection.id)
        head = MAGIC + len(wrapped).to_bytes(_LENGTH_BYTES, "big") + wrapped
        chunks = seal_stream(key, chunks, self._context(collection))
        write_whole(self._path(collection), itertools.chain([head], chunks), "a snapshot")

    @contextmanager
    def reading(self, collection: Collection) -> Iterator[Plaintext | None]:
        """The plaintext once every tag was checked; None where there is no file or it is damaged.

        A file may be larger than memory has room for, so it is read twice: for its tags, and then for its pieces.
        """
        with ExitStack() as stack:
            yield self._verified(collection, stack)

    def _verified(self, collection: Collection, stack: ExitStack) -> Plaintext | None:
        """stack: closes the file once its pieces were read."""
        try:
            file = stack.enter_context(self._path(collection).open("rb"))
            head = file.read(len(MAGIC) + _LENGTH_BYTES)
            if head[: len(MAGIC)] != MAGIC:
                raise TamperedData("a snapshot is damaged or of an unknown format")
            wrapped = file.read(int.from_bytes(head[len(MAGIC) :], "big"))
            key, context = self._keyring.segment_key(collection.id, wrapped), self._context(collection)
            start = file.tell()
            size = sum(len(piece) for piece in open_stream(key, file, context))
            file.seek(start)
            return Plaintext(size, open_stream(key, file, context))
        except FileNotFoundError:
            return None
        except (OSError, TamperedData, CollectionNotFound) as error:
            reason = error if isinstance(error, LookalikeError) else type(error).__name__
            log.warning("the snapshot of collection %s is not used: %s", collection.id, reason)
            return None

    def drop(self, collection_id: str) -> None:
        """Delete the collection's files, if there are any."""
        for path in self._folder.glob(f"{collection_id}.*snapshot"):
            path.unlink(missing_ok=True)

    def _context(self, collection: Collection) -> Context:
        # The epoch: numbers begin anew with a restore, so a snapshot of the time before must not open after it.
        epoch, model = self._keyring.epoch, collection.space.model
        return self._keyring.context("snapshot", collection=collection.id, record=epoch, model=model)

    def _path(self, collection: Collection) -> Path:
        first = collection.generation == FIRST_GENERATION
        return self._folder / f"{collection.id}{'' if first else '.' + collection.generation}.snapshot"
