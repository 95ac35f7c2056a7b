"""Client certificates: asked for by the TLS context, and judged again with every request that their connection brings.

OpenSSL verifies the chain and that it is for clients before a byte of HTTP is read. What can change while a connection
is open is looked at here: whether the certificate's time is over, and whether a revocation list has named it since. A
list that is out of date, or not signed by an authority that is trusted for clients, lets nobody in: its absence of
names would say nothing.
"""

from __future__ import annotations

import datetime
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast

from cryptography import x509

from lookalike.errors import BadSettings, InvalidInput, Unauthenticated
from security.identity_map import CertificateNames, names_of
from security.watched_file import WatchedFile

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes

MAX_CERTIFICATE: Final = 65_536
_MAX_KEPT: Final = 1000
_PEM_LIST: Final = b"-----BEGIN X509 CRL-----"


@dataclass(frozen=True, slots=True, repr=False)
class ClientCertificate:
    """A certificate that OpenSSL has verified. identity: its names as bytes; shown: its subject as people read it."""

    der: bytes
    fingerprint: str
    names: CertificateNames
    identity: bytes
    shown: str
    issuer: bytes
    serial: int
    not_before: datetime.datetime
    not_after: datetime.datetime


@dataclass(frozen=True, slots=True)
class _Lists:
    """What revocation lists say. revoked: (issuer DER, serial); until: when each issuer's list is out of date."""

    revoked: frozenset[tuple[bytes, int]]
    until: dict[bytes, datetime.datetime]


def ask_for_certificates(context: ssl.SSLContext, authorities: Path, how: Literal["optional", "required"]) -> None:
    """Have a server's context ask its clients for a certificate of these authorities.

    Raises: BadSettings where the file holds none.
    """
    try:
        context.load_verify_locations(cafile=authorities)
    except (OSError, ssl.SSLError) as error:
        raise BadSettings(f"LOOKALIKE_TLS_CLIENT_CA: {authorities} holds no certificates") from error
    context.verify_mode = ssl.CERT_REQUIRED if how == "required" else ssl.CERT_OPTIONAL
    # An authority below another one can be trusted without trusting all that is below the other.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def read_client_certificate(der: bytes) -> ClientCertificate:
    """Raises: Unauthenticated for one that cannot be read, or says of nobody whom it is for."""
    try:
        if len(der) > MAX_CERTIFICATE:
            raise ValueError("too large")
        found = x509.load_der_x509_certificate(der)
        attributes, alternatives = names_of(found.subject), _alternatives(found)
    except (ValueError, TypeError, x509.DuplicateExtension) as error:
        raise Unauthenticated("the client certificate cannot be read") from error
    if not attributes and not alternatives:
        raise Unauthenticated("the client certificate names nobody")
    return ClientCertificate(
        der=der,
        fingerprint=f"sha256:{sha256(der).hexdigest()}",
        names=CertificateNames(attributes, alternatives),
        identity=b"\n".join([found.subject.public_bytes(), *sorted(name.encode() for name in alternatives)]),
        shown=found.subject.rfc4514_string(),
        issuer=found.issuer.public_bytes(),
        serial=found.serial_number,
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
    )


class Standing:
    """Whether a certificate still stands, by the clock and the operator's revocation lists. Thread-safe."""

    def __init__(self, authorities: Path, lists: Path | None, clock: Callable[[], float] = time.time) -> None:
        """lists: a file of one or more revocation lists, PEM or DER. Raises: BadSettings."""
        self._clock = clock
        issuers = _authorities(authorities)
        self._lists = (
            None
            if lists is None
            else WatchedFile(lists, "LOOKALIKE_TLS_CLIENT_CRL", lambda text: _read_lists(text, issuers))
        )

    @property
    def lists_end(self) -> datetime.datetime | None:
        """When the first of the lists is out of date; None where there are none."""
        return None if self._lists is None else min(self._lists.current().until.values())

    def require_good(self, certificate: ClientCertificate) -> None:
        """Raises: Unauthenticated for one that is out of its time, revoked, or whose list is out of date."""
        now = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
        if not certificate.not_before <= now <= certificate.not_after:
            raise Unauthenticated("the client certificate is out of its time")
        if self._lists is None:
            return
        lists = self._lists.current()
        until = lists.until.get(certificate.issuer)
        if until is None or now > until:
            raise Unauthenticated("no revocation list that is up to date covers the client certificate")
        if (certificate.issuer, certificate.serial) in lists.revoked:
            raise Unauthenticated("the client certificate is revoked")


class CertificateReader:
    """Reads certificates, each of them once for all requests of its connections."""

    def __init__(self) -> None:
        self._kept: dict[bytes, ClientCertificate] = {}

    def read(self, der: bytes) -> ClientCertificate:
        """Raises: Unauthenticated."""
        found = self._kept.get(der)
        if found is None:
            found = read_client_certificate(der)
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[der] = found
        return found


def _alternatives(certificate: x509.Certificate) -> frozenset[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    return frozenset(
        [
            *(f"dns:{name.lower()}" for name in names.get_values_for_type(x509.DNSName)),
            *(f"email:{name.lower()}" for name in names.get_values_for_type(x509.RFC822Name)),
            *(f"uri:{name}" for name in names.get_values_for_type(x509.UniformResourceIdentifier)),
        ]
    )


def _authorities(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadSettings(f"LOOKALIKE_TLS_CLIENT_CA: {path} holds no certificates") from error


def _read_lists(text: bytes, issuers: Sequence[x509.Certificate]) -> _Lists:
    """Raises: InvalidInput for what is no list, and for a list that no authority here has signed."""
    revoked: set[tuple[bytes, int]] = set()
    until: dict[bytes, datetime.datetime] = {}
    for each in _split(text):
        issuer = each.issuer.public_bytes()
        if not any(a.subject == each.issuer and _signed(each, a) for a in issuers):
            raise InvalidInput("a revocation list is not signed by an authority of LOOKALIKE_TLS_CLIENT_CA")
        end = each.next_update_utc or datetime.datetime.max.replace(tzinfo=datetime.UTC)
        until[issuer] = max(end, until.get(issuer, end))
        revoked.update((issuer, entry.serial_number) for entry in each)
    return _Lists(frozenset(revoked), until)


def _split(text: bytes) -> list[x509.CertificateRevocationList]:
    try:
        if _PEM_LIST not in text:
            return [x509.load_der_x509_crl(text)]
        return [x509.load_pem_x509_crl(_PEM_LIST + part) for part in text.split(_PEM_LIST)[1:]]
    except ValueError as error:
        raise InvalidInput("revocation lists in PEM, or one in DER, are allowed") from error


def _signed(revocations: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    try:
        # An authority whose key signs nothing is a TypeError, and has signed nothing.
        return revocations.is_signature_valid(cast("CertificateIssuerPublicKeyTypes", authority.public_key()))
    except (TypeError, ValueError):
        return False
