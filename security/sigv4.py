"""AWS Signature Version 4 as a verifier: what a request claims, and whether its signature bears that out. Pure.

Only the form with an `Authorization` header over an empty query is taken, as the SDKs send it to a JSON service. The
signature must cover the host, the content type and every `x-amz-*` header that came, each once, and the body's own
hash: what is not signed decides nothing. A request is good for five minutes on either side of its date; the same one
may come again within them, which TLS leaves to its sender alone.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lookalike.errors import IncompleteSignature, SignatureExpired, SignatureMismatch

ALGORITHM = "AWS4-HMAC-SHA256"
MAX_SKEW_S = 300.0
"""How far a request's date may lie from this service's clock."""

_TERMINATOR = "aws4_request"
_AUTHORIZATION = re.compile(
    rf"{ALGORITHM} +Credential=([A-Za-z0-9]{{16,128}})/(\d{{8}})/([a-z0-9-]{{1,64}})/([a-z0-9-]{{1,64}})/{_TERMINATOR}"
    r", *SignedHeaders=([!-~]{1,2048}?), *Signature=([0-9a-f]{64})"
)
_DATE = re.compile(r"\d{8}T\d{6}Z")
_SPACES = re.compile(r" +")


@dataclass(frozen=True, slots=True, repr=False)
class Claim:
    """What a signed request says of itself. canonical_head: its canonical form up to the body's hash."""

    access_key_id: str
    at: str
    scope: str
    signature: str
    canonical_head: str
    stated_sha256: str | None

    @property
    def region(self) -> str:
        """As its sender chose it; this service is in none."""
        return self.scope.split("/")[1]

    def verify(self, secret: str, body_sha256: str) -> None:
        """Compare in constant time. body_sha256: of the body that came, hex. Raises: SignatureMismatch."""
        if self.stated_sha256 is not None and self.stated_sha256 != body_sha256:
            raise SignatureMismatch("the body is not the one that was signed")
        canonical = f"{self.canonical_head}\n{body_sha256}"
        digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
        text = "\n".join((ALGORITHM, self.at, self.scope, digest))
        if not hmac.compare_digest(_mac(_signing_key(secret, self.scope), text).hex(), self.signature):
            raise SignatureMismatch(
                "the signature is not the one that this service finds: check the secret access key, and that no proxy "
                "changed the Host header"
            )


def read_claim(
    method: str, path: str, query: str, headers: Sequence[tuple[str, str]], service: str, now: float
) -> Claim:
    """What a request claims, before its body is read.

    headers: names in lower case, values as they came, decoded as latin-1; path, query: as they came; now: in seconds
    since 1970. Raises: IncompleteSignature, SignatureMismatch for another service, SignatureExpired.
    """
    if path != "/" or query:
        raise IncompleteSignature("a request to '/' without a query is allowed, signed by an Authorization header")
    found = _AUTHORIZATION.fullmatch(_once(headers, "authorization"))
    if found is None:
        raise IncompleteSignature(
            f"Authorization: '{ALGORITHM} Credential=…/DATE/REGION/SERVICE/{_TERMINATOR}, SignedHeaders=…, "
            "Signature=…' is allowed"
        )
    access_key_id, day, region, named, signed, signature = found.groups()
    at = _once(headers, "x-amz-date")
    _require_fresh(at, day, now)
    if named != service:
        raise SignatureMismatch(f"the credential is scoped to another service than {service!r}")
    names = signed.split(";")
    _require_signed(names, headers)
    lines = "".join(f"{name}:{_SPACES.sub(' ', _once(headers, name).strip())}\n" for name in names)
    stated = _once(headers, "x-amz-content-sha256") if any(n == "x-amz-content-sha256" for n, _ in headers) else None
    return Claim(
        access_key_id,
        at,
        f"{day}/{region}/{named}/{_TERMINATOR}",
        signature,
        f"{method}\n/\n\n{lines}\n{signed}",
        stated,
    )


def _require_fresh(at: str, day: str, now: float) -> None:
    try:
        moment = datetime.datetime.strptime(at, "%Y%m%dT%H%M%S%z") if _DATE.fullmatch(at) else None
    except ValueError:
        moment = None
    if moment is None or not at.startswith(day):
        raise IncompleteSignature("x-amz-date: a time such as 20260131T235959Z, on the day of the scope, is allowed")
    skew = moment.timestamp() - now
    if abs(skew) > MAX_SKEW_S:
        when = "expired: it is older" if skew < 0 else "not yet current: it is later"
        raise SignatureExpired(
            f"Signature {when} than this service's clock allows, by {abs(skew):.0f} s where {MAX_SKEW_S:.0f} s are "
            "allowed: set both clocks"
        )


def _require_signed(names: Sequence[str], headers: Sequence[tuple[str, str]]) -> None:
    """Raises: IncompleteSignature unless all that could change the request's meaning is signed, and there once."""
    if list(names) != sorted({name.lower() for name in names}):
        raise IncompleteSignature("SignedHeaders: names in lower case, in order, each once, are allowed")
    needed = {"host", "x-amz-date", "x-amz-target"}
    needed |= {name for name, _ in headers if name.startswith("x-amz-") or name == "content-type"}
    missing = sorted(needed - set(names))
    if missing:
        raise IncompleteSignature(f"SignedHeaders lacks {', '.join(missing)}")


def _once(headers: Sequence[tuple[str, str]], name: str) -> str:
    values = [value for held, value in headers if held == name]
    if len(values) != 1:
        raise IncompleteSignature(f"the header {name!r} is {'missing' if not values else 'given twice'}")
    return values[0]


def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _mac(key, part)
    return key


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
