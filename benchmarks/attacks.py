"""Attacks on a real service whose outcome is a figure: mutated pictures, a huge header, three times its load.

    python benchmarks/attacks.py [--mutants 300] [--seconds 4] [--out attacks.json]

The service is a process of its own, over plain HTTP on loopback. Pictures are drawn here, so nothing else is needed.
Load is offered at fixed moments, whether or not earlier requests were answered: clients that wait for their turn would
hide an overload. Where this process may use two cores, the service gets one of them and the clients the other;
`cores` in the report says so. benchmarks/bars.py compares the figures with their bars.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import socket
import struct
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.embed import machine
from benchmarks.serve import KEY, memory_mb, served

SEED = 7
SENDERS = 8
UNLOADED = 60
"""Requests one after the other, for the latency of a service that has nothing else to do."""
OVERLOAD = 3
"""The load that is offered, in times of what the service can answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """ms: from the first byte sent to the last one read. status: 0 where the service closed without an answer."""

    status: int
    ms: float
    retry_after: bool


@dataclass(frozen=True, slots=True)
class Mutants:
    sent: int
    statuses: dict[int, int]
    worker_deaths: int

    @property
    def faults(self) -> int:
        """Answers of 5xx but for a full queue's 503, and connections that ended without one."""
        return sum(n for status, n in self.statuses.items() if status == 0 or (status >= 500 and status != 503))


@dataclass(frozen=True, slots=True)
class Overload:
    """Rates a second, times in ms, memory in MB. goodput: of the load that is `OVERLOAD` times the peak."""

    peak: float
    goodput: float
    unloaded_p99: float
    accepted_p99: float
    shed: int
    shed_p99: float
    shed_without_retry_after: int
    memory_before: float
    memory_after: float
    cores: int


# ------------------------------------------------------------------------------------------------- requests


def request_of(picture: bytes) -> bytes:
    """A POST of one picture to /v1/detect, over a connection of its own."""
    body = b'--x\r\ncontent-disposition: form-data; name="image"\r\n\r\n' + picture + b"\r\n--x--\r\n"
    head = (
        f"POST /v1/detect HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\nconnection: close\r\n"
        f"content-type: multipart/form-data; boundary=x\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def ask(port: int, request: bytes) -> Answer:
    began = time.perf_counter()
    found = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            with suppress(OSError):  # it may answer and close before it has read all
                connection.sendall(request)
            while piece := connection.recv(65536):
                found += piece
    except OSError:
        pass
    ms = (time.perf_counter() - began) * 1000
    head = found.partition(b"\r\n\r\n")[0].lower()
    status = int(head[9:12]) if head.startswith(b"http/1.1 ") else 0
    return Answer(status, ms, b"\r\nretry-after:" in head)


@contextmanager
def service() -> Iterator[tuple[int, int, int]]:
    """A fresh service, (pid, port, cores that it and its clients have between them)."""
    own = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory() as place:
        if len(own) > 1:
            os.sched_setaffinity(0, {max(own)})  # what is started from here stays there
        try:
            with served(Path(place) / "data", "off") as (pid, port, _):
                if len(own) > 1:
                    os.sched_setaffinity(0, own - {max(own)})
                yield pid, port, min(len(own), 2)
        finally:
            os.sched_setaffinity(0, own)


# ------------------------------------------------------------------------------------------------- pictures


def drawn(width: int, height: int) -> Image.Image:
    """A picture without a face, with detail enough that every decoder has something to do."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [127 + 90 * np.sin(x / (7 + i)) * np.cos(y / (11 - i)) for i in range(3)]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def encoded(picture: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind)
    return out.getvalue()


def seeds() -> list[bytes]:
    small = drawn(96, 80)
    progressive = io.BytesIO()
    small.save(progressive, "JPEG", progressive=True)
    kinds = [encoded(small, kind) for kind in ("JPEG", "PNG", "WEBP")]
    return [*kinds, progressive.getvalue(), encoded(small.convert("P"), "PNG"), encoded(small.convert("CMYK"), "JPEG")]


def mutant(seed: bytes, chance: random.Random) -> bytes:
    """A picture with bytes changed, cut, doubled, taken away, or put together from two places."""
    found = bytearray(seed)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at, to = sorted(chance.randrange(len(found)) for _ in range(2))
        how = chance.randrange(5)
        if how == 0:
            found[at] = chance.randrange(256)
        elif how == 1:
            found[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\1"))
        elif how == 2:
            found[at:at] = found[at : min(to, at + 64)]
        elif how == 3 and len(found) > 64:
            del found[at : min(to, at + 64)]
        elif how == 4 and len(found) > 64:
            del found[max(to, 32) :]
    return bytes(found)


def huge_png(side: int = 50_000) -> bytes:
    """A PNG that says it has side × side pixels, and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 4096)) + chunk(b"IEND", b"")
    )


