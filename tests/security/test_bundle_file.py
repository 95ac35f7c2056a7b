"""A bundle opens when every byte of it is what a trusted maker signed, and in no other case."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.errors import BadBundle, UntrustedBundle
from security.bundle_file import HEAD_BYTES, PartEntry, make_bundle, open_bundle
from security.makers import new_maker_key
from tests.security import make_vectors

VECTORS = Path(__file__).parent / "vectors" / "bundles.json"
MAKER = new_maker_key()
PARTS = {"network.onnx": secrets.token_bytes(300), "card.md": b"# It", "weights.safetensors": b"w" * 50}


def entries(manifest: bytes) -> Iterator[PartEntry]:
    for name, part in json.loads(manifest)["parts"].items():
        yield PartEntry(name, part["bytes"], part["sha256"])


def manifest_of(parts: dict[str, bytes]) -> bytes:
    named = {name: {"bytes": len(data), "sha256": sha256(data).hexdigest()} for name, data in parts.items()}
    return json.dumps({"parts": named}).encode()


MANIFEST = manifest_of(PARTS)
GOOD = make_bundle(MANIFEST, PARTS, MAKER)


def opened(data: bytes, max_bytes: int = 10_000):
    return open_bundle(data, {MAKER.public_key: "me"}, entries, max_bytes)


@pytest.mark.parametrize("case", json.loads(VECTORS.read_text("utf-8")), ids=lambda case: case["note"])
def test_each_published_vector_opens_or_is_refused_as_it_says(case):
    makers = {bytes.fromhex(case["trusted"]): "maker"}
    if case["manifest"] is None:
        with pytest.raises(BadBundle, match=case["refused"]):
            open_bundle(bytes.fromhex(case["bundle"]), makers, entries, 10_000)
    else:
        found = open_bundle(bytes.fromhex(case["bundle"]), makers, entries, 10_000)
        assert found.manifest.decode() == case["manifest"]


def test_the_published_vectors_are_those_that_the_reference_makes():
    assert json.loads(VECTORS.read_text("utf-8")) == make_vectors.bundles()


def test_a_bundle_gives_back_its_manifest_and_parts_and_who_signed_it():
    found = opened(GOOD)
    assert (found.manifest, dict(found.parts), found.maker) == (MANIFEST, PARTS, "me")


@given(at=st.integers(0, len(GOOD) - 1), bit=st.integers(0, 7))
def test_any_flipped_bit_is_refused(at, bit):
    data = bytearray(GOOD)
    data[at] ^= 1 << bit
    with pytest.raises(BadBundle):
        opened(bytes(data))


@given(length=st.integers(0, len(GOOD) - 1))
def test_any_shorter_file_is_refused(length):
    with pytest.raises(BadBundle):
        opened(GOOD[:length])


@given(more=st.binary(min_size=1, max_size=64))
def test_any_byte_more_is_refused(more):
    with pytest.raises(BadBundle, match="after its last part"):
        opened(GOOD + more)


@given(data=st.binary(max_size=400))
def test_no_made_up_file_is_taken_for_a_bundle(data):
    for start in (b"", b"LKB1", GOOD[:HEAD_BYTES]):
        with pytest.raises(BadBundle):
            opened(start + data)


def test_a_key_that_is_not_trusted_is_refused_before_anyone_reads_what_it_signed():
    def never(manifest: bytes):
        raise AssertionError("a manifest that nobody trusted signed was read")

    with pytest.raises(UntrustedBundle):
        open_bundle(make_bundle(MANIFEST, PARTS, new_maker_key()), {MAKER.public_key: "me"}, never, 10_000)


def test_what_is_not_signed_is_never_given_to_whoever_reads_manifests():
    def never(manifest: bytes):
        raise AssertionError("a manifest was read before its signature was checked")

    data = bytearray(GOOD)
    data[HEAD_BYTES + 3] ^= 1
    with pytest.raises(BadBundle, match="signature"):
        open_bundle(bytes(data), {MAKER.public_key: "me"}, never, 10_000)


def test_a_signed_manifest_whose_parts_are_impossibly_long_is_refused():
    huge = json.dumps({"parts": {"network.onnx": {"bytes": 1 << 60, "sha256": "0" * 64}}}).encode()
    with pytest.raises(BadBundle, match="cut short"):
        opened(make_bundle(huge, {}, MAKER))


def test_a_bundle_beyond_the_limit_is_refused_and_the_limit_is_named():
    with pytest.raises(BadBundle, match="at most 100 bytes"):
        opened(GOOD, max_bytes=100)
