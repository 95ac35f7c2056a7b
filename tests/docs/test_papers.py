"""The papers for a security officer hold: each test they name exists, each measure is one that the program checks."""

from __future__ import annotations

import ast
import re
import secrets
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from api.app import create_app
from api.commands.doctor import CHECKS
from api.in_process import InProcessTransport
from api.onprem import RULES
from api.wiring import open_services
from index.schema import CREATE
from lookalike.domain import Grant
from lookalike.profiles import weaknesses
from lookalike.settings import Settings
from security.rbac import principal_for
from tests.docs.conftest import ROOT

THREATS = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
_TEST = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
_ROW = re.compile(r"^\| ([STRIDE]) \|", re.MULTILINE)


def functions_of(file: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)}


def test_every_test_that_the_threat_model_names_is_there() -> None:
    named = _TEST.findall(THREATS)
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / "tests" / file).is_file() or test not in functions_of(ROOT / "tests" / file)
    ]

    assert len(named) > 80
    assert not missing


def test_every_flow_of_the_diagram_is_looked_at_for_every_kind_of_threat() -> None:
    drawn = set(re.findall(r"\bF\d+\b", THREATS.split("```")[1]))
    sections = dict(re.findall(r"^## (F\d+) .*?\n(.*?)(?=^## )", THREATS, re.MULTILINE | re.DOTALL))

    assert set(sections) == drawn
    assert {flow: set("STRIDE") - set(_ROW.findall(text)) for flow, text in sections.items()} == {
        flow: set() for flow in sections
    }


def test_every_threat_says_what_shows_that_it_is_stopped() -> None:
    rows = [line for line in THREATS.splitlines() if _ROW.match(line)]
    silent = [row for row in rows if not _TEST.search(row) and "no test" not in row and "see F7" not in row]

    assert len(rows) > 80
    assert not silent


# ------------------------------------------------------------------------------------- the life of the data

CLEAR = (
    (ROOT / "docs" / "data-life-cycle.md").read_text("utf-8").split("## What stays in the clear")[1].split("\n## ")[0]
)
NAMED = set(re.findall(r"`([^`]+)`", CLEAR))
WORDS = {"put", "delete", "crop", "image", "queued", "running", "done", "failed", "cancelled"}
DEADLINE_S = 60


def clear_columns() -> set[str]:
    """Every column of SQLite's tables that holds no bytes, as `table.column`."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(CREATE)
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        return {
            f"{table}.{column}"
            for table in tables
            if not table.startswith("sqlite_")
            for _, column, kind, *_ in database.execute(f"PRAGMA table_info({table})")
            if kind != "BLOB"
        }


def form(setting: str) -> str:
    """A setting's name with what is random, a day or a number in it replaced."""
    kinds = ((r"\d{4}-\d\d-\d\d", "DAY"), (r"\d+", "N"), (r"[0-9a-f]{16,}", "ID"))
    parts = setting.split("/")
    return "/".join(next((word for pattern, word in kinds if re.fullmatch(pattern, part)), part) for part in parts)


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory, portraits: dict[str, bytes]) -> Path:
    """The database of a service in which people were enrolled, sought, held, erased, and keys rotated."""
    data = tmp_path_factory.mktemp("lived-in") / "data"
    services = open_services(Settings(data=data), live=True)
    transport = InProcessTransport(create_app(services))
    key = services.api_keys.create(principal_for("local:test", [Grant("admin")]), "test", [Grant("admin")]).key
    try:
        with httpx.Client(transport=transport, base_url="http://edge", headers={"x-api-key": key}) as client:
            live_in(client, portraits)
    finally:
        services.close()
    return data / "records.db"


