"""Where signed checkpoints of the audit log go: a file, syslog, or a webhook, by the URL that the settings name.

| URL | |
|---|---|
| file:/PATH | appended under a lock, one a line |
| syslog:, syslog:/PATH | the local socket, /dev/log by default |
| syslog+udp://HOST:514, syslog+tcp://HOST:601, syslog+tls://HOST:6514 | RFC 5424; over TCP and TLS with octet counts |
| https://HOST/PATH | POST; with a key file, signed by HMAC |

A receiver either has the line durably, as far as its protocol can tell, or raises; every call ends in time.
Sources: RFC 5424, RFC 5425, RFC 6587 (3.4.1).
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import http.client
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from lookalike.errors import BadSettings
from security.secret_files import read_secret_file

TIMEOUT_S = 10.0
_TAIL_BYTES = 1 << 16
"""More than a checkpoint ever has."""

_PRIORITY = 13 * 8 + 5
"""Facility "log audit", severity "notice"."""


class Receiver(Protocol):
    """Takes checkpoints. name: what an operator is told, which holds no secret."""

    name: str

    def send(self, line: bytes) -> None:
        """Raises: OSError, http.client.HTTPException where the receiver did not take it."""
        ...

    def last(self) -> bytes | None:
        """The last checkpoint that it has, where it can tell. Raises: OSError."""
        ...


@dataclass(frozen=True, slots=True)
class Means:
    """What sending may need. key: for a webhook's HMAC; ca: trusted for TLS, the system's if None."""

    ca: Path | None = None
    key: bytes | None = None

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca) if self.ca is not None else None)


def receiver_of(url: str, means: Means) -> Receiver:
    """Opens nothing yet. Raises: BadSettings."""
    try:
        parts = urlsplit(url)
        make = RECEIVERS[parts.scheme]
        return make(parts, means)
    except KeyError:
        raise BadSettings(f"LOOKALIKE_AUDIT_PUSH: allowed are {', '.join(RECEIVERS)}") from None
    except ValueError as error:
        raise BadSettings(f"LOOKALIKE_AUDIT_PUSH: {error}") from None


def means_of(ca: Path | None, key_file: Path | None) -> Means:
    """Raises: BadSettings, KeyUnavailable for a key file that is missing, open to others or shorter than 32 bytes."""
    if ca is not None and not ca.is_file():
        raise BadSettings(f"LOOKALIKE_AUDIT_PUSH_CA: {ca} is no file")
    if key_file is None:
        return Means(ca)
    key = read_secret_file(key_file, "the key file of LOOKALIKE_AUDIT_PUSH", at_most=1024).strip()
    if len(key) < 32:
        raise BadSettings("LOOKALIKE_AUDIT_PUSH_KEY_FILE: at least 32 bytes are needed")
    return Means(ca, key)


class FileReceiver:
    """A file on another disk, or on a mount that only takes appends."""

    def __init__(self, parts: SplitResult, means: Means) -> None:
        if parts.netloc or not parts.path.startswith("/"):
            raise ValueError("file: needs an absolute path, as in file:/mnt/audit/checkpoints")
        self.path = Path(parts.path)
        self.name = f"file:{self.path}"

    def send(self, line: bytes) -> None:
        with self._locked(os.O_RDWR | os.O_CREAT | os.O_APPEND, fcntl.LOCK_EX) as file:
            end = _end_of_lines(file)
            if end != os.fstat(file).st_size:
                os.ftruncate(file, end)  # a line that a kill or a full disk cut
            view = memoryview(line + b"\n")
            while view:
                view = view[os.write(file, view) :]
            os.fsync(file)

    def last(self) -> bytes | None:
        try:
            with self._locked(os.O_RDONLY, fcntl.LOCK_SH) as file:
                end = _end_of_lines(file)
                start = max(0, end - _TAIL_BYTES)
                return os.pread(file, end - start, start).rstrip(b"\n").rpartition(b"\n")[2] or None
        except FileNotFoundError:
            return None

    @contextmanager
    def _locked(self, flags: int, lock: int) -> Iterator[int]:
        descriptor = os.open(self.path, flags | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, lock)
            yield descriptor
        finally:
            os.close(descriptor)


class LocalSyslog:
    """The socket of the machine's own syslog daemon."""

    def __init__(self, parts: SplitResult, means: Means) -> None:
        if parts.netloc:
            raise ValueError(
                "syslog: is the local socket; a server is syslog+tls://HOST, syslog+tcp:// or syslog+udp://"
            )
        self._path = parts.path or "/dev/log"
        self.name = f"syslog:{self._path}"

    def send(self, line: bytes) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.settimeout(TIMEOUT_S)
            out.connect(self._path)
            out.send(syslog_message(line))

    def last(self) -> None:
        return None


