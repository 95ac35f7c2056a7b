"""The service on a real socket: TLS, slow and silent clients, draining, and what it says when it cannot listen."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.api.doubles import multipart

SCRIPT = Path(__file__).with_name("serve_double.py")
HEAD = b"POST /v1/detect HTTP/1.1\r\nhost: edge\r\nx-api-key: identifier\r\n"


@dataclass
class Running:
    process: subprocess.Popen[str]
    url: str
    folder: Path

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.partition("//")[2].rsplit(":", 1)
        return host, int(port)

    def connect(self) -> socket.socket:
        found = socket.create_connection(self.address, timeout=20)
        if self.url.startswith("https"):
            context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
            found = context.wrap_socket(found, server_hostname="localhost")
        return found

    def client(self, key: str = "identifier") -> httpx.Client:
        verify = ssl.create_default_context(cafile=str(self.folder / "ca.crt")) if "https" in self.url else True
        return httpx.Client(base_url=self.url, headers={"x-api-key": key}, verify=verify, timeout=20)


Start = Callable[..., Running]


@pytest.fixture(scope="module")
def launch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts the service with settings of its own; what is still running at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(tls: str = "off", **settings: object) -> Running:
        folder = tmp_path_factory.mktemp("served")
        arguments = [f"{name}={value}" for name, value in settings.items()]
        command = [sys.executable, str(SCRIPT), str(folder), tls, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        said = process.stdout.readline().split()
        assert said[:1] == ["ready"], process.communicate()
        return Running(process, said[1], folder)

    yield run
    for process in started:
        process.kill()
        process.communicate()


IMPATIENT = {
    "header_timeout_s": 1,
    "body_idle_timeout_s": 1,
    "body_min_bytes_per_s": 1000,
    "max_request_bytes": 4_000_000,
}


@pytest.fixture(scope="module")
def secure(launch: Start) -> Running:
    return launch("on", **IMPATIENT)


@pytest.fixture(scope="module")
def plain(launch: Start) -> Running:
    return launch("off", **IMPATIENT)


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            found += piece
    return found


def test_it_says_ready_with_its_real_port_and_speaks_tls_1_3_and_http_1_1(secure):
    running = secure
    assert running.url.startswith("https://127.0.0.1:") and not running.url.endswith(":0")
    context = ssl.create_default_context(cafile=str(running.folder / "ca.crt"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with context.wrap_socket(socket.create_connection(running.address), server_hostname="localhost") as spoken:
        assert (spoken.version(), spoken.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
    with running.client() as client:
        answer = client.post("/v1/detect", files={"image": b"picture"})
    assert answer.status_code == 200
    assert "server" not in answer.headers and "max-age" in answer.headers["strict-transport-security"]


def test_tls_1_2_is_refused_unless_allowed(secure):
    running = secure
    context = ssl.create_default_context(cafile=str(running.folder / "ca.crt"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(running.address) as bare, pytest.raises(ssl.SSLError):
        context.wrap_socket(bare, server_hostname="localhost")


def test_plain_http_on_the_tls_port_is_closed_and_harms_nobody(secure):
    running = secure
    with socket.create_connection(running.address, timeout=20) as bare:
        bare.sendall(b"GET /healthz HTTP/1.1\r\nhost: edge\r\n\r\n")
        assert b"HTTP/1.1 200" not in everything(bare)
    with running.client() as client:
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("tls", ["on", "off"])
def test_silent_and_half_spoken_connections_are_closed_while_others_are_served(secure, plain, tls):
    running = secure if tls == "on" else plain
    silent, half, stalled = running.connect(), running.connect(), running.connect()
    half.sendall(b"GET /healthz HTTP/1.1\r\nho")
    stalled.sendall(HEAD + b"content-type: multipart/form-data; boundary=b\r\ncontent-length: 100\r\n\r\n--b\r\n")
    with running.client() as client:
        assert client.get("/healthz").status_code == 200
    assert everything(silent) == b"" and everything(half) == b""
    assert everything(stalled).startswith(b"HTTP/1.1 408")
    for connection in (silent, half, stalled):
        connection.close()


def test_headers_that_drip_are_closed_too(plain):
    running = plain
    with running.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        with pytest.raises(OSError):
            for _ in range(200):
                connection.sendall(b"x")
                time.sleep(0.05)


def test_a_tls_handshake_that_never_ends_is_closed(secure):
    running = secure
    with socket.create_connection(running.address, timeout=20) as bare:
        bare.sendall(b"\x16\x03\x01")
        assert b"HTTP" not in everything(bare)


def test_an_honest_slow_upload_is_read(plain):
    running = plain
    body, headers = multipart(("image", "p.jpg", b"x" * 3000))
    with running.connect() as connection:
        kind = headers["content-type"]
        connection.sendall(HEAD + f"content-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n".encode())
        for i in range(0, len(body), 200):  # about 2,000 bytes a second, for three times the idle time
            connection.sendall(body[i : i + 200])
            time.sleep(0.1)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("size", [3_000_000, 9_000_000])
def test_an_answer_that_comes_before_the_body_is_read_reaches_the_sender(plain, size):
    running = plain
    with running.client("wrong") as client:
        answer = client.post("/v1/detect", files={"image": b"x" * size})
    assert answer.status_code == (401 if size < 4_000_000 else 413)
    with running.client() as client:
        assert client.get("/healthz").status_code == 200


def test_a_sender_that_ignores_the_answer_does_not_hold_the_connection_for_ever(plain):
    running = plain
    with running.connect() as connection:
        connection.sendall(HEAD.replace(b"identifier", b"wrong") + b"transfer-encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        with pytest.raises(OSError):
            for _ in range(10_000):
                connection.sendall(chunk)


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: edge\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
        b"POST /v1/detect HTTP/1.1\r\nhost: edge\r\ncontent-length: -5\r\n\r\n",
        b"POST /v1/detect HTTP/1.1\r\nhost: edge\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET /v1/collections/%ff%00%0a HTTP/1.1\r\nhost: edge\r\nx-api-key: viewer\r\nconnection: close\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: edge\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    ],
    ids=["nonsense", "version", "header", "negative", "smuggle", "bytes", "h2", "websocket"],
)
def test_hostile_requests_are_refused_and_the_service_goes_on(plain, sent):
    running = plain
    with running.connect() as connection:
        connection.sendall(sent)
        first = everything(connection)[:15]
    assert not first.startswith((b"HTTP/1.1 2", b"HTTP/1.1 5"))
    with running.client() as client:
        assert client.get("/healthz").status_code == 200


def test_sigterm_lets_the_request_in_hand_finish_and_exits_0(launch):
    running = launch(slow_s=4)
    answers: list[int] = []

    def ask() -> None:
        with running.client() as client:
            answers.append(client.post("/v1/detect", files={"image": b"picture"}).status_code)

    with running.connect(), running.client() as idle:
        idle.get("/healthz")
        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(2)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=30) == 0
        asking.join()
    assert answers == [200]


def test_idle_connections_that_answer_no_farewell_hold_up_neither_the_end_nor_the_log(launch):
    running = launch("on")
    idle = [running.connect() for _ in range(3)]
    for connection in idle:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    running.process.send_signal(signal.SIGTERM)
    _, log = running.process.communicate(timeout=28)  # asyncio's own patience is 30 s
    assert running.process.returncode == 0 and "TimeoutError" not in log
    for connection in idle:
        connection.close()


def test_a_port_that_is_taken_is_told_in_a_line(plain):
    running = plain
    command = [sys.executable, str(SCRIPT), str(running.folder), "off", f"port={running.address[1]}"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert second.returncode != 0
    assert f"cannot listen on 127.0.0.1 port {running.address[1]}: Address already in use" in second.stderr


def test_the_log_is_lines_of_json_without_what_was_asked(launch):
    running = launch()
    with running.client() as client:
        client.get("/v1/collections/canary/subjects/canary?canary=canary")
    connection = http.client.HTTPConnection(*running.address)
    connection.request("POST", "/v1/detect", b"--canary", {"content-type": "multipart/form-data; boundary=canary"})
    connection.getresponse().read()
    connection.close()
    running.process.send_signal(signal.SIGTERM)
    _, log = running.process.communicate(timeout=30)
    lines = [json.loads(line) for line in log.splitlines()]
    assert "canary" not in log
    asked = {"url.path", "http.response.status_code", "event.duration", "http.request.id", "trace.id", "user.id"}
    assert {"@timestamp", "log.level", "message", *asked} <= set(lines[0])
