"""Where the vectors of a segment lie: in memory, or in a sealed file that is read as they are asked for.

A search asks for the few rows that the codes name, so what lies in a file is opened by the block; what needs all rows
goes through them piece by piece. Few rows stay in memory in any case, since a file of them would save nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from index.row_rules import Positions
from lookalike.domain import Floats
from lookalike.errors import IndexUnavailable, InvalidInput, StorageUnavailable, TamperedData
from lookalike.ports import RowFile, RowFiles

log = logging.getLogger(__name__)

FILED_FROM_BYTES = 2**20
"""Vectors of fewer bytes stay in memory."""

TOGETHER_BYTES = 2**20
"""What goes through all vectors takes so many bytes of them at once."""


def taken_together(dimension: int) -> int:
    """Rows of this dimension that are taken at once."""
    return max(1, TOGETHER_BYTES // (4 * dimension))


class StoredRows(Protocol):
    """Vectors, (N, D) float32, that are never written again."""

    def __len__(self) -> int: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def disk_bytes(self) -> int: ...
    @property
    def damaged(self) -> bool:
        """Whether they could not be read, so that the index has to be made anew."""
        ...

    def at(self, positions: Positions) -> Floats:
        """(M,) -> (M, D). Raises: IndexUnavailable, and is damaged from then on."""
        ...

    def blocks(self) -> Iterator[Floats]:
        """All of them in order, (B, D) each. Raises: as `at`."""
        ...

    def similarities(self, queries: Floats, positions: Positions | None) -> Floats:
        """Of these rows, ascending, all for None: (Q, D) -> (Q, M). Raises: as `at`."""
        ...


class HeldRows:
    """The port StoredRows, in memory."""

    disk_bytes = 0
    damaged = False

    def __init__(self, rows: Floats) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def memory_bytes(self) -> int:
        return self._rows.nbytes

    def at(self, positions: Positions) -> Floats:
        return self._rows[positions]

    def blocks(self) -> Iterator[Floats]:
        step = taken_together(self._rows.shape[1])
        for start in range(0, len(self._rows), step):
            yield self._rows[start : start + step]

    def similarities(self, queries: Floats, positions: Positions | None) -> Floats:
        found: Floats = queries @ self._rows.T
        return found if positions is None else found[:, positions]


class FiledRows:
    """The port StoredRows, in a sealed file."""

    memory_bytes = 0

    def __init__(self, file: RowFile, count: int, dimension: int) -> None:
        self._file = file
        self._count = count
        self._together = taken_together(dimension)
        self.damaged = False

    def __len__(self) -> int:
        return self._count

    @property
    def disk_bytes(self) -> int:
        return self._file.disk_bytes

    def at(self, positions: Positions) -> Floats:
        try:
            return self._file.read(positions)
        except (TamperedData, StorageUnavailable) as error:
            if not self.damaged:
                log.warning("an index is made anew: %s", error)
            self.damaged = True
            raise IndexUnavailable("the vectors on disk cannot be read; they are being written anew") from error

    def blocks(self) -> Iterator[Floats]:
        for start in range(0, self._count, self._together):
            yield self.at(np.arange(start, min(start + self._together, self._count)))

    def similarities(self, queries: Floats, positions: Positions | None) -> Floats:
        wanted = np.arange(self._count) if positions is None else positions
        found = np.empty((len(queries), len(wanted)), dtype=np.float32)
        for start in range(0, len(wanted), self._together):
            some = wanted[start : start + self._together]
            found[:, start : start + self._together] = queries @ self.at(some).T
        return found


class RowStore:
    """Puts the vectors of new segments where they belong: in files where there are any and it is worth one."""

    def __init__(self, dimension: int, files: RowFiles | None) -> None:
        self.dimension = dimension
        self._files = files

    @property
    def files(self) -> bool:
        """Whether large segments lie in files."""
        return self._files is not None

    def put(self, count: int, blocks: Iterable[Floats]) -> StoredRows:
        """Rows that come in blocks, (B, D) of `count` in all. Raises: StorageFull, StorageUnavailable."""
        if self._files is not None and self._is_much(count):
            return FiledRows(self._files.write(count, self.dimension, blocks), count, self.dimension)
        return self.hold(count, blocks)

    def hold(self, count: int, blocks: Iterable[Floats]) -> HeldRows:
        """The same in memory in any case."""
        rows = np.empty((count, self.dimension), dtype=np.float32)
        start = 0
        for block in blocks:
            rows[start : start + len(block)] = block
            start += len(block)
        return HeldRows(rows)

    def is_misplaced(self, rows: StoredRows) -> bool:
        """Whether they are in memory and belong in a file."""
        return self._files is not None and isinstance(rows, HeldRows) and self._is_much(len(rows))

    def _is_much(self, count: int) -> bool:
        return 4 * self.dimension * count >= FILED_FROM_BYTES


class Taken:
    """Blocks of rows that come in any sizes, (B, D), taken in others."""

    def __init__(self, blocks: Iterable[Floats]) -> None:
        self._blocks = iter(blocks)
        self._rest: Floats | None = None

    def next(self, count: int) -> Iterator[Floats]:
        """So many rows. Raises: InvalidInput if there are fewer."""
        while count:
            block = next(self._blocks, None) if self._rest is None else self._rest
            if block is None:
                raise InvalidInput("fewer vectors than labels were given")
            some, rest = block[:count], block[count:]
            self._rest = rest if len(rest) else None
            count -= len(some)
            yield some

    def end(self) -> None:
        """Raises: InvalidInput if there are more."""
        if self._rest is not None or any(len(block) for block in self._blocks):
            raise InvalidInput("more vectors than labels were given")
