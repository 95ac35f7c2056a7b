from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from api.standing import Standing
from lookalike.settings import Settings
from security.certificates import SERVER_DAYS, make_ca, make_server

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def figures(standing: Standing) -> dict[str, float]:
    return {family.name: family.samples[0].value for family in standing.collect()}


@pytest.fixture
def standing(tmp_path: Path) -> Standing:
    ca = make_ca("test", b"password", NOW)
    (tmp_path / "tls").mkdir()
    server = make_server(ca, ("localhost",), b"password", NOW)
    (tmp_path / "tls" / "server.crt").write_bytes(server.certificate)
    return Standing(Settings(data=tmp_path))


def test_the_end_of_the_certificate_and_room_on_the_disk_are_told(standing: Standing) -> None:
    told = figures(standing)

    assert told["lookalike_certificate_not_after_seconds"] == (NOW + timedelta(days=SERVER_DAYS)).timestamp()
    assert 0 < told["lookalike_disk_free_bytes"] < told["lookalike_disk_bytes"]


def test_readiness_is_as_whoever_asked_found_it(standing: Standing) -> None:
    assert figures(standing)["lookalike_ready"] == 0
    standing.ready = True
    assert figures(standing)["lookalike_ready"] == 1


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_figure_that_cannot_be_had_is_left_out_and_the_others_are_told(standing, tmp_path: Path, content) -> None:
    certificate = tmp_path / "tls" / "server.crt"
    certificate.unlink() if content is None else certificate.write_bytes(content)

    assert set(figures(standing)) == {"lookalike_ready", "lookalike_disk_free_bytes", "lookalike_disk_bytes"}


def test_without_tls_there_is_no_certificate_to_tell_of(tmp_path: Path) -> None:
    told = figures(Standing(Settings(data=tmp_path, tls="off")))

    assert "lookalike_certificate_not_after_seconds" not in told
