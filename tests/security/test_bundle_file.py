"""A bundle is opened only as its maker signed it, and only where the maker is trusted."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.errors import BadBundle, BadSettings
from security.bundle_file import (
    HEADER_BYTES,
    Maker,
    new_maker,
    open_bundle,
    read_maker,
    read_public_keys,
    write_bundle,
)

PARTS = {"network.onnx": b"graph" * 40, "card.md": b"# it"}


def manifest_of(parts: dict[str, bytes]) -> bytes:
    named = {name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in parts.items()}
    return json.dumps({"name": "it", "parts": named}, sort_keys=True, separators=(",", ":")).encode()


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    return new_maker(tmp_path_factory.mktemp("maker") / "key")


@pytest.fixture(scope="module")
def bundle(maker: Maker) -> bytes:
    return write_bundle(manifest_of(PARTS), PARTS, maker)


def test_a_bundle_opens_as_it_was_written(maker: Maker, bundle: bytes) -> None:
    opened = open_bundle(bundle, [maker.public_key])
    assert opened.manifest == manifest_of(PARTS)
    assert opened.parts == PARTS
    assert opened.maker == maker.public_key


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_other_bit_anywhere_is_refused(maker: Maker, bundle: bytes, place: int, bit: int) -> None:
    changed = bytearray(bundle)
    changed[place % len(changed)] ^= 1 << bit
    with pytest.raises(BadBundle):
        open_bundle(bytes(changed), [maker.public_key])


@given(length=st.integers(0, 10_000))
def test_a_file_cut_anywhere_is_refused(maker: Maker, bundle: bytes, length: int) -> None:
    with pytest.raises(BadBundle):
        open_bundle(bundle[: length % len(bundle)], [maker.public_key])


def test_what_goes_on_behind_the_last_part_is_refused(maker: Maker, bundle: bytes) -> None:
    with pytest.raises(BadBundle, match="behind"):
        open_bundle(bundle + b"\0", [maker.public_key])


def test_a_maker_who_is_not_trusted_is_named_and_refused(bundle: bytes, maker: Maker, tmp_path: Path) -> None:
    other = new_maker(tmp_path / "other")
    with pytest.raises(BadBundle, match=maker.public_key.hex()):
        open_bundle(bundle, [other.public_key])
    with pytest.raises(BadBundle):
        open_bundle(bundle, [])


def test_another_key_s_name_over_the_signature_does_not_help(bundle: bytes, maker: Maker, tmp_path: Path) -> None:
    trusted = new_maker(tmp_path / "trusted").public_key
    claimed = bundle.replace(maker.public_key, trusted)
    with pytest.raises(BadBundle, match="signature"):
        open_bundle(claimed, [trusted])


def test_a_signature_of_the_same_key_over_something_else_is_refused(bundle: bytes, maker: Maker) -> None:
    manifest = manifest_of(PARTS)
    unprefixed = maker.sign(manifest)
    forged = bundle[: HEADER_BYTES - 64] + unprefixed + bundle[HEADER_BYTES:]
    with pytest.raises(BadBundle, match="signature"):
        open_bundle(forged, [maker.public_key])


def test_parts_of_two_bundles_are_not_put_together(maker: Maker) -> None:
    other = {**PARTS, "network.onnx": b"other" * 40}
    first, second = (write_bundle(manifest_of(parts), parts, maker) for parts in (PARTS, other))
    assert len(first) == len(second)
    at = len(first) - len(PARTS["network.onnx"])
    with pytest.raises(BadBundle, match=r"network\.onnx"):
        open_bundle(first[:at] + second[at:], [maker.public_key])


@pytest.mark.parametrize("rubbish", [b"", b"LKB1", b"PK\x03\x04" + b"\0" * 200, pickle.dumps({"a": 1}) + b"\0" * 200])
def test_what_is_no_bundle_is_refused(maker: Maker, rubbish: bytes) -> None:
    with pytest.raises(BadBundle):
        open_bundle(rubbish, [maker.public_key])


@pytest.mark.parametrize(
    "manifest",
    [
        b"{}",
        b"[]",
        b"\xff",
        b'{"parts": {"a": {"bytes": -5, "sha256": ""}}}',
        b'{"parts": {"a": {"bytes": 1e999, "sha256": ""}}}',
        b'{"parts": {"a": {"bytes": true, "sha256": ""}}}',
    ],
)
def test_a_signed_manifest_that_names_no_parts_is_refused(maker: Maker, manifest: bytes) -> None:
    head = b"LKB1" + len(manifest).to_bytes(4, "big") + maker.public_key
    signature = maker.sign(b"lookalike model bundle\n" + manifest)
    with pytest.raises(BadBundle):
        open_bundle(head + signature + manifest, [maker.public_key])


def test_nobody_signs_a_manifest_of_other_parts(maker: Maker) -> None:
    with pytest.raises(BadBundle):
        write_bundle(manifest_of(PARTS), {**PARTS, "card.md": b"# other"}, maker)


def test_a_maker_s_key_is_for_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = new_maker(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_maker(path).public_key == made.public_key
    with pytest.raises(BadSettings):
        new_maker(path)
    path.chmod(0o644)
    with pytest.raises(BadSettings, match="chmod"):
        read_maker(path)


def test_public_keys_are_64_hex_digits(tmp_path: Path, maker: Maker) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text(maker.public_key.hex() + "\n")
    bad.write_text("abcd")
    assert read_public_keys([good]) == (maker.public_key,)
    with pytest.raises(BadSettings):
        read_public_keys([bad])
    with pytest.raises(BadSettings):
        read_public_keys([tmp_path / "absent"])
