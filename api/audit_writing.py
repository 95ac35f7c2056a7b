"""Writes an export of the audit log to a file, and goes on with one that was interrupted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TextIO

from lookalike.domain import AuditEntry
from lookalike.errors import InvalidInput
from security.audit import SealedAuditLog
from security.audit_export import FORMATS, STATEMENT, exported


@dataclass(frozen=True, slots=True)
class Wanted:
    """Entries of a time, in seconds since 1970: from `since` on, before `until`."""

    since: float = float("-inf")
    until: float = float("inf")

    @classmethod
    def parse(cls, since: str | None, until: str | None) -> Wanted:
        """Raises: InvalidInput for what is no time."""
        return cls(_time(since, "since", float("-inf")), _time(until, "until", float("inf")))

    def takes(self, entry: AuditEntry) -> bool:
        return self.since <= entry.at < self.until


def write_export(
    audit: SealedAuditLog, out: TextIO, format: str, after: int, wanted: Wanted, names: bool, version: str
) -> int:
    """Write the entries after this one, as they are read; how many. Raises: NotFound, TamperedData."""
    before, reader = audit.reader_of_exports(after, names=names, version=version)
    count = 0

    def takes(entry: AuditEntry) -> bool:
        nonlocal count
        taken = wanted.takes(entry)
        count += taken
        return taken

    for line in exported(audit.entries_after(after), before, FORMATS[format], reader, takes):
        out.write(line + "\n")
    out.flush()
    return count


@contextmanager
def begin_file(path: Path, format: str, *, resume: bool) -> Iterator[tuple[TextIO, int]]:
    """The file, open for its owner alone, and the last entry that is in it. Raises: InvalidInput where it is no export.

    resume: what comes after the last statement, or in CEF after the last whole line, is cut off and written anew.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | (0 if resume else os.O_TRUNC), 0o600)
    with os.fdopen(descriptor, "r+b") as raw:
        end, ended = _end_of(raw, format) if resume else (0, 0)
        raw.truncate(end)
        raw.seek(end)
        with open(descriptor, "w", encoding="utf-8", newline="\n", closefd=False) as file:
            yield file, ended
        os.fsync(descriptor)


def _end_of(file: IO[bytes], format: str) -> tuple[int, int]:
    """(bytes up to the end of what is whole, the last entry in it)."""
    end = place = ended = 0
    try:
        for line in file:
            place += len(line)
            if not line.endswith(b"\n"):
                break
            if format == "cef":
                end, ended = place, int(line.partition(b" externalId=")[2].split(b" ")[0])
            elif b'"statement":' in line and (held := json.loads(line)).get("statement") == STATEMENT:
                end, ended = place, int(held["last"])
    except (ValueError, KeyError, AttributeError):
        raise InvalidInput("--resume: the file is no export in this format") from None
    if place and not end:
        raise InvalidInput("--resume: the file has no whole part of an export in this format; write it anew")
    return end, ended


def _time(text: str | None, name: str, otherwise: float) -> float:
    if text is None:
        return otherwise
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"--{name}: a time as 2026-11-25 or 2026-11-25T13:00:00Z is allowed") from None
    return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