# -------------------------------------------------------------------------------------------------- attacks


def mutants(count: int, told: Callable[[str], None]) -> Mutants:
    """Send so many broken pictures to a service of several workers, and count what it answers."""
    chance, sources = random.Random(SEED), seeds()
    statuses: Counter[int] = Counter()
    with service() as (pid, port, _), ThreadPoolExecutor(SENDERS) as pool:
        for start in range(0, count, 1000):
            batch = [request_of(mutant(chance.choice(sources), chance)) for _ in range(min(1000, count - start))]
            statuses.update(answer.status for answer in pool.map(lambda request: ask(port, request), batch))
            told(f"{start + len(batch)} of {count} mutants: {dict(sorted(statuses.items()))}")
        dead = int(not Path(f"/proc/{pid}").exists() or ask(port, request_of(sources[0])).status not in (200, 422))
    return Mutants(count, dict(sorted(statuses.items())), dead)


def huge() -> tuple[int, float]:
    """Status and the least time in ms of five, of a PNG of 50,000 × 50,000 pixels."""
    with service() as (_, port, _):
        ask(port, request_of(seeds()[0]))  # models are loaded by the first request
        answers = [ask(port, request_of(huge_png())) for _ in range(5)]
    return answers[-1].status, min(answer.ms for answer in answers)


def overload(seconds: float, told: Callable[[str], None]) -> Overload:
    """Unloaded, then as fast as it goes, then three times that."""
    request = request_of(encoded(drawn(1280, 720), "JPEG"))
    with service() as (pid, port, cores):
        for _ in range(5):
            ask(port, request)
        unloaded = [ask(port, request).ms for _ in range(UNLOADED)]
        peak = _closed(port, request, seconds)
        told(f"unloaded p99 {_p99(unloaded):.0f} ms, peak {peak:.0f} a second")
        before = memory_mb(pid)
        began = time.perf_counter()
        answers = _open(port, request, OVERLOAD * peak, seconds)
        took = time.perf_counter() - began  # until the last one is answered
        after = memory_mb(pid)
    good = [answer.ms for answer in answers if answer.status < 500 and answer.status]
    shed = [answer for answer in answers if answer.status == 503]
    return Overload(
        peak=round(peak, 1),
        goodput=round(len(good) / took, 1),
        unloaded_p99=round(_p99(unloaded), 1),
        accepted_p99=round(_p99(good), 1),
        shed=len(shed),
        shed_p99=round(_p99([answer.ms for answer in shed]), 1),
        shed_without_retry_after=sum(not answer.retry_after for answer in shed),
        memory_before=round(before, 1),
        memory_after=round(after, 1),
        cores=cores,
    )


def _closed(port: int, request: bytes, seconds: float) -> float:
    """Answers a second, of clients that ask again as soon as they are answered."""
    end = time.perf_counter() + seconds

    def client(_: int) -> int:
        done = 0
        while time.perf_counter() < end:
            done += ask(port, request).status < 500
        return done

    with ThreadPoolExecutor(SENDERS) as pool:
        return sum(pool.map(client, range(SENDERS))) / seconds


def _open(port: int, request: bytes, rate: float, seconds: float) -> list[Answer]:
    """Answers to requests that are sent at fixed moments, each by a thread of its own."""
    answers: list[Answer] = []
    threads = []
    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        time.sleep(max(0.0, began + number / rate - time.perf_counter()))
        threads.append(threading.Thread(target=lambda: answers.append(ask(port, request))))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return answers


def _p99(times: list[float]) -> float:
    return sorted(times)[max(0, int(len(times) * 0.99) - 1)] if times else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()

    def told(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    status, ms = huge()
    report = {
        "huge_png": {"status": status, "ms": round(ms, 1)},
        "mutants": asdict(mutants(asked.mutants, told)),
        "overload": asdict(overload(asked.seconds, told)),
        "machine": machine(),
    }
    text = json.dumps(report, indent=2)
    if asked.out:
        asked.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
