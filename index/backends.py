"""The table of index backends: the scheme of LOOKALIKE_INDEX to what makes one, imported only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lookalike.domain import Space
from lookalike.errors import BadSettings
from lookalike.ports import IndexServers, LocalIndex, RowFiles, SharedIndex

if TYPE_CHECKING:
    from index.elastic_cluster import ElasticOptions
    from index.elastic_servers import ElasticServers

ELASTIC = ("es+https:", "es+http:")
"""Schemes of an Elasticsearch, whose indexes outlive this process and are opened by name."""


def _exact(space: Space, files: RowFiles | None) -> LocalIndex:
    from index.exact import ExactIndex

    return ExactIndex(space)


def _faiss(space: Space, files: RowFiles | None) -> LocalIndex:
    from index.faiss_index import FaissIndex

    return FaissIndex(space)


def _faiss_on_disk(space: Space, files: RowFiles | None) -> LocalIndex:
    from index.faiss_index import FaissIndex

    if files is None:
        raise BadSettings("vectors are to lie on disk, and nothing of where was said")
    return FaissIndex(space, files)


BACKENDS: dict[str, Callable[[Space, RowFiles | None], LocalIndex]] = {
    "exact:": _exact,
    "faiss:": _faiss,
    "faiss+disk:": _faiss_on_disk,
}
"""Indexes in this process, which begin empty. The last keeps codes in memory, and vectors sealed on disk."""


class Backends:
    """Makes and opens indexes by URL: those in the table, and those in the clusters that the settings name."""

    def __init__(
        self,
        url: str,
        further: Sequence[str] = (),
        elastic: ElasticOptions | None = None,
        files: RowFiles | None = None,
    ) -> None:
        """url: LOOKALIKE_INDEX; further: other clusters that collections may be in; files: for vectors on disk.

        Raises: BadSettings.
        """
        self._url = url
        self._files = files
        clusters = [each for each in (url, *further) if each.startswith(ELASTIC)]
        self._known = {*BACKENDS, *clusters}
        for each in (url, *further):
            self.known(each)
        self._elastic: ElasticServers | None = None
        if clusters:
            from index.elastic_servers import ElasticServers

            if elastic is None:
                raise BadSettings("an Elasticsearch is named, and nothing of how to speak to it")
            self._elastic = ElasticServers(clusters, elastic)

    @property
    def servers(self) -> IndexServers | None:
        """What shared indexes are in; None where the settings name no cluster."""
        return self._elastic

    def known(self, url: str) -> str:
        """The URL itself. Raises: BadSettings unless it is in the table, or the settings name it."""
        if url in self._known:
            return url
        if url.startswith("es+"):
            raise BadSettings(
                "LOOKALIKE_INDEX is an Elasticsearch that the settings do not name: LOOKALIKE_INDEXES lists those that "
                "collections can be re-indexed to"
            )
        allowed = ", ".join([*sorted(BACKENDS), "es+https://USER@HOST:PORT"])
        raise BadSettings(f"LOOKALIKE_INDEX is {url!r}; allowed: {allowed}")

    def __call__(
        self, url: str, space: Space, collection_id: str = "", generation: str = ""
    ) -> LocalIndex | SharedIndex:
        """An empty index of this process, or the one that a cluster has of a collection's generation.

        url: empty for LOOKALIKE_INDEX. Raises: BadSettings, IndexUnavailable.
        """
        named = self.known(url or self._url)
        if named in BACKENDS or self._elastic is None:
            return BACKENDS[named](space, self._files)
        return self._elastic.open(named, space, collection_id, generation)

    def greet(self) -> list[str]:
        """What each cluster is, once it answers; empty where the settings name none. Raises: IndexUnavailable."""
        return [] if self._elastic is None else self._elastic.greet()

    def close(self) -> None:
        if self._elastic is not None:
            self._elastic.close()


def index_factory(
    url: str,
    further: Sequence[str] = (),
    elastic: ElasticOptions | None = None,
    files: RowFiles | None = None,
) -> Backends:
    """What makes an index from a URL, empty for `url` itself, and a space. Raises: BadSettings."""
    return Backends(url, further, elastic, files)
