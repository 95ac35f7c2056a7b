"""The console's words: one catalogue a language, texts/LANGUAGE.toml, chosen by what the browser asks for.

English is complete; whatever another catalogue lacks is said in English. A text may hold {names} to be filled in, and
be a table of `one` and `other` where it depends on the number `n`. It is plain text: templates escape it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "texts"
FALLBACK = "en"

Entries = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Words:
    """One language's texts, English for those it lacks. entries: by dotted name."""

    language: str
    entries: Entries

    def __call__(self, name: str, /, **values: object) -> str:
        """The text of a name, filled in. Raises: KeyError for a name that no catalogue has."""
        text = self.entries.get(name)
        if text is None:
            text = self.entries[f"{name}.one" if values.get("n") == 1 else f"{name}.other"]
        return text.format(**values) if values else text

    def known(self, name: str, otherwise: str) -> str:
        """The text of a name that may have none, such as one made from a code."""
        return self.entries.get(name, otherwise)


def read_catalogues(folder: Path = FOLDER) -> dict[str, Words]:
    """Every language there is, English first."""
    english = _entries(tomllib.loads((folder / f"{FALLBACK}.toml").read_text("utf-8")))
    found = {FALLBACK: Words(FALLBACK, english)}
    for file in sorted(folder.glob("*.toml")):
        if file.stem != FALLBACK:
            found[file.stem] = Words(file.stem, {**english, **_entries(tomllib.loads(file.read_text("utf-8")))})
    return found


def choose(accepted: str, catalogues: Mapping[str, Words]) -> Words:
    """What suits an Accept-Language header best (RFC 9110, 12.5.4), English where nothing does."""
    wishes = []
    for part in accepted.split(","):
        language, _, parameter = part.strip().partition(";")
        try:
            weight = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        wishes.append((-weight, language.strip().lower()))
    for weight, language in sorted(wishes, key=lambda wish: wish[0]):
        for tag in (language, language.partition("-")[0]):
            if tag in catalogues and weight < 0:
                return catalogues[tag]
    return catalogues[FALLBACK]


def _entries(tables: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in tables.items():
        if isinstance(value, dict):
            found.update(_entries(value, f"{prefix}{name}."))
        else:
            found[f"{prefix}{name}"] = str(value)
    return found
