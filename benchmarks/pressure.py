"""How the service holds beyond its capacity and beside slow clients: the rows "overload" and "slow clients".

    python benchmarks/pressure.py [--seconds 10] [--rounds 2] [--slow 300] [--out pressure.json]

The real service runs as a process of its own on the last core that this process may use, and what asks runs on the
first; with a single core both share it, which the report says. Every request is the same 1280×720 photo with one face
over HTTPS, on kept-alive connections. A round is: one client alone, then as many as fill the service (its peak), then
three times the peak, sent at random moments whether or not answers have come. Ratios are of figures of one round,
since the machine may be shared. "settled" leaves out the first second of the overload, in which the queue overflows.

Slow clients: silent after the TLS handshake, silent before it, half a head, a body that stands still, all at once,
while one client asks and an honest upload goes on at 40 kB/s. Told is when each was closed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import ssl
import statistics
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api.wiring import open_services
from benchmarks.embed import SHARED, machine, stage_photo
from benchmarks.serve import cpu_s, fill, memory_mb, request_of, served
from lookalike.settings import Settings

TIMES = 3
PEAK_CLIENTS = 6
HONEST_BYTES_PER_S = 40_000
PATIENCE_S = 40.0


@dataclass
class Seen:
    """Answers: (sent at, seconds until it, status, whether it said when to come back); at: since the round began."""

    seconds: float
    answers: list[tuple[float, float, int, bool]] = field(default_factory=list)
    lost: int = 0

    def in_time(self) -> int:
        """Answers of 200 that came before the round's end."""
        return sum(code == 200 and at + took <= self.seconds for at, took, code, _ in self.answers)

    def of(self, status: int, since: float = 0.0) -> list[float]:
        """Seconds until these answers, in order."""
        return sorted(took for at, took, code, _ in self.answers if code == status and at >= since)


class Connection:
    """One kept-alive connection."""

    def __init__(self, port: int, trust: ssl.SSLContext) -> None:
        self._port, self._trust = port, trust
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bool]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                "127.0.0.1", self._port, ssl=self._trust, server_hostname="localhost"
            )
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await reader.readexactly(size)
        if b"connection: close" in head:
            self.close()
        return int(head[9:12]), b"retry-after: " in head

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def timed(connection: Connection, request: bytes, seen: Seen, began: float) -> None:
    sent = time.perf_counter()
    try:
        status, later = await connection.ask(request)
    except (OSError, asyncio.IncompleteReadError):
        connection.close()
        seen.lost += 1
        return
    seen.answers.append((sent - began, time.perf_counter() - sent, status, later))


async def closed_loop(port: int, trust: ssl.SSLContext, request: bytes, clients: int, seconds: float) -> Seen:
    """Each client asks again once it is answered."""
    connections = [Connection(port, trust) for _ in range(clients)]
    await asyncio.gather(*(each.ask(request) for each in connections))
    seen, began = Seen(seconds), time.perf_counter()

    async def client(connection: Connection) -> None:
        while time.perf_counter() - began < seconds:
            await timed(connection, request, seen, began)

    await asyncio.gather(*(client(each) for each in connections))
    seen.seconds = time.perf_counter() - began
    for each in connections:
        each.close()
    return seen


async def open_loop(port: int, trust: ssl.SSLContext, request: bytes, per_second: float, seconds: float) -> Seen:
    """Requests come at random moments, however late the answers are."""
    idle = [Connection(port, trust) for _ in range(128)]
    for start in range(0, len(idle), 16):
        await asyncio.gather(
            *(each.ask(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n") for each in idle[start : start + 16])
        )
    seen, began, at, chance = Seen(seconds), time.perf_counter(), 0.0, random.Random(0)
    tasks: set[asyncio.Task[None]] = set()

    async def one() -> None:
        connection = idle.pop() if idle else Connection(port, trust)
        await timed(connection, request, seen, began)
        idle.append(connection)

    while (at := at + chance.expovariate(per_second)) < seconds:
        await asyncio.sleep(max(0.0, at - (time.perf_counter() - began)))
        tasks.add(task := asyncio.create_task(one()))
        task.add_done_callback(tasks.discard)
    seen.seconds = time.perf_counter() - began
    await asyncio.gather(*tasks)
    for each in idle:
        each.close()
    return seen


def percentile(values: list[float], share: float) -> float:
    return values[min(len(values) - 1, int(len(values) * share))] if values else float("nan")


async def overload(pid: int, port: int, trust: ssl.SSLContext, request: bytes, seconds: float) -> dict[str, object]:
    """One round."""
    await closed_loop(port, trust, request, PEAK_CLIENTS, 2.0)
    alone = (await closed_loop(port, trust, request, 1, seconds / 2)).of(200)
    full = await closed_loop(port, trust, request, PEAK_CLIENTS, seconds)
    peak = full.in_time() / full.seconds
    before, most, used = memory_mb(pid), 0.0, cpu_s(pid)

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, memory_mb(pid))
            await asyncio.sleep(0.1)

    watching = asyncio.create_task(watch())
    seen = await open_loop(port, trust, request, TIMES * peak, seconds)
    used = cpu_s(pid) - used
    watching.cancel()
    shed, taken, settled = seen.of(503), seen.of(200), seen.of(200, since=1.0)
    return {
        "peak_per_second": round(peak, 1),
        "sent_per_second": round((len(seen.answers) + seen.lost) / seen.seconds, 1),
        "goodput_of_peak": round(seen.in_time() / seen.seconds / peak, 3),
        "unloaded_p50_ms": round(statistics.median(alone) * 1000, 1),
        "unloaded_p99_ms": round(percentile(alone, 0.99) * 1000, 1),
        "accepted_p99_ms": round(percentile(taken, 0.99) * 1000, 1),
        "accepted_p99_ms_settled": round(percentile(settled, 0.99) * 1000, 1),
        "accepted_p99_of_unloaded": round(percentile(taken, 0.99) / percentile(alone, 0.99), 2),
        "accepted_p99_of_unloaded_settled": round(percentile(settled, 0.99) / percentile(alone, 0.99), 2),
        "shed": len(shed),
        "shed_p50_ms": round(percentile(shed, 0.5) * 1000, 1),
        "shed_p99_ms": round(percentile(shed, 0.99) * 1000, 1),
        "shed_with_retry_after": all(later for _, _, code, later in seen.answers if code == 503),
        "other_answers": len(seen.answers) - len(shed) - len(taken),
        "lost": seen.lost,
        "service_cpu_s": round(used, 2),
        "memory_of_before": round(most / before, 3),
    }


# -------------------------------------------------------------------------------------------- slow clients


async def until_closed(port: int, trust: ssl.SSLContext | None, sent: bytes) -> float:
    """Seconds until the service closes a connection that says this and no more."""
    name = "localhost" if trust is not None else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname=name)
    writer.write(sent)
    began = time.perf_counter()
    with suppress(OSError):
        async with asyncio.timeout(PATIENCE_S):
            while await reader.read(65536):
                continue
    took = time.perf_counter() - began
    writer.close()
    return took


