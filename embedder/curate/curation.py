"""Curates a set of pictures: looks at every one, then compares them, and says what is wrong and what to do.

A picture that is a copy of another is reported as that and judged no further; the rest are judged by labels. Copies
are left out of every folder's mean, so that a picture never vouches for itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedder.curate.duplicates import Twins, find_twins, keeper_first
from embedder.curate.findings import LOOK, MOVE, REMOVE, Finding, in_order
from embedder.curate.folders import list_set
from embedder.curate.hashes import require_imagehash
from embedder.curate.identities import (
    People,
    Split,
    Verdict,
    calibrated,
    cross_matches,
    find_splits,
    gather,
    judge,
)
from embedder.curate.looks import Look, Progress, look_at_all
from embedder.images import ImageLimits
from lookalike.calibration import Calibration
from lookalike.ports import FaceEncoder

FEWEST_PICTURES = 2
SURE_SPLIT = 0.9
"""From this share of matching pictures on it is suggested to merge two folders; below, to look."""

SURE_SECOND = 0.6
"""From this confidence on, where 1 stranger in 10 is as like the folder, moving a second person is suggested."""

NO_FACES = "Labels were not checked: without a face model only hashes, pixels and quality say something."
NO_CALIBRATION = "Labels were not checked: the model brings no calibration to judge similarities by."


@dataclass(frozen=True, slots=True)
class Curation:
    """pictures, folders: how many were looked at; findings: in the report's order; notes: what was left out, and why.

    root, against: the folders that paths are relative to.
    """

    root: Path
    pictures: int
    folders: int
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    against: Path | None = None

    def counts(self) -> dict[str, int]:
        """How many findings of each fault, in the report's order."""
        return dict(Counter(each.fault for each in self.findings))


def curate(
    root: Path,
    *,
    encoder: FaceEncoder | None,
    calibration: Calibration | None,
    limits: ImageLimits | None = None,
    against: Path | None = None,
    fewest: int = FEWEST_PICTURES,
    on_progress: Progress | None = None,
) -> Curation:
    """Findings on a class-per-folder set. encoder: for faces, None for things; against: a set to share nothing with.

    Raises: InvalidInput where there is no set, ModelNotAvailable without the `train` extra.
    """
    require_imagehash()
    places, findings = list_set(root)
    others = list_set(against)[0] if against is not None else []
    looks = look_at_all([*places, *others], limits or ImageLimits(), encoder, on_progress)
    own = range(len(places))
    findings += [finding for at in own for finding in looks[at].findings]
    shown = _Names(len(places), looks)
    copies = _copies(find_twins(looks), looks, shown)
    faces = encoder is not None and calibration is not None
    judged = _judge_labels(looks, len(places), copies, shown, calibration) if faces else _Judged([], set())
    findings = [each for each in findings if each.fault != "no_face" or each.path not in judged.sound]
    findings += [*_of_copies(copies, looks, shown, judged), *judged.findings]
    findings += _few(places_labels=[place.label for place in places], findings=findings, fewest=fewest)
    notes = () if faces else (NO_CALIBRATION if encoder is not None else NO_FACES,)
    labels = {place.label for place in places}
    return Curation(root, len(places), len(labels), tuple(in_order(findings)), notes, against)


# ------------------------------------------------------------------------------------------------ copies


@dataclass(frozen=True, slots=True)
class _Names:
    """What findings call pictures: those of the other set by a word in front. own: how many are of the set itself."""

    own: int
    looks: Sequence[Look]

    def __getitem__(self, at: int) -> str:
        relative = self.looks[at].place.relative
        return relative if at < self.own else f"against:{relative}"

    def label(self, at: int) -> str:
        return self.looks[at].place.label


@dataclass(frozen=True, slots=True)
class _Copy:
    """A picture that is another one. kept: the one that stays; fault: which kind of copy it is."""

    at: int
    kept: int
    fault: str
    twins: Twins


