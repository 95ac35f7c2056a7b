from __future__ import annotations

import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from api.commands import owners
from api.commands.doctor import Finding, _port, examine, shown_settings
from index.schema import FORMAT
from lookalike.errors import BadSettings
from lookalike.settings import Settings
from security.certificates import make_ca, make_server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, with no setting from outside."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def findings(**settings: object) -> dict[str, Finding]:
    return {finding.check: finding for finding in examine(Settings(port=0, **settings))}


def test_a_machine_before_its_first_start_is_sound_and_untouched(folder: Path) -> None:
    found = findings(data=folder / "data")

    assert {finding.state for finding in found.values()} <= {"ok", "note"}
    assert not (folder / "data").exists()


def test_how_pictures_are_decoded_is_tried_and_told(folder: Path) -> None:
    isolated = findings(data=folder / "data")["image decoding"]
    assert (isolated.state, "of their own" in isolated.detail) == ("ok", True)
    assert findings(data=folder / "data", image_decoding="in-process")["image decoding"].state == "note"


def test_a_root_key_inside_the_data_folder_is_noted_and_one_outside_is_fine(folder: Path) -> None:
    assert findings(data=folder / "data")["root key"].state == "note"
    assert findings(data=folder / "data", keys=f"file:{folder}/elsewhere/root.key")["root key"].state == "ok"


def test_a_data_folder_whose_root_key_is_missing_is_wrong(folder: Path) -> None:
    (folder / "data").mkdir(mode=0o700)
    (folder / "data" / "records.db").touch()

    assert findings(data=folder / "data")["root key"].state == "wrong"


def test_a_data_folder_that_others_can_read_is_wrong(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data").chmod(0o755)

    assert findings(data=folder / "data")["data folder"].state == "wrong"


@pytest.mark.parametrize(("stated", "state"), [(str(FORMAT), "ok"), ("99", "wrong"), ('"x"', "wrong")])
def test_the_format_of_the_data_folder_is_judged(folder: Path, stated: str, state: str) -> None:
    (folder / "data").mkdir(mode=0o700)
    (folder / "data" / "format.json").write_text(f'{{"format": {stated}}}')

    assert findings(data=folder / "data")["data format"].state == state


def test_where_traces_go_is_said_and_an_address_that_is_not_allowed_is_wrong(folder: Path) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="left out: the extra `traces` is not installed")
    here, there = "http://127.0.0.1:4318/v1/traces", "http://collector.example.org/v1/traces"

    assert findings(data=folder / "data")["traces"].state == "ok"
    assert here in findings(data=folder / "data", traces_url=here)["traces"].detail
    assert findings(data=folder / "data", traces_url=there)["traces"].state == "wrong"
    assert findings(data=folder / "data", traces_header_file=folder / "none")["secret files"].state == "wrong"


def test_the_copy_from_before_an_upgrade_is_named(folder: Path) -> None:
    (folder / "data").mkdir(mode=0o700)
    (folder / "data" / "format.json").write_text(f'{{"format": {FORMAT}}}')
    (folder / "data" / "records.db.format-1").touch()

    assert "records.db.format-1 is the way back" in findings(data=folder / "data")["data format"].detail


def test_a_postgresql_that_cannot_be_reached_is_wrong_and_says_why(folder: Path) -> None:
    found = findings(data=folder / "data", records="postgresql://u@127.0.0.1:1/db")

    assert found["records"].state == "wrong"
    assert "refused" in found["records"].detail


@pytest.mark.service
def test_a_postgresql_is_described_and_left_as_it_is(folder: Path, postgresql) -> None:
    place = {"records": postgresql.url, "postgresql_password_file": postgresql.password_file}
    found = findings(data=folder / "data", postgresql_ca=postgresql.ca, **place)

    assert found["records"].state == "ok"
    assert found["records"].detail.startswith("PostgreSQL ")
    assert "TLS, nothing stored yet" in found["records"].detail
    assert postgresql.run("SELECT 1 FROM pg_namespace WHERE nspname = 'lookalike'") == []


def test_a_port_that_something_else_holds_is_wrong(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        found = {f.check: f for f in examine(Settings(data=folder / "data", port=port, answer_timeout_s=1))}

    assert found["port"].state == "wrong"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_the_service_itself_holds_is_fine_whoever_signed_its_certificate(folder: Path, host: str) -> None:
    now = datetime.now(UTC)
    ca = make_ca("test", b"password", now)
    ours, other = (make_server(ca, ("faces.example.org",), b"password", now) for _ in range(2))
    for name, issued in (("ours", ours), ("other", other)):
        (folder / f"{name}.crt").write_bytes(issued.certificate + ca.certificate)
        (folder / f"{name}.key").write_bytes(issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ours.crt", folder / "ours.key", "password")
    with socket.create_server(("127.0.0.1", 0)) as plain, context.wrap_socket(plain, server_side=True) as served:

        def answer() -> None:
            for _ in range(2):
                with suppress(OSError):
                    served.accept()[0].close()

        answering = threading.Thread(target=answer)
        answering.start()
        port = served.getsockname()[1]
        found = [
            _port(Settings(host=host, port=port, tls_certificate=folder / f"{name}.crt", tls_key=folder / "ours.key"))
            for name in ("ours", "other")
        ]
        answering.join()

    assert [state for state, _ in found] == ["ok", "wrong"]


def test_a_secret_file_that_others_can_read_is_noted_and_a_missing_one_is_wrong(folder: Path) -> None:
    key = folder / "admin.key"
    key.write_text("k" * 40)
    key.chmod(0o644)

    assert findings(data=folder / "data", bootstrap_key_file=key)["secret files"].state == "note"
    assert findings(data=folder / "data", bootstrap_key_file=folder / "gone")["secret files"].state == "wrong"


def test_a_profile_of_a_later_version_is_wrong(folder: Path) -> None:
    assert findings(data=folder / "data", profile="edge")["profile"].state == "wrong"


def test_settings_are_shown_by_the_names_that_set_them(folder: Path) -> None:
    shown = shown_settings(Settings(data=folder, port=9443))

    assert shown["LOOKALIKE_PORT"] == "9443"
    assert set(shown) == {f"LOOKALIKE_{name.upper()}" for name in Settings.model_fields}


def test_our_five_packages_have_one_owner() -> None:
    owners.require_own_packages()


def test_a_package_that_another_distribution_overwrote_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = {name: ["lookalike"] for name in owners.PACKAGES} | {"index": ["lookalike", "index-thing"]}
    monkeypatch.setattr(owners, "packages_distributions", lambda: claimed)

    with pytest.raises(BadSettings, match="index belongs to index-thing, lookalike"):
        owners.require_own_packages()


def test_the_precision_shown_is_the_embedders_own(folder: Path) -> None:
    assert " int8 " in findings(data=folder / "data")["runtime"].detail
    assert " int8 " not in findings(data=folder / "data", embedder="sface")["runtime"].detail