class UdpSyslog:
    """A syslog server that acknowledges nothing: what is lost on the way is lost, as with all of UDP."""

    def __init__(self, parts: SplitResult, means: Means) -> None:
        self._host, self._port = _address(parts, 514)
        self.name = f"syslog+udp://{self._host}:{self._port}"

    def send(self, line: bytes) -> None:
        family, kind, proto, _, address = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, proto) as out:
            out.settimeout(TIMEOUT_S)
            out.connect(address)
            out.send(syslog_message(line))

    def last(self) -> None:
        return None


class TcpSyslog:
    """A syslog server over a connection of its own for each checkpoint, which the server ends once it has read it."""

    def __init__(self, parts: SplitResult, means: Means) -> None:
        self._context = means.context() if parts.scheme == "syslog+tls" else None
        self._host, self._port = _address(parts, 6514 if self._context is not None else 601)
        self.name = f"{parts.scheme}://{self._host}:{self._port}"

    def send(self, line: bytes) -> None:
        message = syslog_message(line)
        with socket.create_connection((self._host, self._port), timeout=TIMEOUT_S) as plain:
            if self._context is None:
                plain.sendall(b"%d %s" % (len(message), message))
                plain.shutdown(socket.SHUT_WR)
                _until_closed(plain)
                return
            with self._context.wrap_socket(plain, server_hostname=self._host) as sealed:
                sealed.sendall(b"%d %s" % (len(message), message))
                try:
                    _until_closed(sealed.unwrap())
                except ssl.SSLEOFError:  # it closed without TLS's own farewell, after having read all
                    return

    def last(self) -> None:
        return None


class Webhook:
    """An HTTPS server that answers 2xx once it has the checkpoint."""

    def __init__(self, parts: SplitResult, means: Means) -> None:
        self._host, self._port = _address(parts, 443)
        if "@" in parts.netloc:
            raise ValueError("no credential goes into a URL: LOOKALIKE_AUDIT_PUSH_KEY_FILE signs what is sent")
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._context = means.context()
        self._key = means.key
        self.name = f"https://{self._host}:{self._port}"

    def send(self, line: bytes) -> None:
        connection = http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=self._context)
        try:
            connection.request("POST", self._target, line, self._headers(line))
            status = connection.getresponse().status
        finally:
            connection.close()
        if not 200 <= status < 300:
            raise ConnectionError(f"it answered {status}")

    def _headers(self, line: bytes) -> dict[str, str]:
        headers = {"content-type": "application/json", "x-lookalike-event": "audit.checkpoint"}
        if self._key is not None:
            headers["x-lookalike-signature"] = signature_header(self._key, int(time.time()), line)
        return headers

    def last(self) -> None:
        return None


RECEIVERS: Mapping[str, Callable[[SplitResult, Means], Receiver]] = {
    "file": FileReceiver,
    "syslog": LocalSyslog,
    "syslog+udp": UdpSyslog,
    "syslog+tcp": TcpSyslog,
    "syslog+tls": TcpSyslog,
    "https": Webhook,
}
"""URL scheme → what sends there."""


def signature_header(key: bytes, at: int, body: bytes) -> str:
    """`t=SECONDS,v1=HEX`, HMAC-SHA256 of "SECONDS.BODY": a receiver refuses an old time, and so a replay."""
    return f"t={at},v1={hmac.new(key, b'%d.%s' % (at, body), hashlib.sha256).hexdigest()}"


def syslog_message(line: bytes) -> bytes:
    """A checkpoint as RFC 5424 has it."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    host = socket.gethostname()[:255] or "-"
    return f"<{_PRIORITY}>1 {at} {host} lookalike {os.getpid()} audit.checkpoint - ".encode("ascii", "replace") + line


def _address(parts: SplitResult, port: int) -> tuple[str, int]:
    if not parts.hostname:
        raise ValueError(f"{parts.scheme}:// needs a host")
    return parts.hostname, parts.port or port


def _until_closed(connection: socket.socket) -> None:
    """Wait until the other side ends the connection, having read what was sent. Raises: TimeoutError."""
    deadline = time.monotonic() + TIMEOUT_S
    while connection.recv(4096):
        if time.monotonic() > deadline:
            raise TimeoutError("it keeps talking")


def _end_of_lines(file: int) -> int:
    """How many bytes the file has up to the end of its last whole line."""
    size = os.fstat(file).st_size
    start = max(0, size - _TAIL_BYTES)
    return start + os.pread(file, size - start, start).rfind(b"\n") + 1
