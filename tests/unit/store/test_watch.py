"""Waiters see the newest value, and never wait for one that is there."""

import asyncio

from warren.store.watch import Watch


async def test_a_value_set_before_the_wait_is_not_missed() -> None:
    watch = Watch(0)
    count = watch.count

    watch.set(1)

    assert await watch.wait_newer(count) == 1
    assert watch.value == 1


async def test_a_slow_waiter_sees_only_the_newest() -> None:
    watch = Watch(0)
    waiter = asyncio.create_task(watch.wait_newer(watch.count))
    await asyncio.sleep(0)

    for value in (1, 2, 3):
        watch.set(value)

    assert await waiter == 3
    assert watch.value == 3


async def test_everyone_who_waits_is_woken() -> None:
    watch = Watch("")
    waiters = [asyncio.create_task(watch.wait_newer(0)) for _ in range(3)]
    await asyncio.sleep(0)

    watch.set("news")

    assert await asyncio.gather(*waiters) == [1, 1, 1]
