"""How soon an event is at a webhook, and how many a second one receiver is sent.

    python benchmarks/events.py [--events 200] [--flood 5000] [--out FILE]

A real store with its audit log, the real sender, and an HTTP receiver in this process. The delay is from the moment
that the identification's entry is durable, which is before its answer leaves, until the receiver has the event.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from public_faces import ROOT  # noqa: F401  (puts the project on the path)

from tests.faults.receiver import Receiver
from tests.faults.test_webhooks import Site


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--flood", type=int, default=5_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    came: dict[int, float] = {}

    def answer(seq: int, number: int) -> int:
        came.setdefault(seq, time.perf_counter())
        return 204

    receiver = Receiver(answer)
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), (receiver.host,))
        site.hook(receiver.url)
        site.sender.start()
        sent: dict[int, float] = {}
        for _ in range(options.events):
            (seq,) = site.happen(1)
            sent[seq] = time.perf_counter()
            time.sleep(np.random.default_rng(seq).uniform(0.05, 0.25))
        while len(came) < options.events:
            time.sleep(0.01)
        delays = np.array([1000 * (came[seq] - at) for seq, at in sent.items()])
        began, before = time.perf_counter(), len(came)
        site.happen(options.flood)
        while len(came) < before + options.flood:
            time.sleep(0.01)
        rate = options.flood / (time.perf_counter() - began)
        site.close()
    receiver.close()
    result = {
        "median_ms": round(float(np.median(delays)), 1),
        "p95_ms": round(float(np.percentile(delays, 95)), 1),
        "worst_ms": round(float(delays.max()), 1),
        "a_second": round(rate),
    }
    print(result)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
