"""The pool does so much at once, queues so much, and sheds the rest."""

from __future__ import annotations

import asyncio
import threading

import pytest

from api.pool import Pool
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
