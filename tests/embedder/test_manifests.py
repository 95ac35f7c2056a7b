"""A manifest is complete and sensible, or refused by the name of its first wrong entry."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedder.manifests import read_manifest
from lookalike.domain import Kind
from lookalike.errors import BadModel
from tests.embedder.small_models import channel_means, write_manifest

MODEL = channel_means().SerializeToString()


def test_a_complete_manifest_is_read(tmp_path: Path) -> None:
    manifest = read_manifest(write_manifest(tmp_path, MODEL, mean=[1, 2.5, 3]))
    assert manifest.name == "means"
    assert manifest.file == tmp_path / "means.onnx"
    assert manifest.mean == (1.0, 2.5, 3.0)
    assert manifest.kind is Kind.FACE


def test_a_manifest_says_that_it_is_for_pictures(tmp_path: Path) -> None:
    assert read_manifest(write_manifest(tmp_path, MODEL, kind="image")).kind is Kind.IMAGE


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../etc"),
        ("name", 3),
        ("kind", "sound"),
        ("file", "../means.onnx"),
        ("file", "means.pkl"),
        ("file", None),
        ("sha256", "ABC"),
        ("licence", ""),
        ("dimension", 0),
        ("dimension", True),
        ("dimension", 8.0),
        ("side", 100_000),
        ("channels", "grey"),
        ("mean", [1, 2]),
        ("mean", [float("nan"), 0, 0]),
        ("scale", [float("inf"), 0, 0]),
        ("scale", ["1", "1", "1"]),
        ("scale", None),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, key: str, value: object) -> None:
    with pytest.raises(BadModel, match=f"'{key}'"):
        read_manifest(write_manifest(tmp_path, MODEL, **{key: value}))


@pytest.mark.parametrize("text", ["", "[]", "{", "nul"])
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(BadModel, match="JSON"):
        read_manifest(tmp_path / "m.json")


def test_an_absent_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="cannot be read"):
        read_manifest(tmp_path / "absent.json")
