"""The published bundles: which must open, and which must be refused and why; and in which order a file is checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lookalike.errors import BadBundle, UntrustedBundle
from security.bundle_file import HEADER_BYTES, Maker, new_maker, open_bundle, write_bundle
from tests.security import make_vectors
from tests.security.test_bundle_file import PARTS, manifest_of

VECTORS = Path(__file__).parent / "vectors" / "bundles.json"


@pytest.mark.parametrize("case", json.loads(VECTORS.read_text("utf-8")), ids=lambda case: case["note"])
def test_each_published_vector_opens_or_is_refused_as_it_says(case):
    trusted = [bytes.fromhex(case["trusted"])]
    if case["manifest"] is None:
        with pytest.raises(BadBundle, match=case["refused"]):
            open_bundle(bytes.fromhex(case["bundle"]), trusted)
    else:
        assert open_bundle(bytes.fromhex(case["bundle"]), trusted).manifest.decode() == case["manifest"]


def test_the_published_vectors_are_those_that_the_reference_makes():
    assert json.loads(VECTORS.read_text("utf-8")) == make_vectors.bundles()


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return new_maker(tmp_path / "key")


def never(manifest: bytes) -> None:
    raise AssertionError("a manifest was read that no trusted maker signed")


def test_a_key_that_is_not_trusted_is_refused_before_anyone_reads_what_it_signed(maker):
    with pytest.raises(UntrustedBundle):
        open_bundle(write_bundle(manifest_of(PARTS), PARTS, maker), [], check=never)


def test_a_signature_is_checked_before_anyone_reads_what_it_is_said_to_be_over(maker):
    data = bytearray(write_bundle(manifest_of(PARTS), PARTS, maker))
    data[HEADER_BYTES + 3] ^= 1
    with pytest.raises(BadBundle, match="signature"):
        open_bundle(bytes(data), [maker.public_key], check=never)


def test_a_signed_manifest_is_judged_before_any_part_is_hashed(maker):
    def refuse(manifest: bytes) -> None:
        raise BadBundle("judged")

    data = bytearray(write_bundle(manifest_of(PARTS), PARTS, maker))
    data[-1] ^= 1
    with pytest.raises(BadBundle, match="judged"):
        open_bundle(bytes(data), [maker.public_key], check=refuse)


def test_parts_that_are_said_to_be_impossibly_long_are_refused(maker):
    manifest = b'{"parts": {"network.onnx": {"bytes": 1152921504606846976, "sha256": "' + b"0" * 64 + b'"}}}'
    head = b"LKB1" + len(manifest).to_bytes(4, "big") + maker.public_key
    with pytest.raises(BadBundle, match="cut short"):
        open_bundle(head + maker.sign(b"lookalike model bundle\n" + manifest) + manifest, [maker.public_key])


def test_a_bundle_beyond_the_limit_is_refused_and_the_limit_is_named(maker):
    with pytest.raises(BadBundle, match="at most 100 bytes"):
        open_bundle(write_bundle(manifest_of(PARTS), PARTS, maker), [maker.public_key], max_bytes=100)
