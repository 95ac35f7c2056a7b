"""The certificate and key by which this service shows servers inside the deployment who it is."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from lookalike.errors import BadSettings
from security.certificates import allows, require_pair, require_time
from security.secret_files import read_secret_file


def require_client_pair(certificate: Path, key: Path, what: str, now: datetime.datetime) -> None:
    """Nothing, if they can be shown. what: the server they are for, such as "PostgreSQL".

    Raises: BadSettings, TamperedData for a certificate that is missing, past its time, not one of a client or of
    another key; KeyUnavailable for a key that others may read.
    """
    try:
        chain = certificate.read_bytes()
    except OSError as error:
        raise BadSettings(f"the certificate for {what} cannot be read: {error.strerror}: {certificate}") from error
    require_pair(chain, read_secret_file(key, f"the key for {what}"), None)
    found = require_time(chain, now)
    if not _of_a_client(found):
        raise BadSettings(f"the certificate for {what} is not one of a client: its extended key usage lacks clientAuth")


def _of_a_client(certificate: x509.Certificate) -> bool:
    return allows(certificate, ExtendedKeyUsageOID.CLIENT_AUTH)
