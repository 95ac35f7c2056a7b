"""Videos that are composed from portraits: people walk through a picture, at known times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from embedder.images import ImageLimits, decode_image
from lookalike.domain import Pixels

av = pytest.importorskip("av", reason="left out: the extra `cameras` is not installed")

WIDTH, HEIGHT, FPS = 1280, 720, 15


@dataclass(frozen=True)
class Walk:
    """Somebody crosses the frame. portraits: shown in turn; from_x, to_x: of the left edge, at the two times."""

    portraits: tuple[str, ...]
    began: float
    ended: float
    from_x: int
    to_x: int
    y: int = 150


def frames_of(walks: tuple[Walk, ...], portraits: dict[str, bytes], seconds: float) -> list[Pixels]:
    heights = {name: _scaled(portraits[name], 420) for walk in walks for name in walk.portraits}
    found = []
    for number in range(int(FPS * seconds)):
        frame, at = np.full((HEIGHT, WIDTH, 3), 90, np.uint8), number / FPS
        for walk in walks:
            if walk.began <= at < walk.ended:
                way = (at - walk.began) / (walk.ended - walk.began)
                shown = heights[walk.portraits[number // FPS % len(walk.portraits)]]
                _paste(frame, shown, round(walk.from_x + way * (walk.to_x - walk.from_x)), walk.y)
        found.append(frame)
    return found


def write_video(path: Path, frames: list[Pixels], codec: str = "libx264") -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=FPS)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        out.mux(stream.encode())
    return path


def _scaled(portrait: bytes, height: int) -> Pixels:
    pixels = decode_image(portrait, ImageLimits())
    return cv2.resize(pixels, (pixels.shape[1] * height // pixels.shape[0], height), interpolation=cv2.INTER_AREA)


def _paste(frame: Pixels, shown: Pixels, x: int, y: int) -> None:
    left, right = max(0, x), min(WIDTH, x + shown.shape[1])
    if left < right:
        frame[y : y + shown.shape[0], left:right] = shown[:, left - x : right - x]


CROSSING = (
    Walk(("obama.jpg", "obama2.jpg"), 1, 6, -200, 1100),
    Walk(("biden.jpg",), 4, 10, 1200, -180, y=200),
)


@pytest.fixture(scope="session")
def crossing(portraits: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people walk past each other within eleven seconds."""
    return write_video(tmp_path_factory.mktemp("video") / "crossing.mp4", frames_of(CROSSING, portraits, 11))
