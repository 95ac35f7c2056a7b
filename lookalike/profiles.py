"""What a profile asks of the settings, beyond what each of them allows by itself. Pure.

A profile says what a deployment is meant to be; a setting that would make it something weaker ends the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from lookalike.errors import BadSettings
from lookalike.settings import Profile, Settings


def weaknesses(settings: Settings) -> tuple[str, ...]:
    """One line for each setting that is too weak for the profile: which, why, and what to set instead.

    Raises: BadSettings for a profile that this version does not have.
    """
    asked = PROFILES.get(settings.profile)
    if asked is None:
        known = " and ".join(profile.value for profile in PROFILES)
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
    if _key_inside(settings):
        yield (
            "LOOKALIKE_KEYS: the root key lies in the data folder of this replica, and all replicas need the same one:"
            " set a place outside, such as file:/etc/lookalike/root.key"
        )


def _key_inside(settings: Settings) -> bool:
    scheme, _, name = settings.keys.partition(":")
    folder = settings.data.absolute()
    return scheme == "file" and Path(folder / name).resolve().is_relative_to(folder.resolve())


PROFILES: Final[Mapping[Profile, Callable[[Settings], Iterator[str]]]] = {
    Profile.SINGLE: _single,
    Profile.SCALE: _scale,
}
"""Which weaknesses a profile finds. Add a line to add a profile."""
