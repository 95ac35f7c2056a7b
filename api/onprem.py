"""What the profile `onprem` asks of the machine: whose process it is, swap, files of keys, a certificate's time.

What it asks of the settings alone is in lookalike/profiles.py. The rules are pure: `look` gathers the facts they judge.
A service of this profile also switches its own core dumps off, since Python cannot wipe what it held.
"""

from __future__ import annotations

import ctypes
import os
import resource
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lookalike.errors import BadSettings
from security.certificates import RENEW_DAYS, days_left
from security.root_key import root_key_file

if TYPE_CHECKING:
    from lookalike.settings import Settings

_PR_SET_DUMPABLE = 4


@dataclass(frozen=True, slots=True)
class Machine:
    """Facts. open_swaps: swap that is not encrypted and may be used by this process; files: what is wrong with each
    file of a secret, by the setting that names it; certificate_days: of the operator's certificate, None if the service
    makes its own, which it renews; ledger_apart: None where there is no ledger; first_start: no key was ever made;
    shown_days: of the certificates that servers inside are shown, by the setting that names each."""

    uid: int
    open_swaps: tuple[str, ...]
    files: Mapping[str, str]
    certificate_days: float | None
    ledger_apart: bool | None
    first_start: bool
    shown_days: Mapping[str, float] = field(default_factory=dict)


def findings(settings: Settings, machine: Machine) -> Iterator[tuple[str, str | None]]:
    """For each rule its name, and None where it holds or one line: what is weak, and what to do."""
    for name, rule in RULES.items():
        yield name, rule(settings, machine)


def require_strong(settings: Settings, machine: Machine) -> None:
    """Raises: BadSettings with all that is weak."""
    weak = [text for _, text in findings(settings, machine) if text is not None]
    if weak:
        raise BadSettings(f"LOOKALIKE_PROFILE=onprem refuses to start: {'; '.join(weak)}")


