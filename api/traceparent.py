"""Reads the `traceparent` header, by which a caller says which trace its request is part of (W3C Trace Context).

What does not follow the standard to the letter is ignored, as it asks, so that nothing else of a caller's gets into a
log. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_FORM = re.compile(rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_LONGER_FORM = re.compile(_FORM.pattern + rb"(-.*)?", re.DOTALL)
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceParent:
    """trace_id: 32, span_id: 16 characters of hex, neither all zeros; sampled: the caller keeps its part."""

    trace_id: str
    span_id: str
    sampled: bool


def traceparent_of(headers: Iterable[tuple[bytes, bytes]]) -> TraceParent | None:
    """The caller's trace; None without the header, with several of them, or with one that is malformed."""
    values = [value for name, value in headers if name == b"traceparent"]
    if len(values) != 1:
        return None
    form = _FORM if values[0].startswith(b"00") else _LONGER_FORM  # later versions may have more to say
    found = form.fullmatch(values[0])
    if found is None or not (found[1].strip(b"0") and found[2].strip(b"0")):
        return None
    return TraceParent(found[1].decode(), found[2].decode(), bool(int(found[3], 16) & _SAMPLED))
