"""Sends mutants of pictures through the whole service, and reports what was answered, what it cost and what it ended.

    python -m tests.fuzz.pictures [--mutants 100000] [--begin 0] [--seed 1] [--seconds N] [--out report.json]

The real services, their detector and their decoders; requests go through the application in this process, eight at a
time. Mutants are numbered, the same for the same seed: a run that was interrupted says how far it came, and
`--begin` goes on from there. Exit code 1 if anything was answered 5xx or a decoder was lost.
"""

from __future__ import annotations

import argparse
import io
import json
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from api.app import create_app
from api.in_process import InProcessTransport
from api.wiring import Services, local_principal, open_services
from lookalike.settings import Settings
from tests.embedder.pictures import encoded, png_claiming, scene
from tests.fuzz.mutants import mutant

AT_A_TIME = 8
BATCH = 400
SLOWEST = 5


@dataclass
class Report:
    """What came of the mutants so far. done: their number; slowest: (milliseconds, number)."""

    seed: int
    done: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    faults: list[int] = field(default_factory=list)
    slowest: list[tuple[float, int]] = field(default_factory=list)
    replaced: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def sound(self) -> bool:
        """Whether the service came through it unharmed."""
        return not self.faults and not self.replaced.get("crashed") and not self.replaced.get("too_slow")


def seeds() -> list[bytes]:
    """Small pictures of every kind and make that the decoders tell apart, and some that are unsound to begin with."""
    photo = Image.fromarray(scene(1, 96, 64))
    exif = Image.Exif()
    exif[274] = 6
    alpha = Image.merge("RGBA", (*photo.split(), photo.convert("L")))
    grey16 = Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257)
    made = [
        encoded(photo, "JPEG", quality=90),
        encoded(photo, "JPEG", quality=60, progressive=True, exif=exif.tobytes()),
        encoded(photo, "JPEG", subsampling=0, restart_marker_blocks=2),
        encoded(photo.convert("L"), "JPEG"),
        encoded(photo.convert("CMYK"), "JPEG"),
        encoded(photo, "PNG", exif=exif.tobytes()),
        encoded(alpha, "PNG"),
        encoded(photo.convert("P"), "PNG", transparency=3),
        encoded(photo.convert("1"), "PNG"),
        encoded(grey16, "PNG"),
        encoded(photo, "WEBP", quality=80, exif=exif.tobytes()),
        encoded(alpha, "WEBP", lossless=True),
        png_claiming(4000, 4000),
    ]
    animated = io.BytesIO()
    photo.save(animated, "WEBP", save_all=True, append_images=[photo.rotate(90)], duration=50)
    return [*made, animated.getvalue()]


def mended(picture: bytes) -> bytes:
    """A PNG with the check sums that its chunks would have, so that what lies behind them is reached too."""
    found, at = bytearray(picture), 8
    while at + 12 <= len(found):
        (length,) = struct.unpack_from(">I", found, at)
        end = at + 8 + length
        if end + 4 > len(found):
            break
        struct.pack_into(">I", found, end, zlib.crc32(found[at + 4 : end]))
        at = end + 4
    return bytes(found)


def picture_of(pictures: Sequence[bytes], number: int, seed: int) -> bytes:
    """The mutant of this number. Every other PNG has its check sums mended."""
    found = mutant(pictures, number, seed)
    return mended(found) if number % 2 and found.startswith(b"\x89PNG") else found


def send(client: httpx.Client, services: Services, numbers: Sequence[int], report: Report) -> None:
    """Have these mutants looked at, and note what came of it."""
    pictures = seeds()

    def one(number: int) -> tuple[int, int, str, float]:
        picture = picture_of(pictures, number, report.seed)
        began = time.perf_counter()
        answer = client.post("/v1/detect", files={"image": ("p", picture)})
        code = "" if answer.status_code == 200 else answer.json()["code"]
        return number, answer.status_code, code, (time.perf_counter() - began) * 1000

    before = dict(services.decoders.replaced) if services.decoders is not None else {}
    began = time.monotonic()
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        for number, status, code, ms in threads.map(one, numbers):
            report.statuses[status] += 1
            report.codes[code or "faces"] += 1
            report.faults += [number] if status >= 500 else []
            report.slowest = sorted([*report.slowest, (round(ms, 1), number)], reverse=True)[:SLOWEST]
    report.done += len(numbers)
    report.seconds += time.monotonic() - began
    if services.decoders is not None:
        for reason, count in services.decoders.replaced.items():
            report.replaced[reason] = report.replaced.get(reason, 0) + count - before[reason]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--begin", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop earlier, and say where")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    report, next_one = Report(asked.seed), asked.begin
    end = time.monotonic() + asked.seconds
    with tempfile.TemporaryDirectory() as place:
        services = open_services(Settings(data=Path(place) / "data"))
        try:
            transport = InProcessTransport(create_app(services, local_principal()))
            with httpx.Client(transport=transport, base_url="http://edge", timeout=None) as client:
                while next_one < asked.begin + asked.mutants and time.monotonic() < end:
                    numbers = range(next_one, min(next_one + BATCH, asked.begin + asked.mutants))
                    send(client, services, numbers, report)
                    next_one = numbers.stop
                    print(f"{next_one} {dict(report.statuses)} {report.replaced}", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            print(f"go on with --begin {next_one}", file=sys.stderr)
        finally:
            services.close()
    text = json.dumps({"begin": asked.begin, "next": next_one, **vars(report)}, indent=2)
    if asked.out is not None:
        asked.out.write_text(text + "\n")
    print(text)
    sys.exit(0 if report.sound else 1)


if __name__ == "__main__":
    main()
