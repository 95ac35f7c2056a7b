"""What watching costs: figures, a log line and a trace of one identification, as shares of the identification itself.

    python benchmarks/watching.py [--rounds 200] [--photo FILE] [--out watching.json]

All of it is processor time of one thread, which a busy machine stretches less than seconds. Identifications of one 720p
photo with one face are done unwatched and watched in turn; that difference drowns in their spread, so the
cost is also taken by itself: what the stages of a real identification tell is noted, and told again a thousand times.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from api.logs import EcsLines, TextLines, log_request
from api.metrics import Metrics
from api.standing import Standing
from api.traces import Traces
from api.wiring import open_services
from benchmarks.embed import SHARED, machine, stage_photo
from lookalike.answers import Caller
from lookalike.domain import Grant, Keep, Kind
from lookalike.settings import Settings
from lookalike.stages import Stage, Watch, stage, watched_by
from security.rbac import principal_for

TOLD_AGAIN = 1_000
ROUTE = "/v1/collections/{collection}/identify"


class Notes:
    """The port Watch, which keeps what it was told."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []

    def ended(self, stage: Stage, began_s: float, seconds: float, failed: bool) -> None:
        self.stages.append(stage)

    def batched(self, rows: int) -> None:
        return

    def answered(self, matched: int, unmatched: int) -> None:
        return


class Taking(SpanExporter):
    """A collector that costs nothing."""

    def export(self, spans: object) -> SpanExportResult:
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        return


def thread_ms(work: Callable[[], object]) -> float:
    began = time.thread_time()
    work()
    return (time.thread_time() - began) * 1000


def told_us(watch: Watch, stages: list[Stage], finish: Callable[[], object]) -> float:
    """Microseconds that it takes to tell of these stages, the clocks and the batch included, a request at a time."""

    def again() -> None:
        for _ in range(TOLD_AGAIN):
            with watched_by(watch):
                for name in stages:
                    with stage(name):
                        pass
            watch.batched(1)
            watch.answered(1, 0)
            finish()

    return statistics.median(thread_ms(again) for _ in range(5)) * 1000 / TOLD_AGAIN


def unwatched_us(stages: list[Stage]) -> float:
    """The same where nobody watches."""

    def again() -> None:
        for _ in range(TOLD_AGAIN):
            for name in stages:
                with stage(name):
                    pass

    return statistics.median(thread_ms(again) for _ in range(5)) * 1000 / TOLD_AGAIN


def traced_us(stages: list[Stage], metrics: Metrics) -> float:
    """Microseconds of a request's spans, what its figures cost included."""
    traces = Traces(Taking(), most_waiting=100_000_000)

    def again() -> None:
        for _ in range(TOLD_AGAIN):
            traced = traces.begin(secrets.token_hex(16), None, metrics)
            if traced is None:
                raise RuntimeError("every request is traced")
            with watched_by(traced):
                for name in stages:
                    with stage(name):
                        pass
            traced.batched(1)
            traced.answered(1, 0)
            metrics.observe("POST", ROUTE, 200, 0.01)
            traced.end("POST", ROUTE, 200, "0" * 32)

    found = statistics.median(thread_ms(again) for _ in range(5)) * 1000 / TOLD_AGAIN
    traces.close()
    return found


def line_us(form: logging.Formatter) -> float:
    """Microseconds of a request's line of log, into memory."""
    handler, logger = logging.StreamHandler(io.StringIO()), logging.getLogger("lookalike")
    handler.setFormatter(form)
    logger.addHandler(handler)
    logger.setLevel("INFO")
    logger.propagate = False

    def again() -> None:
        for _ in range(TOLD_AGAIN):
            log_request(
                method="POST",
                route=ROUTE,
                status=200,
                seconds=0.01,
                request_id="0" * 32,
                trace_id="0" * 32,
                principal="key:0123456789abcdef0123456789abcdef",
            )

    try:
        return statistics.median(thread_ms(again) for _ in range(5)) * 1000 / TOLD_AGAIN
    finally:
        logger.removeHandler(handler)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--photo", type=Path, help="a photo; otherwise one of faces/train, at 1280x720")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    source = options.photo or sorted((SHARED / "faces/train/celeba300").glob("*/*.jpg"))[0]
    photo = stage_photo(source.read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        services = open_services(Settings(data=Path(folder) / "data"))
        caller = Caller(principal_for("local:bench", [Grant("admin")]), "0" * 32)
        services.gallery.create_collection(caller, "bench", kind=Kind.FACE, keep=Keep.NONE)
        metrics = Metrics(lambda: 0, lambda: 0, lambda: 0, Standing(services.settings))

        def identify() -> None:
            services.gallery.identify(caller, "bench", photo)

        notes = Notes()
        for _ in range(20):
            identify()
        with watched_by(notes):
            identify()
        stages = [Stage.AUTHENTICATE, Stage.QUEUE, *notes.stages]  # the first two are told by HTTP
        plain, watched = [], []
        for _ in range(options.rounds):
            plain.append(thread_ms(identify))
            with watched_by(metrics):
                watched.append(thread_ms(identify))
        services.close()
    whole_us = statistics.median(plain) * 1000
    costs = {
        "figures": told_us(metrics, stages, lambda: metrics.observe("POST", ROUTE, 200, 0.01)),
        "figures and a trace": traced_us(stages, metrics),
        "nobody watches": unwatched_us(stages),
        "a line in ECS": line_us(EcsLines()),
        "a line of text": line_us(TextLines()),
    }
    found = {
        "identify_us": whole_us,
        "stages": [name.value for name in stages],
        "interleaved_ratio": statistics.median(watched) / statistics.median(plain),
        **{name: {"us": us, "percent_of_identify": 100 * us / whole_us} for name, us in costs.items()},
        "machine": machine(),
    }
    print(f"an identification: {whole_us / 1000:.2f} ms of one thread; stages told: {len(stages)}")
    print(f"watched over unwatched, in turn: {found['interleaved_ratio']:.4f}")
    for name, us in costs.items():
        print(f"{name:>20}: {us:7.1f} us, {100 * us / whole_us:.2f} % of it")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
