"""An httpx transport that answers from an ASGI application in this process, without a socket.

With it the command speaks the same HTTP API to the data folder as it does to a service: there is one code path.
The application runs in an event loop of its own on a background thread; its start-up and shut-down are run too.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import httpx
from starlette.types import ASGIApp

from lookalike.errors import StorageUnavailable


class InProcessTransport(httpx.BaseTransport):
    """Thread-safe: calls from several threads run side by side in the application's loop."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._inner = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=("127.0.0.1", 0))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="in-process-api", daemon=True)
        self._thread.start()
        try:
            self._lifespan = asyncio.run_coroutine_threadsafe(_Lifespan.start(app), self._loop).result()
        except BaseException:
            self._end()
            raise

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request; its body is read as it is asked for, and the answer's is held in memory."""
        copy = httpx.Request(request.method, request.url, headers=request.headers, content=_body(request))
        status, headers, content = asyncio.run_coroutine_threadsafe(self._answer(copy), self._loop).result()
        return httpx.Response(status, headers=headers, content=content, request=request)

    async def _answer(self, request: httpx.Request) -> tuple[int, httpx.Headers, bytes]:
        response = await self._inner.handle_async_request(request)
        return response.status_code, response.headers, await response.aread()

    def close(self) -> None:
        """Shut the application down and stop its loop."""
        asyncio.run_coroutine_threadsafe(self._lifespan.stop(), self._loop).result()
        self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _body(request: httpx.Request) -> AsyncIterator[bytes]:
    """What is sent, piece by piece. A piece comes from memory or a file: the loop waits for it no longer than that."""
    if not isinstance(request.stream, httpx.SyncByteStream):
        raise TypeError("this transport sends what a synchronous client gives it")
    for piece in request.stream:
        yield piece


class _Lifespan:
    """The application's start-up and shut-down, as the ASGI lifespan protocol has them.

    An application that raises where a lifespan begins wants nothing to do with it, says the protocol.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._inbox: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self._answered = asyncio.Event()
        self._answer: str | None = None
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self._task = asyncio.ensure_future(app(scope, self._inbox.get, self._send))

    @classmethod
    async def start(cls, app: ASGIApp) -> _Lifespan:
        """Raises: StorageUnavailable if the application says that it cannot start."""
        lifespan = cls(app)
        if await lifespan._tell("lifespan.startup") == "lifespan.startup.failed":
            await asyncio.gather(lifespan._task, return_exceptions=True)
            raise StorageUnavailable("the application could not start")
        return lifespan

    async def stop(self) -> None:
        await self._tell("lifespan.shutdown")
        await asyncio.gather(self._task, return_exceptions=True)

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        self._answer = message["type"]
        self._answered.set()

    async def _tell(self, message: str) -> str | None:
        """The application's answer, or its last one if it ended without another."""
        self._answered.clear()
        await self._inbox.put({"type": message})
        answered = asyncio.ensure_future(self._answered.wait())
        await asyncio.wait({answered, self._task}, return_when=asyncio.FIRST_COMPLETED)
        answered.cancel()
        return self._answer