def _copies(pairs: Sequence[Twins], looks: Sequence[Look], shown: _Names) -> list[_Copy]:
    """One entry a copy: of several pairs the gravest fault, then the surest."""
    found: dict[int, _Copy] = {}
    rank = ("shared_picture", "two_labels", "exact_duplicate", "near_duplicate")
    for pair in pairs:
        inside = [at for at in (pair.first, pair.second) if at < shown.own]
        if not inside:
            continue
        if len(inside) == 1:
            at, kept, fault = pair.first, pair.second, "shared_picture"
        else:
            kept, at = keeper_first(looks, pair)
            same = shown.label(at) == shown.label(kept)
            fault = ("exact_duplicate" if pair.exact else "near_duplicate") if same else "two_labels"
        copy = _Copy(at, kept, fault, pair)
        before = found.get(at)
        if before is None or (rank.index(fault), -pair.confidence) < (
            rank.index(before.fault),
            -before.twins.confidence,
        ):
            found[at] = copy
    return list(found.values())


def _of_copies(copies: Sequence[_Copy], looks: Sequence[Look], shown: _Names, judged: _Judged) -> list[Finding]:
    findings: dict[str, Finding] = {}
    for copy in copies:
        at, kept, action = copy.at, copy.kept, REMOVE
        if copy.fault == "two_labels":
            wrong = judged.wrong_of(at, kept)
            at, kept = (kept, at) if wrong == kept else (at, kept)
            action = LOOK if wrong is None else REMOVE
        # One word on a picture is enough, however many folders its copies lie in.
        findings.setdefault(
            shown[at], Finding(copy.fault, shown[at], f"{copy.twins.how}.", copy.twins.confidence, action, shown[kept])
        )
    return list(findings.values())


# ------------------------------------------------------------------------------------------------ labels


@dataclass(frozen=True, slots=True)
class _Judged:
    """What labels gave. sound: paths without a detected face that match their folder as they are.

    fits: the similarity of each picture that has a copy in another folder with its own folder's mean.
    """

    findings: list[Finding]
    sound: set[str]
    fits: dict[int, float] | None = None

    def wrong_of(self, first: int, second: int) -> int | None:
        """Which of two copies is in the wrong folder, None if that is not plain."""
        if self.fits is None or first not in self.fits or second not in self.fits:
            return None
        lead = self.fits[first] - self.fits[second]
        return None if abs(lead) < 0.15 else (second if lead > 0 else first)


def _judge_labels(
    looks: Sequence[Look], own: int, copies: Sequence[_Copy], shown: _Names, calibration: Calibration | None
) -> _Judged:
    left_out = {copy.at for copy in copies} | {copy.kept for copy in copies if copy.fault == "two_labels"}
    rows = [at for at in range(own) if looks[at].vector is not None and at not in left_out]
    if calibration is None or not rows:
        return _Judged([], set())
    names, people, laid = _people(looks, rows, calibration)
    splits = find_splits(people, laid)
    findings, sound = [], set()
    verdicts = {rows[verdict.at]: verdict for verdict in judge(people, laid, splits)}
    for at in rows:
        verdict = verdicts.get(at)
        if not looks[at].certain:
            if verdict is None:
                sound.add(shown[at])
            continue  # what the detector sees no face in is reported as that, not as somebody else's
        if verdict is None:
            continue
        findings.append(_explained(verdict, shown[at], names, laid))
    findings += [_merged(split, names) for split in splits]
    findings += _shared(looks, own, people, names, laid)
    number = {name: i for i, name in enumerate(names)}
    fits = {
        at: float(vector @ people.means[number[shown.label(at)]])
        for at in {side for copy in copies if copy.fault == "two_labels" for side in (copy.at, copy.kept)}
        if (vector := looks[at].vector) is not None and shown.label(at) in number
    }
    return _Judged(findings, sound, fits)


def _people(
    looks: Sequence[Look], rows: Sequence[int], calibration: Calibration
) -> tuple[list[str], People, Calibration]:
    """The folders' names by number, the people, and the calibration laid over them."""
    vectors = np.stack([vector for at in rows if (vector := looks[at].vector) is not None])
    labels = [looks[at].place.label for at in rows]
    names, numbers = np.unique(labels, return_inverse=True)
    laid = calibrated(calibration, vectors, labels)
    return [str(name) for name in names], gather(vectors, numbers.astype(np.int64), laid), laid


