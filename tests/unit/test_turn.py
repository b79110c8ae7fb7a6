# SPDX-License-Identifier: GPL-2.0-or-later
"""Calls into the kernel in their order; what is done leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

from saru.dataplane.turn import Turn

PATIENCE = 20.0


class Answer:
    """What a call returns."""


def test_a_call_that_is_done_is_forgotten() -> None:
    async def work() -> bool:
        turn = Turn()
        answer = weakref.ref(await turn.take(Answer, waits=True))
        end = time.monotonic() + PATIENCE
        while answer() is not None and time.monotonic() < end:
            gc.collect()  # the thread may still be about to let go of it
            await asyncio.sleep(0)
        forgotten = answer() is None
        await turn.close()
        return forgotten

    assert asyncio.run(work())


def test_what_is_asked_for_later_comes_later() -> None:
    made: list[str] = []
    gate = threading.Event()

    def slow() -> None:
        gate.wait(PATIENCE)
        made.append("slow")

    async def work() -> None:
        turn = Turn()
        calls = [
            asyncio.ensure_future(turn.take(slow, waits=True)),
            asyncio.ensure_future(turn.take(lambda: made.append("quick"))),
        ]
        await asyncio.sleep(0)
        assert not turn.idle()
        gate.set()
        await asyncio.gather(*calls)
        await turn.take(lambda: made.append("at once"))
        await turn.close()

    asyncio.run(work())
    assert made == ["slow", "quick", "at once"]
