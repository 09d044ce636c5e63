"""The order of what waits: ready and delayed events, by topic. Pure; takes `now`."""

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush

import attrs

from persistence.entry import Entry

_Key = tuple[int, int]
"""(due, event number): the order in which events are handed out."""

_STALE_HEADS_MIN = 64


@attrs.define(eq=False)
class _Lane:
    """The ready events of one topic.

    New events arrive in order and wait in `fresh`; what came back has its own place in the order
    and waits in `back`, a heap.
    """

    topic: str
    fresh: deque[Entry] = attrs.field(factory=deque)
    back: list[tuple[int, int, Entry]] = attrs.field(factory=list)
    ready: int = 0
    listed: _Key | None = None
    """The key under which this lane stands in the heap of heads: at most its head's key."""


class Backlog:
    """Ready and delayed events.

    Without a topic they are handed out in the order of (due, number) over all topics, with one in
    the same order within it; either way at a cost that does not depend on how many wait. A heap
    over the topics' first events gives the order over all. Its keys may be too early, never too
    late, and are put right when they come up, so that consumption by topic never touches it.
    """

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._heads: list[tuple[int, int, str]] = []
        self._later: list[tuple[int, int, Entry]] = []
        # An event is here while its number is in one of these. A lane or the heap of delayed
        # events may still hold one that was withdrawn: it is passed over when it comes up.
        self._ready: dict[int, Entry] = {}
        self._delayed: dict[int, Entry] = {}
        self._delayed_by_topic: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._ready) + len(self._delayed)

    @property
    def ready(self) -> int:
        """How many events can be handed out now."""
        return len(self._ready)

    @property
    def delayed(self) -> int:
        """How many events wait for their time."""
        return len(self._delayed)

    def has_ready(self, topic: str | None) -> bool:
        """Tell whether `take` would return something. Costs nothing that grows."""
        return topic in self._lanes if topic is not None else bool(self._lanes)

    def topics(self) -> Iterator[tuple[str, int, int]]:
        """Yield (topic, ready, delayed) of every topic that has any, in no particular order."""
        for topic in self._lanes.keys() | self._delayed_by_topic.keys():
            lane = self._lanes.get(topic)
            yield topic, lane.ready if lane else 0, self._delayed_by_topic.get(topic, 0)

    def add_fresh(self, entry: Entry) -> None:
        """Add a new event that is due. They must come in the order of (due, number)."""
        lane = self._lane(entry.event.topic)
        lane.fresh.append(entry)
        self._arrived(lane, entry)

    def add(self, entry: Entry, now: int) -> bool:
        """Add an event that takes its place by its due time; return whether it is ready."""
        if entry.due <= now:
            self._add_back(entry)
            return True
        number, topic = entry.event.number, entry.event.topic
        heappush(self._later, (entry.due, number, entry))
        self._delayed[number] = entry
        self._delayed_by_topic[topic] = self._delayed_by_topic.get(topic, 0) + 1
        return False

    def promote(self, now: int) -> list[str]:
        """Make ready what has become due; return the topics that gained events."""
        topics: list[str] = []
        while (due := self.next_due()) is not None and due <= now:
            entry = heappop(self._later)[2]
            self._forget_delayed(entry)
            self._add_back(entry)
            topics.append(entry.event.topic)
        return topics

    def next_due(self) -> int | None:
        """Return when the earliest delayed event becomes ready."""
        while self._later:
            due, number, entry = self._later[0]
            if self._delayed.get(number) is entry:
                return due
            heappop(self._later)
        return None

    def take(self, topic: str | None, count: int, payload_bytes: int) -> list[Entry]:
        """Remove and return the next events.

        Args:
            topic: that topic alone, or None for all.
            count: how many at most.
            payload_bytes: no further event after the first that would pass this many bytes.
        """
        taken: list[Entry] = []
        while len(taken) < count:
            lane = self._lanes.get(topic) if topic is not None else self._first_lane()
            if lane is None:
                break
            payload_bytes -= self._head(lane).event.payload_size
            if taken and payload_bytes < 0:
                break
            taken.append(self._pop(lane))
        return taken

    def find(self, number: int) -> Entry | None:
        """Return one event that is here, or None."""
        return self._ready.get(number) or self._delayed.get(number)

    def withdraw(self, number: int) -> Entry | None:
        """Remove and return one event wherever it stands, or None if it is not here."""
        if (entry := self._delayed.get(number)) is not None:
            self._forget_delayed(entry)
        elif (entry := self._ready.pop(number, None)) is not None:
            lane = self._lanes[entry.event.topic]
            lane.ready -= 1
            self._tidy(lane)
        return entry

    def entries(self) -> Iterator[Entry]:
        """Yield all events here, in no particular order."""
        yield from self._ready.values()
        yield from self._delayed.values()

    def _lane(self, topic: str) -> _Lane:
        lane = self._lanes.get(topic)
        if lane is None:
            lane = self._lanes[topic] = _Lane(topic)
        return lane

    def _add_back(self, entry: Entry) -> None:
        lane = self._lane(entry.event.topic)
        heappush(lane.back, (entry.due, entry.event.number, entry))
        self._arrived(lane, entry)

    def _arrived(self, lane: _Lane, entry: Entry) -> None:
        number = entry.event.number
        self._ready[number] = entry
        lane.ready += 1
        if lane.listed is None or (entry.due, number) < lane.listed:
            self._list(lane, (entry.due, number))

    def _list(self, lane: _Lane, key: _Key) -> None:
        lane.listed = key
        heappush(self._heads, (*key, lane.topic))
        if len(self._heads) > 2 * len(self._lanes) + _STALE_HEADS_MIN:
            lanes = self._lanes.values()
            self._heads = [(*lane.listed, lane.topic) for lane in lanes if lane.listed]
            heapify(self._heads)

    def _first_lane(self) -> _Lane | None:
        """Return the lane whose head is the first of all, putting right what it passes."""
        while self._heads:
            due, number, topic = self._heads[0]
            lane = self._lanes.get(topic)
            if lane is None or lane.listed != (due, number):
                heappop(self._heads)
                continue
            head = self._head(lane)
            key = (head.due, head.event.number)
            if key == lane.listed:
                return lane
            heappop(self._heads)
            self._list(lane, key)
        return None

    def _head(self, lane: _Lane) -> Entry:
        """Return the first event of a lane; a lane in `_lanes` always has one."""
        if not lane.fresh:
            return lane.back[0][2]
        fresh = lane.fresh[0]
        if lane.back and lane.back[0][:2] < (fresh.due, fresh.event.number):
            return lane.back[0][2]
        return fresh

    def _pop(self, lane: _Lane) -> Entry:
        entry = self._head(lane)
        if lane.fresh and lane.fresh[0] is entry:
            lane.fresh.popleft()
        else:
            heappop(lane.back)
        del self._ready[entry.event.number]
        lane.ready -= 1
        self._tidy(lane)
        return entry

    def _tidy(self, lane: _Lane) -> None:
        """Drop withdrawn entries from the lane's front, and the lane if nothing is left."""
        here = self._ready
        while lane.fresh and here.get(lane.fresh[0].event.number) is not lane.fresh[0]:
            lane.fresh.popleft()
        while lane.back and here.get(lane.back[0][1]) is not lane.back[0][2]:
            heappop(lane.back)
        if not lane.fresh and not lane.back:
            del self._lanes[lane.topic]

    def _forget_delayed(self, entry: Entry) -> None:
        topic = entry.event.topic
        del self._delayed[entry.event.number]
        left = self._delayed_by_topic[topic] - 1
        if left:
            self._delayed_by_topic[topic] = left
        else:
            del self._delayed_by_topic[topic]
