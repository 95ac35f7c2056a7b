"""Identify over HTTPS by concurrent clients: requests a second, latency, and where the service's processor time goes.

    python benchmarks/serve.py [--gallery 300] [--clients 8] [--seconds 8] [--photo FILE] [--out serve.json]

The real service runs as a process of its own on a fresh data folder; the clients are threads here, with one
kept-alive connection each, posting the same 1280×720 photo with one face. The gallery is real faces of
faces/train/celeba300, then noisy copies of them up to the size asked for, written through the sealed records. The
share of TLS is the service's processor time a request over HTTPS less that over plain HTTP, that of isolation what it
takes more than with pictures decoded in its own process; the stages are timed in one thread here. Rounds alternate.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from api.wiring import Services, open_services
from benchmarks.embed import SHARED, children, machine, our_stages, stage_photo
from lookalike.answers import Caller
from lookalike.domain import AuditEntry, Box, Embeddings, Floats, Kind, NewSample, Quality
from lookalike.settings import Settings

KEY = secrets.token_hex(24)
COLLECTION = "bench"
NOISE = 0.05
WRITERS = 64
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Load:
    """What the clients saw in one round, and what it cost the service and them."""

    seconds: float
    latencies_ms: list[float] = field(default_factory=list)
    refused: int = 0
    service_cpu_s: float = 0.0
    clients_cpu_s: float = 0.0


# ----------------------------------------------------------------------------------------------- the gallery


def real_faces(services: Services) -> Floats:
    """Vectors of aligned crops of the training faces, (N, 128)."""
    crops = sorted((SHARED / "faces/train/celeba300").rglob("*.jpg"))[::7][:800]
    encoder = services.models.encoder(services.models.default(Kind.FACE))
    found = [encoder.encode_crops([c.read_bytes() for c in crops[i : i + 32]]) for i in range(0, len(crops), 32)]
    return np.concatenate([batch.vectors for batch in found])


def fill(services: Services, size: int) -> None:
    """Enrol `size` people with one template each."""
    faces = real_faces(services)
    random = np.random.default_rng(0)
    services.gallery.create_collection(as_admin(), COLLECTION)
    records = services.answers
    collection = records.collection(COLLECTION)

    def put(i: int) -> None:
        vector = faces[i % len(faces)]
        if i >= len(faces):
            vector = vector + random.normal(0, NOISE, vector.shape).astype(np.float32)
        vector = (vector / np.linalg.norm(vector)).astype(np.float32)
        sample = NewSample(secrets.token_hex(16), Box(0, 0, 100, 100), Quality(1.0), vector)
        entry = AuditEntry("sample.enrol", "bench", "ok", "-", COLLECTION)
        records.add_samples(collection, f"person {i}", [sample], entry)

    with ThreadPoolExecutor(WRITERS) as pool:
        for _ in pool.map(put, range(size)):
            continue


def as_admin() -> Caller:
    from api.wiring import local_principal

    return Caller(local_principal(), "bench")


# ----------------------------------------------------------------------------------------------- the service


@contextmanager
def served(folder: Path, tls: str, decoding: str = "isolated") -> Iterator[tuple[int, int, float]]:
    """The service as a process: (pid, port, seconds until it was ready)."""
    key = folder.parent / "key"
    key.write_text(KEY)
    environment = {
        **os.environ,
        "LOOKALIKE_DATA": str(folder),
        "LOOKALIKE_PORT": "0",
        "LOOKALIKE_TLS": tls,
        "LOOKALIKE_BOOTSTRAP_KEY_FILE": str(key),
        "LOOKALIKE_LOG_LEVEL": "info",
        "LOOKALIKE_IMAGE_DECODING": decoding,
    }
    began = time.perf_counter()
    with (folder.parent / f"log-{tls}").open("w") as log:
        command = [sys.executable, "-P", "-c", "from api.cli import main; main()", "serve"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("ready"):
            raise SystemExit(f"the service did not start: {line} {(folder.parent / f'log-{tls}').read_text()[-2000:]}")
        yield process.pid, int(line.rsplit(":", 1)[1]), time.perf_counter() - began
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def cpu_s(pid: int) -> float:
    """Processor time so far of a process and of those that it has made, also of those that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS + sum(cpu_s(child) for child in children(pid))


def memory_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1000


# ------------------------------------------------------------------------------------------------- the load


def request_of(photo: bytes) -> bytes:
    body = b'--x\r\ncontent-disposition: form-data; name="image"; filename="p.jpg"\r\n\r\n' + photo + b"\r\n--x--\r\n"
    head = (
        f"POST /v1/collections/{COLLECTION}/identify HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\n"
        f"content-type: multipart/form-data; boundary=x\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def connected(port: int, ca: Path | None) -> socket.socket:
    found = socket.create_connection(("127.0.0.1", port), timeout=60)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if ca is None:
        return found
    return ssl.create_default_context(cafile=str(ca)).wrap_socket(found, server_hostname="localhost")


def ask(connection: socket.socket, request: bytes) -> int:
    """Send one request and read its answer. Returns the status."""
    connection.sendall(request)
    found = b""
    while b"\r\n\r\n" not in found:
        found += connection.recv(65536)
    head, _, body = found.partition(b"\r\n\r\n")
    left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) - len(body)
    while left > 0:
        left -= len(connection.recv(65536))
    return int(head[9:12])


