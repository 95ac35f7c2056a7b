"""An authority for client certificates as tests need it: issues them and revokes them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

DAY = datetime.timedelta(days=1)


@dataclass
class Held:
    """A client's certificate and key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: Sequence[x509.Certificate] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def fingerprint(self) -> str:
        return self.certificate.fingerprint(SHA256()).hex()

    def files(self, folder: Path, name: str = "client") -> tuple[Path, Path]:
        """PEM files of the certificate, with what leads to its authority, and of its key."""
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.write_bytes(b"".join(c.public_bytes(Encoding.PEM) for c in (self.certificate, *self.chain)))
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, key


class Authority:
    def __init__(self, name: str = "CN=Test CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name.from_rfc4514_string(name)
        self.certificate = (
            self._builder(self.name, self._key, 10.0)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, SHA256())
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: float) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 2 * DAY)
            .not_valid_after(now + days * DAY)
        )

    def issue(
        self, subject: str, *, dns: Sequence[str] = (), days: float = 1.0, usage: x509.ObjectIdentifier | None = None
    ) -> Held:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(x509.Name.from_rfc4514_string(subject), key, days).add_extension(
            x509.ExtendedKeyUsage([usage or ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        if dns:
            names = x509.SubjectAlternativeName([x509.DNSName(name) for name in dns])
            builder = builder.add_extension(names, critical=False)
        return Held(builder.sign(self._key, SHA256()), key)

    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def revocations(self, *revoked: Held, days: float = 1.0) -> bytes:
        """A list in PEM that names these. days: until it is out of date."""
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name).last_update(now - 2 * DAY)
        builder = builder.next_update(now + days * DAY)
        for held in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(held.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(now - DAY).build())
        return builder.sign(self._key, SHA256()).public_bytes(Encoding.PEM)
