"""Long polls that wait for events, in the order in which they came. Pure."""

from collections import OrderedDict
from enum import Enum, auto

import attrs

from actors.broker import Consumer, Delivery, Trouble
from actors.reply import Reply


class PollState(Enum):
    """How far a poll has come."""

    WAITING = auto()
    GRANTED = auto()
    """Events were taken for it; their lease is being written."""
    OVER = auto()


@attrs.define(eq=False)
class Poll:
    """One request for events.

    Attributes:
        topic: that topic alone, or None for any.
        max_events: how many at most.
        parks: whether it waits when there is nothing, or is answered at once.
        consumer: who asks.
        reply: where the deliveries go.
        ticket: its place among all polls.
    """

    topic: str | None
    max_events: int
    parks: bool
    consumer: Consumer
    reply: Reply[tuple[Delivery, ...] | Trouble]
    state: PollState = PollState.WAITING
    ticket: int = 0

    def give_up(self) -> bool:
        """End a poll that was not granted anything; return whether it ended."""
        if self.state is PollState.WAITING:
            self.state = PollState.OVER
        return self.state is PollState.OVER


class ParkedPolls:
    """Polls that wait, by topic. Those that gave up are passed over when they come up."""

    def __init__(self) -> None:
        self._lines: dict[str | None, OrderedDict[int, Poll]] = {}
        self._tickets = 0

    def __len__(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def in_order(self) -> list[Poll]:
        """Return the waiting polls in the order in which they came."""
        polls = [poll for line in self._lines.values() for poll in line.values()]
        return sorted(polls, key=lambda poll: poll.ticket)

    def park(self, poll: Poll) -> None:
        """Let a poll wait behind all others."""
        self._tickets += 1
        poll.ticket = self._tickets
        self._lines.setdefault(poll.topic, OrderedDict())[poll.ticket] = poll

    def first(self, topic: str | None) -> Poll | None:
        """Return the poll that came first of those for this topic, or of those for any (None)."""
        while (line := self._lines.get(topic)) is not None:
            poll = next(iter(line.values()))
            if poll.state is PollState.WAITING:
                return poll
            self.leave(poll)
        return None

    def leave(self, poll: Poll) -> None:
        """Take a poll out, if it is here."""
        line = self._lines.get(poll.topic)
        if line is not None:
            line.pop(poll.ticket, None)
            if not line:
                del self._lines[poll.topic]
