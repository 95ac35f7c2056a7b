"""What is installed in an environment, what a lock says should be, and whether the two are the same.

A lock is a file of requirements with hashes. Names are compared in their normal form (PEP 503).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

_PINNED = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)", re.MULTILINE)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
INSTALLERS = frozenset({"pip"})
"""What a new environment brings, and the serving image removes."""


@dataclass(frozen=True, slots=True)
class Package:
    """One installed distribution. licence: as it says itself; needs: normal names of what it requires here."""

    name: str
    version: str
    licence: str = ""
    needs: tuple[str, ...] = ()
    hashes: tuple[str, ...] = field(default=(), compare=False)
    """SHA-256 of the files that the lock allows for it, hex."""


def normal(name: str) -> str:
    """A name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(lock: Path) -> dict[str, Package]:
    """Normal name → what the lock pins."""
    text = lock.read_text("utf-8")
    found = list(_PINNED.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    return {
        normal(match["name"]): Package(
            normal(match["name"]), match["version"], hashes=tuple(_HASH.findall(text[match.start() : end]))
        )
        for match, end in zip(found, ends, strict=True)
    }


def installed(folders: Iterable[Path] | None = None) -> dict[str, Package]:
    """Normal name → what is installed in these folders; by default, in the environment that runs this."""
    found = distributions() if folders is None else distributions(path=[str(folder) for folder in folders])
    return {package.name: package for package in map(_package, found)}


def differences(wanted: Mapping[str, Package], found: Mapping[str, Package], own: str) -> list[str]:
    """A line for each package that is missing, of another version, or too many. own: the product itself."""
    lines = []
    for name in sorted({*wanted, *found} - INSTALLERS - {own}):
        pinned, there = wanted.get(name), found.get(name)
        if there is None:
            lines.append(f"{name} is pinned and not installed")
        elif pinned is None:
            lines.append(f"{name} {there.version} is installed and not pinned")
        elif pinned.version != there.version:
            lines.append(f"{name} is {there.version} where {pinned.version} is pinned")
    return lines


def _package(found: Distribution) -> Package:
    needs = sorted({normal(need.name) for need in map(Requirement, found.requires or []) if _applies(need)})
    return Package(normal(found.metadata["Name"]), found.version, _stated_licence(found), tuple(needs))


def _applies(need: Requirement) -> bool:
    return need.marker is None or need.marker.evaluate({**default_environment(), "extra": ""})


def _stated_licence(found: Distribution) -> str:
    """The SPDX expression if there is one, else what the classifiers or the old field say, in their words."""
    metadata = found.metadata
    if expression := metadata.get("License-Expression"):
        return expression
    classifiers = [line for line in metadata.get_all("Classifier") or [] if line.startswith("License ::")]
    names = [line.rpartition(" :: ")[2] for line in classifiers]
    return " / ".join(names) or (metadata.get("License") or "").strip().partition("\n")[0]
