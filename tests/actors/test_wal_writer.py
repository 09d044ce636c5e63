"""The WAL writer with a real log on a disk in memory, in virtual time."""

import errno

import pytest
import trio

from actors.wal_writer import FAILURE_LINGER_S, MARK_AFTER_S, LogFailed
from persistence.errors import LogDamaged
from persistence.facts import Discarded, Enqueued, Leased, Settled
from persistence.log import EventLog
from tests.actors.samples import NOW, idle
from tests.actors.wal_house import (
    INTERVAL,
    NEVER,
    Steps,
    cut_off,
    leased,
    open_house,
    recovered,
)

# Commits


async def test_facts_count_as_soon_as_they_are_submitted() -> None:
    async with open_house() as house:
        work = house.work()
        house.publish(1)
        assert house.wal.register.get(1) is not None
        house.submit(leased(1), Settled(1))
        assert house.wal.register.get(1) is None
        assert house.work() == work
        assert len(await house.all_answers()) == 2


async def test_many_appends_of_one_wake_up_are_one_write_and_one_sync() -> None:
    async with open_house() as house:
        writes, syncs = house.work()
        for number in range(1, 101):
            house.publish(number)
        answers = await house.all_answers()
        assert house.work() == (writes + 1, syncs + 1)
        assert len(answers) == 100
        assert all(answer.failure is None and answer.synced for answer in answers)
    assert recovered(house.disk.another()) == list(range(1, 101))


async def test_appends_that_come_during_a_sync_share_the_next_one() -> None:
    steps = Steps()
    async with open_house(blocking=steps) as house:
        writes, syncs = house.work()
        steps.hold()
        house.publish(1)
        await idle()
        await steps.step()
        assert house.answers.waiting == 1
        for number in range(2, 10):
            house.publish(number)
        await idle()
        assert house.work() == (writes + 1, syncs + 1)
        assert house.answers.waiting == 1
        await steps.let_go()
        assert house.work() == (writes + 2, syncs + 2)
        assert house.answers.waiting == 9


async def test_answers_come_in_the_order_of_the_appends() -> None:
    async with open_house() as house:
        house.publish(*range(1, 21), payload=b'{"x":1}')
        await house.answer()
        for number in range(1, 21):
            house.submit(*([leased(number)] if number % 3 else []), look=[number])
        facts = [answer.facts[0] for answer in await house.all_answers()]
        assert [fact.number for fact in facts] == list(range(1, 21))
        assert [type(fact) for fact in facts[:3]] == [Leased, Leased, Enqueued]


async def test_only_what_asks_for_a_sync_is_synced() -> None:
    async with open_house() as house:
        house.publish(1)
        assert (await house.answer()).synced
        writes, syncs = house.work()
        house.lease(1)
        assert not (await house.answer()).synced
        assert house.work() == (writes + 1, syncs)
        # The next one that asks takes along what was written before.
        house.publish(2)
        assert (await house.answer()).synced
        assert house.work() == (writes + 2, syncs + 1)
        assert house.log.synced == house.log.end


async def test_who_did_not_ask_is_told_of_the_sync_that_another_asked_for() -> None:
    async with open_house() as house:
        house.publish(1, sync=False)
        house.publish(2)
        assert [answer.synced for answer in await house.all_answers()] == [True, True]


async def test_an_answer_comes_only_after_the_sync() -> None:
    async with open_house() as house:
        house.publish(1)
        await house.answer()
        after_power_cut = cut_off(house.disk)
        assert recovered(after_power_cut) == [1]


async def test_an_append_without_facts_writes_nothing() -> None:
    async with open_house() as house:
        before = house.work()
        house.submit(sync=True)
        assert (await house.answer()).failure is None
        assert house.work() == before


async def test_nobody_has_to_want_an_answer() -> None:
    async with open_house() as house:
        house.wal.append([Enqueued(1, NOW, NOW, "t", b"{}")], sync=True)
        await idle()
        house.answers.close()
        house.publish(2)
        await idle()
        assert house.wal.failure is None
    assert recovered(house.disk.another()) == [1, 2]


# Reading back


async def test_payloads_are_read_back_each_for_who_asked() -> None:
    async with open_house() as house:
        for number in range(1, 6):
            house.publish(number, payload=b'{"n":%d}' % number)
        await house.all_answers()
        house.submit(load=[4, 1])
        house.publish(6)
        house.submit()
        house.submit(load=[5])
        payloads = [answer.payloads for answer in await house.all_answers()]
        assert payloads == [[b'{"n":4}', b'{"n":1}'], [], [], [b'{"n":5}']]


