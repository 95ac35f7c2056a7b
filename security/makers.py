"""Who may sign model bundles: makers that come with Lookalike, those that the settings name, and the deployment itself.

The deployment's own key is derived from its key tree for this purpose alone: it signs nothing else, and the data folder
needs nothing new for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

from lookalike.errors import TamperedData
from security.bundle_file import KEY_BYTES, Maker, maker_of_seed, read_public_keys
from security.keys import KeyRing

OWN = "this deployment"
"""The name of the maker whose key the deployment itself holds."""


def own_maker(keyring: KeyRing) -> Maker:
    """The deployment itself."""
    return maker_of_seed(keyring.derived_key("model bundles").material)


def trusted_makers(extra: Iterable[Path], own: Maker | None = None) -> dict[bytes, str]:
    """Public key → the maker's name. extra: files of public keys, each named as its file. Raises: BadSettings."""
    found = shipped_makers()
    found.update({read_public_keys([path])[0]: path.name.removesuffix(".pub") for path in extra})
    if own is not None:
        found[own.public_key] = OWN
    return found


def shipped_makers() -> dict[bytes, str]:
    """The makers that this version trusts from the start. Raises: TamperedData."""
    try:
        listed = json.loads((files("security") / "makers.json").read_text("utf-8"))
        found = {bytes.fromhex(item["public_key"]): str(item["name"]) for item in listed}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TamperedData("the list of makers that comes with this version is damaged") from error
    if any(len(key) != KEY_BYTES for key in found):
        raise TamperedData("the list of makers that comes with this version is damaged")
    return found
