from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="left out: the train extra is not installed")

from api import cli
from api.wiring import open_services
from lookalike.settings import Settings
from tests.conftest import ROOT
from tests.embedder.train.drawing import draw_classes

pytestmark = pytest.mark.train

CONFIG = """
[data]
folders = ["stripes"]
held_out = 0.4
workers = 0
[model]
backbone = "timm:test_resnet"
side = 32
[optimiser]
classes = 3
pictures = 3
steps = 6
evaluate_every = 2
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where ten drawn classes lie and a configuration of a run over them; the working folder."""
    draw_classes(tmp_path / "stripes", 10, 4, side=32)
    (tmp_path / "my.toml").write_text(CONFIG, "utf-8")
    monkeypatch.setenv("LOOKALIKE_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["lookalike", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_a_run_is_judged_exported_and_its_model_can_be_imported_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "train", "my.toml", "--minutes", "0.000001") == 0
    told = capsys.readouterr()
    assert "training ended after 2 of 6 steps: its 1e-06 minutes were used up" in told.err
    assert "start, mirrored always, whitened\t" in told.out
    assert "(4 classes not trained on; so few" in told.out
    open_services(Settings(data=folder / "data")).close()  # as `lookalike serve` makes it
    command = next(line for line in told.out.splitlines() if line.startswith("use it here: "))
    assert run(monkeypatch, *command.removeprefix("use it here: lookalike ").split()) == 0
    capsys.readouterr()
    assert run(monkeypatch, "models", "list") == 0
    assert "trained-" in capsys.readouterr().out


def test_an_interrupted_run_says_how_to_go_on_and_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = "import sys; from api.cli import main; sys.argv[0] = 'lookalike'; main()"
    command = [sys.executable, "-c", program, "train", "my.toml", "--steps", "100000"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "LOOKALIKE_DATA": "data"}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if line.startswith("training: "):
                child.send_signal(signal.SIGINT)
                break
        rest = child.stderr.read()
    assert child.returncode == 1
    told = next(line for line in rest.splitlines() if "go on with: lookalike " in line)
    again = told.partition("go on with: lookalike ")[2].split()
    monkeypatch.setattr("embedder.train.recipe._is_over", lambda *_: True)  # so long as it goes on at all
    assert run(monkeypatch, *again) == 0
    assert "classes not trained on" in capsys.readouterr().out
    assert run(monkeypatch, "train", "my.toml", "--resume") != 0
    assert "another configuration" in capsys.readouterr().err


def test_a_model_is_called_what_its_folder_is(folder: Path) -> None:
    from embedder.train.config import recipe_for

    assert recipe_for(folder / "stripes", "image").output.name == "stripes"
    (folder / "stripes").rename(folder / "My Things (2026)")
    assert recipe_for(folder / "My Things (2026)", "image").output.name == "My-Things-2026"
    (folder / "My Things (2026)").rename(folder / "вещи")
    assert recipe_for(folder / "вещи", "image").output.name == "trained"