def _explained(verdict: Verdict, path: str, names: Sequence[str], laid: Calibration) -> Finding:
    label = path.split("/", 1)[0]
    strangers = laid.fpir(verdict.best, max(len(names) - 1, 1))
    own = f"Similarity {verdict.own:.2f} with its own folder, which {_rate(laid.fmr(verdict.own))} strangers reach"
    if verdict.fault == "mislabelled":
        other = names[verdict.other]
        reason = f"{own}; {verdict.best:.2f} with {other}, which {_rate(strangers)} strangers reach with any folder."
        return Finding("mislabelled", path, reason, 1.0 - strangers, f"{MOVE}{other}", other)
    # A rank and no probability: how far below the bound the picture's likeness to its folder lies.
    confidence = 0.5 + 0.5 * min(1.0, laid.fmr(verdict.own) / 0.5)
    if verdict.fault == "mixed_identities":
        reason = f"{own}; several pictures here are alike and unlike the rest (group {verdict.group + 1})."
        action = f"{MOVE}{label}-{verdict.group + 1}" if confidence >= SURE_SECOND else LOOK
        return Finding("mixed_identities", path, reason, confidence, action, label)
    return Finding("unlike_own", path, f"{own}; no other folder matches.", confidence, LOOK, label)


def _rate(share: float) -> str:
    """0.02 as "1 in 50"."""
    if share > 0.3:
        return "many"
    return f"1 in {1 / share:,.0f}" if share > 1e-6 else "fewer than 1 in a million"


def _merged(split: Split, names: Sequence[str]) -> Finding:
    first, second = names[split.first], names[split.second]
    reason = _alike(split)
    action = f"{MOVE}{second}" if split.share >= SURE_SPLIT else LOOK
    return Finding("split_identity", first, reason, split.share, action, second)


def _alike(match: Split) -> str:
    share, means = f"{100 * match.share:.0f} %", f"{match.similarity:.2f}"
    return f"At least {share} of each folder's pictures match the other's mean; the means' similarity is {means}."


def _shared(looks: Sequence[Look], own: int, people: People, names: Sequence[str], laid: Calibration) -> list[Finding]:
    rows = [at for at in range(own, len(looks)) if looks[at].vector is not None and looks[at].certain]
    if not rows:
        return []
    vectors = np.stack([vector for at in rows if (vector := looks[at].vector) is not None])
    theirs, numbers = np.unique([looks[at].place.label for at in rows], return_inverse=True)
    found = []
    for match in cross_matches(people, gather(vectors, numbers.astype(np.int64), laid), laid):
        reason = _alike(match)
        other = f"against:{theirs[match.second]}"
        found.append(Finding("shared_identity", names[match.first], reason, match.share, REMOVE, other))
    return found


# ------------------------------------------------------------------------------------------------ folders


def _few(*, places_labels: Sequence[str], findings: Sequence[Finding], fewest: int) -> list[Finding]:
    """Folders that keep too few pictures once all that is to be removed or moved is gone."""
    kept = Counter(places_labels)
    arrived: Counter[str] = Counter()
    leaving = {each.path: each.action for each in findings if "/" in each.path and each.action == REMOVE}
    leaving |= {e.path: e.action for e in findings if "/" in e.path and e.action.startswith(MOVE)}
    for path, action in leaving.items():
        label, target = path.split("/", 1)[0], action.removeprefix(MOVE).split("/", 1)[0]
        if action == REMOVE or target != label:
            kept[label] -= 1
        if action != REMOVE:
            arrived[target] += 1
    return [
        Finding(
            "few_pictures", label, f"{count + arrived[label]} usable pictures; at least {fewest} are wanted.", 1.0, LOOK
        )
        for label, count in sorted(kept.items())
        if count + arrived[label] < fewest
    ]
