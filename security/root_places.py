"""What the kinds of roots have in common: where one is to be found, and by what it is reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lookalike.ports import Rows
from security.secret_key import SecretKey

Kept = Callable[[str], bytes | None]
"""Gives the value of a setting that is kept in the clear beside what the root has wrapped."""


@dataclass(frozen=True, slots=True, repr=False)
class RootAccess:
    """By what roots are reached: files that hold secrets, never the secrets themselves.

    ask: asks for a passphrase on the terminal, twice where it is a new one; None where there is no terminal.
    """

    passphrase_file: Path | None = None
    vault_token_file: Path | None = None
    vault_ca: Path | None = None
    pkcs11_pin_file: Path | None = None
    ask: Callable[[bool], bytes] | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a root key is to be looked for. name: what follows the scheme; folder: what a relative path is relative to.

    new: nothing was ever wrapped by it, so it may be made.
    """

    name: str
    folder: Path
    rows: Rows
    access: RootAccess
    new: bool = False


@dataclass(frozen=True, slots=True)
class Provider:
    """One kind of root.

    setting: what it keeps beside the data, None for nothing; propose: that of a new root, which may make it; open: the
    root key. Both raise BadSettings and KeyUnavailable.
    """

    setting: str | None
    propose: Callable[[Place], Mapping[str, bytes]]
    open: Callable[[Place, Kept], SecretKey]
