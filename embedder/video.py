"""Frames of a camera or a video file: RTSP and files through FFmpeg (PyAV), snapshots over HTTP.

A camera is read by a thread that keeps the newest frame alone: whoever is slower than the camera skips frames and is
never behind. One that goes away is connected to again at growing intervals. A file is read frame by frame to its end,
at its own times. Needs the extra `cameras` for all but snapshots.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

import httpx
import numpy as np

from embedder.images import ImageLimits, decode_image
from lookalike.domain import Pixels
from lookalike.errors import BadSettings, ImageTooLarge, LookalikeError

if TYPE_CHECKING:
    from av.container import InputContainer

CONNECT_S = 10.0
SILENT_S = 10.0
"""A camera that sends no frame for so long is connected to again."""

MOST_PATIENCE_S = 30.0
MAX_PIXELS = 3840 * 2160
LIVE = ("rtsp", "rtsps", "http", "https")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class Frame:
    """pixels: (H, W, 3) uint8 RGB; at: seconds, of a file since its beginning, else by a clock that never goes back."""

    pixels: Pixels
    at: float


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """What a camera asks for."""

    user: str
    password: str


class CameraUnavailable(LookalikeError):
    """A camera or a file cannot be read."""

    code = "camera_unavailable"


def is_live(url: str) -> bool:
    """Whether a source is a camera. Raises: BadSettings for one that is neither that nor a file."""
    parts = urlsplit(url)
    if parts.scheme in LIVE:
        if not parts.hostname:
            raise BadSettings(f"{parts.scheme}:// needs a host")
        if "@" in parts.netloc:
            raise BadSettings("no user or password goes into a camera's address: name a file that holds USER:PASSWORD")
        return True
    if not Path(url).is_file():
        raise BadSettings(f"a file, or an address that begins with {', '.join(f'{s}://' for s in LIVE)}, is allowed")
    return False


def file_frames(path: Path, fps: float) -> Iterator[Frame]:
    """A file's frames, at most so many a second, to its end. Raises: CameraUnavailable, ImageTooLarge."""
    av = require_av()
    try:
        with av.open(str(path), timeout=(CONNECT_S, SILENT_S)) as container:
            yield from _decoded(container, fps)
    except av.FFmpegError as error:
        raise CameraUnavailable(f"{path.name} cannot be read as a video: {error.strerror}") from error


class Camera:
    """The newest frame of a camera, read by a thread of its own until `close`."""

    def __init__(self, url: str, credential: Credential | None, fps: float, ca: Path | None = None) -> None:
        """ca: trusted for https://, the system's if None."""
        self.reconnects = 0
        self.skipped = 0
        self.trouble: str | None = "not connected yet"
        self._read = self._snapshots if urlsplit(url).scheme in ("http", "https") else self._stream
        if self._read == self._stream:
            require_av()
        self._url = url
        self._credential = credential
        self._fps = fps
        self._ca = ca
        self._newest: Frame | None = None
        self._come = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()

    def frames(self) -> Iterator[Frame | None]:
        """The newest frame each time one is asked for; None where none came within a second."""
        while not self._stop.is_set():
            with self._come:
                if self._newest is None:
                    self._come.wait(1.0)
                frame, self._newest = self._newest, None
            yield frame

    def close(self) -> None:
        """Read no more."""
        self._stop.set()
        with self._come:
            self._come.notify_all()
        self._thread.join(2.0)  # one that hangs in FFmpeg ends with the process

    def _run(self) -> None:
        patience_s = 1.0
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                self._read()
                self._tell("it ended its stream")
            except (CameraUnavailable, ImageTooLarge) as error:
                self._tell(str(error))
            except Exception as error:  # the thread must outlive whatever a camera sends
                self._tell(type(error).__name__)
            if time.monotonic() - began > MOST_PATIENCE_S:
                patience_s = 1.0
            self.reconnects += 1
            self._stop.wait(patience_s)
            patience_s = min(2 * patience_s, MOST_PATIENCE_S)

    def _stream(self) -> None:
        av = require_av()
        options = {"rtsp_transport": "tcp", "fflags": "nobuffer", "flags": "low_delay"}
        try:
            with av.open(self._address(), options=options, timeout=(CONNECT_S, SILENT_S)) as container:
                for frame in _decoded(container, self._fps):
                    self._put(frame.pixels)
                    if self._stop.is_set():
                        return
        except av.FFmpegError as error:
            raise CameraUnavailable(error.strerror) from None  # its own text holds the address with the password

    def _snapshots(self) -> None:
        verify: bool | str = True if self._ca is None else str(self._ca)
        auth = None if self._credential is None else httpx.DigestAuth(self._credential.user, self._credential.password)
        with httpx.Client(verify=verify, auth=auth, timeout=SILENT_S, trust_env=False) as client:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    answer = client.get(self._url)
                except httpx.HTTPError as error:
                    raise CameraUnavailable(type(error).__name__) from None
                if answer.status_code != 200:
                    raise CameraUnavailable(f"it answered {answer.status_code}")
                self._put(decode_image(answer.content, ImageLimits(max_pixels=MAX_PIXELS)))
                self._stop.wait(max(0.0, 1 / self._fps - (time.monotonic() - began)))

    def _put(self, pixels: Pixels) -> None:
        with self._come:
            self.skipped += self._newest is not None
            self._newest = Frame(pixels, time.monotonic())
            self._come.notify()
        if self.trouble is not None:
            log.info("the camera sends frames of %d×%d", pixels.shape[1], pixels.shape[0])
            self.trouble = None

    def _tell(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.warning("the camera is read no more, and connected to again: %s", trouble)
        self.trouble = trouble

    def _address(self) -> str:
        if self._credential is None:
            return self._url
        parts = urlsplit(self._url)
        user, password = (quote(text, safe="") for text in (self._credential.user, self._credential.password))
        return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.netloc}"))


def _decoded(container: InputContainer, fps: float) -> Iterator[Frame]:
    """The first video stream's frames, at most so many a second by their own times."""
    video = next(iter(container.streams.video), None)
    if video is None:
        raise CameraUnavailable("it holds no video")
    if video.codec_context.width * video.codec_context.height > MAX_PIXELS:
        raise ImageTooLarge(f"a video of at most {MAX_PIXELS} pixels a frame is allowed")
    video.thread_type = "NONE"  # one camera is to take one core at most
    due, untimed = 0.0, 0
    for frame in container.decode(video):
        at = frame.time if frame.time is not None else untimed / float(video.average_rate or 25)
        untimed += 1
        if at + 1e-6 < due:
            continue
        due = max(due + 1 / fps, at)
        yield Frame(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), at)


def require_av() -> ModuleType:
    """PyAV. Raises: BadSettings where the extra is not installed."""
    try:
        import av
    except ImportError as error:
        raise BadSettings("videos need the extra: pip install 'lookalike[cameras]'") from error
    module: ModuleType = av
    return module
