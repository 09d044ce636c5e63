"""Acknowledgements on their way: all who wait for the end of one delivery share its result."""

from typing import TypeAlias

import pytest

from actors.broker import Acknowledgement, OutcomeUnknown, Trouble
from actors.credits import Credits
from actors.reply import Reply
from actors.settlement import NOT_HELD, AcknowledgeRequest, Settlements, may_settle
from persistence.entry import Row, Stamp

Answer: TypeAlias = Reply[tuple[Acknowledgement, ...] | Trouble]

FIRST, SECOND = (1, Stamp(1, 1)), (2, Stamp(1, 1))


def request(*receipts: str) -> tuple[AcknowledgeRequest, Answer]:
    reply = Answer()
    return AcknowledgeRequest(receipts, reply), reply


async def test_a_request_is_answered_in_its_own_order_when_all_is_decided() -> None:
    asked, reply = request("a", "b", "c")
    asked.decide("c", None)
    asked.decide("a", NOT_HELD)
    assert not reply.is_set
    asked.decide("b", None)
    assert reply.get() == (
        Acknowledgement("a", NOT_HELD),
        Acknowledgement("b"),
        Acknowledgement("c"),
    )


async def test_a_receipt_named_twice_in_one_request_is_decided_once_and_told_twice() -> None:
    asked, reply = request("a", "b", "a")
    asked.decide("a", None)
    asked.decide("b", None)
    assert reply.get() == (Acknowledgement("a"), Acknowledgement("b"), Acknowledgement("a"))


async def test_only_the_first_request_begins_a_settlement_and_both_share_its_end() -> None:
    settlements = Settlements()
    mine, my_reply = request("a")
    theirs, their_reply = request("a")
    settlement = settlements.join(FIRST, mine, "a")
    assert settlement is not None
    assert settlements.join(FIRST, theirs, "a") is None
    assert len(settlements) == 1
    settlements.end(settlement, None)
    assert my_reply.get() == their_reply.get() == (Acknowledgement("a"),)
    assert len(settlements) == 0


async def test_after_its_end_a_settlement_is_begun_anew() -> None:
    settlements = Settlements()
    settlement = settlements.join(FIRST, request("a")[0], "a")
    assert settlement is not None
    settlements.end(settlement, None)
    assert settlements.join(FIRST, request("a")[0], "a") is not None


async def test_two_deliveries_of_one_event_are_two_settlements() -> None:
    settlements = Settlements()
    assert settlements.join((1, Stamp(1, 1)), request("a")[0], "a") is not None
    assert settlements.join((1, Stamp(1, 2)), request("b")[0], "b") is not None
    assert settlements.join((1, Stamp(2, 1)), request("c")[0], "c") is not None


async def test_a_failure_answers_the_whole_request_once_and_gives_its_credit_back() -> None:
    settlements = Settlements()
    credit = Credits(1)
    credit.take()
    reply = Answer(credit)
    both = AcknowledgeRequest(("a", "b"), reply)
    first = settlements.join(FIRST, both, "a")
    second = settlements.join(SECOND, both, "b")
    assert first is not None
    assert second is not None
    settlements.fail(first, "the disk broke")
    assert reply.get() == OutcomeUnknown("the disk broke")
    settlements.end(second, None)
    assert reply.get() == OutcomeUnknown("the disk broke")
    assert credit.free == 1


async def test_failing_all_tells_everybody() -> None:
    settlements = Settlements()
    replies = []
    for claim, receipt in ((FIRST, "a"), (SECOND, "b"), (SECOND, "b")):
        asked, reply = request(receipt)
        settlements.join(claim, asked, receipt)
        replies.append(reply)
    settlements.fail_all("over")
    assert [reply.get() for reply in replies] == [OutcomeUnknown("over")] * 3
    assert len(settlements) == 0


@pytest.mark.parametrize(
    ("stamp", "receipt_open", "claimed", "holds"),
    [
        (Stamp(1, 2), 1, Stamp(1, 2), True),
        (Stamp(1, 2), 0, Stamp(1, 2), False),
        (Stamp(1, 2), 1, Stamp(1, 1), False),
        (Stamp(1, 2), 0, Stamp(1, 1), False),
        # The lease was lost in a power cut, its receipt was not.
        (Stamp(1, 2), 0, Stamp(1, 3), True),
        (Stamp(0, 0), 0, Stamp(1, 1), True),
        (Stamp(2, 2), 1, Stamp(1, 3), False),
        # No earlier process can have given it.
        (Stamp(1, 2), 1, Stamp(7, 1), False),
        (Stamp(7, 2), 1, Stamp(7, 2), True),
    ],
)
def test_a_receipt_holds_while_it_is_open_and_no_later_delivery_exists(
    stamp: Stamp, receipt_open: int, claimed: Stamp, holds: bool
) -> None:
    row = Row(0, 0, 0, 0, 0, 0, boot=stamp.boot, delivery=stamp.delivery, receipt_open=receipt_open)
    assert may_settle(claimed, row, 7) is holds
