"""By what the settings say that roots are reached: files, and the terminal for a passphrase that no file holds."""

from __future__ import annotations

import getpass
import sys
from dataclasses import replace
from pathlib import Path

from lookalike.errors import BadSettings
from lookalike.settings import Settings
from security.root_places import RootAccess


def root_access(settings: Settings) -> RootAccess:
    """For the root that LOOKALIKE_KEYS names."""
    return RootAccess(
        passphrase_file=settings.passphrase_file,
        vault_token_file=settings.vault_token_file,
        vault_ca=settings.vault_ca,
        pkcs11_pin_file=settings.pkcs11_pin_file,
        ask=_ask if sys.stdin is not None and sys.stdin.isatty() else None,
    )


def new_root_access(settings: Settings, passphrase_file: Path | None) -> RootAccess:
    """For a root to move to. passphrase_file: holds the new passphrase; the setting's file holds the old one."""
    return replace(root_access(settings), passphrase_file=passphrase_file)


def _ask(again: bool) -> bytes:
    """A passphrase from the terminal, which does not show it. Raises: BadSettings where the two differ."""
    given = getpass.getpass("new passphrase of the root key: " if again else "passphrase of the root key: ")
    if again and getpass.getpass("the same once more: ") != given:
        raise BadSettings("the two passphrases differ")
    return given.encode()
