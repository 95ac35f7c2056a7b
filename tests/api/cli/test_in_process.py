from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.in_process import InProcessTransport
from lookalike.errors import StorageUnavailable


def test_calls_from_several_threads_are_answered_side_by_side() -> None:
    inside = 0

    async def meet(request: Request) -> Response:
        nonlocal inside
        inside += 1
        while inside < 4:  # nobody is answered before all four are being served
            await asyncio.sleep(0.001)
        return JSONResponse({"you": request.query_params["n"]})

    transport = InProcessTransport(Starlette(routes=[Route("/", meet)]))
    with httpx.Client(transport=transport, base_url="http://app") as client, ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: client.get("/", params={"n": n}).json()["you"], "abcd"))

    assert answers == ["a", "b", "c", "d"]


def test_the_application_is_started_before_the_first_call_and_shut_down_at_the_end() -> None:
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        seen.append("up")
        yield
        seen.append("down")

    async def hello(request: Request) -> Response:
        seen.append("call")
        return Response("hello")

    transport = InProcessTransport(Starlette(routes=[Route("/", hello)], lifespan=lifespan))
    with httpx.Client(transport=transport, base_url="http://app") as client:
        client.get("/")

    assert seen == ["up", "call", "down"]


def test_an_application_that_knows_no_lifespan_is_served_too() -> None:
    async def app(scope, receive, send) -> None:
        if scope["type"] != "http":
            raise ValueError("only http here")
        await Response("plain")(scope, receive, send)

    with httpx.Client(transport=InProcessTransport(app), base_url="http://app") as client:
        assert client.get("/").text == "plain"


def test_a_body_arrives_whole_and_an_error_inside_is_an_answer_of_500() -> None:
    async def size(request: Request) -> Response:
        return JSONResponse({"bytes": len(await request.body())})

    async def fail(request: Request) -> Response:
        raise RuntimeError("broken")

    app = Starlette(routes=[Route("/size", size, methods=["POST"]), Route("/fail", fail)])
    with httpx.Client(transport=InProcessTransport(app), base_url="http://app") as client:
        assert client.post("/size", files={"image": b"x" * 3_000_000}).json()["bytes"] > 3_000_000
        assert client.get("/fail").status_code == 500


def test_an_application_that_cannot_start_is_not_served() -> None:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        raise RuntimeError("no")
        yield

    with pytest.raises(StorageUnavailable):
        InProcessTransport(Starlette(lifespan=lifespan))
