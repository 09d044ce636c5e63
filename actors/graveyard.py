"""Dead letters in the order in which they died. Pure."""

from collections.abc import Iterator
from itertools import islice

from persistence.entry import DeadLetter, Stamp


class Graveyard:
    """Dead letters by event number."""

    def __init__(self) -> None:
        self._letters: dict[int, DeadLetter] = {}
        self._by_topic: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._letters)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(self._letters.values())

    def count(self, topic: str | None) -> int:
        """Return how many there are, of one topic or of all."""
        return len(self) if topic is None else self._by_topic.get(topic, 0)

    def add(self, letter: DeadLetter) -> None:
        """Add a dead letter."""
        event = letter.entry.event
        self._letters[event.number] = letter
        self._by_topic[event.topic] = self._by_topic.get(event.topic, 0) + 1

    def remove(self, number: int, stamp: Stamp) -> DeadLetter | None:
        """Remove and return the dead letter of that delivery, or None if there is none."""
        letter = self._letters.get(number)
        if letter is None or letter.entry.stamp != stamp:
            return None
        del self._letters[number]
        topic = letter.entry.event.topic
        left = self._by_topic[topic] - 1
        if left:
            self._by_topic[topic] = left
        else:
            del self._by_topic[topic]
        return letter

    def page(
        self, *, topic: str | None, offset: int, limit: int, payload_bytes: int
    ) -> list[DeadLetter]:
        """Return some of them in order; stops before `payload_bytes`, but not before the first."""
        letters = (x for x in self if topic is None or x.entry.event.topic == topic)
        page: list[DeadLetter] = []
        for letter in islice(letters, offset, offset + limit):
            payload_bytes -= letter.entry.event.payload_size
            if page and payload_bytes < 0:
                break
            page.append(letter)
        return page