async def honest(port: int, trust: ssl.SSLContext, request: bytes) -> dict[str, object]:
    """An upload that is slow and never stands still."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trust, server_hostname="localhost")
    began, piece = time.perf_counter(), HONEST_BYTES_PER_S // 4
    for start in range(0, len(request), piece):
        writer.write(request[start : start + piece])
        await writer.drain()
        await asyncio.sleep(0.25)
    status = int((await reader.readuntil(b"\r\n\r\n"))[9:12])
    writer.close()
    return {"seconds": round(time.perf_counter() - began, 1), "status": status}


async def slow_clients(port: int, trust: ssl.SSLContext, request: bytes, many: int) -> dict[str, object]:
    """All at once, and one client that asks all the while."""
    alone = (await closed_loop(port, trust, request, 1, 4.0)).of(200)
    head, _, body = request.partition(b"\r\n\r\n")
    kinds: dict[str, tuple[ssl.SSLContext | None, bytes]] = {
        "silent": (trust, b""),
        "silent before the handshake": (None, b""),
        "half a handshake": (None, b"\x16\x03\x01"),
        "half a head": (trust, head[: len(head) // 2]),
        "a body that stands still": (trust, head + b"\r\n\r\n" + body[:2000]),
    }
    each = {name: [until_closed(port, *kind) for _ in range(many // len(kinds))] for name, kind in kinds.items()}
    asking = asyncio.create_task(closed_loop(port, trust, request, 1, 14.0))
    upload = asyncio.create_task(honest(port, trust, request))
    closed = dict(zip(each, await asyncio.gather(*(asyncio.gather(*all_of) for all_of in each.values())), strict=True))
    beside = (await asking).of(200)
    return {
        "connections": many // len(kinds) * len(kinds),
        "closed_after_s": {name: [round(min(took), 1), round(max(took), 1)] for name, took in closed.items()},
        "asked_beside": len(beside),
        "p50_beside_of_alone": round(statistics.median(beside) / statistics.median(alone), 2),
        "p99_beside_ms": round(percentile(beside, 0.99) * 1000, 1),
        "honest_upload": await upload,
    }


# ----------------------------------------------------------------------------------------------- the report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--slow", type=int, default=300, help="slow clients at once")
    parser.add_argument("--photo", type=Path, help="a JPEG with one face, used as it is")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    source = asked.photo or next(iter(sorted((SHARED / "faces/eval/lfw_dev").glob("*/*.jpg"))))
    photo = asked.photo.read_bytes() if asked.photo else stage_photo(source.read_bytes())
    request = request_of(photo)
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "data"
        services = open_services(Settings(data=folder))
        fill(services, asked.gallery)
        services.close()
        os.sched_setaffinity(0, {cores[-1]})  # the service inherits it
        with served(folder, "on") as (pid, port, _):
            os.sched_setaffinity(0, {cores[0]})
            trust = ssl.create_default_context(cafile=str(folder / "tls" / "ca.crt"))
            rounds = [asyncio.run(overload(pid, port, trust, request, asked.seconds)) for _ in range(asked.rounds)]
            slow = asyncio.run(slow_clients(port, trust, request, asked.slow))
    report = {
        "photo_bytes": len(photo),
        "cores": "one for the service, another for what asks" if len(cores) > 1 else "one for both",
        "load_of_the_machine": os.getloadavg()[0],
        "overload": rounds,
        "slow_clients": slow,
        "machine": machine(),
    }
    text = json.dumps(report, indent=2)
    if asked.out:
        asked.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
