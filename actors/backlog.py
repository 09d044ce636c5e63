"""The order of what waits: ready and delayed events, by topic. Pure; takes `now`."""

from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush, heapreplace

from actors.sorted_runs import SortedRuns
from actors.waiting import Waiting

_OUTDATED_HEADS_MIN = 64
_STALE_MIN = 64
_SWEPT_AT_ONCE = 8
"""Whatever makes an event leave looks at so many pairs, as long as most are stale."""

_WITHDRAWALS = 128

_Head = tuple[int, int, str]
"""(due, number, topic): where a lane stands in the order over all lanes."""
_NEVER: _Head = (2**63, 0, "")


class _Lane:
    """The ready events of one topic. There is at least one, or the lane goes.

    Attributes:
        topic: of its events.
        pairs: (due, number) of its events, and of some that were withdrawn.
        ready: how many events there are.
        stale: how many pairs are of events that were withdrawn.
        listed: its place in the heap of heads: at most the first pair.
    """

    __slots__ = ("listed", "pairs", "ready", "stale", "topic")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.pairs = SortedRuns()
        self.ready = 0
        self.stale = 0
        self.listed: _Head | None = None


class Backlog:
    """Ready and delayed events, as packed (due, number) pairs.

    Without a topic they are handed out in the order of (due, number) over all topics, with one in
    the same order within it; either way at a cost that does not depend on how many wait. A heap
    over the topics' first events gives the order over all. Its keys may be too early, never too
    late, and are put right when they come up, so that consumption by topic never touches it.

    An event that is withdrawn leaves its pair behind. Stale pairs are passed over when they come
    up, and swept, a few at a time, when they outnumber the others. The first pair of a lane is
    never stale, unless so many follow on each other that passing over all of them would take too
    long: then the lane is out of sight, as if its events were not due, until `promote` is through.

    Args:
        waiting: tells whether the event of that number still waits.
        topic_of: returns the topic of the event of that number, one that waits.
        passed_over_max: how many stale pairs `take` or `promote` passes over at most; the many
            withdrawals that may come together get a small part of it each.
    """

    def __init__(
        self,
        waiting: Callable[[int], bool],
        topic_of: Callable[[int], str],
        *,
        passed_over_max: int = 1024,
    ) -> None:
        self._waiting = waiting
        self._topic_of = topic_of
        self._passed_over_max = passed_over_max
        self._may_pass_over = 0
        self._lanes: dict[str, _Lane] = {}
        self._out_of_sight: dict[str, _Lane] = {}
        self._heads: list[_Head] = []
        self._ready = 0
        self._later = SortedRuns()
        self._delayed = 0
        self._delayed_by_topic: dict[str, int] = {}

    def __len__(self) -> int:
        return self._ready + self._delayed

    @property
    def ready(self) -> int:
        """How many events are due."""
        return self._ready

    @property
    def delayed(self) -> int:
        """How many events wait for their time."""
        return self._delayed

    def has_ready(self, topic: str | None) -> bool:
        """Tell whether `take` would return something. Costs nothing that grows."""
        if topic is None:
            return len(self._lanes) > len(self._out_of_sight)
        return topic in self._lanes and topic not in self._out_of_sight

    def topics(self) -> Iterator[tuple[str, int, int]]:
        """Yield (topic, ready, delayed) of every topic that has any, in no particular order."""
        for topic in self._lanes.keys() | self._delayed_by_topic.keys():
            lane = self._lanes.get(topic)
            yield topic, lane.ready if lane else 0, self._delayed_by_topic.get(topic, 0)

    def add_fresh(self, topic: str, due: int, number: int) -> None:
        """Add an event that is due, in any order; in that of (due, number) it is cheapest."""
        lane = self._lanes.get(topic)
        if lane is None:
            lane = self._lanes[topic] = _Lane(topic)
        lane.pairs.push(due, number)
        lane.ready += 1
        self._ready += 1
        listed = lane.listed
        if listed is None or due < listed[0] or (due == listed[0] and number < listed[1]):
            self._list(lane, due, number)

    def add(self, topic: str, due: int, number: int, now: int) -> bool:
        """Add an event that takes its place by its due time; return whether it is ready."""
        if due <= now:
            self.add_fresh(topic, due, number)
            return True
        self._later.push(due, number)
        self._delayed += 1
        self._delayed_by_topic[topic] = self._delayed_by_topic.get(topic, 0) + 1
        return False

    def promote(self, now: int, at_most: int = 512) -> tuple[list[str], bool]:
        """Make ready what has become due.

        Args:
            now: the engine's time.
            at_most: how many delayed events to look at; none while a lane is out of sight.

        Returns:
            The topics that gained events, each once, and whether there is more to do at once.
        """
        topics: dict[str, None] = {}
        self._may_pass_over = self._passed_over_max
        if self._out_of_sight:
            lane = next(iter(self._out_of_sight.values()))
            if self._tidy(lane):
                topics[lane.topic] = None
            at_most = 0
        while at_most > 0 and self._delayed and self._later.peek()[0] <= now:
            self._promote_first(topics)
            at_most -= 1
        more = bool(self._out_of_sight) or (self._delayed > 0 and self._later.peek()[0] <= now)
        return list(topics), more

    def next_due(self) -> int | None:
        """Return when `promote` has to be called next, None if it need not.

        That is when the earliest delayed event becomes ready, or a moment of the past.
        """
        for lane in self._out_of_sight.values():
            return lane.pairs.peek()[0]
        if not self._delayed:
            return None
        later = self._later
        for _ in range(min(len(later) - self._delayed, self._passed_over_max)):
            if self._waiting(later.peek()[1]):
                break
            later.pop()
        return later.peek()[0]

    def is_delayed(self, due: int, number: int) -> bool:
        """Tell where an event waits that was added with this due time: delayed, or ready.

        Right unless the event was ready when it was added and events that are due longer than it
        are still to be promoted.
        """
        return self._delayed > 0 and (due, number) >= self._later.peek()

    def take(
        self, topic: str | None, count: int, size_of: Callable[[int], int], payload_bytes: int
    ) -> list[Waiting]:
        """Remove and return the next events.

        Args:
            topic: that topic alone, or None for all.
            count: how many at most.
            size_of: returns the payload bytes of the event of that number.
            payload_bytes: no further event after the first that would pass this many bytes.
        """
        self._may_pass_over = self._passed_over_max
        taken: list[Waiting] = []
        lane, until = self._next_lane(topic)
        while lane is not None and len(taken) < count:
            due, number = lane.pairs.pop()
            payload_bytes -= size_of(number)
            if taken and payload_bytes < 0:
                lane.pairs.push(due, number)
                break
            taken.append(Waiting(number, due, lane.topic))
            if not self._left(lane) or lane.pairs.peek() > until:
                lane, until = self._next_lane(topic)
        return taken

    def withdraw(self, topic: str, *, delayed: bool) -> None:
        """Count an event out that was settled while it waited, and by now waits no more.

        The same may be true of others that are counted out next, before anything else is asked.

        Args:
            topic: of the event.
            delayed: whether it waited for its time; see `is_delayed`.
        """
        if delayed:
            self._forget_delayed(topic)
        else:
            self._may_pass_over = self._passed_over_max // _WITHDRAWALS
            lane = self._lanes[topic]
            lane.stale += 1
            self._left(lane)

    def _next_lane(self, topic: str | None) -> tuple[_Lane | None, _Head]:
        """Return where the next event is, and before what it is the turn of that lane's events."""
        if topic is not None:
            return None if topic in self._out_of_sight else self._lanes.get(topic), _NEVER
        return self._first_lane(), min(self._heads[1:3], default=_NEVER)

    def _first_lane(self) -> _Lane | None:
        """Return the lane whose head is the first of all, putting right what it passes."""
        heads = self._heads
        while heads:
            head = heads[0]
            topic = head[2]
            lane = self._lanes.get(topic)
            if lane is None or lane.listed is not head or topic in self._out_of_sight:
                heappop(heads)
                continue
            pair = lane.pairs.peek()
            if pair == head[:2]:
                return lane
            lane.listed = (*pair, topic)
            heapreplace(heads, lane.listed)
        return None

    def _list(self, lane: _Lane, due: int, number: int) -> None:
        lane.listed = (due, number, lane.topic)
        heappush(self._heads, lane.listed)
        if len(self._heads) > 2 * len(self._lanes) + _OUTDATED_HEADS_MIN:
            self._heads = [lane.listed for lane in self._lanes.values() if lane.listed]
            heapify(self._heads)

    def _left(self, lane: _Lane) -> bool:
        """Count an event of a lane out; return whether the lane has others in sight."""
        self._ready -= 1
        lane.ready -= 1
        if not lane.ready:
            del self._lanes[lane.topic]
            self._out_of_sight.pop(lane.topic, None)
            return False
        return not lane.stale or self._tidy(lane)

    def _tidy(self, lane: _Lane) -> bool:
        """Pass over stale pairs at the front of a lane; return whether its events are in sight."""
        pairs = lane.pairs
        if lane.stale > lane.ready + _STALE_MIN:
            pairs.sweep(self._stays, _SWEPT_AT_ONCE)
        in_sight = False
        while len(pairs) and not (in_sight := self._waiting(pairs.peek()[1])):
            if self._may_pass_over <= 0:
                break
            pairs.pop()
            self._may_pass_over -= 1
        lane.stale = len(pairs) - lane.ready
        if not in_sight:
            self._out_of_sight[lane.topic] = lane
        elif self._out_of_sight.pop(lane.topic, None) is not None:
            self._list(lane, *pairs.peek())
        return in_sight

    def _promote_first(self, topics: dict[str, None]) -> None:
        later = self._later
        due, number = later.peek()
        stale = len(later) > self._delayed and not self._waiting(number)
        later.pop()
        if not stale:
            topic = self._topic_of(number)
            self._forget_delayed(topic)
            self.add_fresh(topic, due, number)
            topics[topic] = None

    def _forget_delayed(self, topic: str) -> None:
        self._delayed -= 1
        left = self._delayed_by_topic[topic] - 1
        if left:
            self._delayed_by_topic[topic] = left
        else:
            del self._delayed_by_topic[topic]
        if not self._delayed:
            self._later = SortedRuns()
        elif len(self._later) > 2 * self._delayed + _STALE_MIN:
            self._later.sweep(self._stays, _SWEPT_AT_ONCE)

    def _stays(self, _due: int, number: int) -> bool:
        return self._waiting(number)
