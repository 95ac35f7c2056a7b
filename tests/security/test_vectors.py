"""The published vectors: what must open, and what must be refused, by any implementation of the formats."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from lookalike.errors import TamperedData
from security.envelope import Context, open_sealed
from security.key_wrap import KeyWrapper
from security.sealed_stream import open_stream
from security.secret_key import SecretKey
from tests.security import make_vectors

FOLDER = Path(__file__).parent / "vectors"


def opened(kind: str, key: SecretKey, sealed: bytes, context: Context) -> bytes:
    if kind == "records":
        return open_sealed(key, sealed, context)
    if kind == "keys":
        return KeyWrapper(key).unwrap(sealed, context).material
    return b"".join(open_stream(key, io.BytesIO(sealed), context))


def cases():
    for kind in ("records", "streams", "keys"):
        for case in json.loads((FOLDER / f"{kind}.json").read_text("utf-8")):
            yield pytest.param(kind, case, id=f"{kind}: {case['note']}")


@pytest.mark.parametrize(("kind", "case"), list(cases()))
def test_each_published_vector_opens_or_is_refused_as_it_says(kind, case):
    key, sealed = SecretKey(bytes.fromhex(case["key"])), bytes.fromhex(case["sealed"])
    context = Context(**case["context"])
    if case["plaintext"] is None:
        with pytest.raises(TamperedData):
            opened(kind, key, sealed, context)
    else:
        assert opened(kind, key, sealed, context) == bytes.fromhex(case["plaintext"])


@pytest.mark.parametrize("kind", ["records", "streams", "keys"])
def test_the_published_vectors_are_those_that_the_reference_makes(kind):
    assert json.loads((FOLDER / f"{kind}.json").read_text("utf-8")) == getattr(make_vectors, kind)()