def load(pid: int, port: int, ca: Path | None, request: bytes, clients: int, seconds: float) -> Load:
    """Let the clients ask for so long, after a moment of warming up."""
    found = Load(seconds)
    lock = threading.Lock()
    end = 0.0
    gate = threading.Barrier(clients + 1, timeout=90)

    def client() -> None:
        with connected(port, ca) as connection:
            ask(connection, request)
            gate.wait()  # all are connected
            gate.wait()  # the clocks run
            while (began := time.perf_counter()) < end:
                status = ask(connection, request)
                with lock:
                    found.refused += status != 200
                    found.latencies_ms.append((time.perf_counter() - began) * 1000)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    gate.wait()
    service, own = cpu_s(pid), time.process_time()
    began = time.perf_counter()
    end = began + seconds
    gate.wait()
    for thread in threads:
        thread.join()
    found.seconds = time.perf_counter() - began
    found.service_cpu_s, found.clients_cpu_s = cpu_s(pid) - service, time.process_time() - own
    return found


# ----------------------------------------------------------------------------------------------- the report


def stage_ms(photo: bytes, folder: Path, services: Services, size: int) -> dict[str, float]:
    """Processor time of each stage in one thread: the least of ten."""
    stages: dict[str, Callable[[], object]] = dict(our_stages(photo, "auto", folder / "models"))
    roster = services.rosters.of(services.answers.collection(COLLECTION))
    encoder = services.models.encoder(services.models.default(Kind.FACE))
    probe = encoder.encode(photo, largest_only=True)[0].vector[None, :]
    stages["search"] = lambda: roster.rank(Embeddings(encoder.space, probe), 5)
    return {
        name: round(min(_cpu_ms(stages[name]) for _ in range(10)), 2)
        for name in ("decode", "detect", "align", "quality", "embed", "search")
    }


def _cpu_ms(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return (time.process_time() - began) * 1000


def summary(rounds: list[Load]) -> dict[str, float]:
    latencies = sorted(ms for each in rounds for ms in each.latencies_ms)
    answered = len(latencies)
    return {
        "requests": answered,
        "refused": sum(each.refused for each in rounds),
        "per_second": round(answered / sum(each.seconds for each in rounds), 1),
        "p50_ms": round(statistics.median(latencies), 1),
        "p99_ms": round(latencies[int(answered * 0.99) - 1], 1),
        "service_cpu_ms_a_request": round(sum(each.service_cpu_s for each in rounds) / answered * 1000, 2),
        "clients_cpu_ms_a_request": round(sum(each.clients_cpu_s for each in rounds) / answered * 1000, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gallery", type=int, default=300)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--photo", type=Path, help="a JPEG with one face, used as it is")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    source = asked.photo or next(iter(sorted((SHARED / "faces/eval/lfw_dev").glob("*/*.jpg"))))
    photo = asked.photo.read_bytes() if asked.photo else stage_photo(source.read_bytes())
    request = request_of(photo)
    over: dict[tuple[str, str], list[Load]] = {
        ("on", "isolated"): [],
        ("off", "isolated"): [],
        ("on", "in-process"): [],
    }
    ready, memory = [], []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "data"
        services = open_services(Settings(data=folder))
        fill(services, asked.gallery)
        stages = stage_ms(photo, folder, services, asked.gallery)
        runtime = services.runtime
        services.close()
        for _ in range(asked.rounds):
            for (tls, decoding), rounds in over.items():
                with served(folder, tls, decoding) as (pid, port, ready_s):
                    ca = folder / "tls" / "ca.crt" if tls == "on" else None
                    rounds.append(load(pid, port, ca, request, asked.clients, asked.seconds))
                    ready.append(round(ready_s, 2))
                    memory.append(round(memory_mb(pid)))
    https, http, in_process = (summary(rounds) for rounds in over.values())
    isolation_ms = round(https["service_cpu_ms_a_request"] - in_process["service_cpu_ms_a_request"], 2)
    tls_ms = round(https["service_cpu_ms_a_request"] - http["service_cpu_ms_a_request"], 2)
    rest = round(http["service_cpu_ms_a_request"] - sum(stages.values()), 2)
    report = {
        "gallery": asked.gallery,
        "clients": asked.clients,
        "photo_bytes": len(photo),
        "runtime": runtime,
        "https": https,
        "http": http,
        "https, decoding in process": in_process,
        "cpu_ms_of_isolation": isolation_ms,
        "cpu_ms_of_a_request": {"tls": tls_ms, **stages, "http, audit, store and the rest": rest},
        "ready_s": ready,
        "memory_mb": memory,
        "machine": machine(),
    }
    text = json.dumps(report, indent=2)
    if asked.out:
        asked.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
