"""Whether the licence of everything that is shipped is allowed: python -m deploy.supply.licences [--installed FOLDER]

The policy is licences.toml beside this file. A licence that is not read as an SPDX expression, and one that is not
allowed and not excepted with a reason, is an error; so is an exception that nothing needs any more.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.supply.inventory import Package, installed, locked

ROOT = Path(__file__).resolve().parents[2]
POLICY = Path(__file__).with_name("licences.toml")


@dataclass(frozen=True, slots=True)
class Policy:
    """allowed: SPDX ids; words: what metadata says → SPDX; stated, exceptions: by package; models: by name."""

    allowed: frozenset[str]
    words: Mapping[str, str]
    stated: Mapping[str, str]
    exceptions: Mapping[str, Mapping[str, str]]
    models: Mapping[str, Mapping[str, str]]


def read_policy(path: Path = POLICY) -> Policy:
    """The policy as the file has it."""
    entries = tomllib.loads(path.read_text("utf-8"))
    return Policy(
        frozenset(entries["allowed"]), entries["words"], entries["stated"], entries["exceptions"], entries["models"]
    )


def licence_of(package: Package, policy: Policy) -> str:
    """Its SPDX expression: as looked up by hand, or as it states it; "" where neither tells."""
    if package.name in policy.stated:
        return policy.stated[package.name]
    known = policy.words.get(package.licence, package.licence)
    return known if _parts(known) else ""


def is_allowed(expression: str, policy: Policy) -> bool:
    """One of each alternative, all of each conjunction. No brackets: such an expression needs an exception."""
    if "(" in expression or not expression:
        return False
    return all(any(part in policy.allowed for part in clause.split(" OR ")) for clause in expression.split(" AND "))


def objections(packages: Iterable[Package], policy: Policy) -> list[str]:
    """A line for each licence that the policy does not cover, and for each exception without a use."""
    lines, used = [], set()
    for package in sorted(packages, key=lambda package: package.name):
        licence, excepted = licence_of(package, policy), policy.exceptions.get(package.name)
        if excepted is not None and excepted["licence"] == licence and not is_allowed(licence, policy):
            used.add(package.name)
        elif not is_allowed(licence, policy):
            lines.append(
                f"{package.name} {package.version}: {licence or package.licence or 'no licence'} is not allowed"
            )
    lines += [f"{name}: an exception that nothing needs" for name in sorted({*policy.exceptions} - used)]
    for name, model in policy.models.items():
        if not is_allowed(model["licence"], policy):
            lines.append(f"the model {name}: {model['licence']} is not allowed")
    return lines


def _parts(expression: str) -> list[str]:
    """The licences that an SPDX expression names; none where it is not one."""
    parts = [part for clause in expression.split(" AND ") for part in clause.strip("()").split(" OR ")]
    return parts if all(part and " " not in part.replace(" WITH ", "-") for part in parts) else []


def main() -> int:
    """Print the list. Returns 1 if there is an objection."""
    parser = argparse.ArgumentParser(description="The licences of what serving needs, and of the models.")
    parser.add_argument("--installed", type=Path, metavar="FOLDER", help="site-packages of another environment")
    parser.add_argument("--lock", type=Path, default=ROOT / "requirements.lock")
    chosen = parser.parse_args()
    policy = read_policy()
    found = installed(None if chosen.installed is None else [chosen.installed])
    packages = [found[name] for name in locked(chosen.lock) if name in found]
    for package in packages:
        print(f"{package.name}\t{package.version}\t{licence_of(package, policy) or package.licence}")
    for name, model in policy.models.items():
        print(f"model {name}\t{model['sha256'][:12]}\t{model['licence']}")
    against = objections(packages, policy)
    for line in against:
        print(f"licences: {line}", file=sys.stderr)
    return 1 if against else 0


if __name__ == "__main__":
    sys.exit(main())
