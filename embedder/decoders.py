"""Decodes pictures in processes of their own, so that no file can bring the service down, starve it or look into it.

`Decoders` is called like `decode_image`, and costs some tenths of a millisecond more. A decoder that crashes, takes
too long or too much memory costs that one picture an `UndecodableImage` and is replaced; so is each after
`PICTURES_EACH` pictures, which bounds what one that was taken over sees. What a decoder may still do is in
embedder/sandbox.py: compute. What it answers is believed as little as a picture.

The pixels are copied out of what is shared with a decoder, so that what is worked on no longer changes.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import signal
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

import numpy as np

from embedder.decoder_nursery import START_S, Made, Nursery
from embedder.decoder_process import ANSWER, ASK, ERRORS, MAX_TEXT_BYTES
from embedder.images import ImageLimits
from lookalike.domain import Pixels
from lookalike.errors import ImageTooLarge, InvalidInput, Overloaded, UndecodableImage
from lookalike.stages import Stage, staged

log = logging.getLogger(__name__)

PICTURES_EACH: Final = 1_000
BUSY_S: Final = 120.0
"""A decoder is replaced after so many pictures, or once it was busy for so long."""

MAKE_TRIES: Final = 3
"""How often a decoder is made that ends before it has begun."""

KEEP_BYTES: Final = 16 << 20
"""What an area may keep of memory after a picture; what is beyond goes back to the system."""

CRASHED, TOO_SLOW, ORPHANED, RETIRED = "crashed", "too_slow", "orphaned", "retired"
REASONS: Final = (CRASHED, TOO_SLOW, ORPHANED, RETIRED)
"""Why a decoder was replaced. Orphaned: the nursery ended and took it along; retired: it had seen enough."""

_OUT_OF_TIME: Final = frozenset({signal.SIGPROF, signal.SIGXCPU})

_TEXTS: Final[Mapping[str, str]] = {
    CRASHED: "the picture brought its decoder down: it is damaged, or made to do that",
    TOO_SLOW: "decoding the picture takes too long",
}


def can_isolate() -> bool:
    """Whether this system has what decoders need: Linux."""
    return hasattr(os, "memfd_create") and sys.platform == "linux"


class Decoders:
    """A pool of decoders; call it from any thread. The first call, or `start`, starts them; `close` ends them.

    most: how many work at the same time, others wait; limits: the largest picture of all callers; timeout_s: for one
    picture, of processor time, and twice that by the clock.
    """

    def __init__(self, most: int, limits: ImageLimits, timeout_s: float) -> None:
        self._limits = limits
        self._timeout_s = timeout_s
        self._nursery = Nursery(limits, BUSY_S + 3 * timeout_s + 10)
        self._free = threading.Semaphore(most)
        self._idle: list[_Decoder] = []
        self._lock = threading.Lock()
        self._replaced: Counter[str] = Counter()
        self._alive = 0
        self._closed = False
        self.filtered: bool | None = None

    @property
    def alive(self) -> int:
        """How many processes there are."""
        return self._alive

    @property
    def replaced(self) -> Mapping[str, int]:
        """How many decoders were given up, by reason: one of `REASONS`."""
        return {reason: self._replaced[reason] for reason in REASONS}

    def start(self) -> None:
        """Begin to start, and return at once. Raises: Overloaded where no process can be made."""
        self._nursery.start()

    @staged(Stage.DECODE)
    def __call__(self, data: bytes, limits: ImageLimits) -> Pixels:
        """Raises: as `decode_image`; Overloaded where no decoder can be made."""
        most = min(limits.max_bytes, self._limits.max_bytes)
        if len(data) > most:
            raise ImageTooLarge(f"the picture has {len(data)} bytes; at most {most} are accepted")
        pixels_most = min(limits.max_pixels, self._limits.max_pixels)
        with self._free:
            decoder = self._taken()
            try:
                found = decoder.decode(data, ImageLimits(most, pixels_most, limits.min_side), self._timeout_s)
            except _Lost as lost:
                reason = self._buried(decoder, lost.reason)
                log.warning("a decoder was replaced: %s", reason)
                if reason == ORPHANED:  # no picture can do that, so this one may be sent again
                    raise Overloaded("the processes that decode have ended, and are made anew") from lost
                raise UndecodableImage(_TEXTS[reason]) from lost
            except BaseException:
                self._back(decoder)
                raise
            self._back(decoder)
            return found

    def _taken(self) -> _Decoder:
        """A decoder that is alive, for this thread alone."""
        while True:
            with self._lock:
                if self._closed:
                    raise Overloaded("the service is ending")
                decoder = self._idle.pop() if self._idle else None
            if decoder is None:
                break
            if decoder.is_there():
                return decoder
            self._buried(decoder, CRASHED)  # while it was idle: no picture's fault
        for _ in range(MAKE_TRIES):
            decoder = _Decoder(self._nursery.make())
            with self._lock:
                self._alive += 1
            try:
                self.filtered = decoder.greeting()
                return decoder
            except _Lost:
                self._buried(decoder, CRASHED)
        raise Overloaded("no process for decoding can be made")

    def _back(self, decoder: _Decoder) -> None:
        with self._lock:
            if not (self._closed or decoder.spent):
                self._idle.append(decoder)
                return
        self._buried(decoder, RETIRED)

    def _buried(self, decoder: _Decoder, reason: str) -> str:
        """End what is left of it. reason: as it looks from here. Returns why it was replaced."""
        decoder.close()
        status = self._nursery.end(decoder.made)
        if status is None:
            reason = ORPHANED
        elif reason == CRASHED and os.WIFSIGNALED(status) and os.WTERMSIG(status) in _OUT_OF_TIME:
            reason = TOO_SLOW
        with self._lock:
            self._alive -= 1
            self._replaced[reason] += 1
        return reason

    def close(self) -> None:
        """End all processes, also those at work."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            self._alive -= len(idle)
        for decoder in idle:
            decoder.close()
        self._nursery.close()


