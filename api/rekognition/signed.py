"""Who signed a request: the layer that verifies AWS's signatures, which cover the body, before anything parses it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import problem_of
from api.pool import Pool
from api.refusals import Refusals
from lookalike.answers import Caller
from lookalike.domain import Principal
from lookalike.errors import LookalikeError, Unauthenticated
from lookalike.stages import Stage, stage
from security.sigv4 import ALGORITHM, Claim, read_claim
from security.tokens import Signer

SERVICE = "rekognition"


class SignedRequests:
    """ASGI middleware that sets `scope["state"]["caller"]` and `"region"` of requests that are signed as AWS's are.

    What can be refused without the body is: an unknown access key costs no upload. The body is then held by this layer,
    within the bounds of the one outside it, and handed on as it came.
    """

    def __init__(
        self,
        app: ASGIApp,
        signer: Callable[[str], Signer],
        pool: Pool,
        refusals: Refusals,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._signer = signer
        self._pool = pool
        self._refusals = refusals
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not is_call(scope) or not _is_signed(scope):
            await self._app(scope, receive, send)
            return
        request_id = scope["state"]["request_id"]
        try:
            claim, principal, body = await self._who(scope, receive)
            self._refusals.admit(principal.id)
        except LookalikeError as error:
            await problem_of(error, request_id)(scope, receive, send)
            return
        scope["state"]["caller"] = Caller(principal, request_id)
        scope["state"]["region"] = claim.region
        await self._app(scope, _replayed(body, receive), send)

    async def _who(self, scope: Scope, receive: Receive) -> tuple[Claim, Principal, bytes]:
        """What was claimed, by whom, and the body. Raises: Unauthenticated, TooManyRequests."""
        try:
            claim = read_claim(
                scope["method"],
                scope.get("raw_path", b"").decode("latin-1"),
                scope["query_string"].decode("latin-1"),
                [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
                SERVICE,
                self._clock(),
            )
            with stage(Stage.AUTHENTICATE):
                signer = await self._pool.look_up(self._signer, claim.access_key_id)
            body = await _body(receive)
            digest = await self._pool.look_up(lambda: hashlib.sha256(body).hexdigest())
            return claim, signer.verify(claim, digest), body
        except Unauthenticated:
            self._refusals.note(str((scope.get("client") or ("", 0))[0]))
            raise


def is_call(scope: Scope) -> bool:
    """Whether a request is a call of Rekognition's."""
    return scope["type"] == "http" and (scope["method"], scope["path"]) == ("POST", "/")


def _is_signed(scope: Scope) -> bool:
    return any(
        name == b"authorization" and value.strip().upper().startswith(ALGORITHM[:5].encode())
        for name, value in scope["headers"]
    )


async def _body(receive: Receive) -> bytes:
    found, more = bytearray(), True
    while more:
        message = await receive()
        found += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
    return bytes(found)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read once more, and then whatever comes."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again
