"""A root key from a passphrase, by Argon2id (RFC 9106) with at least 256 MiB and three passes.

The passphrase comes from a file or from the terminal; salt and costs are kept in the clear beside what they open. Costs
below what is safe are refused, so that whoever can write to the records cannot have it derived cheaply.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from lookalike.errors import BadSettings, KeyUnavailable
from security.root_places import Kept, Place, Provider
from security.secret_files import read_secret_file
from security.secret_key import KEY_BYTES, SecretKey

SETTING = "root.passphrase"
MIN_PASSPHRASE = 12
_DERIVATION: dict[str, str | int] = {"kdf": "argon2id", "iterations": 3, "memory_kib": 262_144, "lanes": 4}
_MOST = {"iterations": 64, "memory_kib": 4 * 1_048_576, "lanes": 64}


def _propose(place: Place) -> Mapping[str, bytes]:
    _require_bare(place)
    return {SETTING: json.dumps({**_DERIVATION, "salt": secrets.token_hex(16)}, sort_keys=True).encode()}


def _open(place: Place, kept: Kept) -> SecretKey:
    _require_bare(place)
    held = kept(SETTING)
    if held is None:
        raise KeyUnavailable("this data folder was not made with a passphrase")
    asked = _costs(held)
    passphrase = _passphrase(place)
    try:
        derived = Argon2id(
            salt=bytes.fromhex(str(asked["salt"])),
            length=KEY_BYTES,
            iterations=int(asked["iterations"]),
            lanes=int(asked["lanes"]),
            memory_cost=int(asked["memory_kib"]),
        ).derive(passphrase)
    except (UnsupportedAlgorithm, MemoryError) as error:
        raise KeyUnavailable("Argon2id is not available, or there is too little memory for it") from error
    return SecretKey(derived)


PROVIDER = Provider(SETTING, _propose, _open)


def _require_bare(place: Place) -> None:
    if place.name:  # perhaps the passphrase itself, so it is not repeated
        raise BadSettings(
            "LOOKALIKE_KEYS: nothing goes after passphrase: (LOOKALIKE_PASSPHRASE_FILE names the file that holds it)"
        )


def _costs(held: bytes) -> dict[str, str | int]:
    """What is kept. Raises: KeyUnavailable where it was changed to something cheaper, or beyond reason."""
    try:
        asked: dict[str, str | int] = json.loads(held)
        cheap = any(int(asked[cost]) < int(_DERIVATION[cost]) for cost in ("iterations", "memory_kib"))
        dear = any(int(asked[cost]) > most for cost, most in _MOST.items())
        odd = asked["kdf"] != _DERIVATION["kdf"] or len(bytes.fromhex(str(asked["salt"]))) < 16
    except (ValueError, KeyError, TypeError) as error:
        raise KeyUnavailable("what the passphrase is derived by is damaged: the data folder was changed") from error
    if cheap:
        raise KeyUnavailable("the passphrase's kept costs are below what is safe: the data folder was changed")
    if dear or odd:
        raise KeyUnavailable("the passphrase's kept costs are none that are known: the data folder was changed")
    return asked


def _passphrase(place: Place) -> bytes:
    file, ask = place.access.passphrase_file, place.access.ask
    if file is not None:
        passphrase = read_secret_file(file, "the passphrase file").rstrip(b"\r\n")
    elif ask is not None:
        passphrase = ask(place.new)
    else:
        raise BadSettings("LOOKALIKE_KEYS: passphrase: needs LOOKALIKE_PASSPHRASE_FILE, or a terminal to ask on")
    if len(passphrase) < MIN_PASSPHRASE:
        raise BadSettings(f"the passphrase has fewer than {MIN_PASSPHRASE} characters")
    return passphrase
