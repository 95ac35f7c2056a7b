"""A collection's generation as an index in Elasticsearch: rows in the cluster, shared by all processes that serve it.

What was put or dropped and could not be told to the cluster is owed, by label, the last word for each; the cluster
learns it by the next `settle`. Scores come as (1 + cosine) / 2 and leave as cosines. A label is a document's id.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
from elasticsearch import Elasticsearch

from index.elastic_bulk import BulkWriter, Row
from index.elastic_cluster import Answer, ElasticCluster
from index.elastic_mapping import GONE, LIVE, MOST_CANDIDATES, OVERSAMPLE, PUT
from index.row_rules import checked_queries, checked_rows, label_array, ranked, unit_rows
from lookalike.domain import Embeddings, Floats, Labels, Space
from lookalike.errors import IndexUnavailable
from lookalike.ports import IndexState, Neighbour

LABELS_A_PAGE: Final = 10_000
ROWS_A_PAGE: Final = 1_000
QUERIES_A_CALL: Final = 64
TERMS_A_CLAUSE: Final = 65_536
"""Elasticsearch's own bound (index.max_terms_count); a longer list of allowed labels takes several clauses."""

TERMS_A_CALL: Final = 1_000_000
"""Labels in the filters of one call together: about 10 MB of its 100."""

KEEP_GONE_S: Final = 24 * 3600
"""How long a dropped label is remembered, so that no late put undoes the drop."""

TIDY_AFTER_S: Final = 90.0
TIDY_EVERY_S: Final = 600.0
"""Segments are written anew this long after a drop: until their leases were renewed, which takes half a minute, shards
keep what was dropped for copies that may need it; and so often, since a whole segment is written for one row."""

AS_UNIT: Final = 1e-4
"""How far a squared length may be from 1 for the dot product of Elasticsearch, with a margin; others are set to 1."""

MARK: Final = -(2**63)
"""The label of the row that says of which change the latest write was; no sample has it."""

log = logging.getLogger(__name__)

_ANSWERED = "_shards,timed_out,error.type"


