"""A release that was made and signed by a key of this test's own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)


@dataclass(frozen=True)
class Signed:
    """A folder with three files, signed; key and public: the pair."""

    folder: Path
    key: Path
    public: Path

    def verify(self) -> subprocess.CompletedProcess[str]:
        return run(ROOT / "deploy/verify-release", self.folder, self.public)


def make_pair(folder: Path, name: str, algorithm: str = "ed25519") -> tuple[Path, Path]:
    """Private and public half, as files."""
    key, public = folder / f"{name}.key", folder / f"{name}.pub"
    assert run("openssl", "genpkey", "-algorithm", algorithm, "-out", key).returncode == 0
    assert run("openssl", "pkey", "-in", key, "-pubout", "-out", public).returncode == 0
    return key, public


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    key, public = make_pair(tmp_path, "release")
    folder = tmp_path / "lookalike-0.1.0"
    (folder / "deep er").mkdir(parents=True)
    for name in ("one.whl", "two.tar.gz", "deep er/three"):
        (folder / name).write_text(name)
    done = run(ROOT / "deploy/sign-release", folder, key)
    assert done.returncode == 0, done.stderr
    return Signed(folder, key, public)
