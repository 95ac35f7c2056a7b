"""An issuer of tokens as tests need it: discovery, keys, authorization and tokens over real HTTPS, sound or not.

It signs what it is told to, also what no sound issuer would, so that a test can send it.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from security.certificates import all_names, make_ca, make_server
from security.tls import ServerIdentity, context_for

AUDIENCE = "lookalike-api"
CLIENT_ID, CLIENT_SECRET = "lookalike-console", "test-secret-of-the-console"
_PUBLIC = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}


@dataclass
class SigningKey:
    """A private key with its id and algorithm."""

    id: str
    algorithm: str
    private: Any

    def jwk(self, **changes: object) -> dict[str, object]:
        kind = {"R": "RSA", "P": "RSA", "E": "EC"}[self.algorithm[0]] if self.algorithm != "EdDSA" else "OKP"
        found = dict(_PUBLIC[kind].to_jwk(self.private.public_key(), as_dict=True))
        return {**found, "kid": self.id, "use": "sig", "alg": self.algorithm, **changes}


def new_key(algorithm: str = "ES256", id: str | None = None) -> SigningKey:
    makers: dict[str, Callable[[], Any]] = {
        "RS256": lambda: rsa.generate_private_key(65537, 2048),
        "PS256": lambda: rsa.generate_private_key(65537, 2048),
        "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate,
    }
    return SigningKey(id or secrets.token_hex(4), algorithm, makers[algorithm]())


def encode(part: bytes | dict[str, Any]) -> str:
    """A part of a JWT."""
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def signed_raw(key: SigningKey, header: bytes | dict[str, Any], payload: bytes | dict[str, Any]) -> str:
    """A JWT of exactly these parts, whatever they say."""
    body = f"{encode(header)}.{encode(payload)}"
    algorithm = jwt.algorithms.get_default_algorithms()[key.algorithm]
    return f"{body}.{encode(algorithm.sign(body.encode(), key.private))}"


@dataclass
class Issuer:
    """The running issuer. user: who signs in at `authorize`; asked: paths in the order of their requests."""

    url: str
    ca: Path
    keys: list[SigningKey] = field(default_factory=list)
    user: dict[str, Any] = field(default_factory=dict)
    down: bool = False
    asked: list[str] = field(default_factory=list)
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """What is answered at a path instead."""
    spoil: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
    """What is done to an ID token's claims before they are signed."""
    access_audience: str = AUDIENCE
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def claims(self, subject: str = "ann", groups: list[str] | None = None, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        found = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": subject,
            "groups": groups or [],
            "iat": now,
            "nbf": now,
            "exp": now + 300,
            "jti": secrets.token_hex(8),
        }
        return {name: value for name, value in {**found, **changes}.items() if value is not None}

    def token(self, subject: str = "ann", groups: list[str] | None = None, **changes: Any) -> str:
        """A sound access token, but for what is changed; None takes a claim away."""
        return self.sign(self.claims(subject, groups, **changes))

    def sign(self, claims: dict[str, Any], key: SigningKey | None = None, **header: Any) -> str:
        used = key or self.keys[0]
        headers = {"typ": "at+jwt", "kid": used.id, **header}
        named = {name: value for name, value in headers.items() if value is not None}
        return jwt.encode(claims, used.private, used.algorithm, headers=named)

    def rotate(self, algorithm: str = "ES256") -> SigningKey:
        """A new key in the place of all others."""
        self.keys = [new_key(algorithm)]
        return self.keys[0]

    def jwks(self) -> bytes:
        return json.dumps({"keys": [key.jwk() for key in self.keys]}).encode()

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """What is answered: status, body, headers."""
        self.asked.append(path)
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if self.down:
            return 503, b"down", {}
        if parts.path in self.answers:
            return (*self.answers[parts.path], {"location": f"{self.url}/moved"})
        if parts.path == "/.well-known/openid-configuration":
            found = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
            found |= {"authorization_endpoint": f"{self.url}/authorize", "token_endpoint": f"{self.url}/token"}
            return 200, json.dumps(found).encode(), {}
        if parts.path == "/keys":
            return 200, self.jwks(), {}
        if parts.path == "/authorize":
            return self._authorize(query)
        if parts.path == "/token":
            return self._token(form)
        return 404, b"", {}

    def _authorize(self, query: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Signs the user in at once, as an issuer does that knows them already."""
        assert query["response_type"] == "code" and query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        to = urlencode({"code": code, "state": query["state"], "iss": self.url})
        return 302, b"", {"location": f"{query['redirect_uri']}?{to}"}

    def _token(self, form: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        asked = self.codes.pop(form.get("code", ""), None)
        proof = encode(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if asked is None or asked["code_challenge"] != proof or asked["redirect_uri"] != form["redirect_uri"]:
            return 400, json.dumps({"error": "invalid_grant"}).encode(), {}
        claims = self.claims(aud=CLIENT_ID, nonce=asked["nonce"], **self.user)
        id_token = self.sign(self.spoil(claims), typ="JWT")
        body = {
            "token_type": "Bearer",
            "id_token": id_token,
            "access_token": self.token(**self.user, aud=self.access_audience),
        }
        return 200, json.dumps(body).encode(), {}


class _Handler(BaseHTTPRequestHandler):
    issuer: Issuer

    def do_GET(self) -> None:
        self._answer({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
        self._answer({name: values[0] for name, values in parse_qs(body).items()})

    def _answer(self, form: dict[str, str]) -> None:
        status, body, headers = self.issuer.answer(self.path, form)
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A client that does not trust the certificate goes away; that is the test's matter."""


def certificates(folder: Path) -> ServerIdentity:
    """A CA and a server's certificate in a folder."""
    now = datetime.datetime.now(datetime.UTC)
    ca = make_ca("issuer", b"secret", now)
    server = make_server(ca, all_names(()), b"secret", now)
    for name, content in (("ca.crt", ca.certificate), ("server.crt", server.certificate), ("server.key", server.key)):
        (folder / name).write_bytes(content)
    return ServerIdentity(folder / "server.crt", folder / "server.key", "secret", folder / "ca.crt")


@contextlib.contextmanager
def running_issuer(folder: Path) -> Iterator[Issuer]:
    """An issuer on a free port of this machine, with one key."""
    identity = certificates(folder)
    context: ssl.SSLContext = context_for(identity)
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    issuer = Issuer(f"https://localhost:{server.server_address[1]}", folder / "ca.crt", [new_key()])
    handler.issuer = issuer
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
