"""Makes X.509 certificates: an own CA (ECDSA P-256, ten years) and the server's, 398 days, signed by it.

Pure but for randomness and the clock that is passed in: values in, PEM out. Profile of RFC 5280.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lookalike.errors import BadSettings, KeyUnavailable, TamperedData

CA_DAYS = 3650
SERVER_DAYS = 398
RENEW_DAYS = 30
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")

_BEGIN, _END = b"-----BEGIN ", b"-----END "
_BACKDATED = datetime.timedelta(minutes=5)
"""So that a client whose clock is a little behind still accepts a certificate just made."""


@dataclass(frozen=True, slots=True, repr=False)
class Issued:
    """A certificate and its private key. certificate, key: PEM, the key encrypted."""

    certificate: bytes
    key: bytes


def all_names(names: Iterable[str]) -> tuple[str, ...]:
    """The names and addresses that a server's certificate carries: the local ones, then `names`, each once.

    Raises: BadSettings for one that is neither a host name nor an address.
    """
    found = dict.fromkeys(LOCAL_NAMES)
    for name in names:
        address = _address(name)
        if address is not None:
            if not address.is_unspecified:
                found[str(address)] = None
        elif _is_host_name(name):
            found[name.lower().rstrip(".")] = None
        else:
            raise BadSettings(f"a server's name is a host name or an address, which {name!r} is not")
    return tuple(found)


def make_ca(label: str, password: bytes, now: datetime.datetime) -> Issued:
    """A CA for one deployment. label: tells it from others in a list of authorities."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Lookalike"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Lookalike CA {label}"),
        ]
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        _builder(name, name, key.public_key(), now, now + datetime.timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
    )
    return Issued(builder.sign(key, SHA256()).public_bytes(Encoding.PEM), _private_pem(key, password))


def make_server(ca: Issued, names: Sequence[str], password: bytes, now: datetime.datetime) -> Issued:
    """A server's certificate. names: as `all_names` gives them. Raises: KeyUnavailable, TamperedData."""
    authority, ca_key = read_certificate(ca.certificate), _private_key(ca.key, password)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Lookalike")])
    until = min(now + datetime.timedelta(days=SERVER_DAYS), authority.not_valid_after_utc)
    builder = (
        _builder(name, authority.subject, key.public_key(), now, until)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
    )
    return Issued(builder.sign(ca_key, SHA256()).public_bytes(Encoding.PEM), _private_pem(key, password))


def read_certificate(pem: bytes) -> x509.Certificate:
    """Raises: TamperedData unless it is a certificate."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise TamperedData("a certificate file is damaged") from None


def days_left(pem: bytes, now: datetime.datetime) -> float:
    """Days until the certificate expires, below 0 once it has. Raises: TamperedData."""
    return (not_after(pem) - now) / datetime.timedelta(days=1)


def not_after(pem: bytes) -> datetime.datetime:
    """When the first certificate of a chain ends. Raises: TamperedData."""
    return validity(pem)[1]


def validity(pem: bytes) -> tuple[datetime.datetime, datetime.datetime]:
    """From when until when the certificate is valid. Raises: TamperedData."""
    certificate = read_certificate(pem)
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def require_current(chain: bytes, now: datetime.datetime) -> None:
    """Raises: BadSettings or TamperedData unless a chain is whole and its first certificate a server's, in its time."""
    if not allows(require_time(chain, now), ExtendedKeyUsageOID.SERVER_AUTH):
        raise BadSettings("the TLS certificate is not one of a server: its extended key usage lacks serverAuth")


def require_time(chain: bytes, now: datetime.datetime) -> x509.Certificate:
    """The first certificate of a chain. Raises: BadSettings or TamperedData unless it is in its time and all whole."""
    try:
        certificate = x509.load_pem_x509_certificates(chain)[0]
    except ValueError:
        raise TamperedData("the TLS certificate is damaged, or not written to its end") from None
    if chain.count(_BEGIN) != chain.count(_END):
        raise TamperedData("the TLS certificate is not written to its end")
    if now < certificate.not_valid_before_utc:
        raise BadSettings(f"the TLS certificate is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M}")
    if now >= certificate.not_valid_after_utc:
        raise BadSettings(f"the TLS certificate ended at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M}")
    return certificate


def allows(certificate: x509.Certificate, use: x509.ObjectIdentifier) -> bool:
    """Whether a certificate may be used so: one that names no uses may be used for all."""
    try:
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return use in uses or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in uses


def serves(server: bytes, ca: bytes, names: Sequence[str], now: datetime.datetime) -> bool:
    """Whether a server's certificate is of this CA, carries exactly these names, and has time left."""
    certificate, authority = read_certificate(server), read_certificate(ca)
    try:
        certificate.verify_directly_issued_by(authority)
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    carried = {str(name.value) for name in alternative}
    return carried == set(names) and days_left(server, now) >= RENEW_DAYS


def require_pair(certificate: bytes, key: bytes, password: bytes | None) -> None:
    """Raises: BadSettings, KeyUnavailable or TamperedData unless the key is the certificate's."""
    public = read_certificate(certificate).public_key()
    if _any_private_key(key, password).public_key() != public:  # type: ignore[attr-defined]
        raise BadSettings("the TLS key does not belong to the TLS certificate")


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
    until: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(until)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private_pem(key: ec.EllipticCurvePrivateKey, password: bytes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))


def _private_key(pem: bytes, password: bytes) -> ec.EllipticCurvePrivateKey:
    key = _any_private_key(pem, password)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TamperedData("the key of the own CA is not an elliptic curve's")
    return key


def _any_private_key(pem: bytes, password: bytes | None) -> object:
    try:
        return load_pem_private_key(pem, password)
    except (ValueError, TypeError):
        raise KeyUnavailable("a TLS key is damaged, or sealed with another root key (lookalike tls init)") from None


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_host_name(name: str) -> bool:
    """RFC 1123, with an underscore let through, and a wildcard as the first label."""
    labels = name.rstrip(".").removeprefix("*.").split(".")
    allowed = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")
    return len(name) <= 253 and all(
        1 <= len(label) <= 63 and set(label.lower()) <= allowed and label[0] != "-" and label[-1] != "-"
        for label in labels
    )


def _general_name(name: str) -> x509.GeneralName:
    address = _address(name)
    return x509.IPAddress(address) if address is not None else x509.DNSName(name)
