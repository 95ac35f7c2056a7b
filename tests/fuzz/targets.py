"""What is fuzzed: for each reader of bytes that others send, sound samples of them and what reads them.

`read` lets through whatever is refused as it should be; anything else that it raises is a finding. What is sealed or
signed must also never open after a change.
"""

from __future__ import annotations

import asyncio
import functools
import io
import json
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request

from api.bodies import Expected, json_value, read_parts
from api.bundles import open_verified
from api.picture_sources import open_source
from embedder.bundles import read_manifest
from embedder.images import ImageLimits, decode_image
from embedder.onnx_files import simplify
from embedder.runtime import Runtime, open_runtime
from lookalike.bulk import Unreadable
from lookalike.errors import LookalikeError
from security.backup_file import END_MAGIC, FORMAT, MAGIC, Statement, check_backup
from security.backup_records import ApiKeyRecord, AuditRecord, CollectionRecord, SettingRecord, Start, decoded, encoded
from security.bundle_file import maker_of_seed, write_bundle
from security.envelope import Context, open_sealed, seal
from security.sealed_stream import open_stream, seal_stream
from security.secret_key import SecretKey
from security.sigv4 import read_claim
from tests.embedder.small_bundles import export
from tests.embedder.small_models import channel_means
from tests.fuzz.pictures import seeds as pictures

LIMITS = ImageLimits(max_bytes=1_000_000, max_pixels=1_000_000)
KEY = SecretKey(bytes(range(32)))
CONTEXT = Context("d" * 32, "sample", "c" * 32, "s" * 32, "r" * 32)
MAKER = maker_of_seed(bytes(32))
MAX_PICTURE_BYTES = 100_000
SIGNED_AT = 1_700_000_000.0


@dataclass(frozen=True, slots=True)
class Target:
    """seeds: sound samples; read: raises for a finding only."""

    seeds: Callable[[], list[bytes]]
    read: Callable[[bytes], None]


def read_picture(data: bytes) -> None:
    with suppress(LookalikeError):
        pixels = decode_image(data, LIMITS)
        assert pixels.shape[2] == 3
        assert pixels.shape[0] * pixels.shape[1] <= LIMITS.max_pixels


def bodies() -> list[bytes]:
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="p.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return [
        part + b"pixels\r\n--x--\r\n",
        part + b"one\r\n" + part + b"two\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="box"\r\n\r\n{"x":0}\r\n' + part + b"\r\n--x--",
    ]


def read_body(data: bytes) -> None:
    """In pieces of every size, as a network gives them."""
    size = 1 + len(data) % 97
    pieces = [data[at : at + size] for at in range(0, len(data), size)]

    async def receive() -> dict[str, Any]:
        body = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": body, "more_body": bool(pieces)}

    headers = [(b"content-type", b"multipart/form-data; boundary=x")]
    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    with suppress(LookalikeError):
        asyncio.run(read_parts(request, Expected({"image": 2}, ("box",)), MAX_PICTURE_BYTES))


def json_bodies() -> list[bytes]:
    return [
        b'{"name": "staff", "kind": "face", "target_fpir": 0.01, "list": [1, null, true, "\\u00e9"]}',
        b"[[[[1]]]]",
        b"1e9",
    ]


def read_json_body(data: bytes) -> None:
    with suppress(LookalikeError):
        json.dumps(json_value(data))


@functools.cache
def envelopes() -> list[bytes]:
    return [seal(KEY, plain, CONTEXT) for plain in (b"", b"a name", bytes(2000))]


def read_envelope(data: bytes) -> None:
    with suppress(LookalikeError):
        open_sealed(KEY, data, CONTEXT)
        assert data in envelopes(), "an envelope opened that was never sealed"


@functools.cache
def streams() -> list[bytes]:
    return [b"".join(seal_stream(KEY, [plain], CONTEXT)) for plain in (b"", b"a snapshot", bytes(3000))]


def read_stream(data: bytes) -> None:
    with suppress(LookalikeError):
        for _ in open_stream(KEY, io.BytesIO(data), CONTEXT):
            continue
        assert data in streams(), "a stream opened that was never sealed"


@functools.cache
def exported() -> tuple[bytes, dict[str, bytes]]:
    with tempfile.TemporaryDirectory() as folder:
        export(Path(folder))
        parts = {file.name: file.read_bytes() for file in Path(folder).iterdir()}
        return parts.pop("manifest.json"), parts


@functools.cache
def bundles() -> list[bytes]:
    manifest, parts = exported()
    return [write_bundle(manifest, parts, MAKER)]


def read_bundle(data: bytes) -> None:
    with suppress(LookalikeError):
        open_verified(data, [MAKER.public_key])
        assert data in bundles(), "a bundle opened that was never signed"


def read_manifest_text(data: bytes) -> None:
    with suppress(LookalikeError):
        read_manifest(data)


