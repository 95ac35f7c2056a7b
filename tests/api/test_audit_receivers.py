"""Each receiver against a server of its protocol, or the failure of one."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import hmac
import http.server
import re
import socket
import ssl
import threading

import pytest

from api import audit_receivers
from api.audit_receivers import Means, means_of, receiver_of, signature_header
from lookalike.errors import BadSettings, KeyUnavailable
from security.tls import OwnAuthority

LINE = b'{"seq":7,"signature":"00"}'
RFC5424 = rb"<109>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S+ lookalike \d+ audit\.checkpoint - "


@pytest.fixture(autouse=True)
def short_patience(monkeypatch):
    monkeypatch.setattr(audit_receivers, "TIMEOUT_S", 1.0)


@pytest.fixture
def tls(tmp_path):
    """(server context, CA file) of a CA of our own for 127.0.0.1."""
    from security.keys import open_key_ring
    from security.tls import context_for
    from tests.security.memory_rows import MemoryRows

    own = OwnAuthority(tmp_path / "tls", open_key_ring("file:keys/root.key", tmp_path, MemoryRows()), ("127.0.0.1",))
    return context_for(own.identity()), own.ca_path


@contextlib.contextmanager
def server(handle, context=None):
    """A TCP server on a free port that hands one connection after the other to `handle`."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def serve():
            while not stop.is_set():
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with contextlib.suppress(OSError), connection:
                    handle(context.wrap_socket(connection, server_side=True) if context is not None else connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        stop.set()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def reading(got):
    def handle(connection):
        data = b""
        while part := connection.recv(4096):
            data += part
        got.append(data)
        if isinstance(connection, ssl.SSLSocket):
            with contextlib.suppress(OSError):
                connection.unwrap()
        connection.close()

    return handle


def test_a_file_takes_lines_at_its_end_and_mends_one_that_was_cut(tmp_path):
    path = tmp_path / "elsewhere" / "checkpoints"
    receiver = receiver_of(f"file:{path}", Means())
    with pytest.raises(FileNotFoundError):
        receiver.send(LINE)
    assert receiver.last() is None
    path.parent.mkdir()
    receiver.send(LINE)
    receiver.send(LINE.replace(b"7", b"8"))
    with path.open("ab") as file:
        file.write(LINE[:9])
    assert receiver.last() == LINE.replace(b"7", b"8")
    receiver.send(LINE.replace(b"7", b"9"))
    assert path.read_bytes().splitlines() == [LINE, LINE.replace(b"7", b"8"), LINE.replace(b"7", b"9")]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_is_told(tmp_path):
    with pytest.raises(OSError, match="No space left"):
        receiver_of("file:/dev/full", Means()).send(LINE)


def test_syslog_over_udp_and_the_local_socket_gets_one_message(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(60)
        receiver_of(f"syslog+udp://127.0.0.1:{udp.getsockname()[1]}", Means()).send(LINE)
        assert re.fullmatch(RFC5424 + re.escape(LINE), udp.recv(4096))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as local:
        local.bind(str(tmp_path / "log"))
        local.settimeout(60)
        receiver_of(f"syslog:{tmp_path / 'log'}", Means()).send(LINE)
        assert re.fullmatch(RFC5424 + re.escape(LINE), local.recv(4096))
    with pytest.raises(OSError):
        receiver_of(f"syslog:{tmp_path / 'none'}", Means()).send(LINE)


@pytest.mark.parametrize("scheme", ["syslog+tcp", "syslog+tls"])
def test_syslog_over_a_connection_counts_its_octets(tls, scheme):
    context, ca = tls
    got = []
    with server(reading(got), context if scheme == "syslog+tls" else None) as port:
        receiver_of(f"{scheme}://127.0.0.1:{port}", Means(ca)).send(LINE)
    length, _, message = got[0].partition(b" ")
    assert int(length) == len(message)
    assert re.fullmatch(RFC5424 + re.escape(LINE), message)


@pytest.mark.parametrize("scheme", ["syslog+tcp", "syslog+tls", "https"])
def test_a_server_that_takes_the_connection_and_then_hangs_is_given_up(scheme):
    hold = threading.Event()
    with server(lambda connection: hold.wait(60)) as port:
        try:
            with pytest.raises(TimeoutError):
                receiver_of(f"{scheme}://127.0.0.1:{port}", Means()).send(LINE)
        finally:
            hold.set()


@pytest.mark.parametrize("scheme", ["syslog+tls", "https"])
def test_a_server_that_nobody_trusts_gets_nothing(tls, scheme):
    context, _ = tls
    got = []
    with server(reading(got), context) as port, pytest.raises(ssl.SSLCertVerificationError):
        receiver_of(f"{scheme}://127.0.0.1:{port}", Means()).send(LINE)
    assert got in ([], [b""])


def test_a_server_that_is_not_there_is_told():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    for scheme in ("syslog+tcp", "syslog+tls", "https"):
        with pytest.raises(ConnectionRefusedError):
            receiver_of(f"{scheme}://127.0.0.1:{port}", Means()).send(LINE)


@contextlib.contextmanager
def https(context, status):
    seen = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(status)
            self.send_header("location", "https://elsewhere.example.org/")
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Hook) as served:
        served.socket = context.wrap_socket(served.socket, server_side=True)
        thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield served.server_port, seen
        served.shutdown()
        thread.join()


def test_a_webhook_gets_the_line_with_a_signature_over_time_and_body(tls, tmp_path):
    context, ca = tls
    key = tmp_path / "key"
    key.write_bytes(b"k" * 40 + b"\n")
    key.chmod(0o600)
    with https(context, 204) as (port, seen):
        receiver_of(f"https://127.0.0.1:{port}/hook?tenant=1", means_of(ca, key)).send(LINE)
        receiver_of(f"https://127.0.0.1:{port}/hook", Means(ca)).send(LINE)
    path, headers, body = seen[0]
    assert (path, body, headers["content-type"]) == ("/hook?tenant=1", LINE, "application/json")
    at, mac = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", headers["x-lookalike-signature"]).groups()
    assert mac == hmac.new(b"k" * 40, at.encode() + b"." + LINE, hashlib.sha256).hexdigest()
    assert abs(int(at) - datetime.datetime.now().timestamp()) < 300
    assert signature_header(b"k" * 40, int(at), LINE) == headers["x-lookalike-signature"]
    assert "x-lookalike-signature" not in seen[1][1]


@pytest.mark.parametrize("status", [302, 400, 500])
def test_a_webhook_that_answers_anything_but_2xx_has_not_taken_it(tls, status):
    context, ca = tls
    with https(context, status) as (port, seen):
        with pytest.raises(ConnectionError, match=str(status)):
            receiver_of(f"https://127.0.0.1:{port}/", Means(ca)).send(LINE)
        assert len(seen) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://siem.example.org/",
        "file:relative",
        "file://host/path",
        "syslog://host",
        "syslog+tcp:",
        "https:///path",
        "https://user:secret@host/",
        "https://host:99999/",
        "/var/log/x",
        "",
    ],
)
def test_what_is_no_receiver_is_refused(url):
    with pytest.raises(BadSettings, match="LOOKALIKE_AUDIT_PUSH") as told:
        receiver_of(url, Means())
    assert "secret" not in str(told.value)


def test_a_weak_or_open_key_file_is_refused(tmp_path):
    key = tmp_path / "key"
    key.write_bytes(b"short")
    key.chmod(0o600)
    with pytest.raises(BadSettings, match="32"):
        means_of(None, key)
    key.write_bytes(b"k" * 32)
    key.chmod(0o644)
    with pytest.raises(KeyUnavailable):
        means_of(None, key)
    with pytest.raises(BadSettings):
        means_of(tmp_path / "no-ca", None)
