"""Writes rows to an index in Elasticsearch in bulk: small calls, each item's answer read, and patience when it is busy.

A write may be repeated at any time: its version says whether it is late. An item that the server was too busy for is
sent again after a pause that doubles, in calls half as large, until the time is up.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from elasticsearch import Elasticsearch

from index.elastic_cluster import Answer, ElasticCluster
from lookalike.domain import Floats
from lookalike.errors import IndexUnavailable

FLOATS_A_CALL: Final = 64_000
"""About 1.3 MB of JSON: half a thousand faces."""

PATIENCE_S: Final = 120.0
"""How long a bulk load goes on asking a busy server."""

FAR_AWAY: Final = 2**62
"""Stands in `gone` of what is neither a row nor a dropped one's memory: it is never live and never forgotten."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_BUSY = frozenset({429, 502, 504})
_BLOCKED = "cluster_block_exception"


@dataclass(frozen=True, slots=True)
class Row:
    """A label's state. version: external; vector: (D,) float32, None once it is gone; at: when that was, in seconds.

    seq: above 0 makes it no label's, but the row that says of which change of the records a write is.
    """

    label: int
    version: int
    vector: Floats | None = None
    at: int = 0
    seq: int = 0

    def operation(self) -> tuple[dict[str, Any], dict[str, Any]]:
        action = {"index": {"_id": str(self.label), "version": self.version, "version_type": "external"}}
        if self.seq:
            return action, {"seq": self.seq, "gone": FAR_AWAY}
        if self.vector is None:
            return action, {"number": self.label, "gone": self.at}
        return action, {"number": self.label, "vector": self.vector.tolist()}


class BulkWriter:
    """Writes to one alias. Thread-safe."""

    def __init__(self, cluster: ElasticCluster, alias: str, dimension: int) -> None:
        self._cluster = cluster
        self._alias = alias
        self._largest = max(FLOATS_A_CALL // dimension, 1)

    def write(self, rows: Sequence[Row], *, patient: bool) -> bool:
        """Write rows, searchable after a refresh. patient: a load, not a request that somebody waits for.

        Returns False where the server has no such index.
        Raises: IndexUnavailable, with some rows written perhaps.
        """
        options = self._cluster.options
        until = time.monotonic() + (PATIENCE_S if patient else options.timeout_s / 2)
        size, pause, waiting = self._largest, _FIRST_PAUSE_S, list(rows)
        while waiting:
            sent, waiting = waiting[:size], waiting[size:]
            answer = self._send(sent, patient)
            if answer is None or _no_such_index(answer):
                return False
            again = _refused_for_now(sent, answer)
            if not again:
                continue
            if time.monotonic() + pause > until:
                raise IndexUnavailable("Elasticsearch is too busy to take rows")
            time.sleep(pause * random.uniform(0.5, 1.0))
            waiting, size, pause = again + waiting, max(size // 2, 1), min(2 * pause, _LONGEST_PAUSE_S)
        return True

    def _send(self, rows: Sequence[Row], patient: bool) -> Answer | None:
        operations = [part for row in rows for part in row.operation()]
        timeout_s = 60.0 if patient else self._cluster.options.timeout_s
        # The alias must be there: a bulk call would make an index of that name, with a mapping of its own guess.
        return self._cluster.ask(_bulk(self._alias, operations, timeout_s), timeout_s=timeout_s)


def _bulk(alias: str, operations: list[dict[str, Any]], timeout_s: float) -> Callable[[Elasticsearch], Any]:
    def call(client: Elasticsearch) -> Any:
        answer = client.options(ignore_status=429).bulk(
            index=alias,
            operations=operations,
            require_alias=True,
            timeout=f"{int(timeout_s * 900)}ms",  # the server gives up first, and says of what
            filter_path="errors,status,error.type,items.*.status,items.*.error.type",
        )
        return answer.body

    return call


def _no_such_index(answer: Answer) -> bool:
    items = answer.get("items", ())
    return bool(items) and items[0]["index"]["status"] == 404


def _refused_for_now(sent: Sequence[Row], answer: Answer) -> list[Row]:
    """Those to be sent again. Raises: IndexUnavailable for what waiting does not mend."""
    if "items" not in answer:  # the whole call was refused
        _raise_blocked(str(answer.get("error", {}).get("type", "")))
        if answer.get("status") == 429:
            return list(sent)
        raise IndexUnavailable("Elasticsearch did not say what became of the rows")
    if len(answer["items"]) != len(sent):
        raise IndexUnavailable("Elasticsearch answered for fewer rows than it was sent")
    again = []
    for row, item in zip(sent, answer["items"], strict=True):
        status, kind = item["index"]["status"], item["index"].get("error", {}).get("type", "")
        if status < 300 or status == 409:  # 409: it has this or something later
            continue
        _raise_blocked(kind)
        if status not in _BUSY:
            raise IndexUnavailable(f"Elasticsearch refused a row: {status} ({kind})")
        again.append(row)
    return again


def _raise_blocked(kind: str) -> None:
    if kind == _BLOCKED:
        raise IndexUnavailable("Elasticsearch takes no writes for this index: its disk is too full, or it is read-only")
