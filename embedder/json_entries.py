"""Reads entries of a manifest's JSON one by one, and names the first that is missing or wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lookalike.errors import BadModel


def table_entry(entries: Mapping[str, object], key: str) -> dict[str, object]:
    """An object. Raises: BadModel."""
    value = entries.get(key)
    if not isinstance(value, dict):
        raise BadModel(f"the manifest's {key!r} must be an object")
    return value


def text_entry(entries: Mapping[str, object], key: str, pattern: str) -> str:
    """A string that matches a pattern as a whole. Raises: BadModel."""
    value = entries.get(key)
    if not isinstance(value, str) or not re.fullmatch(pattern, value):
        raise BadModel(f"the manifest's {key!r} must be a string that matches {pattern}")
    return value


def whole_entry(entries: Mapping[str, object], key: str, low: int, high: int) -> int:
    """A whole number within bounds. Raises: BadModel."""
    value = entries.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadModel(f"the manifest's {key!r} must be a whole number from {low} to {high}")
    return value


def triple_entry(entries: Mapping[str, object], key: str) -> tuple[float, float, float]:
    """Three finite numbers. Raises: BadModel."""
    value = entries.get(key)
    if not isinstance(value, list) or len(value) != 3 or not all(is_finite(item) for item in value):
        raise BadModel(f"the manifest's {key!r} must be three finite numbers")
    first, second, third = (float(item) for item in value)
    return first, second, third


def is_finite(value: object) -> bool:
    """Whether this is a number that can be computed with."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9
