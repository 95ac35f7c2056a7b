from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from api import cli
from api.client import ClientError
from lookalike.errors import KeyUnavailable
from lookalike.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
HEAVY = ("numpy", "httpx", "fastapi", "pydantic", "PIL", "cryptography", "openvino", "onnxruntime", "faiss", "torch")


def command_names() -> list[str]:
    app = cli.build()
    names = [command.name or command.callback.__name__ for command in app.registered_commands]
    for group in app.registered_groups:
        names += [
            f"{group.name} {(command.name or command.callback.__name__).replace('_', '-')}"
            for command in group.typer_instance.registered_commands
        ]
    return names


def test_asking_for_help_loads_nothing_heavy() -> None:
    script = f"import sys, api.cli; api.cli.build(); print([m for m in {HEAVY!r} if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)

    assert done.stdout.strip() == "[]"


def test_every_command_is_in_the_user_guide() -> None:
    guide = (ROOT / "docs" / "user-guide.md").read_text("utf-8")

    assert [name for name in command_names() if f"lookalike {name}" not in guide] == []


def test_every_setting_is_in_its_document_with_its_default() -> None:
    document = (ROOT / "docs" / "settings.md").read_text("utf-8")
    rows = {line.split("|")[1].strip().strip("`"): line for line in document.splitlines() if line.startswith("| `LOOK")}

    assert set(rows) == {f"LOOKALIKE_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        if isinstance(default, bool | int | float) or (isinstance(default, str) and default):
            shown = str(getattr(default, "value", default))
            assert f"`{shown}`" in rows[f"LOOKALIKE_{name.upper()}"], name


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ClientError("overloaded", 503, "busy"), "overloaded"),
        (KeyUnavailable("the key is gone"), "key_unavailable"),
        (PermissionError(13, "Permission denied", "out.png"), "os_error"),
        (RuntimeError("a vector [0.1, 0.2] and a name"), "internal_error"),
    ],
)
def test_a_failure_is_one_line_with_its_code_and_in_json_one_document(
    error: Exception, code: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.delenv("LOOKALIKE_LOG_LEVEL", raising=False)
    monkeypatch.setattr(cli, "build", lambda: fail)
    monkeypatch.setattr(sys, "argv", ["lookalike", "collections", "list", "--json"])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    out, err = capsys.readouterr()
    assert ended.value.code == 1
    assert json.loads(out)["error"]["code"] == code
    assert err.count("\n") == 1
    assert "vector" not in err + out


def test_debug_shows_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("details")

    monkeypatch.setenv("LOOKALIKE_LOG_LEVEL", "debug")
    monkeypatch.setattr(cli, "build", lambda: fail)

    with pytest.raises(RuntimeError, match="details"):
        cli.main()
