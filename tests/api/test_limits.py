"""Bodies that are too large or too slow, answers that take too long, and shedding."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pytest
from starlette.requests import Request
from starlette.responses import Response

from api.limits import BodyLimits, Limits
from tests.api import doubles

T = TypeVar("T")
LIMITS = BodyLimits(max_bytes=1000, max_held_bytes=2500, idle_timeout_s=0.2, min_bytes_per_s=1000, answer_timeout_s=0.5)


class LeapingLoop(asyncio.SelectorEventLoop):
    """Its clock stands while anything is to be done, and leaps to the next thing that is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        real = self._selector.select

        def select(timeout: float | None = None) -> Any:
            found = real(0)
            if not found and timeout:
                self._now += timeout
            return found

        self._selector.select = select

    def time(self) -> float:
        return self._now


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """To its end, by a clock that no other load on the machine moves."""
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        return runner.run(scenario)


async def swallow(scope: Any, receive: Any, send: Any) -> None:
    """An app that reads its body and tells how long it was."""
    body = await Request(scope, receive).body()
    await Response(str(len(body)))(scope, receive, send)


async def ignore(scope: Any, receive: Any, send: Any) -> None:
    """An app that answers without reading."""
    await Response("no", 401)(scope, receive, send)


@dataclass
class Sender:
    """A client that sends pieces, each after a pause, and notes what comes back and what was taken."""

    pieces: list[tuple[float, bytes]]
    ends: bool = True
    sent: list[dict[str, Any]] = field(default_factory=list)
    taken: int = 0

    async def receive(self) -> dict[str, Any]:
        if not self.pieces:
            if self.ends:
                return {"type": "http.disconnect"}
            await asyncio.sleep(3600)
        pause, piece = self.pieces.pop(0)
        await asyncio.sleep(pause)
        self.taken += len(piece)
        return {"type": "http.request", "body": piece, "more_body": bool(self.pieces) or not self.ends}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return self.sent[0]["status"]

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self.sent[1:])


def ask(
    sender: Sender,
    app: Callable[..., Awaitable[None]] = swallow,
    length: int | None = None,
    path: str = "/v1/detect",
    limits: BodyLimits = LIMITS,
    full: bool = False,
) -> Sender:
    header = (b"transfer-encoding", b"chunked") if length is None else (b"content-length", str(length).encode())
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": [header],
        "state": {"request_id": "id"},
        "query_string": b"",
    }
    run(Limits(app, limits, lambda: full)(scope, sender.receive, sender.send))  # type: ignore[arg-type]
    return sender


def code(sender: Sender) -> tuple[int, str]:
    return sender.status, json.loads(sender.body)["code"]


def test_a_body_within_the_limits_comes_through():
    answer = ask(Sender([(0, b"x" * 600), (0, b"x" * 400)]), length=1000)
    assert (answer.status, answer.body) == (200, b"1000")


def test_a_body_that_is_declared_too_large_is_refused_before_the_app_sees_it():
    reached = []

    async def app(*_: Any) -> None:
        reached.append(1)

    assert code(ask(Sender([(0, b"x" * 500)] * 3), app, length=1001)) == (413, "request_too_large")
    assert reached == []


def test_a_body_that_turns_out_too_large_is_refused_on_the_way():
    assert code(ask(Sender([(0, b"x" * 400)] * 3))) == (413, "request_too_large")


def test_a_body_that_stands_still_is_refused_and_not_waited_for():
    assert code(ask(Sender([(0, b"x" * 10)], ends=False), length=500)) == (408, "request_timeout")


def test_a_body_that_drips_is_refused_though_it_never_stands_still():
    sender = ask(Sender([(0.05, b"x")] * 200), length=200)
    assert code(sender) == (408, "request_timeout")
    assert sender.taken < 200


def test_a_slow_but_honest_body_is_read():
    # 0.75 s in all, far beyond the idle time, and faster than 1000 bytes a second.
    answer = ask(Sender([(0.05, b"x" * 65)] * 15), length=975)
    assert answer.body == b"975"


def test_an_answer_that_takes_too_long_is_given_up():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(3600)

    answer = ask(Sender([]), app, length=0)
    assert code(answer) == (503, "overloaded")
    assert (b"retry-after", b"1") in answer.sent[0]["headers"]


