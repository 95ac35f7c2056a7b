"""The table of index backends: the scheme of LOOKALIKE_INDEX to what makes one, imported only when asked for."""

from __future__ import annotations

from collections.abc import Callable

from lookalike.domain import Space
from lookalike.errors import BadSettings
from lookalike.ports import VectorIndex


def _exact(space: Space) -> VectorIndex:
    from index.exact import ExactIndex

    return ExactIndex(space)


def _faiss(space: Space) -> VectorIndex:
    from index.faiss_index import FaissIndex

    return FaissIndex(space)


BACKENDS: dict[str, Callable[[Space], VectorIndex]] = {"exact:": _exact, "faiss:": _faiss}


def index_factory(url: str) -> Callable[[str, Space], VectorIndex]:
    """What makes an empty index from a URL, empty for `url` itself, and a space.

    Raises: BadSettings, here or when it is called, for a URL that is not in the table.
    """

    def make(other: str, space: Space) -> VectorIndex:
        return BACKENDS[known_index(other or url)](space)

    known_index(url)
    return make


def known_index(url: str) -> str:
    """The URL itself. Raises: BadSettings unless it is in the table."""
    if url not in BACKENDS:
        raise BadSettings(f"LOOKALIKE_INDEX is {url!r}; allowed: {', '.join(sorted(BACKENDS))}")
    return url
