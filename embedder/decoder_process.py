"""What runs beside the service: a nursery that is asked for decoders and forks them, and what each of them does.

The nursery is a fresh interpreter, so neither it nor a decoder ever had a key, a database or a face in memory. It
loads the codecs once and decodes nothing but a sample of each; a decoder is its fork, confined for good
(embedder/sandbox.py) before it sees a byte of anybody. Both end with the service: the nursery when its socket closes,
decoders with the nursery. The other end of all this is embedder/decoders.py.

A message to the nursery is `ORDER`: MAKE with two descriptors (the decoder's socket, its area), answered by a process
id; or END with one, answered by how it ended, as os.waitpid says. A message to a decoder is `ASK`, and its `ANSWER`
is followed by an error's text, or by nothing and the pixels lie in the area.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import select
import signal
import socket
import struct
import sys
import warnings
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from embedder.images import ImageLimits, decode_image
from embedder.sandbox import Bounds, confine, die_with_parent
from lookalike.domain import Pixels
from lookalike.errors import ImageTooLarge, ImageTooSmall, InvalidInput, UndecodableImage, UnsupportedImage

ORDER: Final = struct.Struct("<Bq")
MAKE, END = 1, 2
READY: Final = struct.Struct("<q")

ASK: Final = struct.Struct("<QQQQd")
"""The picture's length; at most so many bytes and pixels; at least such sides; processor time in seconds."""

ANSWER: Final = struct.Struct("<BQQ")
"""0, height and width; or which of `ERRORS`, from 1."""

ERRORS: Final = (UnsupportedImage, ImageTooLarge, ImageTooSmall, UndecodableImage)
MAX_TEXT_BYTES: Final = 400

WORKING_BYTES: Final = 256 << 20
BYTES_A_PIXEL: Final = 32
"""Pillow keeps a transparent picture, an opaque one, a third in RGB and its copy as an array at the same time."""

LOOK_S: Final = 1.0
"""How long a decoder that ended by itself may stay unburied."""


def nursery(control: socket.socket, bounds: Bounds, pixels_at: int) -> None:
    """Make and end decoders as asked, until the other end closes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group, and the service drains first
        signal.signal(number, signal.SIG_IGN)
    control.send(READY.pack(os.getpid()))
    ended: dict[int, int] = {}
    alive: set[int] = set()
    while True:
        asked = select.select([control], [], [], LOOK_S)[0]
        for pid in list(alive):
            _bury(pid, alive, ended, os.WNOHANG)
        if not asked:
            continue
        message, descriptors, _, _ = socket.recv_fds(control, ORDER.size, 2)
        if not message:
            return
        order, pid = ORDER.unpack(message)
        if order == MAKE:
            pid = _fork(control, descriptors, bounds, pixels_at)
            if pid > 0:
                alive.add(pid)
            for descriptor in descriptors:
                os.close(descriptor)
            control.send(READY.pack(pid))
        else:
            if pid in alive:
                os.kill(pid, signal.SIGKILL)
                _bury(pid, alive, ended, 0)
            control.send(READY.pack(ended.pop(pid, 0)))


def _bury(pid: int, alive: set[int], ended: dict[int, int], options: int) -> None:
    found, status = os.waitpid(pid, options)
    if found:
        alive.discard(pid)
        ended[pid] = status


def _fork(control: socket.socket, descriptors: list[int], bounds: Bounds, pixels_at: int) -> int:
    """A new decoder's process id; -1 where none could be made."""
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        return -1
    if pid:
        return pid
    try:
        die_with_parent(parent)
        control.close()
        _decoder(descriptors, bounds, pixels_at)
    finally:
        os._exit(1)


def _decoder(descriptors: list[int], bounds: Bounds, pixels_at: int) -> None:
    """Decode what is asked for until the other end closes. Never returns but by an error."""
    asks, area = socket.socket(fileno=descriptors[0]), mmap.mmap(descriptors[1], 0)
    os.dup2(1, 2)
    kept, last = descriptors[0], os.sysconf("SC_OPEN_MAX")
    os.closerange(3, kept)
    os.closerange(kept + 1, min(last, 65536))
    filtered = confine(bounds)
    asks.send(bytes([filtered]))
    room = np.frombuffer(area, np.uint8)[pixels_at:]
    while asked := asks.recv(ASK.size):
        length, max_bytes, max_pixels, min_side, cpu_s = ASK.unpack(asked)
        # Ends this process when the time is used up; a wall clock would punish a picture for others' load.
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        answer = decoded(area[:length], ImageLimits(max_bytes, max_pixels, min_side), room)
        signal.setitimer(signal.ITIMER_PROF, 0)
        asks.send(answer)
    os._exit(0)


def decoded(data: bytes, limits: ImageLimits, room: Pixels) -> bytes:
    """Leave the picture's pixels in `room`. Returns the answer, an error's too."""
    try:
        pixels = decode_image(data, limits, room)
        if pixels.ctypes.data != room.ctypes.data:
            room[: pixels.size] = pixels.reshape(-1)
        return ANSWER.pack(0, *pixels.shape[:2])
    except InvalidInput as error:
        kind = next((i for i, known in enumerate(ERRORS, 1) if isinstance(error, known)), 1)
        return ANSWER.pack(kind, 0, 0) + str(error).encode()[:MAX_TEXT_BYTES]


def load_codecs() -> None:
    """Have all that decoding loads at first use loaded: afterwards no file can be opened."""
    for kind in ("JPEG", "PNG", "WEBP"):
        sample = io.BytesIO()
        Image.new("RGB", (16, 16)).save(sample, kind)
        decode_image(sample.getvalue(), ImageLimits())
        with contextlib.suppress(InvalidInput):
            decode_image(sample.getvalue()[:-20], ImageLimits())


def address_space() -> int:
    """What this process has mapped, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * mmap.PAGESIZE


def main() -> None:
    """Called with the control socket's descriptor, the area's size, where its pixels begin, and seconds of a life."""
    descriptor, size, pixels_at, cpu_s = map(int, sys.argv[1:])
    warnings.simplefilter("ignore")
    load_codecs()
    work = WORKING_BYTES + 4 * pixels_at + (size - pixels_at) // 3 * BYTES_A_PIXEL
    with socket.socket(fileno=descriptor) as control:
        nursery(control, Bounds(address_space() + size + work, cpu_s), pixels_at)


if __name__ == "__main__":
    main()