async def test_facts_payloads_and_newest_facts_travel_together() -> None:
    async with open_house() as house:
        house.publish(1, payload=b'{"cold":1}')
        house.submit(leased(1, 7), load=[1], look=[1])
        _, answer = await house.all_answers()
        assert answer.payloads == [b'{"cold":1}']
        (fact,) = answer.facts
        assert isinstance(fact, Leased)
        assert fact.stamp.delivery == 7


async def test_the_newest_fact_is_that_of_the_submission() -> None:
    async with open_house() as house:
        house.publish(1)
        house.lease(1)
        house.submit(look=[1])
        house.submit(Settled(1))
        answers = await house.all_answers()
        assert isinstance(answers[2].facts[0], Leased)


async def test_what_is_gone_is_said_to_be_gone() -> None:
    async with open_house() as house:
        house.publish(1)
        house.submit(leased(1), Settled(1))
        house.submit(look=[1], load=[1])
        answer = (await house.all_answers())[-1]
        assert isinstance(answer.facts[0], Discarded)
        assert answer.payloads == [b""]


async def test_an_empty_payload_is_read_back_as_such() -> None:
    async with open_house() as house:
        house.publish(1, payload=b"")
        house.submit(load=[1], look=[1])
        answer = (await house.all_answers())[-1]
        assert answer.payloads == [b""]
        assert isinstance(answer.facts[0], Enqueued)


# The mark


async def test_after_a_while_the_newest_batch_is_vouched_for() -> None:
    # The writer of a killed process cannot sync its mark.
    with pytest.raises(LogFailed):
        async with open_house() as house:
            house.publish(1)
            await house.answer()
            await trio.sleep(MARK_AFTER_S + 0.01)
            work = house.work()
            await trio.sleep(1000)
            assert house.work() == work
            house.disk.kill()
    left = house.disk.another()
    file = left.open("events.log")
    payload_at = file.read(0, file.size()).index(b"{}")
    file.write(payload_at + 1, b"]")
    with pytest.raises(LogDamaged):
        EventLog.open(left, now=NOW)


async def test_a_mark_waits_until_nothing_comes() -> None:
    async with open_house() as house:
        writes, syncs = house.work()
        for number in range(1, 11):
            house.publish(number)
            await trio.sleep(MARK_AFTER_S - 0.01)
        assert house.work() == (writes + 10, syncs + 10)
        await trio.sleep(MARK_AFTER_S)
        assert house.work() == (writes + 11, syncs + 10)


# Policies


async def test_in_interval_mode_answers_come_first_and_the_sync_within_the_interval() -> None:
    async with open_house(INTERVAL) as house:
        _, syncs = house.work()
        await trio.sleep(10)
        house.publish(1, sync=False)
        assert not (await house.answer()).synced
        await trio.sleep(0.4)
        house.publish(2, sync=False)
        await house.answer()
        await trio.sleep(0.099)
        assert house.work()[1] == syncs
        await trio.sleep(0.001)
        await idle()
        assert house.work()[1] == syncs + 1
        assert house.log.synced == house.log.end


async def test_in_interval_mode_nothing_is_synced_or_written_while_nothing_comes() -> None:
    async with open_house(INTERVAL) as house:
        house.publish(1, sync=False)
        await trio.sleep(1)
        work = house.work()
        await trio.sleep(60)
        assert house.work() == work
        house.publish(3, sync=False)
        await trio.sleep(0.5)
        await idle()
        assert house.work()[1] == work[1] + 1


async def test_in_interval_mode_steady_writes_do_not_put_the_sync_off() -> None:
    async with open_house(INTERVAL) as house:
        _, syncs = house.work()
        for number in range(1, 101):
            house.publish(number, sync=False)
            await trio.sleep(0.1)
        # Each interval begins with the first write after the sync before.
        assert house.work()[1] - syncs in range(16, 21)


async def test_in_interval_mode_who_asks_for_a_sync_gets_it_before_the_answer() -> None:
    async with open_house(INTERVAL) as house:
        _, syncs = house.work()
        house.publish(1)
        assert (await house.answer()).synced
        assert house.work()[1] == syncs + 1
        await trio.sleep(60)
        assert house.work()[1] == syncs + 1


