"""Makes sure that the five import packages are ours: names as `index` and `security` exist elsewhere too.

A later `pip install` of a package of the same name would overwrite our files without a word.
"""

from __future__ import annotations

from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from lookalike.errors import BadSettings

PACKAGES: Final = ("lookalike", "embedder", "index", "security", "api")


def strange_owners() -> dict[str, list[str]]:
    """The packages that do not belong to the distribution `lookalike` alone, with those that claim them."""
    owners = packages_distributions()
    claimed = {name: sorted(set(owners.get(name, []))) for name in PACKAGES}
    return {name: found for name, found in claimed.items() if found not in ([], ["lookalike"])}


def scattered() -> list[str]:
    """The packages that Python would not import from where `lookalike` lies."""
    home = _place("lookalike")
    return [name for name in PACKAGES if _place(name) != home]


def require_own_packages() -> None:
    """Raises: BadSettings if a package is not ours."""
    strange = strange_owners()
    if strange:
        claims = "; ".join(f"{name} belongs to {', '.join(found)}" for name, found in strange.items())
        raise BadSettings(f"other packages overwrite ours: {claims}. Install Lookalike in an environment of its own")
    if scattered():
        raise BadSettings(f"{', '.join(scattered())} would be imported from elsewhere: run the console script, or -P")


def _place(package: str) -> Path | None:
    spec = find_spec(package)
    return None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent.parent
