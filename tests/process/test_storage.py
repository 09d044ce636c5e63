"""Segments come and go under load, and the process is killed on the way: a ledger stays right."""

import json
import re
import signal
import subprocess
from random import Random

import trio

from tests.process.bad_disks import injected, needs_root
from tests.process.conftest import MakeBroker
from tests.process.ledger import Ledger, Load, check_at_the_end, live_under_load
from tests.process.process import COMMAND, BrokerProcess, until

LOAD = Load(payload_max=20_000, given_back=("nack?delayMs=1000", "nack?delayMs=2000"))
"""Mostly short lives, and a few long ones in between, which have to be copied."""

SMALL = {
    "SEGMENT_MAX_BYTES": 65_536,
    "COMPACTION_RATIO": 0.1,
    "RESERVED_BYTES": 1_048_576,
    "QUEUE_MAX_SIZE": 200,
    "VISIBILITY_TIMEOUT_MS": 3000,
    "MAX_RETRIES": 1000,
}


def segments(broker: BrokerProcess) -> list[int]:
    """Return the numbers of the sealed segments that are there."""
    names = [path.name for path in (broker.directory / "data").glob("*.log")]
    return [int(found[1]) for name in names if (found := re.fullmatch(r"events-(\d+)\.log", name))]


def count_copies(broker: BrokerProcess) -> int:
    """Count facts that were copied forward, among those that are still there."""
    command = [COMMAND, "log", "dump", "--data-dir", "data"]
    said = subprocess.run(command, cwd=broker.directory, check=True, capture_output=True, text=True)
    return sum(1 for line in said.stdout.splitlines() if json.loads(line).get("copied"))


async def test_killed_at_any_moment_while_segments_come_and_go_nothing_is_lost_or_doubled(
    make_broker: MakeBroker,
) -> None:
    random, ledger = Random(11), Ledger()
    broker = make_broker(**SMALL)
    newest = 0

    async def kill() -> None:
        async def has_rolled() -> bool:
            return max(segments(broker), default=0) >= newest + 8

        await until(has_rolled, "segments to come")
        await trio.sleep(random.random())
        await broker.kill()

    for life in range(2):
        newest = max(segments(broker), default=0)
        await live_under_load(broker, ledger, random, f"{life}", kill, LOAD)
    assert len(segments(broker)) < max(segments(broker))
    assert count_copies(broker) > 0
    await check_at_the_end(broker, ledger)


@needs_root
async def test_killed_by_a_call_of_a_roll_or_a_deletion_nothing_is_lost_or_doubled(
    make_broker: MakeBroker,
) -> None:
    random, ledger = Random(5), Ledger()
    broker = make_broker(**SMALL)
    calls = ""

    async def be_killed() -> None:
        fault = f"signal=KILL:when={random.randint(3, 12)}"
        async with injected(broker, calls, fault):
            assert await broker.wait() == -signal.SIGKILL

    for calls in ("/^rename", "/^unlink", "/^fsync"):
        await live_under_load(broker, ledger, random, calls, be_killed, LOAD)
    assert segments(broker)
    await check_at_the_end(broker, ledger)