def test_the_time_for_an_answer_begins_when_the_body_has_come():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Request(scope, receive).body()
        await asyncio.sleep(0.3)
        await Response("done")(scope, receive, send)

    assert ask(Sender([(0.04, b"x" * 100)] * 10), app, length=1000).body == b"done"


def test_an_early_answer_lets_the_sender_finish():
    sender = ask(Sender([(0.01, b"x" * 100)] * 9), ignore, length=900)
    assert (sender.status, sender.taken) == (401, 900)
    assert sender.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert sender.body == b"no"


def test_an_early_answer_does_not_wait_for_a_sender_that_stands_still():
    sender = ask(Sender([(0, b"x")], ends=False), ignore, length=900)
    assert sender.status == 401 and sender.sent[-1]["more_body"] is False


def test_work_is_shed_before_its_body_is_read_but_health_is_not():
    limits = BodyLimits(1000, 2500, 0.2, 1000, 0.5)
    assert code(ask(Sender([(0, b"x" * 100)]), length=100, full=True, limits=limits)) == (503, "overloaded")
    assert ask(Sender([(0, b"")]), length=0, path="/healthz", full=True).status == 200


def test_bodies_in_hand_share_a_budget_of_memory():
    async def scenario() -> list[int]:
        layer = Limits(swallow, LIMITS, lambda: False)
        senders = [Sender([(0, b"x" * 900), (0.05, b"x")]) for _ in range(4)]
        await asyncio.gather(
            *(
                layer(
                    {
                        "type": "http",
                        "method": "POST",
                        "path": "/",
                        "headers": [(b"content-length", b"901")],
                        "state": {"request_id": "id"},
                    },
                    sender.receive,  # type: ignore[arg-type]
                    sender.send,  # type: ignore[arg-type]
                )
                for sender in senders
            )
        )
        later = Sender([(0, b"x" * 900), (0, b"x")])
        scope = {"type": "http", "path": "/", "headers": [(b"content-length", b"901")], "state": {"request_id": "id"}}
        await layer(scope, later.receive, later.send)  # type: ignore[arg-type]
        return [sender.status for sender in (*senders, later)]

    statuses = run(scenario())
    assert sorted(statuses[:4]) == [200, 200, 503, 503]
    assert statuses[4] == 200, "the memory was given back"


@pytest.mark.parametrize("path", ["/v1/detect", "/v1/collections"])
def test_a_full_queue_sheds_with_retry_after_while_the_others_are_served(tmp_path, connect, path):
    services = doubles.services(tmp_path, workers=1, max_queue=1)
    entered, go_on = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        entered.release()
        assert go_on.wait(10)

    services.gallery.before = hold
    client = connect(services, "admin")
    with ThreadPoolExecutor(3) as pool:
        taken = [pool.submit(client.post, "/v1/detect", files={"image": b"x"}) for _ in range(1)]
        assert entered.acquire(timeout=10)
        taken.append(pool.submit(client.post, "/v1/detect", files={"image": b"x"}))
        while "lookalike_queue_depth 1.0" not in _figures(client):
            continue
        shed = client.post(path, files={"image": b"x"})
        go_on.set()
        assert [t.result().status_code for t in taken] == [200, 200]
    assert (shed.status_code, shed.json()["code"], shed.headers["retry-after"]) == (503, "overloaded", "1")
    services.close()


def _figures(client: Any) -> str:
    return client.get("/metrics").text


def test_each_piece_of_a_long_answer_has_its_own_time():
    """The loop's clock leaps between the pieces: three times less than the limit, together more than it."""
    leapt = 0.0
    limits = replace(LIMITS, answer_timeout_s=60.0)

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        nonlocal leapt
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(3):
            leapt += 40.0
            await send({"type": "http.response.body", "body": b"piece", "more_body": True})
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def scenario() -> Sender:
        loop = asyncio.get_running_loop()
        real = loop.time
        loop.time = lambda: real() + leapt  # type: ignore[method-assign]
        sender = Sender([], ends=False)
        layer = Limits(answer, limits, full=lambda: False)
        scope = {"type": "http", "path": "/", "headers": [], "state": {"request_id": "id"}}
        await layer(scope, sender.receive, sender.send)  # type: ignore[arg-type]
        return sender

    assert asyncio.run(scenario()).body == b"piecepiecepiece"