class ElasticIndex:
    """The ports VectorIndex and SharedIndex. Thread-safe."""

    def __init__(self, cluster: ElasticCluster, space: Space, alias: str, name: str, vectors: str) -> None:
        """name: the index behind the alias; vectors: how it holds them, as it was made."""
        self._cluster = cluster
        self._space = space
        self._name = name
        self._vectors = vectors
        self._graph = vectors.endswith("hnsw")
        self._rescored = vectors.startswith("int8")
        self._writer = BulkWriter(cluster, alias, space.dimension)
        self._owed: dict[int, Row] = {}
        self._stale = False
        self._version = 0
        self._seq = 0
        self._noting = threading.Lock()
        self._telling = threading.Lock()
        self._dropped_at = time.monotonic()
        self._tidied_at = -TIDY_EVERY_S
        self._untidy = True  # whoever dropped something may have ended before the segments were written anew
        self.lost = False

    @property
    def space(self) -> Space:
        return self._space

    @property
    def name(self) -> str:
        return self._name

    def __len__(self) -> int:
        return self._count(LIVE)

    # --------------------------------------------------------------------------------------------- writing

    def add(self, labels: Labels, vectors: Embeddings) -> None:
        """Add or replace rows, also such as were removed. Raises: SpaceMismatch, InvalidInput, IndexUnavailable."""
        fresh, rows = checked_rows(self._space, labels, vectors)
        if len(fresh):
            version = self._newest()
            self._note(Row(label, version, row) for label, row in zip(fresh.tolist(), _as_unit(rows), strict=True))
            self.settle()

    def remove(self, labels: Iterable[int]) -> int:
        """Forget these labels at once; how many were there. Raises: IndexUnavailable."""
        gone = np.unique(label_array(labels))
        if not len(gone):
            return 0
        self.settle()
        there = self._count({"bool": {"filter": [_one_of(gone), LIVE]}})
        if there:
            version, at = self._newest(), int(time.time())
            self._note(Row(label, version, None, at) for label in gone.tolist())
            self._has_dropped()
            self.settle()
        return there

    def put(self, labels: Labels, vectors: Embeddings) -> None:
        """Add rows, told now or owed. Raises: SpaceMismatch, InvalidInput."""
        fresh, rows = checked_rows(self._space, labels, vectors)
        self._note(Row(label, PUT, row) for label, row in zip(fresh.tolist(), _as_unit(rows), strict=True))
        with suppress(IndexUnavailable):
            self.settle()

    def fill(self, labels: Labels, vectors: Embeddings) -> None:
        """Add many rows, found after the next `settle`. Raises: as `put`, and IndexUnavailable."""
        fresh, rows = checked_rows(self._space, labels, vectors)
        told = [Row(label, PUT, row) for label, row in zip(fresh.tolist(), _as_unit(rows), strict=True)]
        self._stale = True
        self._require(self._writer.write([*told, *self._seal()], patient=True))

    def drop(self, labels: Iterable[int]) -> None:
        """Forget these labels for good, told now or owed."""
        at = int(time.time())
        self._note(Row(label, GONE, None, at) for label in label_array(labels).tolist())
        self._has_dropped()
        with suppress(IndexUnavailable):
            self.settle()

    def settle(self) -> None:
        """Tell the cluster what is owed, searchable when this returns. Raises: IndexUnavailable."""
        if not self._owed and not self._stale:
            self._cluster.require_up()
            return
        with self._telling:
            with self._noting:
                told = list(self._owed.values())
            if told:
                self._require(self._writer.write([*told, *self._seal()], patient=False))
            self._refresh()
            self._stale = False
            with self._noting:
                for row in told:
                    if self._owed.get(row.label) is row:
                        del self._owed[row.label]

    def mark(self, seq: int) -> None:
        """Have the next write say that it is of this change of the records or before."""
        self._seq = max(self._seq, seq)

    def marked(self) -> int:
        """The latest change that a write was of, by any process. Raises: IndexUnavailable."""
        hits = self._hits(
            {"query": {"exists": {"field": "seq"}}, "size": 1, "sort": [{"seq": "desc"}], "_source": False}
        )
        return int(hits[0]["sort"][0]) if hits else 0

    def discard(self, why: str) -> None:
        """Delete the index and be lost. Raises: IndexUnavailable, always."""
        log.warning("an index in Elasticsearch is made anew: %s", why)
        self._ask(lambda client: client.indices.delete(index=self._name))
        self._require(False)

    def tidy(self) -> None:
        """Have segments that hold dropped rows written anew, in the background of the cluster."""
        now = time.monotonic()
        if not self._untidy or now < max(self._dropped_at + TIDY_AFTER_S, self._tidied_at + TIDY_EVERY_S):
            return
        self._tidied_at, self._untidy = now, False
        self._ask(lambda client: client.indices.flush(index=self._name))
        self._ask(
            lambda client: client.indices.forcemerge(
                index=self._name, only_expunge_deletes=True, wait_for_completion=False
            )
        )

    def _has_dropped(self) -> None:
        """A drop after one that waits to be tidied up is tidied up the next time."""
        if not self._untidy:
            self._dropped_at, self._untidy = time.monotonic(), True

    def forget_tombstones(self) -> None:
        """Delete what is remembered of labels dropped long ago. Raises: IndexUnavailable."""
        long_ago = {"range": {"gone": {"lt": int(time.time()) - KEEP_GONE_S}}}
        while hits := self._hits({"query": long_ago, "size": ROWS_A_PAGE, "version": True, "_source": False}):
            operations = [
                {"delete": {"_id": hit["_id"], "version": hit["_version"], "version_type": "external_gte"}}
                for hit in hits
            ]
            self._ask(_deleting(self._name, operations))
            self._refresh()

    def _seal(self) -> list[Row]:
        """The row that says of which change of the records this write is, where that is known."""
        return [Row(MARK, self._seq, seq=self._seq)] if self._seq else []

    def _note(self, rows: Iterable[Row]) -> None:
        with self._noting:
            for row in rows:
                there = self._owed.get(row.label)
                if there is None or there.version <= row.version:
                    self._owed[row.label] = row

    def _newest(self) -> int:
        """A version above that of every write before."""
        with self._noting:
            self._version = max(self._version + 1, time.time_ns() // 1000)
            return self._version

    def _refresh(self) -> None:
        answer = self._ask(lambda client: client.indices.refresh(index=self._name))
        if answer["_shards"]["failed"]:
            raise IndexUnavailable("not all shards of the index could be made searchable")

    # --------------------------------------------------------------------------------------------- reading

    def search(self, queries: Embeddings, k: int, allowed: Labels | None = None) -> list[list[Neighbour]]:
        """The k most similar rows of each query, as far as the index's kind finds them; above 10,000 by a full scan.

        Raises: SpaceMismatch, InvalidInput, IndexUnavailable.
        """
        wanted = checked_queries(self._space, queries, k)
        chosen = None if allowed is None else np.unique(label_array(allowed))
        if not len(wanted) or (chosen is not None and not len(chosen)):
            return [[] for _ in wanted]
        if k > MOST_CANDIDATES:
            return self._scan(wanted, k, chosen)
        at_once = QUERIES_A_CALL if chosen is None else max(1, min(QUERIES_A_CALL, TERMS_A_CALL // len(chosen)))
        clause = None if chosen is None else _one_of(chosen)
        found: list[list[Neighbour]] = []
        for start in range(0, len(wanted), at_once):
            found += self._nearest(_as_unit(wanted[start : start + at_once]), k, clause)
        return found

    def vectors(self, labels: Sequence[int]) -> Floats:
        """(N, D) in the order of `labels`. Raises: KeyError, IndexUnavailable."""
        wanted = label_array(labels)
        rows: dict[int, Any] = {}
        for start in range(0, len(wanted), ROWS_A_PAGE):
            page = np.unique(wanted[start : start + ROWS_A_PAGE])
            body = {"query": {"bool": {"filter": [_one_of(page), LIVE]}}, "size": len(page), "fields": ["vector"]}
            rows.update((int(hit["_id"]), hit["fields"]["vector"]) for hit in self._hits(body | {"_source": False}))
        if any(label not in rows for label in wanted.tolist()):
            raise KeyError("a label is not in the index")
        return self._matrix([rows[label] for label in wanted.tolist()])

    def dump(self) -> tuple[Labels, Floats]:
        """All live rows, labels ascending. Raises: IndexUnavailable."""
        labels: list[int] = []
        rows: list[Floats] = []
        for hits in self._pages(ROWS_A_PAGE, {"fields": ["vector"]}):
            labels += [hit["sort"][0] for hit in hits]
            rows.append(self._matrix([hit["fields"]["vector"] for hit in hits]))
        together = np.concatenate(rows) if rows else self._matrix([])
        return np.array(labels, dtype=np.int64), together

    def labels(self) -> Labels:
        """All live labels, ascending. Raises: IndexUnavailable."""
        pages = (np.array([hit["sort"][0] for hit in hits], dtype=np.int64) for hits in self._pages(LABELS_A_PAGE, {}))
        return np.concatenate([np.empty(0, dtype=np.int64), *pages])

    def describe(self) -> IndexState:
        """What answers now, and why. Raises: IndexUnavailable."""
        answer = self._ask(
            lambda client: client.indices.stats(
                index=self._name, metric="docs,segments", filter_path="_shards,_all.primaries"
            )
        )
        facts = answer["_all"]["primaries"]
        exact = self._vectors == "flat"
        return IndexState(
            structure="exact" if exact else self._vectors,
            why=f"in Elasticsearch, by {self._vectors}: "
            + ("every row is compared" if exact else "what it finds is ranked again" if self._rescored else "a graph"),
            rows=len(self),
            dimension=self._space.dimension,
            removed=int(facts["docs"]["deleted"]),
            parts=max(int(facts["segments"]["count"]), 1),
            memory_bytes=0,
            next_change="never by itself; LOOKALIKE_ELASTICSEARCH_VECTORS says what the next generation is",
        )

    def _nearest(self, queries: Floats, k: int, clause: dict[str, Any] | None) -> list[list[Neighbour]]:
        searches: list[dict[str, Any]] = []
        for query in queries:
            knn: dict[str, Any] = {
                "field": "vector",
                "query_vector": query.tolist(),
                "k": k,
                "num_candidates": self._candidates(k),
            }
            if self._rescored:
                knn["rescore_vector"] = {"oversample": OVERSAMPLE}
            if clause is not None:
                knn["filter"] = clause
            searches += [{"allow_partial_search_results": False}, self._body({"knn": knn, "size": k, "_source": False})]
        answer = self._ask(
            lambda client: client.msearch(
                index=self._name,
                searches=searches,
                filter_path="took,responses.status,"
                + ",".join(
                    f"responses.{part}" for part in ("hits.hits._id", "hits.hits._score", *_ANSWERED.split(","))
                ),
            )
        )
        responses = answer.get("responses", [])
        if len(responses) != len(queries):
            raise IndexUnavailable("Elasticsearch answered fewer searches than it was asked")
        return [_neighbours(self._whole(response), k) for response in responses]

    def _candidates(self, k: int) -> int:
        """How many rows of each shard are looked at closely. A full scan looks at all of them anyhow."""
        least = self._cluster.options.candidates if self._graph else k
        return min(max(least, int(OVERSAMPLE * k)), MOST_CANDIDATES)

    def _scan(self, queries: Floats, k: int, chosen: Labels | None) -> list[list[Neighbour]]:
        labels, rows = self.dump()
        if chosen is not None:
            kept = np.isin(labels, chosen)
            labels, rows = labels[kept], rows[kept]
        return [ranked(labels, similarities, k) for similarities in queries @ rows.T]

    def _pages(self, size: int, more: dict[str, Any]) -> Iterator[list[Any]]:
        """All live rows in the order of their labels. A row that comes meanwhile has a greater label."""
        body = {"query": LIVE, "size": size, "sort": [{"number": "asc"}], "_source": False, **more}
        while hits := self._hits(body):
            yield hits
            if len(hits) < size:
                return
            body["search_after"] = hits[-1]["sort"]

    def _hits(self, body: dict[str, Any]) -> list[Any]:
        found = self._ask(_searching(self._name, self._body(body)))
        hits: list[Any] = self._whole(found).get("hits", {}).get("hits", [])
        return hits

    def _count(self, query: dict[str, Any]) -> int:
        found = self._ask(_searching(self._name, self._body({"query": query, "size": 0, "track_total_hits": True})))
        return int(self._whole(found)["hits"]["total"]["value"])

    def _body(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"timeout": f"{int(self._cluster.options.timeout_s * 900)}ms", **body}

    def _matrix(self, rows: Sequence[Any]) -> Floats:
        return np.asarray(rows, dtype=np.float32).reshape(len(rows), self._space.dimension)

    def _whole(self, answer: Answer) -> Answer:
        """The answer. Raises: IndexUnavailable for one of some shards only."""
        kind = answer.get("error", {}).get("type")
        if kind is not None:
            if answer.get("status") == 404:
                self._require(False)
            raise IndexUnavailable(f"Elasticsearch could not search all of the index ({kind})")
        shards = answer.get("_shards", {})
        if answer.get("timed_out") is not False or shards.get("failed") != 0 or not shards.get("total"):
            raise IndexUnavailable("Elasticsearch searched a part of the index only")
        return answer

    def _ask(self, call: Callable[[Elasticsearch], Any]) -> Answer:
        answer = self._cluster.ask(call)
        self._require(answer is not None)
        return answer or {}

    def _require(self, there: bool) -> None:
        """Raises: IndexUnavailable where the cluster no longer has this index."""
        if not there:
            self.lost = True
            raise IndexUnavailable("the index is no longer in Elasticsearch; it is made anew from the records")


def _searching(name: str, body: dict[str, Any]) -> Callable[[Elasticsearch], Any]:
    path = "hits.total,hits.hits._id,hits.hits._version,hits.hits.sort,hits.hits.fields,status"
    return lambda client: client.search(
        index=name, body=body, allow_partial_search_results=False, filter_path=f"{path},{_ANSWERED}"
    )


def _deleting(name: str, operations: list[dict[str, Any]]) -> Callable[[Elasticsearch], Any]:
    return lambda client: client.bulk(index=name, operations=operations, filter_path="errors")


def _one_of(labels: Labels) -> dict[str, Any]:
    """A filter for these labels. labels: (N,), N at least 1."""
    clauses = [
        {"terms": {"number": labels[start : start + TERMS_A_CLAUSE].tolist()}}
        for start in range(0, len(labels), TERMS_A_CLAUSE)
    ]
    return clauses[0] if len(clauses) == 1 else {"bool": {"should": clauses, "minimum_should_match": 1}}


def _neighbours(answer: Answer, k: int) -> list[Neighbour]:
    hits = answer.get("hits", {}).get("hits", [])
    scores = np.array([hit["_score"] for hit in hits], dtype=np.float32)
    return ranked(np.array([int(hit["_id"]) for hit in hits], dtype=np.int64), 2 * scores - 1, k)


def _as_unit(rows: Floats) -> Floats:
    """The rows, those that the server would not take as unit vectors set to length 1. (N, D)."""
    squares = np.einsum("nd,nd->n", rows, rows)
    off = np.abs(squares - 1) > AS_UNIT
    if not off.any():
        return rows
    fixed = rows.copy()
    fixed[off] /= np.sqrt(squares[off])[:, None]
    return unit_rows(fixed)
