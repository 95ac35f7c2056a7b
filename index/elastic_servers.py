"""The indexes of a deployment in Elasticsearch: opened, made where they are not, deleted with what they were for.

Nothing outside of this deployment's names is ever touched, so several deployments can share a cluster.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from elasticsearch import Elasticsearch

from index.elastic_bulk import BulkWriter, Row
from index.elastic_cluster import SHARD_AWAY, ElasticCluster, ElasticOptions
from index.elastic_index import ElasticIndex
from index.elastic_mapping import GONE, LAYOUT, alias_of, all_of, mappings_of, owner_of, settings_of
from lookalike.domain import Space
from lookalike.errors import BadSettings, IndexUnavailable


class ElasticServers:
    """The port IndexServers, and what opens a SharedIndex. Thread-safe."""

    def __init__(self, urls: Sequence[str], options: ElasticOptions) -> None:
        """urls: of all clusters that the settings name. Raises: BadSettings."""
        self._options = options
        self._urls = tuple(dict.fromkeys(urls))
        self._clusters = {url: ElasticCluster(url, options) for url in self._urls}
        self._used: set[str] = set()

    def close(self) -> None:
        for cluster in self._clusters.values():
            cluster.close()

    def greet(self) -> list[str]:
        """What each cluster is, once it answers. Raises: IndexUnavailable, also for one that is too old."""
        found = []
        for cluster in self._clusters.values():
            answer = cluster.ask(lambda client: client.info()) or {}
            number = str(answer.get("version", {}).get("number", "unknown"))
            if not number.startswith("9."):
                raise IndexUnavailable(f"Elasticsearch is {number}, and 9 is needed")
            found.append(f"Elasticsearch {number}")
        return found

    def open(self, url: str, space: Space, collection_id: str, generation: str) -> ElasticIndex:
        """The index of a collection's generation, made if it is not there. Raises: IndexUnavailable, BadSettings."""
        cluster = self._clusters.get(url)
        if cluster is None:
            raise BadSettings("a collection is in an Elasticsearch that the settings no longer name: LOOKALIKE_INDEXES")
        self._used.add(url)
        alias = alias_of(self._options.deployment, collection_id, generation)
        found = _resolve(cluster, alias, space)
        if found is None:
            _make(cluster, alias, space)
            found = _resolve(cluster, alias, space)
        if found is None:
            raise IndexUnavailable("the index could not be made in Elasticsearch")
        name, vectors = found
        index = ElasticIndex(cluster, space, alias, name, vectors)
        index.forget_tombstones()
        return index

    def check(self) -> None:
        """Ask every shard of this deployment in the clusters that are used. Raises: IndexUnavailable."""
        for url in sorted(self._used):
            answer = self._clusters[url].ask(_asking_each_shard(all_of(self._options.deployment)))
            if answer is None or answer["timed_out"] or answer["_shards"]["failed"]:
                raise IndexUnavailable(SHARD_AWAY)

    def forget(self, collection_id: str) -> None:
        """Delete a collection's indexes. Raises: IndexUnavailable."""
        self._delete(lambda owner: owner[0] == collection_id)

    def drop(self, collection_id: str, labels: Sequence[int], loaded: Sequence[str]) -> None:
        """Drop labels from the generations that are not `loaded` here. Raises: IndexUnavailable."""
        at = int(time.time())
        rows = [Row(label, GONE, None, at) for label in labels]
        for cluster, name, (owner, generation) in self._indexes():
            if owner == collection_id and generation not in loaded:
                alias = alias_of(self._options.deployment, owner, generation)
                BulkWriter(cluster, alias, 1).write(rows, patient=False)
                _refresh(cluster, name)

    def keep_only(self, wanted: Callable[[], set[tuple[str, str]]]) -> int:
        """Delete the indexes of all generations but these. Raises: IndexUnavailable."""
        there = list(self._indexes())
        kept = wanted() if there else set()
        for cluster, name, owner in there:
            if owner not in kept:
                _drop_index(cluster, name)
        return sum(owner not in kept for _, _, owner in there)

    def _delete(self, chosen: Callable[[tuple[str, str]], bool]) -> None:
        for cluster, name, owner in list(self._indexes()):
            if chosen(owner):
                _drop_index(cluster, name)

    def _indexes(self) -> Iterator[tuple[ElasticCluster, str, tuple[str, str]]]:
        """All of this deployment's: where, name, and (collection id, generation)."""
        pattern = all_of(self._options.deployment)
        for cluster in self._clusters.values():
            found = cluster.ask(lambda client: client.indices.get_alias(index=pattern)) or {}
            for name in sorted(found):
                owner = owner_of(name)
                if owner is not None:
                    yield cluster, name, owner


def _resolve(cluster: ElasticCluster, alias: str, space: Space) -> tuple[str, str] | None:
    """The index behind an alias and how it holds vectors; one of another layout or space is deleted first."""
    found = cluster.ask(lambda client: client.indices.get(index=alias, features="mappings")) or {}
    for name, facts in found.items():
        meta = facts["mappings"].get("_meta", {})
        if meta.get("layout") == LAYOUT and meta.get("space") == space.key:
            return name, str(meta["vectors"])
        _drop_index(cluster, name)
    return None


def _make(cluster: ElasticCluster, alias: str, space: Space) -> None:
    """Make an index under the alias; whoever comes second finds the first one's."""
    options = cluster.options
    name = f"{alias}-{secrets.token_hex(4)}"

    def make(client: Elasticsearch) -> Any:
        return client.options(ignore_status=(400, 500)).indices.create(  # 500: the alias has a write index
            index=name,
            aliases={alias: {"is_write_index": True}},
            settings=settings_of(options.shards, options.replicas),
            mappings=mappings_of(space, options.vectors),
            timeout=f"{int(options.timeout_s * 900)}ms",
        )

    cluster.ask(make)


def _drop_index(cluster: ElasticCluster, name: str) -> None:
    cluster.ask(lambda client: client.indices.delete(index=name, timeout=f"{int(cluster.options.timeout_s * 900)}ms"))


def _asking_each_shard(pattern: str) -> Callable[[Elasticsearch], Any]:
    return lambda client: client.search(
        index=pattern,
        size=0,
        track_total_hits=False,
        terminate_after=1,
        allow_partial_search_results=False,
        filter_path="timed_out,_shards",
    )


def _refresh(cluster: ElasticCluster, name: str) -> None:
    cluster.ask(lambda client: client.indices.refresh(index=name))
