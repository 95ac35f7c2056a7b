"""What an index in Elasticsearch looks like: its names, its settings and its fields. Pure.

An index holds one generation of a collection and is named of random ids alone. Its alias, lookalike-DEPLOYMENT-
COLLECTION-GENERATION, is what is written to; the index behind it ends in random hex besides, and that name is what is
read from: where somebody deletes the index and another process makes it anew, readers of the old one are told instead
of finding half of it. Only one index can have the alias as its write index, so two processes that make one at the same
time end up with one.
"""

from __future__ import annotations

import re
from typing import Any, Final

from lookalike.domain import Space

VECTORS: Final[dict[str, dict[str, Any]]] = {
    "flat": {"type": "flat"},
    "int8_flat": {"type": "int8_flat"},
    "hnsw": {"type": "hnsw", "m": 16, "ef_construction": 100},
    "int8_hnsw": {"type": "int8_hnsw", "m": 16, "ef_construction": 100},
}
"""The kinds of `index_options`. Always said: left to itself, 9.x takes one bit a dimension from 384 dimensions on."""

OVERSAMPLE: Final = 4.0
"""How many times k rows of int8 are ranked again by their vectors."""

MOST_CANDIDATES: Final = 10_000
"""Elasticsearch's own bound of k and num_candidates."""

LAYOUT: Final = 1
"""Stands in `_meta`; an index of another layout is made anew."""

PUT, GONE = 1, 2
"""External versions of a row: a put is 1 and a drop 2, so that a late put never undoes a drop."""

_NAME = re.compile(r"lookalike-([0-9a-f]{32})-([0-9a-z]+)-([0-9a-z]+)-[0-9a-f]{8}")


def alias_of(deployment: str, collection_id: str, generation: str) -> str:
    """The alias of one generation of a collection."""
    return f"lookalike-{deployment}-{collection_id}-{generation}"


def all_of(deployment: str) -> str:
    """The pattern of all indexes of a deployment."""
    return f"lookalike-{deployment}-*"


def owner_of(index: str) -> tuple[str, str] | None:
    """The collection's id and the generation that an index is of; None for one that is not ours."""
    found = _NAME.fullmatch(index)
    return None if found is None else (found[2], found[3])


def settings_of(shards: int, replicas: int) -> dict[str, Any]:
    """Nothing is refreshed by time: each write asks for it, so that a search sees all of a call on a shard or nothing.

    expunge_deletes_allowed: what was dropped goes from the disk, however little of the index it is.
    """
    return {
        "number_of_shards": shards,
        "number_of_replicas": replicas,
        "refresh_interval": "-1",
        "merge.policy.expunge_deletes_allowed": "0",
    }


def mappings_of(space: Space, vectors: str) -> dict[str, Any]:
    """number: the label; vector: absent once dropped; gone: when that was, in seconds since 1970.

    One row has neither: seq there is the change of the records that the latest write was of.
    """
    return {
        "dynamic": "strict",
        "_meta": {"layout": LAYOUT, "space": space.key, "vectors": vectors},
        "properties": {
            "number": {"type": "long"},
            "gone": {"type": "long"},
            "seq": {"type": "long"},
            "vector": {
                "type": "dense_vector",
                "dims": space.dimension,
                "similarity": "dot_product",
                "index_options": VECTORS[vectors],
            },
        },
    }


LIVE: Final = {"bool": {"must_not": {"exists": {"field": "gone"}}}}
"""The rows that were not dropped."""
