"""What watching a camera costs and how well it tells who comes by, on videos composed of photos of LFW.

    python benchmarks/watch.py [--people 40] [--enrolled 300] [--out FILE]

Of people with four or more pictures one is enrolled for every second person; the others are shown as somebody walks
through a 1280×720 picture at 15 frames a second, two at a time, in opposite directions. Nothing is learned from these
pictures. Counted are those who were recognised, missed, mistaken for somebody else or taken for unknown, how often a
walk was decided on twice, and the seconds from the first frame of a walk to its decision, by shots a decision. The cost
is processor time for each second of video, by part, on one core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av
import cv2
import numpy as np
from public_faces import CACHE, SHARED

from api.commands.watch import _AtOnce
from api.watching import Answer, Decision, Watcher, WatchOptions
from api.wiring import Services, local_principal, open_services
from embedder.factory import build_detector
from embedder.images import ImageLimits, decode_image
from embedder.tracking import FaceTracker
from embedder.video import file_frames
from lookalike.answers import Caller, Picture
from lookalike.domain import Pixels
from lookalike.errors import LookalikeError
from lookalike.settings import Settings

WIDTH, HEIGHT, FPS = 1280, 720, 15
WALK_S, GAP_S = 4.0, 2.5
CALLER = Caller(local_principal(), "bench")


def people() -> list[tuple[str, list[Path]]]:
    folders = sorted((SHARED / "faces/eval/lfw_dev").iterdir())
    return [(folder.name, sorted(folder.glob("*.jpg"))) for folder in folders if folder.is_dir()]


def central(file: Path) -> Pixels:
    """The middle of a picture, which shows whom it is named after; many show others around them."""
    pixels = decode_image(file.read_bytes(), ImageLimits())
    return np.ascontiguousarray(pixels[40:210, 40:210])


def scene(walkers: list[tuple[str, list[Pixels]]]) -> Iterator[tuple[Pixels, list[str]]]:
    """Frames, and who walks through each."""
    last = (len(walkers) - 1) * GAP_S + WALK_S + 2.5
    for number in range(int(last * FPS)):
        frame, there = np.full((HEIGHT, WIDTH, 3), 110, np.uint8), []
        for place, (name, shown) in enumerate(walkers):
            way = (number / FPS - place * GAP_S) / WALK_S
            if 0 <= way < 1:
                there.append(name)
                picture = shown[int(3 * way) % len(shown)]
                x = round((-200 + way * 1280) if place % 2 else (1080 - way * 1280))
                left, right = max(0, x), min(WIDTH, x + picture.shape[1])
                y = 60 if place % 2 else 370
                if left < right:
                    frame[y : y + picture.shape[0], left:right] = picture[:, left - x : right - x]
        yield frame, there


def write(path: Path, walkers: list[tuple[str, list[Pixels]]]) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame, _ in scene(walkers):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())


def watched(services: Services, video: Path, shots: int, fps: float) -> tuple[list[Decision], float, int]:
    """The decisions, the processor time that they took, and how many questions were asked."""
    asked = 0

    def ask(frames: list[bytes], tentative: bool) -> Answer:
        nonlocal asked
        asked += 1
        try:
            (face,) = services.gallery.sight(CALLER, "gate", frames, camera="bench", tentative=tentative).faces
        except LookalikeError:
            return Answer(None)
        if not face.candidates:
            return Answer(None)
        return Answer(face.candidates[0].subject.id, face.candidates[0].similarity, face.candidates[0].fpir)

    options = WatchOptions(shots=shots, unknown=True, cooldown_s=0, min_face_px=30)
    watcher = Watcher(build_detector(CACHE), FaceTracker(fps, 2.0), ask, _AtOnce(), options, print)
    began, found, at = time.process_time(), [], 0.0
    for frame in file_frames(video, fps):
        at = frame.at
        found += watcher.look(frame)
    found += watcher.end(at)
    return found, time.process_time() - began, asked


def judged(found: list[Decision], walkers: list[tuple[str, list[Pixels]]], known: set[str]) -> dict[str, float]:
    counts = dict.fromkeys(("recognised", "missed", "mistaken", "stranger_unknown", "stranger_mistaken", "not_seen"), 0)
    twice, waits = 0, []
    for place, (name, _) in enumerate(walkers):
        begins = place * GAP_S
        # Those who overlap walk on lines of their own; whoever is decided on nearest in time is this one.
        mine = [d for d in found if begins - 0.2 <= d.began < begins + GAP_S - 0.3]
        told = [d.answer.subject for d in mine]
        twice += max(0, len(mine) - 1)
        if not mine:
            counts["not_seen"] += 1
        elif name in known:
            counts["recognised" if name in told else "mistaken" if any(told) else "missed"] += 1
            waits += [d.at - begins for d in mine if d.answer.subject == name][:1]
        else:
            counts["stranger_mistaken" if any(told) else "stranger_unknown"] += 1
    return {**counts, "decided_twice": twice, "median_s": round(statistics.median(waits), 2) if waits else 0.0}


def shares(video: Path, fps: float) -> dict[str, float]:
    """Processor seconds for each second of video: of decoding alone, and with detection."""
    began, frames = time.process_time(), list(file_frames(video, fps))
    decoding, seconds = time.process_time() - began, frames[-1].at
    detector, began = build_detector(CACHE), time.process_time()
    for frame in frames:
        detector(frame.pixels)
    return {"decoding": decoding / seconds, "detecting": (time.process_time() - began) / seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=40)
    parser.add_argument("--enrolled", type=int, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    everybody = people()
    chosen = [(name, files) for name, files in everybody if len(files) >= 4][: options.people]
    known = {name for name, _ in chosen[::2]}
    others = [(name, files) for name, files in everybody if name not in dict(chosen)][: options.enrolled]
    result: dict[str, object] = {"people": len(chosen), "enrolled": len(known) + len(others)}
    with tempfile.TemporaryDirectory() as folder:
        services = open_services(Settings(data=Path(folder) / "data"))
        try:
            services.gallery.create_collection(CALLER, "gate")
            for name, files in [*(c for c in chosen if c[0] in known), *others]:
                with suppress(LookalikeError):
                    services.gallery.enrol(CALLER, "gate", name, [Picture("1.jpg", files[0].read_bytes())])
            walkers = [(name, [central(file) for file in files[1:4]]) for name, files in chosen]
            video = Path(folder) / "walk.mp4"
            write(video, walkers)
            for shots in (1, 3, 5):
                found, spent, asked = watched(services, video, shots, 8.0)
                result[f"shots_{shots}"] = {**judged(found, walkers, known), "asked": asked}
                print(f"shots={shots}: {result[f'shots_{shots}']}", flush=True)
            seconds = (len(walkers) - 1) * GAP_S + WALK_S + 2.5
            for fps in (5.0, 8.0, 15.0):
                _, spent, asked = watched(services, video, 3, fps)
                cost = {"all": spent / seconds, **shares(video, fps)}
                result[f"core_at_{fps:g}_fps"] = {name: round(value, 3) for name, value in cost.items()}
                print(f"{fps:g} fps: {result[f'core_at_{fps:g}_fps']} of a core, decisions included", flush=True)
        finally:
            services.close()
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
