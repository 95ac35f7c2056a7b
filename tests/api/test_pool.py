"""The pool does so much at once, queues so much, and sheds the rest."""

from __future__ import annotations

import asyncio
import threading

import pytest

from api.pool import CALM_S, Pool
from lookalike.errors import Overloaded


def test_work_beyond_the_queue_is_shed_at_once_and_the_rest_is_done():
    async def scenario() -> None:
        pool, go_on = Pool(2, 1), threading.Event()
        waiting = [asyncio.create_task(pool.run(go_on.wait, 10)) for _ in range(3)]
        await asyncio.sleep(0)
        assert pool.full and (pool.running, pool.queue_depth) == (2, 1)
        with pytest.raises(Overloaded):
            await pool.run(go_on.wait, 10)
        assert await pool.look_up(lambda: "quick") == "quick"
        go_on.set()
        assert await asyncio.gather(*waiting) == [True, True, True]
        await asyncio.sleep(0)
        assert not pool.full and (pool.running, pool.queue_depth) == (0, 0)
        pool.close()

    asyncio.run(scenario())


def test_once_the_queue_has_overflowed_no_more_wait_than_work_until_nothing_was_shed_for_a_while():
    now = [100.0]

    async def scenario() -> None:
        pool, go_on = Pool(2, 6, lambda: now[0]), threading.Event()

        async def fill() -> list[asyncio.Task[bool]]:
            """As many as are taken."""
            taken = []
            while not pool.sheds():
                taken.append(asyncio.create_task(pool.run(go_on.wait, 10)))
                await asyncio.sleep(0)
            return taken

        async def finish(taken: list[asyncio.Task[bool]]) -> None:
            go_on.set()
            await asyncio.gather(*taken)
            await asyncio.sleep(0)
            go_on.clear()

        first = await fill()
        assert len(first) == 8
        await finish(first)
        second = await fill()
        assert len(second) == 4
        now[0] += CALM_S - 0.1
        assert pool.sheds()
        now[0] += CALM_S - 0.1  # since the last one that was shed
        assert pool.full
        now[0] += 0.2
        assert not pool.full
        third = await fill()
        assert len(second) + len(third) == 8
        await finish([*second, *third])
        pool.close()

    asyncio.run(scenario())


def test_work_whose_caller_left_before_it_began_is_never_done():
    async def scenario() -> None:
        pool, go_on, done = Pool(1, 5), threading.Event(), []
        first = asyncio.create_task(pool.run(go_on.wait, 10))
        second = asyncio.create_task(pool.run(done.append, 1))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        go_on.set()
        await first
        assert await pool.run(lambda: "next") == "next"
        assert done == [] and pool.queue_depth == 0
        pool.close()

    asyncio.run(scenario())


def test_errors_come_through_and_free_their_place():
    async def scenario() -> None:
        pool = Pool(1, 0)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                await pool.run(lambda: 1 // 0)
            await asyncio.sleep(0)
        pool.close()

    asyncio.run(scenario())
