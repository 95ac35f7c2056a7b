"""Makes a clean copy of a set as an edited list of findings says. The set itself is only ever read.

The copy grows in a hidden folder beside its destination and takes its name when it is whole, so that an interrupted
run leaves nothing that looks finished.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedder.curate.findings import MOVE, REMOVE
from embedder.curate.folders import Place, list_set
from embedder.curate.lists import Decision
from embedder.curate.looks import Progress
from lookalike.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Copied:
    """kept: as they were; moved: to another folder or name; removed: not in the copy."""

    kept: int
    moved: int
    removed: int


def make_clean_copy(
    root: Path,
    decisions: Sequence[Decision],
    destination: Path,
    *,
    hardlink: bool = False,
    on_progress: Progress | None = None,
) -> Copied:
    """Copy, or link, what stays. Raises: InvalidInput before anything is written if the list cannot be followed."""
    _require_free(root, destination)
    places = list_set(root)[0]
    targets = plan(places, decisions)
    growing = destination.with_name(f".{destination.name}.partial-{os.getpid()}")
    growing.mkdir(parents=True, mode=0o700)
    try:
        kept = [(place, target) for place in places if (target := targets[place.relative]) is not None]
        for number, (place, target) in enumerate(kept, 1):
            _place(place.path, growing / target, hardlink)
            if on_progress is not None:
                on_progress(number, len(kept))
        growing.rename(destination)
    finally:
        if growing.is_dir():
            shutil.rmtree(growing)
    moved = sum(place.relative != target for place, target in kept)
    return Copied(len(kept) - moved, moved, len(places) - len(kept))


def plan(places: Sequence[Place], decisions: Sequence[Decision]) -> dict[str, str | None]:
    """Where each picture goes, None for nowhere. A folder's row counts for its pictures that have none of their own.

    Of several rows for one picture, remove wins; two different moves are refused. Raises: InvalidInput.
    """
    actions = _by_path(decisions, {p.relative for p in places} | {p.label for p in places})
    targets: dict[str, str | None] = {}
    taken: set[str] = set()
    for place in sorted(places, key=lambda p: actions.get(p.relative, actions.get(p.label, "")).startswith(MOVE)):
        action = actions.get(place.relative) or actions.get(place.label) or ""
        if action == REMOVE:
            targets[place.relative] = None
            continue
        target = _target(place, action.removeprefix(MOVE)) if action.startswith(MOVE) else place.relative
        if target in taken:  # the name is taken there: the folder it comes from makes it another
            folder, name = target.split("/", 1)
            target = f"{folder}/{place.label}-{name}"
        if target in taken:
            raise InvalidInput(f"two pictures would both become {target}")
        taken.add(target)
        targets[place.relative] = target
    return targets


def _by_path(decisions: Sequence[Decision], known: set[str]) -> Mapping[str, str]:
    """The action for each path that has one; keep and look change nothing."""
    actions: dict[str, str] = {}
    for decision in decisions:
        path = decision.path.rstrip("/")
        if path not in known:
            if decision.action == REMOVE or decision.action.startswith(MOVE):
                raise InvalidInput(f"line {decision.line} of the list: the set holds nothing of this path")
            continue
        before = actions.get(path)
        if decision.action == REMOVE or (decision.action.startswith(MOVE) and before is None):
            actions[path] = decision.action
        elif decision.action.startswith(MOVE) and before not in (REMOVE, decision.action):
            raise InvalidInput(f"line {decision.line} of the list: this picture is moved to another place already")
    return actions


def _target(place: Place, where: str) -> str:
    """FOLDER, or FOLDER/NAME. Raises: InvalidInput for anything that could lead out of the copy."""
    folder, slash, name = where.strip().partition("/")
    name = name if slash else place.path.name
    for part in (folder, name):
        if not part or part.startswith(".") or "/" in part or "\\" in part or "\0" in part:
            raise InvalidInput("a picture is moved to a folder of the set, or to FOLDER/NAME, and nowhere else")
    return f"{folder}/{name}"


def _require_free(root: Path, destination: Path) -> None:
    if destination.exists() or destination.is_symlink():
        raise InvalidInput("the folder for the clean copy is there already; name one that is not")
    inside, source = destination.absolute().resolve(), root.resolve()
    if inside == source or source in inside.parents:
        raise InvalidInput("the clean copy cannot lie inside the set that it is made from")


def _place(source: Path, target: Path, hardlink: bool) -> None:
    target.parent.mkdir(exist_ok=True, mode=0o700)
    if hardlink:
        os.link(source.resolve(), target)
    else:
        shutil.copyfile(source, target)
        target.chmod(0o600)