class _Lost(Exception):
    """A decoder gave no answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Decoder:
    """This end of one decoder."""

    def __init__(self, made: Made) -> None:
        self.made = made
        self._asks = made.asks
        self._area = made.area
        self._pictures = 0
        self._busy_s = 0.0

    @property
    def spent(self) -> bool:
        """Whether it has seen enough."""
        return self._pictures >= PICTURES_EACH or self._busy_s >= BUSY_S

    def is_there(self) -> bool:
        """Whether it still listens; an idle one has nothing to say."""
        self._asks.settimeout(0)
        try:
            self._asks.recv(1)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def greeting(self) -> bool:
        """Wait until it is confined: whether its system calls are filtered. Raises: _Lost."""
        return self._heard(START_S, 1) == b"\x01"

    def decode(self, data: bytes, limits: ImageLimits, timeout_s: float) -> Pixels:
        """Raises: _Lost; UnsupportedImage, ImageTooLarge, ImageTooSmall, UndecodableImage."""
        began = time.monotonic()
        self._area[: len(data)] = data
        ask = ASK.pack(len(data), limits.max_bytes, limits.max_pixels, limits.min_side, timeout_s)
        try:
            self._asks.settimeout(timeout_s)
            self._asks.send(ask)
        except OSError as error:
            raise _Lost(CRASHED) from error
        answer = self._heard(2 * timeout_s, ANSWER.size + MAX_TEXT_BYTES)
        used = 0
        self._pictures += 1
        self._busy_s += time.monotonic() - began
        try:
            kind, height, width = ANSWER.unpack_from(answer)
            if kind:
                raise ERRORS[kind - 1](answer[ANSWER.size :].decode("utf-8", "replace"))
            used = len(data) + height * width * 3
            if not 0 < height * width <= limits.max_pixels:
                raise _Lost(CRASHED)
            return self._copied(height, width)
        except (struct.error, IndexError) as error:
            raise _Lost(CRASHED) from error
        except InvalidInput:
            used = KEEP_BYTES + 1  # nobody knows how much it had written
            raise
        finally:
            if used > KEEP_BYTES:
                self._area.madvise(mmap.MADV_REMOVE)

    def _copied(self, height: int, width: int) -> Pixels:
        shared = np.frombuffer(self._area, np.uint8, height * width * 3, self.made.pixels_at)
        pixels: Pixels = shared.reshape(height, width, 3).copy()
        return pixels

    def _heard(self, timeout_s: float, size: int) -> bytes:
        """Its next message. Raises: _Lost."""
        self._asks.settimeout(timeout_s)
        try:
            answer = self._asks.recv(size)
        except TimeoutError as error:
            raise _Lost(TOO_SLOW) from error
        except OSError as error:
            raise _Lost(CRASHED) from error
        if not answer:
            raise _Lost(CRASHED)
        return answer

    def close(self) -> None:
        """Forget it; the process ends by the nursery's hand, or when it reads that nobody is here."""
        self._asks.close()
        with contextlib.suppress(BufferError):
            self._area.close()