@functools.cache
def opened(runtime: str) -> Runtime:
    return open_runtime(runtime)


def networks() -> list[bytes]:
    return [channel_means().SerializeToString()]


def read_network(data: bytes) -> None:
    with suppress(LookalikeError):
        for runtime in ("openvino", "onnxruntime"):
            opened(runtime).load(simplify(data, {0: "N"}), "fuzzed")


def archives() -> list[bytes]:
    found = []
    for names in (("ann/1.jpg", "ann/2.jpg", "bob/1.jpg"), ("people.csv", "1.jpg", "2.jpg")):
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            held = io.BytesIO()
            with zipfile.ZipFile(held, "w", method) as archive:
                for name in names:
                    archive.writestr(name, rows()[0] if name.endswith(".csv") else b"pixels" * 20)
            found.append(held.getvalue())
    return found


def lines() -> list[bytes]:
    one = {"subject": "ann", "image": "cGl4ZWxz", "metadata": {"team": "red"}, "valid_until": "2030-01-01T00:00:00Z"}
    return [json.dumps(one).encode() + b"\n", (json.dumps(one) + "\n\n" + json.dumps(one)).encode()]


def read_import(data: bytes) -> None:
    with suppress(LookalikeError):
        for item in open_source(io.BytesIO(data), 1000):
            with suppress(Unreadable):
                assert len(item.load(MAX_PICTURE_BYTES).data) <= MAX_PICTURE_BYTES


def rows() -> list[bytes]:
    return [
        b"path,subject,metadata.team,valid_until\r\n1.jpg,ann,red,2030-01-01\r\n2.jpg,bob,,\r\n",
        b'path,subject\n"1.jpg","a ""quoted"" name"\n',
    ]


def read_rows(data: bytes) -> None:
    """As the manifest of an archive that is sound."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("1.jpg", b"pixels")
        archive.writestr("people.csv", data)
    read_import(held.getvalue())


def backups() -> list[bytes]:
    hexes = "0" * 64
    statement = Statement(hexes, hexes, hexes, hexes, hexes, 1.7e9, "1.0", True, 5, hexes, 6, hexes)
    text = json.dumps(asdict(statement)).encode()
    signed = MAGIC + bytes([FORMAT]) + len(text).to_bytes(4, "big") + text + b"sealed"
    return [signed + END_MAGIC + len(signed).to_bytes(8, "big") + bytes(64)]


def read_backup(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with suppress(LookalikeError):
            check_backup(Path(file.name))
            raise AssertionError("a backup was taken that nobody signed")


def record_streams() -> list[bytes]:
    records = [
        Start(7, 9),
        SettingRecord("name", b"value"),
        CollectionRecord("c" * 32, b"lookup", b"wrapped", b"payload", 1.7e9, {"space": b"sealed"}),
        ApiKeyRecord("k", b"lookup", b"payload"),
        AuditRecord(1, 1.7e9, b"chain", b"entry"),
    ]
    return [b"".join(encoded(records))]


def read_records(data: bytes) -> None:
    with suppress(LookalikeError):
        for _ in decoded([data[:100], data[100:]]):
            continue


def signed_headers() -> list[bytes]:
    credential = "AWS4-HMAC-SHA256 Credential=LKIAABCDEFGHIJKLMNOP/20231114/eu-west-1/rekognition/aws4_request"
    signature = f"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={'0' * 64}"
    return [
        f"authorization:{credential}, {signature}\nhost:localhost\nx-amz-date:20231114T221320Z\n"
        "content-type:application/x-amz-json-1.1\nx-amz-target:RekognitionService.ListFaces".encode()
    ]


def read_headers(data: bytes) -> None:
    """Headers as lines; the claim that they make is checked against a secret, which none can know."""
    headers = [line.partition(":")[::2] for line in data.decode("latin-1").split("\n")]
    with suppress(LookalikeError):
        read_claim("POST", "/", "", headers, "rekognition", SIGNED_AT).verify("s" * 40, "0" * 64)
        raise AssertionError("a signature was taken that nobody made")


TARGETS = {
    "pictures": Target(pictures, read_picture),
    "multipart": Target(bodies, read_body),
    "json": Target(json_bodies, read_json_body),
    "envelopes": Target(envelopes, read_envelope),
    "streams": Target(streams, read_stream),
    "bundles": Target(bundles, read_bundle),
    "bundle-manifests": Target(lambda: [exported()[0]], read_manifest_text),
    "networks": Target(networks, read_network),
    "imports": Target(lambda: [*archives(), *lines()], read_import),
    "import-rows": Target(rows, read_rows),
    "backups": Target(backups, read_backup),
    "backup-records": Target(record_streams, read_records),
    "signed-headers": Target(signed_headers, read_headers),
}
"""Add a line to fuzz another reader."""
