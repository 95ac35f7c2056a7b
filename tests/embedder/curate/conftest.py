"""A clean set of drawn pictures, and the bundled model's calibration."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from lookalike.calibration import Calibration
from tests.embedder.curate.drawings import drawn, jpeg


@pytest.fixture
def goods(tmp_path: Path) -> Path:
    """Three classes of four drawn pictures."""
    pytest.importorskip("imagehash")
    root = tmp_path / "goods"
    for label in range(3):
        (root / f"c{label}").mkdir(parents=True)
        for number in range(4):
            (root / f"c{label}" / f"{number}.jpg").write_bytes(jpeg(drawn(10 * label + number)))
    return root


@pytest.fixture(scope="session")
def calibration() -> Calibration:
    """The bundled model's."""
    found = files("lookalike") / "calibrations" / "sface-int8.json"
    return Calibration.from_json(found.read_text("utf-8"))
