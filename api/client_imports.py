"""The client's calls about imports: send many pictures in one file, and ask what was refused."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Protocol, cast

from api.client_calls import Calls, path_of
from api.client_shapes import JobJson, RemarkJson


class SeekableFile(Protocol):
    """What is asked of a file that is sent: it is sized, and begun again where the sending is."""

    def fileno(self) -> int: ...
    def read(self, size: int = -1, /) -> bytes: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...
    def tell(self) -> int: ...


class ImportCalls(Calls):
    """A part of the Client."""

    def import_pictures(self, collection: str, file: SeekableFile, *, idempotency_key: str | None = None) -> JobJson:
        """Have a zip archive or an NDJSON file enrolled by a job, which goes on without this program: see `wait`.

        file: seekable, sent as it is read. Raises: ClientError with code bad_archive where it cannot be read.
        """
        path = path_of("collections", collection, "imports")
        headers = {"idempotency-key": idempotency_key or secrets.token_hex(16)}
        return cast(JobJson, self._sender.send("POST", path, files={"file": ("file", file)}, headers=headers).json())

    def rejected(self, job: str) -> Iterator[RemarkJson]:
        """What an import refused, and what it enrolled but is worth a second look."""
        yield from cast("Iterator[RemarkJson]", self._pages(path_of("jobs", job, "rejected")))
