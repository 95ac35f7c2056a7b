"""What still has to leave this machine: signed checkpoints wait among the records until each receiver has them.

A checkpoint is put here in the transaction that signs it, so none is lost with a process. Each receiver has a place of
its own: how far it got, and which process is sending to it now, so that of several replicas one does it. Sending comes
before the place is moved on, so a receiver may get a checkpoint twice, and never gets none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from lookalike.ports import RowReader, Rows, RowWriter

_WAITING = "audit.outbox/"
_RECEIVERS = "audit.push/"
LEASE_S = 60.0


@dataclass(frozen=True, slots=True)
class Place:
    """How far a receiver is. seq: the last entry that a checkpoint it got covers; holder, until: who sends to it."""

    seq: int = 0
    holder: str = ""
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a receiver has not got yet. since: time of the oldest one's entry, None where there is none."""

    checkpoints: int
    since: float | None


def receiver_id(url: str) -> str:
    """Names a receiver among the records, where its address does not stand."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def put_waiting(rows: RowWriter, seq: int, line: bytes) -> None:
    """Keep a checkpoint until every receiver has it; nothing where there is no receiver."""
    if rows.settings(_RECEIVERS):
        rows.put_setting(f"{_WAITING}{seq:012d}", line)


class Outbox:
    """The receivers' places and what waits for them. Thread-safe; all processes share it."""

    def __init__(self, rows: Rows, clock: Callable[[], float]) -> None:
        self._rows = rows
        self._clock = clock

    def register(self, urls: Collection[str], newest: bytes | None, seq: int) -> None:
        """Know these receivers from now on, and no others. newest: the last checkpoint, which new ones get first."""
        wanted = {_RECEIVERS + receiver_id(url) for url in urls}
        if set(self._rows.read().settings(_RECEIVERS)) == wanted:
            return

        def work(rows: RowWriter) -> None:
            there = rows.settings(_RECEIVERS)
            for name in there:
                if name not in wanted:
                    rows.delete_setting(name)
            for name in wanted - set(there):
                rows.put_setting(name, _encode(Place()))
            if newest is not None and wanted - set(there):
                put_waiting(rows, seq, newest)
            _tidy(rows)

        self._rows.write(work)

    def waiting(self, url: str) -> Waiting:
        """What this receiver has not got yet."""
        lines = self._after(self._rows.read(), self._place(self._rows.read(), url).seq)
        return Waiting(len(lines), _time_of(lines[0][1]) if lines else None)

    def claim(self, url: str, holder: str) -> list[tuple[int, bytes]]:
        """What to send to it next, in order, if no other process does already; its turn lasts LEASE_S."""
        reader = self._rows.read()
        if not self._after(reader, self._place(reader, url).seq):
            return []

        def work(rows: RowWriter) -> list[tuple[int, bytes]]:
            place, now = self._place(rows, url), self._clock()
            # A lease that ends later than one can was given by a clock that has gone back since.
            if place.holder not in ("", holder) and 0 <= place.until - now <= LEASE_S:
                return []
            rows.put_setting(_RECEIVERS + receiver_id(url), _encode(Place(place.seq, holder, now + LEASE_S)))
            return self._after(rows, place.seq)

        return self._rows.write(work)

    def sent(self, url: str, seq: int) -> None:
        """The receiver has everything up to here; what all of them have is forgotten."""

        def work(rows: RowWriter) -> None:
            place = self._place(rows, url)
            if rows.get_setting(_RECEIVERS + receiver_id(url)) is None:
                return  # the settings that name it are gone meanwhile
            reached = replace(place, seq=max(place.seq, seq))
            rows.put_setting(_RECEIVERS + receiver_id(url), _encode(reached))
            _tidy(rows)

        self._rows.write(work)

    def release(self, url: str, holder: str) -> None:
        """Let another process try, where this one could not send."""

        def work(rows: RowWriter) -> None:
            place = self._place(rows, url)
            if place.holder == holder:
                rows.put_setting(_RECEIVERS + receiver_id(url), _encode(Place(place.seq)))

        self._rows.write(work)

    def _place(self, reader: RowReader, url: str) -> Place:
        held = reader.get_setting(_RECEIVERS + receiver_id(url))
        return _decode(held) if held is not None else Place()

    @staticmethod
    def _after(reader: RowReader, seq: int) -> list[tuple[int, bytes]]:
        found = reader.settings(_WAITING).items()
        return [(number, line) for name, line in found if (number := int(name.removeprefix(_WAITING))) > seq]


def _tidy(rows: RowWriter) -> None:
    places = [_decode(held) for held in rows.settings(_RECEIVERS).values()]
    reached = min((place.seq for place in places), default=None)
    for name in rows.settings(_WAITING):
        if reached is None or int(name.removeprefix(_WAITING)) <= reached:
            rows.delete_setting(name)


def _encode(place: Place) -> bytes:
    return json.dumps([place.seq, place.holder, place.until]).encode()


def _decode(held: bytes) -> Place:
    return Place(*json.loads(held))


def _time_of(line: bytes) -> float:
    return float(json.loads(line)["at"])
