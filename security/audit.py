"""The audit log: every entry sealed, each chained to all before it, so that a change is found out without a key.

    leaf    = SHA-256(0x00 | sealed entry)
    chain 0 = SHA-256(0x03 | deployment id)
    chain n = SHA-256(0x02 | chain n-1 | seq 8, big-endian | time 8, IEEE 754 big-endian | leaf)

The chain alone shows a change within; a removed tail, or a log rewritten from some entry on, is shown by a signed
checkpoint of a place further on: of the chain, and of the root of a Merkle tree over the entries (audit_tree.py). One
is signed with each thousandth entry, in its transaction, by whichever process appends it; a running service signs what
lies between (`CHECKPOINT_EVERY_S`). They go where an attacker does not reach: checkpoint_outbox.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lookalike.domain import AuditEntry
from lookalike.errors import Conflict, NotFound, StorageUnavailable, TamperedData
from lookalike.ports import AuditProof, AuditRow, RowReader, Rows, RowWriter
from security.audit_check import AuditReport, verify_rows
from security.audit_export import Reader
from security.audit_tree import KEPT_FROM_LEVEL, LogTree, chained, genesis, keep_tree, rows_after
from security.checkpoint_outbox import put_waiting
from security.checkpoints import (
    CHECKPOINT_SETTING,
    Checkpoint,
    append_line,
    read_checkpoint,
    sign_checkpoint,
)
from security.envelope import open_sealed, seal
from security.keys import KeyRing
from security.merkle import Frontier
from security.past import read_past, restores_in
from security.sealed_codec import decode_entry, encode_entry

CHECKPOINT_EVERY = 1000
CHECKPOINT_EVERY_S = 60.0
MOST_AT_ONCE = 5 * CHECKPOINT_EVERY
"""A writer signs within its transaction only if no more entries than these wait to be covered."""


@dataclass(frozen=True, slots=True)
class _Signed:
    """A checkpoint to be kept with the tree that it signs. nodes: perfect subtrees that became whole."""

    checkpoint: Checkpoint
    tree: Frontier
    nodes: dict[tuple[int, int], bytes]


class SealedAuditLog:
    """The port AuditLog over ciphertext rows. Thread-safe; entries of all processes stand in one order."""

    def __init__(self, rows: Rows, keyring: KeyRing, clock: Callable[[], float] = time.time) -> None:
        self._rows = rows
        self._keyring = keyring
        self._clock = clock

    def append(self, entry: AuditEntry) -> None:
        """Durable when it returns. Raises: StorageFull, StorageUnavailable."""
        self._rows.write(self.prepare(entry))

    def prepare(self, entry: AuditEntry) -> Callable[[RowWriter], int]:
        """What appends the entry within another write's transaction, giving its sequence number."""
        plain = encode_entry(entry)

        def append(rows: RowWriter) -> int:
            tail = rows.audit_tail()
            seq, before = (tail.seq + 1, tail.chain) if tail is not None else (1, genesis(self._keyring.deployment))
            at = self._clock()
            payload = seal(self._keyring.audit_key, plain, self._keyring.context("audit", version=seq))
            row = AuditRow(seq, at, chained(before, seq, at, payload), payload)
            try:
                rows.append_audit(row)
            except Conflict as error:
                raise StorageUnavailable("the audit log takes no entry, so nothing is done") from error
            if seq % CHECKPOINT_EVERY == 0:
                self._sign_within(rows, row)
            return seq

        return append

    def page(self, after_seq: int, limit: int) -> list[AuditEntry]:
        """Entries in order. Raises: TamperedData."""
        return [self._opened(row) for row in self._rows.read().audit_page(after_seq, limit)]

    def last_seq(self) -> int:
        """The newest entry's sequence number, 0 while there is none."""
        tail = self._rows.read().audit_tail()
        return 0 if tail is None else tail.seq

    # ----------------------------------------------------------------------------------------- checkpoints

    def newest(self) -> Checkpoint | None:
        """The checkpoint beside the log, None before the first. Raises: TamperedData."""
        return self._newest(self._rows.read())

    def uncovered(self) -> int:
        """How many entries no checkpoint covers yet. Raises: TamperedData where more were signed than there are."""
        reader = self._rows.read()
        tail, newest = reader.audit_tail(), self._newest(reader)
        found = (tail.seq if tail is not None else 0) - (newest.seq if newest is not None else 0)
        if found < 0:
            raise TamperedData(f"the end of the audit log was removed: {-found} more entries were signed")
        return found

    def gap(self) -> tuple[int, float | None]:
        """How many entries no checkpoint covers, and when the first of them was written. Raises: as `uncovered`."""
        reader, newest = self._rows.read(), self.newest()
        first = reader.audit_page(newest.seq if newest is not None else 0, 1)
        return self.uncovered(), first[0].at if first else None

    def checkpoint(self, file: Path | None = None) -> Checkpoint | None:
        """Sign the log's end, keep that beside it and append it to `file`; None while the log is empty.

        Raises: TamperedData for a log that is not the one signed before, StorageUnavailable if the file cannot be
        written.
        """
        made = None
        while made is None:
            with self._rows.snapshot() as reader:
                tail, line = reader.audit_tail(), reader.get_setting(CHECKPOINT_SETTING)
                if tail is None:
                    return None
                signed = self._sign(reader, tail)
            made = self._rows.write(partial(self._keep, signed=signed, before=line))
        if file is not None:
            append_line(file, made.line)
        return made

    def sign_end(self, file: Path) -> None:
        """Append a checkpoint of the log's end to `file` alone, which costs no transaction.

        Raises: TamperedData, StorageUnavailable if the file cannot be written.
        """
        with self._rows.snapshot() as reader:
            tail = reader.audit_tail()
            if tail is not None:
                tree = LogTree(reader, self._keyring.deployment).grown(self._newest(reader))
                append_line(file, sign_checkpoint(self._keyring, reader, tail, tree.root()))

    def _newest(self, reader: RowReader) -> Checkpoint | None:
        line = reader.get_setting(CHECKPOINT_SETTING)
        if line is None:
            return None
        return read_checkpoint(line, self._keyring.deployment, self._keyring.public_key)

    def _sign_within(self, rows: RowWriter, row: AuditRow) -> None:
        """Sign in a writer's transaction. Where there is more to it than that, the service does it and tells."""
        with suppress(TamperedData):
            newest = self._newest(rows)
            if row.seq - (newest.seq if newest is not None else 0) <= MOST_AT_ONCE:
                self._keep(rows, self._sign(rows, row), newest.line if newest is not None else None)

    def _sign(self, reader: RowReader, tail: AuditRow) -> _Signed:
        """Sign the log up to its end. Raises: TamperedData."""
        nodes: dict[tuple[int, int], bytes] = {}

        def done(level: int, index: int, root: bytes) -> None:
            if level >= KEPT_FROM_LEVEL:
                nodes[level, index] = root

        tree = LogTree(reader, self._keyring.deployment).grown(self._newest(reader), done)
        line = sign_checkpoint(self._keyring, reader, tail, tree.root())
        return _Signed(read_checkpoint(line, self._keyring.deployment, self._keyring.public_key), tree, nodes)

    @staticmethod
    def _keep(rows: RowWriter, signed: _Signed, before: bytes | None) -> Checkpoint | None:
        """Keep it, unless another was signed since the one that it was made after."""
        if rows.get_setting(CHECKPOINT_SETTING) != before:
            return None
        keep_tree(rows, signed.tree, signed.nodes)
        rows.put_setting(CHECKPOINT_SETTING, signed.checkpoint.line)
        put_waiting(rows, signed.checkpoint.seq, signed.checkpoint.line)
        return signed.checkpoint

    # ------------------------------------------------------------------------------------------ proofs, checking

    def sign(self) -> str | None:
        """A checkpoint of the log's end, None while it is empty. Raises: TamperedData."""
        made = self.checkpoint()
        return made.line.decode("ascii") if made is not None else None

    def prove_entry(self, seq: int, size: int | None) -> AuditProof:
        """The path from an entry's leaf to the root of the first `size`. Raises: NotFound."""
        with self._rows.snapshot() as reader:
            size = self._size(reader, size)
            found = reader.audit_page(seq - 1, 1) if 1 <= seq <= size else []
            if not found:
                raise NotFound(f"there is no entry {seq} among the first {size}")
            tree = LogTree(reader, self._keyring.deployment)
            return AuditProof(size, tuple(tree.inclusion(seq, size)), tree.root(size), found[0])

    def prove_growth(self, earlier: int, size: int | None) -> AuditProof:
        """That the first `earlier` entries are the beginning of the first `size`. Raises: NotFound."""
        with self._rows.snapshot() as reader:
            size = self._size(reader, size)
            if not 1 <= earlier <= size:
                raise NotFound(f"the log never had {earlier} entries before it had {size}")
            tree = LogTree(reader, self._keyring.deployment)
            return AuditProof(size, tuple(tree.consistency(earlier, size)), tree.root(size), earlier=earlier)

    @staticmethod
    def _size(reader: RowReader, size: int | None) -> int:
        """The size that is asked for, all entries by default. Raises: NotFound."""
        tail = reader.audit_tail()
        there = tail.seq if tail is not None else 0
        if not 1 <= (there if size is None else size) <= there:
            raise NotFound(f"the log has {there} entries, not {size}")
        return there if size is None else size

    def require_growth(self, line: bytes) -> None:
        """Whether the log begins with what this checkpoint, kept elsewhere, covers.

        Raises: TamperedData where it does not, or where the checkpoint is not this deployment's.
        """
        with self._rows.snapshot() as reader:
            checkpoint = read_checkpoint(line, self._keyring.deployment, self._keyring.public_key)
            if not read_past(reader, self._keyring).holds(checkpoint.epoch, checkpoint.seq):
                return  # a restore left it behind
            tail = reader.audit_tail()
            if tail is None or tail.seq < checkpoint.seq:
                raise TamperedData(
                    f"{checkpoint.seq} entries were signed, of which only {tail.seq if tail else 0} are here"
                )
            page = reader.audit_page(checkpoint.seq - 1, 1)
            root = LogTree(reader, self._keyring.deployment).root(checkpoint.seq)
            if page[0].chain != checkpoint.chain or checkpoint.root not in (None, root):
                raise TamperedData(f"entry {checkpoint.seq} is not the one that was signed: the log was rewritten")

    def verify(self, lines: Iterable[bytes] = ()) -> AuditReport:
        """Check the whole log: order, chain, every seal, the tree, and the checkpoints beside it and in `lines`.

        Raises: TamperedData for a checkpoint that this deployment did not sign.
        """
        with self._rows.snapshot() as reader:
            return verify_rows(reader, self._keyring.public_key, lines, self._opened)

    def reader_of_exports(self, after: int, *, names: bool = False, version: str = "-") -> tuple[Frontier, Reader]:
        """What an export that begins after this entry needs. Raises: NotFound where the log is not that long."""
        with self._rows.snapshot() as reader:
            if after:
                self._size(reader, after)
            before = LogTree(reader, self._keyring.deployment).frontier(after)
            return before, Reader(self._keyring, names, version, restores_in(reader))

    def entries_after(self, seq: int) -> Iterator[tuple[AuditRow, AuditEntry]]:
        """Each entry after this one, as it is kept and opened. Raises: TamperedData."""
        for row in rows_after(self._rows.read(), seq):
            yield row, self._opened(row)

    def _opened(self, row: AuditRow) -> AuditEntry:
        context = self._keyring.context("audit", version=row.seq)
        return decode_entry(row.seq, row.at, open_sealed(self._keyring.audit_key, row.payload, context))
