"""`lookalike drift` as an operator runs it: a table, a plot, a baseline of one's own, and an exit code for a timer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from api.wiring import open_services
from lookalike.probe_counts import Counts
from lookalike.settings import Settings


def day_ago(days: int) -> str:
    return (datetime.now(UTC).date() - timedelta(days=days)).isoformat()


@pytest.fixture
def counted(installation):
    """A collection whose camera grew dark three days ago."""
    installation.json("collections", "create", "gate")
    services = open_services(Settings(data=installation.data))
    where = services.answers.collection("gate")
    rng = np.random.default_rng(1)
    for days, light in ((9, 120.0), (8, 120.0), (7, 120.0), (3, 80.0), (0, 80.0)):
        found = Counts.none()
        for value in rng.normal(light, 20, 1200):
            quarter = int(rng.integers(0, 4))
            found.add("brightness", value, quarter)
            found.add("quality", 0.95, quarter)
            found.add("refused", 0.0, quarter)
        services.drift._store.add(where, where.space.key, {day_ago(days): found})
    services.close()
    return installation


def test_drift_is_shown_drawn_failed_on_and_settled_by_another_baseline(counted, tmp_path):
    plot = tmp_path / "drift.png"
    shown = counted.command("drift", "gate", "--plot", plot)
    assert shown.returncode == 0, shown.stderr
    (row,) = [line for line in shown.stdout.splitlines() if line.startswith("brightness,")]
    assert row.endswith("moved")
    assert "Since the baseline faces are darker." in shown.stdout
    assert "Look at the camera" in shown.stdout
    assert plot.read_bytes().startswith(b"\x89PNG")

    failed = counted.command("drift", "gate", "--fail")
    assert (failed.returncode, failed.stderr) == (1, "")

    chosen = counted.json("drift", "gate", "--baseline", f"{day_ago(3)}..{day_ago(3)}")
    assert not chosen["drifting"] and chosen["baseline"]["source"] == "chosen"
    assert counted.command("drift", "gate", "--fail", "--days", "2").returncode == 0

    assert counted.command("drift", "gate", "--baseline", day_ago(3)).returncode == 2


def test_an_identification_by_the_command_is_counted(installation, portraits, tmp_path):
    picture = tmp_path / "door.jpg"
    picture.write_bytes(portraits["obama.jpg"])
    installation.json("collections", "create", "gate")
    installation.json("identify", "gate", picture)
    assert installation.json("drift", "gate")["now"]["faces"] == 1
