"""The service's TLS identity: an own CA and certificate made at the first start and renewed in time, or the operator's.

Under the folder: ca.crt (0644, for clients), ca.key, server.crt, server.key (0400). Both keys are PKCS#8 encrypted with
a passphrase that only the key ring can derive. Processes that start at once take turns by a lock file.
"""

from __future__ import annotations

import datetime
import fcntl
import os
import secrets
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lookalike.errors import BadSettings, KeyUnavailable, StorageUnavailable, TamperedData
from security.certificates import (
    RENEW_DAYS,
    Issued,
    all_names,
    days_left,
    make_ca,
    make_server,
    require_pair,
    serves,
)
from security.keys import KeyRing
from security.secret_files import read_secret_file

MinVersion = Literal["1.2", "1.3"]


@dataclass(frozen=True, slots=True, repr=False)
class ServerIdentity:
    """Where the certificate chain and its key lie. password: of the key, None if it is not; ca: for clients."""

    certificate: Path
    key: Path
    password: str | None
    ca: Path | None

    def __repr__(self) -> str:
        return f"ServerIdentity({self.certificate})"


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class OwnAuthority:
    """The deployment's own CA and server certificate in a folder."""

    def __init__(
        self, folder: Path, keyring: KeyRing, names: Sequence[str], clock: Callable[[], datetime.datetime] = _now
    ) -> None:
        """names: hosts and addresses besides the local ones. Raises: BadSettings for a malformed one."""
        self._folder = folder
        self._label = keyring.deployment[:8]
        self._password = keyring.derived_key("tls").material.hex()
        self._names = all_names(names)
        self._clock = clock

    @property
    def ca_path(self) -> Path:
        return self._folder / "ca.crt"

    def identity(self) -> ServerIdentity:
        """A certificate that serves these names for 30 days or more: the one that is there, or a new one.

        Raises: KeyUnavailable if the CA's key was sealed with another root key.
        """
        with self._turn():
            self._ensure_ca()
            if not self._is_good():
                self._issue()
        return self._identity()

    def renew(self) -> ServerIdentity:
        """A new server certificate of the same CA, whatever the old one's age."""
        with self._turn():
            self._ensure_ca()
            self._issue()
        return self._identity()

    def init(self) -> ServerIdentity:
        """A new CA and server certificate; clients must be given the new ca.crt."""
        with self._turn():
            self._write_ca()
            self._issue()
        return self._identity()

    def _identity(self) -> ServerIdentity:
        return ServerIdentity(self._folder / "server.crt", self._folder / "server.key", self._password, self.ca_path)

    def _ensure_ca(self) -> None:
        certificate, key = self._read("ca.crt"), self._read("ca.key")
        if certificate is None or key is None or days_left(certificate, self._clock()) < RENEW_DAYS:
            self._write_ca()
        else:
            require_pair(certificate, key, self._password.encode())

    def _is_good(self) -> bool:
        certificate, key, ca = self._read("server.crt"), self._read("server.key"), self._read("ca.crt")
        if certificate is None or key is None or ca is None:
            return False
        try:
            require_pair(certificate, key, self._password.encode())
            return serves(certificate, ca, self._names, self._clock())
        except (BadSettings, KeyUnavailable, TamperedData):
            return False  # a crash between the two files, or damage: a new pair mends it

    def _write_ca(self) -> None:
        ca = make_ca(self._label, self._password.encode(), self._clock())
        _write(self._folder / "ca.key", ca.key, 0o400)
        _write(self._folder / "ca.crt", ca.certificate, 0o644)

    def _issue(self) -> None:
        certificate, key = self._read("ca.crt"), self._read("ca.key")
        if certificate is None or key is None:
            raise KeyUnavailable("the own CA is gone (lookalike tls init makes a new one)")
        server = make_server(Issued(certificate, key), self._names, self._password.encode(), self._clock())
        _write(self._folder / "server.key", server.key, 0o400)
        _write(self._folder / "server.crt", server.certificate, 0o644)

    def _read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageUnavailable(f"tls/{name} cannot be read: {error.strerror}") from error

    @contextmanager
    def _turn(self) -> Iterator[None]:
        try:
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            descriptor = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageUnavailable(f"the tls folder cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def operator_identity(certificate: Path, key: Path) -> ServerIdentity:
    """The operator's own certificate chain and unencrypted key, PEM.

    Raises: BadSettings if they cannot be read or do not belong together; KeyUnavailable if the key is open to others.
    """
    try:
        chain = certificate.read_bytes()
    except OSError as error:
        raise BadSettings(f"the TLS certificate cannot be read: {error.strerror}") from error
    require_pair(chain, read_secret_file(key, "the TLS key"), None)
    return ServerIdentity(certificate, key, None, None)


def server_context(
    folder: Path,
    keyring: KeyRing,
    *,
    hosts: Sequence[str] = (),
    minimum: MinVersion = "1.3",
    certificate: Path | None = None,
    key: Path | None = None,
) -> ssl.SSLContext:
    """The context of a server for these hosts: with the operator's certificate if one is given, else with its own.

    Raises: BadSettings, KeyUnavailable, StorageUnavailable.
    """
    if certificate is not None and key is not None:
        return context_for(operator_identity(certificate, key), minimum)
    return context_for(OwnAuthority(folder, keyring, hosts).identity(), minimum)


def context_for(identity: ServerIdentity, minimum: MinVersion = "1.3") -> ssl.SSLContext:
    """TLS 1.3, or from 1.2 with ECDHE and AEAD only. Raises: BadSettings, KeyUnavailable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[minimum]
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(identity.certificate, identity.key, lambda: identity.password or "")
    except ssl.SSLError as error:
        raise BadSettings(f"the TLS certificate and key cannot be used: {error.reason}") from error
    except OSError as error:
        raise KeyUnavailable(f"the TLS certificate or key cannot be read: {error.strerror}") from error
    return context


def _write(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageUnavailable(f"tls/{path.name} cannot be written: {error.strerror}") from error