def live_in(client: httpx.Client, portraits: dict[str, bytes]) -> None:
    gate = "/v1/collections/north-gate"

    def call(method: str, path: str, **body: object) -> dict:
        answer = client.request(method, path, headers={"idempotency-key": secrets.token_hex(8)}, **body)
        assert answer.is_success, (path, answer.text)
        return answer.json() if answer.content else {}

    call("POST", "/v1/collections", json={"name": "north-gate", "keep_unknown_days": 30})
    call("POST", f"{gate}/subjects/Barack Obama/samples", files={"images": portraits["obama.jpg"]})
    call("POST", f"{gate}/subjects/Eileen/samples", files={"images": portraits["astronaut.png"]})
    call("PUT", f"{gate}/subjects/Barack Obama/consent", json={"basis": "contract", "reference": "4711"})
    call("POST", f"{gate}/identify", files={"image": portraits["biden.jpg"]})
    call("PATCH", f"{gate}/retention", json={"retention_days": 30})
    call("POST", "/v1/api-keys", json={"name": "app", "grants": [{"role": "viewer"}], "aws": True})
    call("DELETE", f"{gate}/subjects/Eileen")
    call("POST", f"{gate}/holds", json={"subject": "Barack Obama", "reason": "file 7"})
    call("POST", f"{gate}/holds", json={"reason": "file 8"})
    call("GET", "/v1/audit/checkpoint")
    job = call("POST", f"{gate}/keys/rotate")["id"]
    deadline = time.monotonic() + DEADLINE_S
    while call("GET", f"/v1/jobs/{job}")["state"] != "done":
        assert time.monotonic() < deadline, "the rotation does not end"
        time.sleep(0.1)


def test_the_list_of_what_is_in_the_clear_names_every_column_that_is() -> None:
    listed = set(re.findall(r"`(\w+\.\w+)`", CLEAR.split("| `settings.name`, with")[0]))

    assert listed == clear_columns()


def test_nothing_but_ids_times_sizes_and_words_of_ours_stands_in_the_clear(lived_in: Path) -> None:
    strange, forms = [], set()
    with closing(sqlite3.connect(f"file:{lived_in}?mode=ro", uri=True)) as database:
        for column in sorted(clear_columns() - {"settings.name"}):
            table, name = column.split(".")
            values = [value for (value,) in database.execute(f"SELECT DISTINCT {name} FROM {table}")]
            texts = [value for value in values if isinstance(value, str)]
            strange += [f"{column}: {text}" for text in texts if text not in WORDS and form(text) != "ID"]
        forms = {form(name) for (name,) in database.execute("SELECT name FROM settings")}

    assert not strange
    assert len(forms) > 12
    assert not forms - NAMED


# ------------------------------------------------------------------------------------------------- hardening

HARDENING = (ROOT / "docs" / "hardening.md").read_text("utf-8")


def test_every_check_of_doctor_and_every_demand_of_a_profile_has_its_place_in_the_hardening_guide() -> None:
    checks = {check.__name__.strip("_").replace("_", " ") for check in CHECKS}
    demands = {f"onprem {rule}" for rule in RULES} | {"onprem core dumps"}
    strictest = Settings(
        profile="onprem",
        tls="off",
        index="es+https://x@h:9200",
        indexes=("es+http://127.0.0.1:9200",),
        log_level="debug",
    )
    settings = {text.partition(":")[0] for text in weaknesses(strictest)}
    settings |= {text.partition(":")[0] for text in weaknesses(Settings(profile="scale"))}

    assert {name for name in checks | demands if f"`{name}`" not in HARDENING} == set()
    assert {each for text in settings for each in text.split(", ") if f"`{each}" not in HARDENING} == set()


def test_every_setting_that_a_paper_names_exists() -> None:
    fields = {f"LOOKALIKE_{name.upper()}" for name in Settings.model_fields}
    fields |= {"LOOKALIKE_PUBLISH", "LOOKALIKE_NAMES", "LOOKALIKE_SECRETS", "LOOKALIKE_BACKUPS", "LOOKALIKE_LEDGERS"}
    papers = (*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "guides").glob("*.md"))
    named = {name for paper in papers for name in re.findall(r"LOOKALIKE_[A-Z0-9_]+[A-Z0-9]", paper.read_text("utf-8"))}
    ours = {
        name
        for name in named
        if not name.startswith(("LOOKALIKE_TEST_", "LOOKALIKE_KILLS", "LOOKALIKE_EVENTS", "LOOKALIKE_SHARED"))
    }

    assert len(ours) > 40
    assert ours <= fields
