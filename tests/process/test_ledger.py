"""Killed and stopped under load, again and again: a ledger kept outside finds nothing amiss."""

from random import Random

import pytest

from tests.process.conftest import MakeBroker
from tests.process.ledger import Ledger, check_at_the_end, live_under_load
from tests.process.process import until

LIVES = 3
EVENTS_PER_LIFE = 80
QUEUE_MAX_SIZE = 8


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_nothing_is_lost_doubled_or_made_up(make_broker: MakeBroker, how: str) -> None:
    random, ledger = Random(7), Ledger()
    broker = make_broker(
        QUEUE_MAX_SIZE=QUEUE_MAX_SIZE, VISIBILITY_TIMEOUT_MS=3000, MAX_RETRIES=1000
    )

    async def end() -> None:
        enough = len(ledger.accepted) + EVENTS_PER_LIFE + random.randrange(EVENTS_PER_LIFE)

        async def is_enough() -> bool:
            return len(ledger.accepted) >= enough

        await until(is_enough, "events to be accepted")
        if how == "kill":
            await broker.kill()
        else:
            assert await broker.stop() == 0

    for life in range(LIVES):
        await live_under_load(broker, ledger, random, f"{life}", end)
    await check_at_the_end(broker, ledger)
    assert ledger.refused, "the load never filled the queue"
    assert max(ledger.seen.values()) > 1, "nothing was ever delivered again"
