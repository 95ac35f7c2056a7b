"""A service with an organisation's certificate, as a process of its own, and what a client sees of it."""

from __future__ import annotations

import datetime
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SCRIPT = Path(__file__).with_name("serve_double.py")
DAY = datetime.timedelta(days=1)
DEADLINE_S = 60


@dataclass
class Authority:
    """An organisation's CA, as an operator has one. Serial numbers count from 1."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    serial: int = 1

    def __post_init__(self) -> None:
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "The organisation")])
        made = self._builder(self.name, self.key.public_key(), -DAY, 100 * DAY)
        made = made.add_extension(x509.BasicConstraints(True, None), critical=True)
        self.certificate = made.sign(self.key, SHA256()).public_bytes(Encoding.PEM)

    def _builder(self, name, public, begins, ends) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        self.serial += 1
        builder = x509.CertificateBuilder(self.name, name, public, self.serial)
        return builder.not_valid_before(now + begins).not_valid_after(now + ends)

    def issue(self, begins=-DAY, ends=90 * DAY, *, kind: str = "ec", use=ExtendedKeyUsageOID.SERVER_AUTH):
        """(serial number, certificate, key) of a new pair, PEM."""
        key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
        builder = self._builder(x509.Name([]), key.public_key(), begins, ends)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        made = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False).sign(self.key, SHA256())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return made.serial_number, made.public_bytes(Encoding.PEM), private


class Service:
    """A service with the organisation's certificate, and what a client sees of it."""

    def __init__(self, folder: Path, *settings: str, kind: str = "ec") -> None:
        self.authority = Authority()
        self.certificate, self.key = folder / "server.crt", folder / "server.key"
        self.serial, *pair = self.authority.issue(kind=kind)
        self.put(*pair)
        command = [sys.executable, str(SCRIPT), str(folder), "on", *settings]
        command += [f"tls_certificate={self.certificate}", f"tls_key={self.key}"]
        self.log = folder / "log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        said = self.process.stdout.readline().split()
        assert said[:1] == ["ready"], self.log.read_text()
        self.port = int(said[1].rpartition(":")[2])
        self.trust = ssl.create_default_context(cadata=self.authority.certificate.decode())

    def put(self, certificate: bytes, key: bytes) -> None:
        """Over the files that lie there, the key first, as deploy/make-secrets --renew does."""
        for file, content in ((self.key, key), (self.certificate, certificate)):
            if file.exists():
                file.chmod(0o600)
            file.write_bytes(content)
            file.chmod(0o400)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def shown(self, trust: ssl.SSLContext | None = None) -> int:
        """The serial number of the certificate that a new connection is shown, verified."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=20) as bare,
            (trust or self.trust).wrap_socket(bare, server_hostname="localhost") as spoken,
        ):
            return int(spoken.getpeercert()["serialNumber"], 16)

    def client(self) -> httpx.Client:
        return httpx.Client(
            base_url=f"https://localhost:{self.port}",
            headers={"x-api-key": "admin"},
            verify=self.trust,
            timeout=30,
        )

    def notes(self) -> list[str]:
        with self.client() as client:
            return client.get("/readyz").json().get("notes", [])

    def figure(self, name: str) -> float:
        with self.client() as client:
            lines = client.get("/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def soon(check: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.05)
    return False
