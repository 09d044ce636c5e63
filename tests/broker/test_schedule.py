"""The order in which tasks run is the seed's choice alone: a failure can be had again."""

import trio

from tests.broker.virtual_time import in_virtual_time


def order_of_tasks(seed: int) -> list[int]:
    async def run() -> list[int]:
        order: list[int] = []

        async def work(number: int) -> None:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                order.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(work, number)
        return order

    return in_virtual_time(run, seed=seed)


def test_a_seed_gives_the_same_order_again() -> None:
    assert order_of_tasks(7) == order_of_tasks(7)


def test_seeds_give_different_orders() -> None:
    assert len({tuple(order_of_tasks(seed)) for seed in range(10)}) > 5
