"""This end of the nursery (embedder/decoder_process.py): starts it, has decoders made and ended, starts it anew.

Bytes and pixels travel in an area of memory without a name, one for each decoder, sealed so that the decoder cannot
shrink it under us, which would be our end.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embedder.decoder_process import END, MAKE, ORDER, READY
from embedder.images import ImageLimits
from lookalike.errors import Overloaded

START_S: Final = 30.0
"""How long the nursery, or a decoder, may take to say that it is there."""

AGAIN_S: Final = 1.0
"""A nursery that could not be started is not tried again sooner."""


@dataclass(frozen=True, slots=True)
class Made:
    """A decoder's process id and its nursery's; the socket that it listens to; its area, and where pixels begin."""

    pid: int
    nursery: int
    asks: socket.socket
    area: mmap.mmap
    pixels_at: int


@dataclass(slots=True)
class _Started:
    """A nursery's process and this end of its socket. greeted: whether it has said that it is ready."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    greeted: bool = False

    def told(self, order: int, pid: int, descriptors: list[int]) -> int:
        """What it answers. Raises: OSError, struct.error where it does not."""
        self.control.settimeout(START_S)
        if not self.greeted:
            _answer(self.control)
            self.greeted = True
        socket.send_fds(self.control, [ORDER.pack(order, pid)], descriptors)
        return _answer(self.control)

    def end(self) -> None:
        """With it ends all that it made."""
        self.control.close()
        self.process.kill()
        self.process.wait()


class Nursery:
    """The process that makes decoders, started when it is needed and anew when it has died. Thread-safe.

    limits: of the largest picture; life_s: of processor time, for each decoder.
    """

    def __init__(self, limits: ImageLimits, life_s: float) -> None:
        self._pixels_at = _whole_pages(limits.max_bytes)
        self._size = self._pixels_at + _whole_pages(3 * limits.max_pixels)
        self._life_s = int(life_s)
        self._lock = threading.Lock()
        self._started: _Started | None = None
        self._failed_at = -AGAIN_S

    def start(self) -> None:
        """Start the process, if there is none. Raises: Overloaded."""
        with self._lock:
            self._there()

    def make(self) -> Made:
        """A decoder, which will say whether its calls are filtered once it is confined. Raises: Overloaded."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        descriptor = os.memfd_create("pictures", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(descriptor, self._size)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            area = mmap.mmap(descriptor, self._size)
            nursery, pid = self._forked([theirs.fileno(), descriptor])
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(descriptor)
        return Made(pid, nursery, ours, area, self._pixels_at)

    def end(self, decoder: Made) -> int | None:
        """Kill it if it lives and bury it: its status as of os.waitpid; None where its nursery is gone."""
        with self._lock:
            there = self._started
            if there is None or there.process.pid != decoder.nursery:
                return None
            try:
                return there.told(END, decoder.pid, [])
            except (OSError, struct.error):
                self._dropped()
                return None

    def close(self) -> None:
        """End it, and with it all that it made."""
        with self._lock:
            self._dropped()

    def _forked(self, descriptors: list[int]) -> tuple[int, int]:
        """The nursery's and a decoder's process ids. Raises: Overloaded; the next call starts a nursery anew."""
        with self._lock:
            there = self._there()
            try:
                pid = there.told(MAKE, 0, descriptors)
            except (OSError, struct.error) as error:
                if not there.greeted:
                    self._failed_at = time.monotonic()
                self._dropped()
                raise Overloaded("the process that makes decoders has ended, and is made anew") from error
            if pid < 0:
                raise Overloaded("no process for decoding can be made")
            return there.process.pid, pid

    def _there(self) -> _Started:
        """One that is there, or is starting. Raises: Overloaded."""
        if self._started is not None and self._started.process.poll() is not None:
            self._dropped()
        if self._started is None:
            if time.monotonic() - self._failed_at < AGAIN_S:
                raise Overloaded("the process that makes decoders cannot be started")
            self._started = self._spawned()
        return self._started

    def _spawned(self) -> _Started:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        numbers = (theirs.fileno(), self._size, self._pixels_at, self._life_s)
        with theirs:
            try:
                process = subprocess.Popen(  # noqa: S603 - our own module, and numbers
                    [sys.executable, "-P", "-m", "embedder.decoder_process", *map(str, numbers)],
                    pass_fds=(theirs.fileno(),),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=_environment(),
                    start_new_session=True,  # a Ctrl-C is the service's: it answers what is in hand first
                )
            except OSError as error:
                ours.close()
                self._failed_at = time.monotonic()
                raise Overloaded("the process that makes decoders cannot be started") from error
        return _Started(process, ours)

    def _dropped(self) -> None:
        if self._started is not None:
            self._started.end()
        self._started = None


def _answer(control: socket.socket) -> int:
    number: int = READY.unpack(control.recv(READY.size))[0]
    return number


def _environment() -> dict[str, str]:
    """Nothing of ours but where the code is: settings may name secrets."""
    return {
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def _whole_pages(size: int) -> int:
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
