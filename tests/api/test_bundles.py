"""From an export folder to a collection that answers by it: packed, verified, named, used; anything else refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from api import cli
from api.bundles import load_bundle, open_named, shipped_names
from api.models import InstalledModels
from embedder.bundles import write_export
from lookalike.domain import Kind
from lookalike.errors import BadBundle, ModelNotAvailable
from lookalike.settings import Settings
from tests.embedder.test_bundles import fields, network


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["lookalike", "models", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle, signed by a key whose public half lies beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOOKALIKE_DATA", str(tmp_path / "data"))
    export = tmp_path / "export"
    write_export(export, fields(), {"network.onnx": network(), "card.md": b"# Things"})
    assert run(monkeypatch, "keygen", "maker.key") == 0
    assert run(monkeypatch, "pack", str(export), "--key", "maker.key", "--out", "things.lkb") == 0
    return tmp_path / "things.lkb"


def trusting(folder: Path, **values: object) -> Settings:
    return Settings(data=folder / "data", model_signers=(folder / "maker.key.pub",), **values)  # type: ignore[arg-type]


def test_a_bundle_that_the_settings_name_is_the_model_of_new_collections(packed: Path) -> None:
    models = InstalledModels(trusting(packed.parent, image_models=(f"bundle:{packed}",)))
    space = models.default(Kind.IMAGE)
    assert space.model.startswith("things-")
    assert models.encoder(space).space == space
    assert "flip=always" in space.preprocessing
    assert models.calibration(space) is None


def test_a_bundle_of_an_untrusted_maker_is_refused(packed: Path) -> None:
    with pytest.raises(BadBundle, match="not trusted"):
        open_named(Settings(data=packed.parent / "data"), f"bundle:{packed}")


def test_a_bundle_is_not_used_for_another_kind(packed: Path) -> None:
    with pytest.raises(BadBundle, match="kind: image"):
        load_bundle(trusting(packed.parent), Kind.FACE, f"bundle:{packed}")


def test_a_bundle_that_is_not_for_commercial_use_waits_for_the_operator_s_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    limited = fields(licence={"id": "CC-BY-NC-4.0", "commercial": False, "note": "research"})
    write_export(tmp_path / "export", limited, {"network.onnx": network()})
    run(monkeypatch, "keygen", "maker.key")
    run(monkeypatch, "pack", "export", "--key", "maker.key", "--out", "things.lkb")
    name = f"bundle:{tmp_path / 'things.lkb'}"
    with pytest.raises(BadBundle, match="LOOKALIKE_ACCEPTED_LICENCES"):
        load_bundle(trusting(tmp_path), Kind.IMAGE, name)
    encoder, _ = load_bundle(trusting(tmp_path, accepted_licences=("things",)), Kind.IMAGE, name)
    assert encoder.space.model.startswith("things-")


def test_a_bundle_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotAvailable, match="nowhere"):
        open_named(Settings(data=tmp_path), "bundle:nowhere.lkb")


def test_verify_says_what_the_bundle_is(
    packed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOOKALIKE_MODEL_SIGNERS", json.dumps([str(packed.parent / "maker.key.pub")]))
    capsys.readouterr()
    assert run(monkeypatch, "verify", str(packed), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["name"] == "things" and told["kind"] == "image" and told["commercial"] is True
    assert told["signed_by"] == (packed.parent / "maker.key.pub").read_text().strip()
    assert run(monkeypatch, "show", str(packed)) == 0
    assert "# Things" in capsys.readouterr().out


def test_a_damaged_bundle_is_refused_in_one_line_with_its_code(
    packed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LOOKALIKE_MODEL_SIGNERS", json.dumps([str(packed.parent / "maker.key.pub")]))
    packed.write_bytes(packed.read_bytes()[:-1])
    capsys.readouterr()
    assert run(monkeypatch, "verify", str(packed), "--json") == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "bad_bundle"


def test_every_shipped_bundle_opens_and_says_its_kind() -> None:
    settings = Settings()
    for kind in Kind:
        for name in shipped_names(kind):
            manifest, _ = open_named(settings, name)
            assert manifest.kind is kind
            assert name == f"bundle:{manifest.name}"
