"""When events are due whose newest delivery is of an earlier process, whatever the clocks did."""

import pytest

from actors.put_off import DELAY_MAX_MS, PutOff, restored_due, was_put_off
from actors.waiting import Waiting
from persistence.entry import Row
from tests.actors.samples import NOW

BOOT = 7


def row(due: int, *, retries: int = 1, receipt_open: int = 0, boot: int = 1) -> Row:
    return Row(
        0, 0, NOW, due, 2, 0, retries=retries, boot=boot, delivery=2, receipt_open=receipt_open
    )


@pytest.mark.parametrize(
    ("one", "put_off"),
    [
        (row(NOW, retries=1), True),
        (row(NOW + 5, retries=1, receipt_open=1), False),  # it timed out
        (row(NOW + 5, retries=0, receipt_open=1), False),  # it was released
        (row(NOW + 5, retries=0), False),  # it was reprocessed
        (Row(0, 0, NOW, NOW, 2, 0), False),
        (Row(0, 0, NOW, NOW + 1, 2, 0), True),
    ],
)
def test_rejection_and_publication_for_later_put_off_and_nothing_else(
    one: Row, put_off: bool
) -> None:
    assert was_put_off(one) is put_off


def test_a_restored_event_waits_no_longer_than_it_ever_could() -> None:
    assert restored_due(row(NOW - 5), NOW) == NOW - 5
    assert restored_due(row(NOW + 5), NOW) == NOW + 5
    assert restored_due(row(NOW + 5, receipt_open=1), NOW) == NOW
    assert restored_due(row(NOW + 2 * DELAY_MAX_MS), NOW) == NOW + DELAY_MAX_MS


def test_what_waited_at_the_start_is_due_as_it_was_restored() -> None:
    put_off = PutOff(BOOT, NOW)
    assert put_off.due_of(1, row(NOW + 5)) == NOW + 5
    assert put_off.due_of(1, row(NOW)) is None
    assert put_off.due_of(1, row(NOW + 5, receipt_open=1)) is None
    assert put_off.due_of(1, row(NOW + 2 * DELAY_MAX_MS)) == NOW + DELAY_MAX_MS


def test_what_came_back_since_is_due_as_it_came_back() -> None:
    put_off = PutOff(BOOT, NOW)
    put_off.came_back(Waiting(1, NOW + 5, ""), row(NOW + 3600), ready=False)
    put_off.came_back(Waiting(2, NOW, ""), row(NOW + 3600), ready=True)
    assert put_off.due_of(1, row(NOW + 3600)) == NOW + 5
    assert put_off.due_of(2, row(NOW + 3600)) is None


def test_only_what_an_old_receipt_can_meet_is_remembered_and_only_while_it_waits() -> None:
    put_off = PutOff(BOOT, NOW)
    put_off.came_back(Waiting(1, NOW + 5, ""), row(NOW + 5, boot=BOOT), ready=False)
    put_off.came_back(Waiting(2, NOW, ""), row(NOW, receipt_open=1), ready=True)
    put_off.came_back(Waiting(3, NOW, ""), row(NOW, retries=0), ready=True)
    assert len(put_off) == 0
    put_off.came_back(Waiting(4, NOW + 5, ""), row(NOW + 5), ready=False)
    assert len(put_off) == 1
    put_off.left([4, 5])
    assert len(put_off) == 0