async def test_in_interval_mode_reading_needs_no_sync() -> None:
    async with open_house(INTERVAL) as house:
        house.publish(1, sync=False)
        await trio.sleep(1)
        _, syncs = house.work()
        house.submit(load=[1])
        await trio.sleep(10)
        assert house.work()[1] == syncs


async def test_a_failed_sync_in_interval_mode_fails_the_log() -> None:
    with pytest.raises(LogFailed, match="syncing"):
        async with open_house(INTERVAL) as house:
            house.disk.faults.fail_sync()
            house.publish(1, sync=False)
            assert (await house.answer()).failure is None
            await trio.sleep(0.6)
            assert house.wal.failure is not None
            house.publish(2)
            assert (await house.answer()).failure == house.wal.failure
            await trio.sleep_forever()


async def test_without_fsync_only_the_end_syncs() -> None:
    async with open_house(NEVER) as house:
        _, syncs = house.work()
        for number in range(1, 20):
            house.publish(number, sync=False)
            await trio.sleep(100)
        assert house.work()[1] == syncs
    assert house.work()[1] > syncs
    assert recovered(cut_off(house.disk)) == list(range(1, 20))


# Failure


@pytest.mark.parametrize("fault", ["write", "sync"])
async def test_a_failing_disk_is_told_to_everybody_and_then_ends_the_process(fault: str) -> None:
    with pytest.raises(LogFailed) as caught:
        async with open_house() as house:
            house.publish(1)
            await house.answer()
            if fault == "write":
                house.disk.faults.fail_write(error=errno.EIO)
            else:
                house.disk.faults.fail_sync(error=errno.EIO)
            writes, syncs = house.work()
            house.publish(2)
            house.publish(3)
            house.submit(load=[1])
            failed = [answer.failure for answer in await house.all_answers()]
            assert house.wal.failed.is_set()
            assert house.wal.failure is not None
            assert failed == [house.wal.failure] * 3
            # Nothing is tried twice.
            assert house.work() == (writes + 1, syncs + (fault == "sync"))
            broken_at, work = trio.current_time(), house.work()

            # For a moment it goes on telling so, and touches the disk no more.
            await trio.sleep(FAILURE_LINGER_S / 2)
            house.publish(4)
            assert (await house.answer()).failure == house.wal.failure
            assert house.work() == work
            await trio.sleep_forever()
    # Who reads the logs is told the file and the reason; who asked over the network is not.
    assert "events.log" in str(caught.value)
    assert "events.log" not in str(house.wal.failure)
    assert trio.current_time() == pytest.approx(broken_at + FAILURE_LINGER_S)
    assert house.work() == work
    house.publish(5)
    assert recovered(house.disk.kill())[:1] == [1]


async def test_after_a_failed_sync_leaving_still_raises_and_syncs_nothing() -> None:
    with pytest.raises(LogFailed):
        async with open_house() as house:
            house.disk.faults.fail_sync()
            house.publish(1)
            await house.answer()
            work = house.work()
    assert house.work() == work


async def test_a_read_that_fails_is_a_failed_log() -> None:
    with pytest.raises(LogFailed, match="shorter"):
        async with open_house() as house:
            house.publish(1, payload=b"x" * 100)
            await house.answer()
            row = house.wal.register.get(1)
            assert row is not None
            house.disk.open("events.log").truncate(row.payload_at + 50)
            house.submit(load=[1])
            assert (await house.answer()).failure is not None
            await trio.sleep_forever()


# The end


async def test_leaving_writes_what_was_submitted_syncs_and_closes() -> None:
    async with open_house() as house:
        for number in range(1, 1501):  # more than one wake-up takes
            house.publish(number, sync=False)
    answers = await house.all_answers()
    assert len(answers) == 1500
    assert all(answer.failure is None for answer in answers)
    assert recovered(cut_off(house.disk)) == list(range(1, 1501))
    # Nobody reads any more.
    house.publish(2000)
    assert house.wal.mailbox_view().waiting == 0


async def test_a_cancelled_writer_finishes_the_write_it_is_in_and_refuses_the_rest() -> None:
    with trio.CancelScope() as scope:
        async with open_house() as house:
            house.publish(1)
            await house.answer()
            scope.cancel()
            house.publish(2)
    answer = house.answers.take()
    assert answer is not None
    assert answer.failure == "the log is closed"
