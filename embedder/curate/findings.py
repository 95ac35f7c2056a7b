"""What can be wrong with a set of pictures: a stable word for each fault, what it means and what to do. Pure.

A finding is a suggestion: nothing is changed until somebody has read the list and asks for a clean copy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

KEEP, REMOVE, LOOK, MOVE = "keep", "remove", "look", "move "
"""The actions. MOVE is followed by a folder, or by a folder, a slash and a new name; LOOK keeps until one decides."""


@dataclass(frozen=True, slots=True)
class Fault:
    """For people: a title, what it means and what to do about it."""

    title: str
    meaning: str
    advice: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to act on. path, other: relative to the set, with `/`; a folder where the fault is a whole folder's.

    confidence: 0 to 1, of how sure this is beside others of the same fault; action: keep, remove, look or move TO.
    """

    fault: str
    path: str
    reason: str
    confidence: float
    action: str
    other: str = ""

    def to_dict(self) -> dict[str, object]:
        """As JSON and CSV have it."""
        return {
            "path": self.path,
            "fault": self.fault,
            "action": self.action,
            "other": self.other,
            "confidence": round(self.confidence, 3),
            "reason": self.reason,
        }


FAULTS: dict[str, Fault] = {
    "two_labels": Fault(
        "The same picture in two folders",
        "One picture stands for two people or classes, so one of the two labels is wrong.",
        "Remove the copy in the wrong folder.",
    ),
    "mislabelled": Fault(
        "In the wrong folder",
        "The face is unlike the others of its folder and like those of another folder.",
        "Move the picture to the folder named, or remove it.",
    ),
    "mixed_identities": Fault(
        "A folder that holds two people",
        "Several pictures of the folder are alike and unlike the rest: a second person under the same label.",
        "Move the second person to a folder of their own, as suggested, or remove them.",
    ),
    "split_identity": Fault(
        "One person in two folders",
        "Most pictures of both folders match each other as those of one person do.",
        "Merge the folders, or keep them apart if these are twins.",
    ),
    "unlike_own": Fault(
        "Unlike its own folder",
        "The face matches neither the others of its folder nor another folder.",
        "Look: a stranger, or a hard picture of the right person (pose, age, make-up).",
    ),
    "shared_identity": Fault(
        "A person of the other set",
        "The folder's person is in the set compared with too, so what is measured there would be flattered.",
        "Remove the folder here, or the person there.",
    ),
    "shared_picture": Fault(
        "A picture of the other set",
        "The picture is in the set compared with too, so what is measured there would be flattered.",
        "Remove it here, or there.",
    ),
    "exact_duplicate": Fault(
        "The same picture again",
        "The file, or every pixel of it, is the same as another one's in the same folder.",
        "Keep one.",
    ),
    "near_duplicate": Fault(
        "Nearly the same picture",
        "The picture is another one resized, compressed again, cropped a little, mirrored or made lighter or darker.",
        "Keep the larger one.",
    ),
    "no_face": Fault(
        "No face",
        "No face was found in the picture.",
        "Remove it, unless you see a face that is worth cropping by hand.",
    ),
    "several_faces": Fault(
        "Several faces",
        "A second face is so large that it is not clear whose picture this is.",
        "Crop it to the person meant, or remove it.",
    ),
    "blurred": Fault("Blurred", "Too little detail to learn from.", "Remove it."),
    "dark": Fault("Too dark", "Even its brightest parts are dark.", "Remove it, or lighten it."),
    "bright": Fault("Too bright", "Even its darkest parts are bright.", "Remove it."),
    "tiny": Fault("Tiny", "Too few pixels to learn from.", "Remove it, or find a larger copy."),
    "broken": Fault("Broken", "The file is damaged, cut short or empty.", "Remove it, or fetch it again."),
    "unsupported": Fault(
        "No usable picture", "The file is no JPEG, PNG or WebP still picture.", "Convert or remove it."
    ),
    "too_large": Fault("Too large", "The picture is beyond the limits on bytes or pixels.", "Make it smaller."),
    "misnamed": Fault(
        "Misnamed", "The name's ending says another format than the bytes.", "Rename it, as a clean copy does."
    ),
    "misplaced": Fault(
        "Misplaced",
        "A file outside any class folder, or a folder within one: it is not read.",
        "Put each picture straight into the folder of its class.",
    ),
    "few_pictures": Fault(
        "Too few pictures",
        "The folder holds too few usable pictures to learn from.",
        "Add pictures, or leave the folder out.",
    ),
}
"""Every fault by its word, the gravest first: the order of the report."""

_PLACE = {fault: place for place, fault in enumerate(FAULTS)}


def in_order(findings: list[Finding]) -> list[Finding]:
    """By fault, then the surest first, then by path. Of several moves of one path only the first stays suggested."""
    ordered = sorted(findings, key=lambda each: (_PLACE[each.fault], -each.confidence, each.path, each.other))
    moves: dict[str, str] = {}
    for each in ordered:
        if each.action.startswith(MOVE):
            moves.setdefault(each.path, each.action)
    return [
        replace(each, action=LOOK) if each.action.startswith(MOVE) and each.action != moves[each.path] else each
        for each in ordered
    ]
