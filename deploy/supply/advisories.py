"""Whether a known weakness is in what the locks pin: python -m deploy.supply.advisories [--database all.zip] [LOCK…]

Without a database pip-audit asks PyPI, which needs a network. The database is the one that OSV publishes for PyPI, a
zip of one JSON file an advisory (https://osv.dev, ecosystem PyPI, all.zip), for machines that have none. Exit codes: 0
nothing known, 1 something is, 2 it could not be looked up.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from deploy.supply.inventory import Package, locked, normal
from deploy.supply.licences import ROOT

LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-dev.lock")
NO_NETWORK = (
    "PyPI's list of weaknesses cannot be reached: run this on a machine with a network, or give it OSV's database for "
    "PyPI by --database all.zip"
)


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One advisory that is about a pinned version."""

    package: str
    version: str
    advisory: str
    summary: str


def findings(packages: Mapping[str, Package], advisories: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """What OSV records say of these packages; withdrawn ones say nothing."""
    found = set()
    for advisory in advisories:
        if advisory.get("withdrawn"):
            continue
        for affected in advisory.get("affected", ()):
            name = normal(affected.get("package", {}).get("name", ""))
            package = packages.get(name) if affected.get("package", {}).get("ecosystem") == "PyPI" else None
            if package is not None and _concerns(affected, package.version):
                found.add(Finding(name, package.version, advisory["id"], advisory.get("summary", "")))
    return sorted(found)


def _concerns(affected: Mapping[str, Any], version: str) -> bool:
    """Whether a version is listed, or lies in a range; https://ossf.github.io/osv-schema/#evaluation."""
    if version in affected.get("versions", ()):
        return True
    ranges = [each for each in affected.get("ranges", ()) if each.get("type") == "ECOSYSTEM"]
    return any(_within(each.get("events", ()), Version(version)) for each in ranges)


def _within(events: Sequence[Mapping[str, str]], version: Version) -> bool:
    inside = False
    for event in sorted(events, key=_moment):
        kind, at = next(iter(event.items()))
        if kind == "introduced" and version >= _version(at):
            inside = True
        elif (kind == "fixed" and version >= _version(at)) or (kind == "last_affected" and version > _version(at)):
            inside = False
    return inside


def _moment(event: Mapping[str, str]) -> tuple[Version, bool]:
    kind, at = next(iter(event.items()))
    return _version(at), kind != "introduced"


def _version(text: str) -> Version:
    """A version as an advisory writes it; one that is none lies before all others, so that nothing is missed."""
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0.dev0")


def records(database: Path) -> Iterator[Mapping[str, Any]]:
    """Every advisory of an OSV zip."""
    with zipfile.ZipFile(database) as archive:
        for name in archive.namelist():
            if name.endswith(".json"):
                yield json.loads(archive.read(name))


def ask_pypi(lock: Path) -> int:
    """Print what pip-audit knows of one lock. Returns the exit code; 2 also where it passed over any package."""
    asking = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner=off"]
    command = [*asking, "--format=json", "-r", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 - our own arguments
    try:
        answers = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = done.stderr.strip().splitlines()[-1:] or ["pip-audit said nothing"]
        print(f"{NO_NETWORK}\n({last[0][:200]})", file=sys.stderr)
        return 2
    return judge(lock.name, answers)


def judge(lock: str, answers: Sequence[Mapping[str, Any]]) -> int:
    """Print what pip-audit's answers say, and what it could not ask about, which it would let pass itself."""
    for answer in answers:
        for known in answer.get("vulns", ()):
            print(f"{answer['name']} {answer['version']}\t{known['id']}\t{known.get('description', '')[:100]}")
    weak = [answer for answer in answers if answer.get("vulns")]
    passed_over = [answer for answer in answers if "skip_reason" in answer]
    print(f"{lock}: {len(answers) - len(passed_over)} packages looked up, {len(weak)} with weaknesses", file=sys.stderr)
    if passed_over:
        print(f"{lock}: {len(passed_over)} packages could not be looked up. {NO_NETWORK}", file=sys.stderr)
        return 2
    return 1 if weak else 0


def main() -> int:
    """Look every lock up. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Known weaknesses in what the locks pin.")
    parser.add_argument("locks", nargs="*", type=Path, default=LOCKS, metavar="LOCK")
    parser.add_argument("--database", type=Path, metavar="ZIP", help="OSV's all.zip of PyPI: asks nobody")
    chosen = parser.parse_args()
    if chosen.database is None:
        return max(ask_pypi(lock) for lock in chosen.locks)
    packages = {name: package for lock in chosen.locks for name, package in locked(lock).items()}
    try:
        found = findings(packages, records(chosen.database))
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        print(f"advisories: {chosen.database} is no database of OSV: {error}", file=sys.stderr)
        return 2
    for each in found:
        print(f"{each.package} {each.version}\t{each.advisory}\t{each.summary}")
    print(f"{len(packages)} packages, {len(found)} known weaknesses", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
