"""`lookalike audit` as a person uses it: on the data folder, on an export, and with the public key alone."""

from __future__ import annotations

import json

import apsw
import pytest
from typer.testing import CliRunner

from api.cli import build
from api.commands.doctor import examine
from api.commands.vault import open_vault
from lookalike.errors import BadSettings, InvalidInput, KeyUnavailable, TamperedData
from lookalike.settings import Settings, read_settings
from security.keys import open_key_ring
from tests.security.test_audit_export import parse_cef


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A data folder with some entries, of people among others."""
    from index.data_format import DataFolder
    from index.sqlite_rows import SqliteRows

    monkeypatch.setenv("LOOKALIKE_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir(mode=0o700)
    with DataFolder(tmp_path / "data", "1") as data:
        rows = SqliteRows(data.records)
        open_key_ring("file:keys/root.key", tmp_path / "data", rows)
        rows.close()
    record(5)
    return tmp_path


def record(count: int) -> None:
    from lookalike.domain import AuditEntry

    with open_vault(read_settings()) as vault:
        for n in range(count):
            vault.audit.append(AuditEntry("verify", "key:k", "ok", f"r-{n}", "staff", "Ada Lovelace"))


def run(*arguments):
    """(exit code, what was printed); an error of ours is raised here as the command would tell it."""
    done = CliRunner().invoke(build(), [str(argument) for argument in arguments], catch_exceptions=False)
    return done.exit_code, done.output


def ran(*arguments):
    code, output = run(*arguments, "--json")
    return code, json.loads(output.splitlines()[0])


def attack(folder, statements: str) -> None:
    """What whoever holds the disk can do."""
    connection = apsw.Connection(str(folder / "data" / "records.db"))
    connection.execute(
        "DROP TRIGGER audit_only_grows; DROP TRIGGER audit_never_changes; DROP TRIGGER audit_never_shrinks"
    )
    connection.execute(statements)
    connection.close()


SWAP = "; ".join(f"UPDATE audit SET seq = {to} WHERE seq = {of}" for of, to in ((2, -1), (3, 2), (-1, 3)))


def test_an_export_is_checked_where_there_is_neither_folder_nor_root_key(folder, tmp_path, monkeypatch):
    run("audit", "checkpoint", "--out", folder / "elsewhere")
    key = run("audit", "key")[1].strip()
    run("audit", "export", folder / "log.json")
    (folder / "pub").write_text(key + "\n")
    monkeypatch.setenv("LOOKALIKE_DATA", str(tmp_path / "nothing"))
    code, report = ran(
        "audit", "verify", folder / "log.json", "--public-key", folder / "pub", "--checkpoints", folder / "elsewhere"
    )
    assert (code, report["sound"], report["entries"], report["checkpoints"]) == (0, True, 7, 1)
    text = (folder / "log.json").read_bytes()
    (folder / "log.json").write_bytes(text.replace(b'"key:k"', b'"key:j"', 1))
    code, output = run("audit", "verify", folder / "log.json", "--public-key", key)
    assert code == 1 and "broken at entry 1: lines were changed" in output
    assert b"Ada" not in text
    assert (folder / "log.json").stat().st_mode & 0o777 == 0o600


def test_the_folder_is_checked_without_its_root_key_and_nothing_is_written(folder):
    run("audit", "checkpoint", "--out", folder / "elsewhere")
    key = run("audit", "key")[1].strip()
    (folder / "data" / "keys" / "root.key").unlink()
    with pytest.raises(KeyUnavailable):
        run("audit", "verify")
    for _ in range(2):
        code, report = ran("audit", "verify", "--public-key", key, "--checkpoints", folder / "elsewhere")
        assert (code, report["entries"], report["covered"]) == (0, 6, 6)
    with pytest.raises(TamperedData):
        run("audit", "verify", "--public-key", "ab" * 32)


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        ("DELETE FROM audit WHERE seq > 4", "the end of the log was removed"),
        ("DELETE FROM audit WHERE seq = 2", "missing or out of order"),
        (SWAP, "was changed"),
        ("UPDATE audit SET at = at - 3600 WHERE seq = 3", "was changed"),
    ],
)
@pytest.mark.parametrize("with_key", [True, False])
def test_an_attack_on_the_rows_is_found_by_the_key_of_the_folder_and_by_the_public_one(
    folder, statements, reason, with_key
):
    run("audit", "checkpoint", "--out", folder / "elsewhere")
    key = run("audit", "key")[1].strip()
    attack(folder, statements + "; DELETE FROM settings WHERE name LIKE 'audit.%'")
    code, output = run(
        "audit", "verify", "--checkpoints", folder / "elsewhere", *(() if with_key else ("--public-key", key))
    )
    assert code == 1
    assert reason in output


def test_an_edited_checkpoint_file_is_refused(folder):
    run("audit", "checkpoint", "--out", folder / "elsewhere")
    line = (folder / "elsewhere").read_bytes()
    for wrong in (line.replace(b'"seq":6', b'"seq":5'), line[:40] + b"\n" + line, b"{}\n"):
        (folder / "elsewhere").write_bytes(wrong)
        with pytest.raises(TamperedData):
            run("audit", "verify", "--checkpoints", folder / "elsewhere")


def test_an_interrupted_export_goes_on_and_is_whole(folder):
    run("audit", "export", folder / "log.json")
    record(3)
    with (folder / "log.json").open("ab") as file:
        file.write(b'{"@timestamp":"20')
    assert ran("audit", "export", folder / "log.json", "--resume")[1]["entries"] == 4
    key = run("audit", "key")[1].strip()
    code, report = ran("audit", "verify", folder / "log.json", "--public-key", key)
    assert (code, report["entries"]) == (0, 10)
    sequence = [
        json.loads(line).get("event", {}).get("sequence") for line in (folder / "log.json").read_text().splitlines()
    ]
    assert [n for n in sequence if n] == list(range(1, 11))
    (folder / "other").write_text("something else\n")
    with pytest.raises(InvalidInput):
        run("audit", "export", folder / "other", "--resume")
    assert (folder / "other").read_text() == "something else\n"


def test_cef_for_a_siem_comes_in_order_and_goes_on(folder):
    run("audit", "export", folder / "log.cef", "--format", "cef")
    with (folder / "log.cef").open("ab") as file:
        file.write(b"CEF:0|Looka")
    run("audit", "export", folder / "log.cef", "--format", "cef", "--resume")
    fields = [parse_cef(line)[1] for line in (folder / "log.cef").read_text().splitlines()]
    assert [int(field["externalId"]) for field in fields] == list(range(1, 8))
    assert fields[0]["cs2"].startswith("p-")


def test_names_are_told_on_demand_and_that_is_on_record(folder):
    code, output = run("audit", "export", "-", "--names")
    lines = [json.loads(line) for line in output.splitlines()]
    assert (code, lines[0]["lookalike"]["subject"]) == (0, "Ada Lovelace")
    assert (lines[5]["event"]["action"], lines[5]["lookalike"]["details"]) == (
        "audit.export",
        {"format": "json", "names": 1},
    )


def test_an_export_can_begin_after_an_entry_and_be_of_a_time(folder):
    output = run("audit", "export", "-", "--after", 4)[1]
    assert [json.loads(line)["event"]["sequence"] for line in output.splitlines()[:-1]] == [5, 6]
    assert run("audit", "export", "-", "--since", "2100-01-01")[1].count("\n") == 1
    assert run("audit", "export", "-", "--until", "2100-01-01T00:00:00Z")[1].count("\n") == 9
    with pytest.raises(InvalidInput):
        run("audit", "export", "-", "--since", "yesterday")
    assert run("audit", "export", "-", "--resume")[0] == 2


@pytest.mark.parametrize("key", ["", "xyz", "ab" * 31])
def test_what_is_no_public_key_is_refused(folder, key):
    with pytest.raises(InvalidInput):
        run("audit", "verify", "--public-key", key)
    run("audit", "export", folder / "log.json")
    assert run("audit", "verify", folder / "log.json")[0] == 2


def finding(**settings):
    found = examine(Settings(port=0, **settings))
    return next((item.state, item.detail) for item in found if item.check == "audit push")


def test_status_and_doctor_say_what_waits_to_leave_the_machine(folder, monkeypatch):
    from api.audit_keeper import AuditKeeper
    from security.checkpoint_outbox import Outbox

    assert finding()[0] == "note"
    url = f"file:{folder}/mount/checkpoints"
    assert "cannot be written" in finding(audit_push=[url])[1]
    (folder / "mount").mkdir()
    assert finding(audit_push=[url]) == ("ok", f"{url}: 0 checkpoints wait")
    assert finding(audit_push=["http://nowhere"])[0] == "wrong"
    assert "inside the data folder" in finding(audit_push=[f"file:{folder}/data/checkpoints"])[1]
    monkeypatch.setenv("LOOKALIKE_AUDIT_PUSH", json.dumps([url]))
    with open_vault(read_settings()) as vault:
        from api.wiring import open_receivers

        AuditKeeper(vault.audit, Outbox(vault.rows, lambda: 0.0), open_receivers(read_settings())).register()
    run("audit", "checkpoint")
    assert finding()[1] == f"{url}: 1 checkpoints wait"
    _, found = ran("audit", "status")
    assert (found["entries"], found["uncovered"]) == (6, 0)
    assert [(r["name"], r["waiting"]) for r in found["receivers"]] == [(url, 1)]
    record(2)
    assert "8 entries, the last 2 not covered" in run("audit", "status")[1]


def test_no_folder_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("LOOKALIKE_DATA", str(tmp_path / "nothing"))
    with pytest.raises(BadSettings):
        run("audit", "verify", "--public-key", "ab" * 32)
