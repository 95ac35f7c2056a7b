"""Idempotency-Key: the same key and body give the first answer again, another body a 409.

A key belongs to its principal, method and path. Only answers of success are remembered: a refusal changed nothing,
and is found again by asking again. Two requests of one key in this process take turns.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request

from api.logs import log_failure
from api.pool import Pool
from lookalike.answers import Caller
from lookalike.errors import InvalidInput, LookalikeError

HEADER = "idempotency-key"
MAX_KEY = 255


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes out. body: JSON text, None for an answer without one; replayed: given before."""

    status: int
    body: str | None
    replayed: bool = False


class Answers(Protocol):
    """Where answers are remembered; ports.Records is one."""

    def remembered(self, key: str, digest: bytes) -> bytes | None: ...
    def remember(self, key: str, digest: bytes, answer: bytes) -> None: ...


def key_of(request: Request, caller: Caller) -> str | None:
    """The request's key in the namespace of its caller and call. Raises: InvalidInput for a malformed one."""
    sent = request.headers.get(HEADER)
    if sent is None:
        return None
    if not 1 <= len(sent) <= MAX_KEY or not (sent.isascii() and sent.isprintable()):
        raise InvalidInput(f"{HEADER}: 1 to {MAX_KEY} printable ASCII characters are allowed")
    return json.dumps([caller.principal.id, request.method, request.url.path, sent])


class Turns:
    """One request at a time for each key; used from one event loop."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Hold the key's turn."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = lock, users - 1


async def once(
    pool: Pool, answers: Answers, turns: Turns, key: str | None, digest: bytes, work: Callable[[], Answer]
) -> Answer:
    """The answer of `work`, or the one given before for this key. Raises: IdempotencyMismatch, and as `work`."""
    if key is None:
        return await pool.run(work)
    async with turns.of(key):
        return await pool.run(_first_or_again, answers, key, digest, work)


def _first_or_again(answers: Answers, key: str, digest: bytes, work: Callable[[], Answer]) -> Answer:
    before = answers.remembered(key, digest)
    if before is not None:
        status, body = json.loads(before)
        return Answer(status, body, replayed=True)
    answer = work()
    try:
        answers.remember(key, digest, json.dumps([answer.status, answer.body]).encode())
    except LookalikeError as error:
        # The work is done and durable: to fail now would invite a retry that finds it done.
        log_failure("answer not remembered", error, "")
    return answer
