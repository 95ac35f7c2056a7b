"""What sealing and opening cost of an identification and of an enrolment: processor time spent in them, and in all.

    python benchmarks/encryption.py [--rounds 300] [--out encryption.json]

The real service's use cases over a sealed store, without HTTP. Every record goes through `seal` and `open_sealed`
(security/envelope.py), and keys through `KeyWrapper` (security/key_wrap.py); these are timed wherever they are
called, by one thread, so that a busy machine does not stretch the shares.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from embed import SHARED, machine, stage_photo

from api.wiring import Services, local_principal, open_services
from lookalike.answers import Caller, Picture
from lookalike.settings import Settings
from security import envelope
from security.key_wrap import KeyWrapper

CALLER = Caller(local_principal(), "bench")
ENROLLED = 100


class Meter:
    """Time spent in functions, wherever they were imported. Calls within each other count once."""

    def __init__(self) -> None:
        self.seconds, self.calls, self._depth = 0.0, 0, 0

    def over(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            self._depth += 1
            began = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds += time.thread_time() - began
                    self.calls += 1

        return timed

    def watch(self, *functions: Callable[..., Any]) -> None:
        """Put a timed one in the place of each, in every module that has it."""
        for function in functions:
            timed = self.over(function)
            for module in list(sys.modules.values()):
                for name, held in list(vars(module).items() if hasattr(module, "__dict__") else ()):
                    if held is function:
                        setattr(module, name, timed)


def share(meter: Meter, work: Callable[[int], object], rounds: int) -> dict[str, float]:
    work(0)
    meter.seconds, meter.calls = 0.0, 0
    began = time.thread_time()
    for number in range(1, rounds + 1):
        work(number)
    all_of_it = time.thread_time() - began
    return {
        "ms": round(1000 * all_of_it / rounds, 2),
        "sealing_us": round(1e6 * meter.seconds / rounds, 1),
        "calls": round(meter.calls / rounds, 1),
        "share": round(meter.seconds / all_of_it, 4),
    }


def fill(services: Services, pictures: list[Path]) -> None:
    services.gallery.create_collection(CALLER, "gate")
    for picture in pictures:
        services.gallery.enrol(CALLER, "gate", picture.stem, [Picture("1.jpg", picture.read_bytes())])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folders = sorted((SHARED / "faces/eval/lfw_dev").iterdir())
    people = [next(iter(sorted(folder.glob("*.jpg")))) for folder in folders if folder.is_dir()]
    with tempfile.TemporaryDirectory() as place:
        # In this thread alone, so that all of an identification is counted.
        services = open_services(Settings(data=Path(place) / "data", image_decoding="in-process"))
        try:
            fill(services, people[:ENROLLED])
            probe = stage_photo(people[0].read_bytes())
            meter = Meter()
            meter.watch(envelope.seal, envelope.open_sealed)
            for name in ("wrap", "unwrap"):
                setattr(KeyWrapper, name, meter.over(getattr(KeyWrapper, name)))
            photo = people[ENROLLED].read_bytes()
            report = {
                "identify": share(meter, lambda _: services.gallery.identify(CALLER, "gate", probe), options.rounds),
                "enrol": share(
                    meter,
                    lambda n: services.gallery.enrol(CALLER, "gate", f"new-{n}", [Picture("1.jpg", photo)]),
                    options.rounds,
                ),
            }
        finally:
            services.close()
    print(json.dumps(report, indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({**report, "machine": machine()}, indent=1))


if __name__ == "__main__":
    main()
