"""Imported bundles at rest: each a file sealed with the model key, and the list of them sealed among the settings.

A file's name is a keyed hash, so that the folder does not tell which models are here. A bundle is written before the
list names it and deleted after the list has forgotten it: a kill in between leaves a file that nobody names, which a
later import sweeps away.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from lookalike.domain import AuditEntry, Kind
from lookalike.errors import BadModel, TamperedData
from lookalike.model_shelf import Shelf, ShelvedModel
from lookalike.ports import RowReader, Rows, RowWriter
from security.audit import SealedAuditLog
from security.envelope import Context, open_sealed, seal
from security.keys import KeyRing
from security.sealed_codec import canonical
from security.sealed_stream import open_stream, seal_stream
from security.whole_files import WRITING, write_whole

SHELF_SETTING = "models"
SWEEP_AFTER_S = 3600.0
"""Age of a file that nobody names before it is taken for left behind, and not for one that is being imported."""

_SUFFIX = ".model"


class SealedModels:
    """The imported bundles of a data folder. Thread-safe, and several processes may share it."""

    def __init__(self, folder: Path, rows: Rows, keyring: KeyRing, audit: SealedAuditLog) -> None:
        self._folder = folder
        self._rows = rows
        self._keyring = keyring
        self._audit = audit
        self._sealing = keyring.derived_key("models")
        self._read: tuple[bytes | None, Shelf] = (None, Shelf())

    def shelf(self) -> Shelf:
        """What every process sees now; the same object as before while nothing changed. Raises: TamperedData."""
        sealed = self._rows.read().get_setting(SHELF_SETTING)
        before, shelf = self._read
        if sealed != before:
            shelf = self._open(sealed)
            self._read = sealed, shelf
        return shelf

    def change(self, change: Callable[[Shelf], Shelf], entry: AuditEntry) -> Shelf:
        """Change the list and put that on record in one transaction; the list as it is then."""
        note = self._audit.prepare(entry)

        def write(rows: RowWriter) -> Shelf:
            changed = change(self._open(rows.get_setting(SHELF_SETTING)))
            rows.put_setting(SHELF_SETTING, seal(self._sealing, canonical(_encoded(changed)), self._context()))
            note(rows)
            return changed

        return self._rows.write(write)

    # --------------------------------------------------------------------------------------------------- files

    def save(self, digest: str, bundle: bytes) -> None:
        """Keep a bundle, whole or not at all. Raises: StorageFull, StorageUnavailable."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        chunks = seal_stream(self._keyring.model_key, [bundle], self._file_context(digest))
        write_whole(self._path(digest), chunks, "the model")

    def load(self, digest: str) -> bytes:
        """A bundle, every tag checked. Raises: BadModel where its file cannot be read; TamperedData."""
        try:
            with self._path(digest).open("rb") as file:
                return b"".join(open_stream(self._keyring.model_key, file, self._file_context(digest)))
        except OSError as error:
            raise BadModel(f"the file of an imported model cannot be read: {error.strerror}") from error

    def files(self, rows: RowReader) -> list[Path]:
        """The files of what these rows list, which may be an older state than the present one."""
        return [self._path(found.digest) for found in self._open(rows.get_setting(SHELF_SETTING)).models]

    def drop(self, digest: str) -> None:
        """Delete a bundle's file, if it is there."""
        self._path(digest).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what an import left behind that was killed."""
        named = {self._path(found.digest) for found in self.shelf().models}
        for path in (*self._folder.glob(f"*{_SUFFIX}"), *self._folder.glob(f".*{WRITING}")):
            with contextlib.suppress(FileNotFoundError):  # another process may have been quicker
                if path not in named and time.time() - path.stat().st_mtime > SWEEP_AFTER_S:
                    path.unlink()

    def _path(self, digest: str) -> Path:
        return self._folder / (self._keyring.lookup("model file", digest.encode())[:16].hex() + _SUFFIX)

    def _file_context(self, digest: str) -> Context:
        return self._keyring.context("model", record=digest)

    def _context(self) -> Context:
        return self._keyring.context("models")

    def _open(self, sealed: bytes | None) -> Shelf:
        if sealed is None:
            return Shelf()
        return _decoded(json.loads(open_sealed(self._sealing, sealed, self._context())))


def _encoded(shelf: Shelf) -> dict[str, object]:
    return {
        "models": [{**asdict(found), "kind": found.kind.value, "parts": list(found.parts)} for found in shelf.models],
        "activated": {kind.value: list(names) for kind, names in shelf.activated.items()},
    }


def _decoded(held: Mapping[str, object]) -> Shelf:
    models, activated = held["models"], held["activated"]
    if not isinstance(models, list) or not isinstance(activated, dict):
        raise TamperedData("the list of models has another shape than this version writes")
    return Shelf(
        tuple(ShelvedModel(**{**m, "kind": Kind(m["kind"]), "parts": tuple(m["parts"])}) for m in models),
        {Kind(kind): tuple(names) for kind, names in activated.items()},
    )
