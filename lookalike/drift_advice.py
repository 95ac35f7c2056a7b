"""Says in a sentence what moved and what to do about it: look at the camera, calibrate, or train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lookalike.drift import Baseline, Finding
from lookalike.probe_counts import Counts

Advice = tuple[str, ...]
"""Sentences, each complete; the first says what is the case."""

_WORDS: Mapping[str, tuple[str, str]] = {
    "quality": ("of lower quality", "of higher quality"),
    "sharpness": ("less sharp", "sharper"),
    "brightness": ("darker", "brighter"),
    "highlight": ("without bright parts", "with brighter parts"),
    "eye_distance_px": ("smaller", "larger"),
    "turn": ("seen more from the front", "more turned away"),
    "outside": ("cut off less", "cut off by the picture's edge"),
    "nearest": ("less like anybody enrolled", "more like somebody enrolled"),
    "second": ("less like a second subject", "more like a second subject"),
    "margin": ("less told apart from the second nearest", "further from the second nearest"),
    "faces": ("fewer in a picture", "more in a picture"),
    "no_candidate": ("left without a candidate less often", "left without a candidate more often"),
}
"""What faces are when a statistic's middle fell, and when it rose."""

_REFUSED: Mapping[str, tuple[str, str]] = {
    "face_not_found": ("fewer pictures show no face", "more pictures show no face"),
    "refused": ("fewer pictures cannot be read", "more pictures cannot be read"),
}

_OF_THE_PICTURE = frozenset(
    {"quality", "sharpness", "brightness", "highlight", "eye_distance_px", "turn", "outside", "face_not_found"}
)
_OF_THE_PEOPLE = frozenset({"nearest", "second", "margin", "no_candidate"})

_GROWN = 2.0
"""From here on a gallery's growth is told."""


def advise(name: str, findings: Sequence[Finding], baseline: Baseline | None, now: Counts) -> Advice:
    """name: the collection's; it stands in the commands that are proposed."""
    if baseline is None:
        return ("There is no baseline yet, so nothing can be said to have moved.",)
    if all(finding.verdict == "too_few" for finding in findings):
        return ("Too few probes were counted to say whether anything moved.",)
    moved = {finding.statistic: finding for finding in findings if finding.moved}
    if not moved:
        return ("Nothing moved beyond what chance and ordinary days explain.",)
    grown = _gallery(now) / _gallery(baseline.counts)
    return (_what(moved), *_what_to_do(name, set(moved), grown))


def _what(moved: Mapping[str, Finding]) -> str:
    faces = [_WORDS[name][found.rose] for name, found in moved.items() if name in _WORDS]
    pictures = [_REFUSED[name][found.rose] for name, found in moved.items() if name in _REFUSED]
    said = _listed([*([f"faces are {_listed(faces)}"] if faces else []), *pictures])
    return f"Since the baseline {said}."


def _what_to_do(name: str, moved: set[str], grown: float) -> list[str]:
    picture, people = moved & _OF_THE_PICTURE, moved & _OF_THE_PEOPLE
    said = []
    if picture:
        said.append("Look at the camera: its lens, its focus, its light, and whether it points where it did.")
    if people and not picture:
        said.append(
            "The pictures look as before, so other people come or others are enrolled: "
            f"`lookalike calibrate {name}` learns the thresholds anew."
        )
    if people and grown >= _GROWN:
        said.append(f"The gallery is about {grown:.0f} times as large, which alone brings probes nearer to somebody.")
    if people and picture:
        said.append(
            f"If such pictures are here to stay, `lookalike calibrate {name}`, and move to a model that was trained on "
            f"their like (`lookalike reindex {name} --model …`)."
        )
    if "refused" in moved:
        said.append("Look at what sends the pictures: their format and size.")
    said.append(f"If all is well as it is, `lookalike drift {name} --baseline FROM..TO` compares with other days.")
    return said


def _gallery(counts: Counts) -> float:
    """The middle of how many subjects were searched, to a factor of the root of two; 1 if unknown."""
    bins = counts.of("gallery").sum(axis=0)
    return float(2.0 ** int((bins.cumsum() * 2 >= bins.sum()).argmax())) if bins.any() else 1.0


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