def forbid_core_dumps() -> None:
    """No core of this process is ever written, nor given to a program that collects them. Raises: BadSettings."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The limit does not hold for a core that the kernel pipes to a program; this does. See prctl(2), core(5).
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise BadSettings("LOOKALIKE_PROFILE=onprem: this system does not let core dumps be switched off")


# -------------------------------------------------------------------------------------------------- rules


def _user(settings: Settings, machine: Machine) -> str | None:
    if machine.uid != 0:
        return None
    return "the user: it runs as root, give it an account of its own (deploy/install makes one)"


def _swap(settings: Settings, machine: Machine) -> str | None:
    if not machine.open_swaps:
        return None
    named = ", ".join(machine.open_swaps)
    return (
        f"swap: {named} is not encrypted and may take keys and faces: `swapoff -a`, or MemorySwapMax=0 for the service"
    )


def _secret_files(settings: Settings, machine: Machine) -> str | None:
    if not machine.files:
        return None
    return "secret files: " + ", ".join(f"{name}: {wrong}" for name, wrong in machine.files.items())


def _certificate(settings: Settings, machine: Machine) -> str | None:
    days = machine.certificate_days
    if days is None or days >= RENEW_DAYS:
        return None
    left = f"has {days:.0f} days left" if days >= 0 else "has ended"
    return f"LOOKALIKE_TLS_CERTIFICATE: it {left}, and {RENEW_DAYS} are asked for: put a new one in its place"


def _shown(settings: Settings, machine: Machine) -> str | None:
    ending = {name: days for name, days in machine.shown_days.items() if days < RENEW_DAYS}
    if not ending:
        return None
    told = ", ".join(
        f"{name} {f'has {days:.0f} days left' if days >= 0 else 'has ended'}" for name, days in ending.items()
    )
    return f"{told}, and {RENEW_DAYS} are asked for: put new ones in their place"


def _ledger(settings: Settings, machine: Machine) -> str | None:
    if machine.ledger_apart is not False:
        return None
    return "LOOKALIKE_LEDGER: it is on the disk of the data folder and is lost with it: mount another disk there"


def _first_key(settings: Settings, machine: Machine) -> str | None:
    if not machine.first_start or settings.bootstrap_key_file is not None:
        return None
    return (
        "LOOKALIKE_BOOTSTRAP_KEY_FILE: the first start would print the admin key, where a journal keeps it:"
        " set a file that holds one, or make the first key with `lookalike api-keys create`"
    )


RULES: Final[Mapping[str, Callable[[Settings, Machine], str | None]]] = {
    "user": _user,
    "swap": _swap,
    "secret files": _secret_files,
    "certificate": _certificate,
    "certificates shown inside": _shown,
    "ledger's disk": _ledger,
    "first key": _first_key,
}
"""Add a line to add a rule."""


# -------------------------------------------------------------------------------------------------- facts


def look(settings: Settings) -> Machine:
    """The facts as they are now. Raises: TamperedData for a certificate that is none."""
    return Machine(
        uid=os.geteuid(),
        open_swaps=() if _swap_forbidden(Path("/proc/self/cgroup")) else open_swaps(Path("/proc/swaps")),
        files={name: wrong for name, file in _secrets(settings) if (wrong := wrong_with(file)) is not None},
        certificate_days=_days(settings.tls_certificate),
        ledger_apart=_apart(settings.ledger, settings.data),
        shown_days={
            f"LOOKALIKE_{name.upper()}": days
            for name in ("postgresql_certificate", "elasticsearch_certificate")
            if (days := _days(getattr(settings, name))) is not None
        },
        first_start=settings.records == "sqlite:" and not (settings.data / "records.db").exists(),
    )


def open_swaps(table: Path, sys: Path = Path("/sys")) -> tuple[str, ...]:
    """Swap in use that is neither encrypted by device mapper (dm-crypt) nor compressed in memory (zram).

    table: as proc(5) describes /proc/swaps. A file is on a file system whose encryption cannot be seen, so it counts.
    """
    try:
        lines = table.read_text("utf-8").splitlines()[1:]
    except OSError:
        return ()
    places = [line.split()[0] for line in lines if line.strip()]
    return tuple(place for place in places if not _unreadable(Path(place), sys))


def _unreadable(device: Path, sys: Path) -> bool:
    name = device.resolve().name
    if name.startswith("zram"):
        return True
    try:
        return (sys / "block" / name / "dm" / "uuid").read_text("ascii").startswith("CRYPT-")
    except OSError:
        return False


def _swap_forbidden(membership: Path, root: Path = Path("/sys/fs/cgroup")) -> bool:
    """Whether the control group of this process, or one above it, may not swap at all (memory.swap.max is 0)."""
    try:
        unified = next(line for line in membership.read_text("utf-8").splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return False
    own = Path(unified.removeprefix("0::/"))
    return any(_holds_zero(root / place / "memory.swap.max") for place in (own, *own.parents))


def _holds_zero(file: Path) -> bool:
    try:
        return file.read_text("ascii").strip() == "0"
    except OSError:
        return False


def _secrets(settings: Settings) -> Iterator[tuple[str, Path]]:
    key = root_key_file(settings.keys, settings.data.absolute())
    if key is not None and (key.exists() or settings.records != "sqlite:" or (settings.data / "records.db").exists()):
        yield "LOOKALIKE_KEYS", key
    for name in _FILES:
        file = getattr(settings, name)
        if file is not None:
            yield f"LOOKALIKE_{name.upper()}", file


_FILES: Final = (
    "bootstrap_key_file",
    "passphrase_file",
    "vault_token_file",
    "pkcs11_pin_file",
    "audit_push_key_file",
    "tls_key",
    "postgresql_key",
    "elasticsearch_key",
    "elasticsearch_password_file",
    "elasticsearch_api_key_file",
    "postgresql_password_file",
)


def wrong_with(file: Path) -> str | None:
    """What is wrong with a file that holds a secret, and what mends it; None if nothing is."""
    try:
        facts = file.stat()
    except OSError as error:
        return f"{file} cannot be read ({error.strerror})"
    if not stat.S_ISREG(facts.st_mode):
        return f"{file} is not a plain file"
    if facts.st_uid not in (0, os.geteuid()):
        return f"{file} belongs to another user: chown"
    if facts.st_mode & 0o077:
        return f"{file} can be read by others: chmod 400"
    return None


def _days(certificate: Path | None) -> float | None:
    if certificate is None:
        return None
    try:
        return days_left(certificate.read_bytes(), datetime.now(UTC))
    except OSError as error:
        raise BadSettings(f"the certificate {certificate} cannot be read: {error.strerror}") from error


def _apart(ledger: Path | None, data: Path) -> bool | None:
    """Whether the ledger is on another disk than the data folder, or than where that will be made."""
    if ledger is None or not ledger.exists():
        return None
    there = next(folder for folder in (data.absolute(), *data.absolute().parents) if folder.exists())
    return ledger.stat().st_dev != there.stat().st_dev
