"""What a profile asks of the settings, beyond what each of them allows by itself. Pure.

A profile says what a deployment is meant to be; a setting that would make it something weaker ends the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from lookalike.errors import BadSettings
from lookalike.settings import Profile, Settings

_IN_PROCESS: Final = (
    "LOOKALIKE_IMAGE_DECODING: a hole in a decoder would lie open to whoever sends a picture, set isolated"
)


def weaknesses(settings: Settings) -> tuple[str, ...]:
    """One line for each setting that is too weak for the profile: which, why, and what to set instead.

    Raises: BadSettings for a profile that this version does not have.
    """
    asked = PROFILES.get(settings.profile)
    if asked is None:
        known = ", ".join(profile.value for profile in PROFILES)
        raise BadSettings(
            f"LOOKALIKE_PROFILE={settings.profile.value}: this version has the profiles {known} only",
        )
    return tuple(asked(settings))


def require_profile(settings: Settings) -> None:
    """Raises: BadSettings with all weaknesses."""
    found = weaknesses(settings)
    if found:
        raise BadSettings(f"LOOKALIKE_PROFILE={settings.profile.value} refuses to start: {'; '.join(found)}")


def _single(settings: Settings) -> Iterator[str]:
    """One machine: whatever is allowed at all."""
    return iter(())


def _scale(settings: Settings) -> Iterator[str]:
    """Any replica can be lost, and another one answers the same: nothing that counts may be on one machine alone."""
    if not settings.records.startswith("postgresql://"):
        yield "LOOKALIKE_RECORDS: sqlite: is on this machine alone, set postgresql://USER@HOST/DATABASE"
    if not settings.index.startswith("es+"):
        yield f"LOOKALIKE_INDEX: {settings.index} is in this process alone, set es+https://USER@HOST:9200"
    if any(url.startswith("es+http:") for url in (settings.index, *settings.indexes)):
        yield "LOOKALIKE_INDEX, LOOKALIKE_INDEXES: templates would travel in the clear, set es+https:"
    if settings.volume_encrypted != "attested":
        yield (
            "LOOKALIKE_VOLUME_ENCRYPTED: Elasticsearch keeps templates in the clear, and they can be turned into faces:"
            " encrypt the nodes' volumes and set attested"
        )
    yield from _inside(settings)
    if settings.image_decoding != "isolated":
        yield _IN_PROCESS
    if _key_inside(settings):
        yield (
            "LOOKALIKE_KEYS: the root key lies in the data folder of this replica, and all replicas need the same one:"
            " set a place outside, such as file:/etc/lookalike/root.key"
        )


def _inside(settings: Settings) -> Iterator[str]:
    """Servers inside prove who they are, and are shown who connects in a way that is looked at."""
    query = {
        name: value for name, _, value in (p.partition("=") for p in settings.records.partition("?")[2].split("&"))
    }
    if settings.records.startswith("postgresql://"):
        if query.get("sslmode", "verify-full") != "verify-full":
            yield (
                f"LOOKALIKE_RECORDS: sslmode={query['sslmode']} takes a server of another name or none for the"
                " database, set verify-full"
            )
        if query.keys() & {"sslcert", "sslkey"}:
            yield (
                "LOOKALIKE_RECORDS: nobody looks at a key that the URL names, set LOOKALIKE_POSTGRESQL_CERTIFICATE and"
                " LOOKALIKE_POSTGRESQL_KEY"
            )


def _onprem(settings: Settings) -> Iterator[str]:
    """Biometric data under lock: nothing in the clear on the way or in a log; a restore brings nobody back.

    What the machine itself must hold (swap, modes of files, whose process it is) is in api/onprem.py.
    """
    if settings.tls == "off":
        yield "LOOKALIKE_TLS: pictures and keys would travel in the clear, set on"
    if settings.image_decoding != "isolated":
        yield _IN_PROCESS
    if _key_inside(settings):
        yield (
            "LOOKALIKE_KEYS: the root key lies in the data folder, so that a copy of the folder opens itself:"
            " set a place outside, such as file:/etc/lookalike/root.key"
        )
    if settings.ledger is None:
        yield (
            "LOOKALIKE_LEDGER: without one a restored backup brings back who was erased, and a rewritten audit log is"
            " not found out: set a folder on another disk or machine"
        )
    elif settings.ledger.resolve().is_relative_to(settings.data.resolve()):
        yield "LOOKALIKE_LEDGER: it is in the data folder and lost with it, set a folder on another disk or machine"
    if settings.backup_key is None:
        yield (
            "LOOKALIKE_BACKUP_KEY: no backup can be made: `lookalike backup keygen` on another machine, and set the"
            " file with the public half"
        )
    if any(url.startswith("es+http:") for url in (settings.index, *settings.indexes)):
        yield "LOOKALIKE_INDEX, LOOKALIKE_INDEXES: templates would travel in the clear, set es+https:"
    if settings.index.startswith("es+") and settings.volume_encrypted != "attested":
        yield "LOOKALIKE_VOLUME_ENCRYPTED: the index keeps templates in the clear, encrypt its disks and set attested"
    yield from _inside(settings)
    if settings.log_level == "debug":
        yield "LOOKALIKE_LOG_LEVEL: with debug the command shows traces, which may hold values: set info"


def _key_inside(settings: Settings) -> bool:
    scheme, _, name = settings.keys.partition(":")
    folder = settings.data.absolute()
    return scheme == "file" and Path(folder / name).resolve().is_relative_to(folder.resolve())


PROFILES: Final[Mapping[Profile, Callable[[Settings], Iterator[str]]]] = {
    Profile.SINGLE: _single,
    Profile.SCALE: _scale,
    Profile.ONPREM: _onprem,
}
"""Which weaknesses a profile finds. Add a line to add a profile."""
