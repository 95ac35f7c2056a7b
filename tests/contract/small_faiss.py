"""FAISS with bounds so small that a few rows reach every structure it has."""

from __future__ import annotations

import pytest

from index import codes, faiss_parts, faiss_search, faiss_segment, merging, stored_rows


def shrink_faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds at which a few rows fill tails, are merged into segments of several sizes, coded, and looked at anew."""
    for module, name, value in (
        (codes, "CODES_FROM", 16),
        (codes, "CODES_FROM_DIMENSIONS", 1),
        (codes, "IN_CACHE_BYTES", 512),
        (faiss_segment, "FEWEST_CODED", 8),
        (faiss_search, "LOOKS", (4, 8)),
        (faiss_search, "LOOK_SHARE", 1),
        (faiss_search, "LOOK_IN_FILES", 16),
        (faiss_parts, "SMALLEST_TAIL", 8),
        (faiss_parts, "SELECTIVE_SHARE", 1000),
        (faiss_parts, "SELECTIVE_IN_FILES", 2),
        (stored_rows, "FILED_FROM_BYTES", 256),
        (stored_rows, "TOGETHER_BYTES", 3200),
        (merging, "LARGEST_ROWS", 64),
        (merging, "FEWEST_DEAD", 4),
    ):
        monkeypatch.setattr(module, name, value)
