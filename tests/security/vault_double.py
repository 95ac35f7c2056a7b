"""A small HTTPS server that speaks the port of Vault's transit engine: versions, encrypt, decrypt, rewrap, errors.

Statuses, bodies and error texts follow Vault's documentation: `vault:v2:BASE64` ciphertexts of AES-256-GCM, 403 for a
token without the right, 404 for a key that is not there, 400 for a version below the least one, 503 while sealed.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "hvs.a-token-that-only-this-test-knows"


@dataclass
class TransitKey:
    """versions: version → key material; minimum: the least one that decrypts."""

    versions: dict[int, bytes] = field(default_factory=lambda: {1: os.urandom(32)})
    minimum: int = 1
    derived: bool = False

    @property
    def latest(self) -> int:
        return max(self.versions)


@dataclass
class Vault:
    """What the server knows, open to tests. rights: the paths that the token may use; None for all of them."""

    url: str = ""
    keys: dict[str, TransitKey] = field(default_factory=dict)
    sealed: bool = False
    rights: set[str] | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    """What it is to answer instead, in this order: status, headers, body."""

    def handle(self, method: str, path: str, token: str | None, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.sealed:
            return 503, {"errors": ["Vault is sealed"]}
        verb, _, name = path.removeprefix("/v1/transit/").partition("/")
        if token != TOKEN or (self.rights is not None and verb not in self.rights):
            return 403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]}
        if not path.startswith("/v1/transit/"):
            return 404, {"errors": ["no handler for route"]}
        key = self.keys.get(name)
        if verb == "keys" and method == "GET":
            return (404, {"errors": []}) if key is None else (200, {"data": self._facts(name, key)})
        if key is None and verb == "encrypt":  # as Vault does where the token may create
            key = self.keys[name] = TransitKey()
        if key is None:
            return 400, {"errors": ["encryption key not found"]}
        if verb == "encrypt":
            return self._encrypted(key, base64.b64decode(body["plaintext"]))
        status, plain = self._decrypted(key, body["ciphertext"])
        if status != 200:
            return status, {"errors": [plain]}
        if verb == "decrypt":
            return 200, {"data": {"plaintext": base64.b64encode(plain).decode()}}
        return self._encrypted(key, plain) if verb == "rewrap" else (404, {"errors": []})

    @staticmethod
    def _facts(name: str, key: TransitKey) -> dict[str, Any]:
        return {
            "name": name, "type": "aes256-gcm96", "latest_version": key.latest, "derived": key.derived,
            "min_decryption_version": key.minimum, "supports_encryption": True, "supports_decryption": True,
        }  # fmt: skip

    @staticmethod
    def _encrypted(key: TransitKey, plain: bytes) -> tuple[int, dict[str, Any]]:
        nonce = os.urandom(12)
        sealed = nonce + AESGCM(key.versions[key.latest]).encrypt(nonce, plain, None)
        text = f"vault:v{key.latest}:{base64.b64encode(sealed).decode()}"
        return 200, {"data": {"ciphertext": text, "key_version": key.latest}}

    @staticmethod
    def _decrypted(key: TransitKey, ciphertext: str) -> tuple[int, Any]:
        try:
            prefix, version, text = ciphertext.split(":")
            number, sealed = int(version.removeprefix("v")), base64.b64decode(text, validate=True)
        except ValueError:
            return 400, "invalid ciphertext: no prefix"
        if prefix != "vault":
            return 400, "invalid ciphertext: no prefix"
        if number < key.minimum:
            return 400, "ciphertext or signature version is disallowed by policy (too old)"
        if number not in key.versions:
            return 400, "invalid ciphertext: version is too new"
        try:
            return 200, AESGCM(key.versions[number]).decrypt(sealed[:12], sealed[12:], None)
        except InvalidTag:
            return 400, "cipher: message authentication failed"


@contextmanager
def serving(certificate: Path, key: Path, password: str) -> Iterator[Vault]:
    """The server on a free port of localhost, until the context ends."""
    vault = Vault()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET", {})

        def do_POST(self) -> None:
            self._answer("POST", json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def _answer(self, method: str, body: dict[str, Any]) -> None:
            vault.asked.append((method, self.path))
            headers = {"content-type": "application/json"}
            if vault.answers:
                status, more, sent = vault.answers.pop(0)
                headers |= more
            else:
                status, said = vault.handle(method, self.path, self.headers["x-vault-token"], body)
                sent = json.dumps(said).encode()
            self.send_response(status)
            for name, value in (headers | {"content-length": str(len(sent))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key, password)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    vault.url = f"https://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield vault
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
