"""The key at the top of the tree: one line of a table for each kind of place that it can come from.

The root key wraps other keys and nothing else. It is never made anew for a data folder that has keys already: then a
missing one is an error, since a new one could open nothing. From Vault and PKCS#11 it comes wrapped: 32 random bytes
that only the key there can unwrap stand beside the data, and are unwrapped once, at the start.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lookalike.errors import BadSettings, KeyUnavailable
from lookalike.ports import Rows, RowWriter
from security.root import KeyReader
from security.root_places import Kept, Place, Provider, RootAccess
from security.secret_files import create_secret_file, read_secret_file
from security.secret_key import KEY_BYTES, SecretKey

FACTS = "root"
"""The setting that says, in the clear, where the root in force comes from."""

LOST = (
    "without it nothing that is stored can be read: names, vectors, pictures and the audit log's entries alike. Put it "
    "back from where its copy is kept, or restore a backup that holds it (docs/keys.md)"
)

_NO_ACCESS = RootAccess()


@dataclass(frozen=True, slots=True)
class RootFacts:
    """kind: the scheme of LOOKALIKE_KEYS; shown: where it comes from, without a secret; since: seconds since 1970."""

    kind: str
    shown: str
    since: float | None


@dataclass(frozen=True, slots=True)
class NewRoot:
    """A root that nothing was wrapped by yet, and what is to be kept of it."""

    key: SecretKey
    kept: Mapping[str, bytes]


def root_key(spec: str, folder: Path, rows: Rows, *, fresh: bool, access: RootAccess = _NO_ACCESS) -> SecretKey:
    """The root key that `spec` (LOOKALIKE_KEYS) names. folder: what a relative path is relative to.

    fresh: no key was ever wrapped, so it may be made; of several processes that make it at once all use one.
    Raises: BadSettings, KeyUnavailable.
    """
    provider, name = _provider(spec)
    place = Place(name, folder, rows, access, new=fresh)
    kept = rows.read().get_setting
    if not fresh:
        try:
            return provider.open(place, kept)
        except KeyUnavailable as error:
            raise KeyUnavailable(f"{error}; {LOST}") from error
    if provider.setting is None or kept(provider.setting) is None:
        proposed = {**provider.propose(place), FACTS: _facts(spec)}
        rows.write(lambda tx: _keep_unless_there(tx, proposed))
    return provider.open(place, kept)


def new_root(spec: str, folder: Path, rows: Rows, access: RootAccess) -> NewRoot:
    """A root to move to, which was opened as the next start will open it. Raises: BadSettings, KeyUnavailable."""
    provider, name = _provider(spec)
    place = Place(name, folder, rows, access, new=True)
    proposed = provider.propose(place)
    return NewRoot(provider.open(place, proposed.get), {**proposed, FACTS: _facts(spec)})


def root_kind(spec: str) -> str:
    """ "file", "passphrase", "vault" or "pkcs11". Raises: BadSettings."""
    _provider(spec)
    return spec.partition(":")[0]


def root_key_file(spec: str, folder: Path) -> Path | None:
    """The file that holds the root key, None where it comes from elsewhere."""
    scheme, _, name = spec.partition(":")
    return folder / name if scheme == "file" and name else None


def root_facts(reader: KeyReader) -> RootFacts:
    """Where the root in force comes from, as far as the records tell, which anyone who can write to them can change."""
    held = reader.get_setting(FACTS)
    if held is not None:
        try:
            facts = json.loads(held)
            return RootFacts(str(facts["kind"]), str(facts["shown"]), float(facts["since"]))
        except (ValueError, KeyError, TypeError):
            pass
    kind = "passphrase" if reader.get_setting("root.passphrase") is not None else "file"
    return RootFacts(kind, f"{kind}:", None)


def kept_settings() -> list[str]:
    """The settings of all kinds of roots; a move takes those away that are not in force any more."""
    return [found for scheme in PROVIDERS if (found := PROVIDERS[scheme]().setting) is not None]


def put_root_key(path: Path, material: bytes) -> None:
    """Put a root key in its place, for a data folder that is restored.

    Raises: KeyUnavailable where it cannot be written, or another key lies there.
    """
    if not os.path.lexists(path):
        create_secret_file(path, material)
    if read_secret_file(path, "the root key", exactly=KEY_BYTES) != material:
        raise KeyUnavailable(f"another root key lies there already: {path}")


def _provider(spec: str) -> tuple[Provider, str]:
    scheme, _, name = spec.partition(":")
    if scheme not in PROVIDERS:
        raise BadSettings("LOOKALIKE_KEYS: 'file:PATH', 'passphrase:', 'vault:URL' or 'pkcs11:URI' is allowed")
    return PROVIDERS[scheme](), name


def _facts(spec: str) -> bytes:
    kind = spec.partition(":")[0]
    return json.dumps({"kind": kind, "shown": spec, "since": time.time()}, sort_keys=True).encode()


def _keep_unless_there(rows: RowWriter, proposed: Mapping[str, bytes]) -> None:
    for name, value in proposed.items():
        if rows.get_setting(name) is None:
            rows.put_setting(name, value)


# --------------------------------------------------------------------------------------------------- file


def _propose_file(place: Place) -> Mapping[str, bytes]:
    path = _path(place)
    if not os.path.lexists(path):
        create_secret_file(path, secrets.token_bytes(KEY_BYTES))
    return {}


def _open_file(place: Place, kept: Kept) -> SecretKey:
    return SecretKey(read_secret_file(_path(place), "the root key", exactly=KEY_BYTES))


def _path(place: Place) -> Path:
    if not place.name:
        raise BadSettings("LOOKALIKE_KEYS: file: needs a path, such as file:/etc/lookalike/root.key")
    return place.folder / place.name


# ----------------------------------------------------------------------------------------------- the table


def _file() -> Provider:
    return Provider(None, _propose_file, _open_file)


def _passphrase() -> Provider:
    from security.root_passphrase import PROVIDER

    return PROVIDER


def _vault() -> Provider:
    from security.root_vault import PROVIDER

    return PROVIDER


def _pkcs11() -> Provider:
    from security.root_pkcs11 import PROVIDER

    return PROVIDER


PROVIDERS: dict[str, Callable[[], Provider]] = {
    "file": _file,
    "passphrase": _passphrase,
    "vault": _vault,
    "pkcs11": _pkcs11,
}
