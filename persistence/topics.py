"""The names of topics, once each: events hold a small number in their place."""

from typing import NamedTuple


class TopicsCapture(NamedTuple):
    """The topics as they stood at one moment, ascending by id.

    Attributes:
        ids: their ids.
        names: their names.
        holders: how many events each has.
    """

    ids: tuple[int, ...]
    names: tuple[str, ...]
    holders: tuple[int, ...]


class Topics:
    """The topics that events have, each with an id from 0 up.

    Each event holds its topic. An id stays the same while anybody holds it; then it is given to
    another topic, so that ids stay small and nothing is kept of topics that nobody uses.
    """

    __slots__ = ("_free", "_holders", "_ids", "_names", "_sizes")

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        # By id, with no key for an id that nobody holds.
        self._names: dict[int, str] = {}
        self._sizes: dict[int, int] = {}
        self._holders: dict[int, int] = {}
        # The ids that nobody holds, below the greatest one that somebody held.
        self._free: list[int] = []

    def __len__(self) -> int:
        """How many topics are held."""
        return len(self._ids)

    def enter(self, name: str) -> int:
        """Hold a topic once more, and give its id."""
        topic = self._ids.get(name)
        if topic is None:
            topic = self._free.pop() if self._free else len(self._ids)
            self._begin(topic, name, 1)
        else:
            self._holders[topic] += 1
        return topic

    def leave(self, topic: int) -> None:
        """Let go of a topic once.

        Raises:
            KeyError: nobody holds it.
        """
        holders = self._holders[topic]
        if holders > 1:
            self._holders[topic] = holders - 1
            return
        del self._ids[self._names[topic]]
        del self._names[topic], self._sizes[topic], self._holders[topic]
        self._free.append(topic)

    def find(self, name: str) -> int | None:
        """Give the id of a topic, None if nobody holds it."""
        return self._ids.get(name)

    def name(self, topic: int) -> str:
        """Give the name of a topic.

        Raises:
            KeyError: nobody holds it.
        """
        return self._names[topic]

    def size(self, topic: int) -> int:
        """Give the length of a topic's name in UTF-8, in bytes.

        Raises:
            KeyError: nobody holds it.
        """
        return self._sizes[topic]

    def holders(self, topic: int) -> int:
        """Tell how often a topic is held.

        Raises:
            KeyError: nobody holds it.
        """
        return self._holders[topic]

    def capture(self) -> TopicsCapture:
        """Copy all topics."""
        ids = tuple(sorted(self._names))
        return TopicsCapture(
            ids,
            tuple(self._names[topic] for topic in ids),
            tuple(self._holders[topic] for topic in ids),
        )

    def restore(self, capture: TopicsCapture) -> None:
        """Take in captured topics with their ids and holders, before anybody has entered one.

        Raises:
            ValueError: a topic is held already, or `capture` gives no such thing. Nothing has
                changed.
        """
        ids, names, holders = capture
        if self._ids:
            raise ValueError("a topic is held already")
        if not len(ids) == len(names) == len(holders):
            raise ValueError("ids, names and holders differ in number")
        if len(set(ids)) < len(ids) or len(set(names)) < len(names):
            raise ValueError("a topic comes twice")
        if min(ids, default=0) < 0 or min(holders, default=1) < 1:
            raise ValueError("an id is below 0, or a topic has no holder")
        for topic, name, held in zip(*capture, strict=True):
            self._begin(topic, name, held)
        # The least one is given first.
        unused = set(range(max(ids, default=-1) + 1)).difference(ids)
        self._free = sorted(unused, reverse=True)

    def _begin(self, topic: int, name: str, holders: int) -> None:
        self._ids[name] = topic
        self._names[topic] = name
        self._sizes[topic] = len(name.encode())
        self._holders[topic] = holders
