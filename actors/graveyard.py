"""Dead letters in the order in which they died. Pure."""

from collections.abc import Callable

from actors.pairs import Pairs
from persistence.entry import Place, Row

CHUNK_PAIRS = 1024

_STALE_MIN = 64
_SWEPT_AT_ONCE = 8


class Chunk(Pairs):
    """Neighbours in the order of death, (event number, delivery).

    Attributes:
        live: how many of them are still dead, as far as is known.
        counted_at: `Graveyard.changes` when that was true; -1 if it never was.
    """

    __slots__ = ("counted_at", "live")

    def __init__(self, counted_at: int) -> None:
        super().__init__()
        self.live = 0
        self.counted_at = counted_at


class Graveyard:
    """Dead letters, as packed pairs of event number and delivery.

    What a dead letter says is in the register; here is their order. A letter that is removed
    leaves its pair behind, which its event's row shows: it is gone, elsewhere, or its event died
    once more after a later delivery. Such stale pairs are dropped at the front and, when they
    outnumber the others, swept, a few at each removal.

    Attributes:
        row_of: returns what the register says of an event.
        topic_of: returns the topic of an event in the register.
        chunks: all pairs in order. A search may hold on to some: they are replaced, never joined.
        changes: how often letters have left so that the counts of all chunks may be wrong.
    """

    def __init__(self, row_of: Callable[[int], Row | None], topic_of: Callable[[int], str]) -> None:
        self.row_of = row_of
        self.topic_of = topic_of
        self.chunks: list[Chunk] = []
        self.changes = 0
        self._count = 0
        self._pairs = 0
        self._by_topic: dict[str, int] = {}
        self._swept_to = 0

    def __len__(self) -> int:
        return self._count

    def count(self, topic: str | None) -> int:
        """Return how many there are, of one topic or of all."""
        return self._count if topic is None else self._by_topic.get(topic, 0)

    def add(self, topic: str, number: int, delivery: int) -> None:
        """Add an event that died after that delivery."""
        if not self.chunks or len(self.chunks[-1].firsts) >= CHUNK_PAIRS:
            self.chunks.append(Chunk(self.changes))
        chunk = self.chunks[-1]
        chunk.append(number, delivery)
        chunk.live += 1
        self._pairs += 1
        self._count += 1
        self._by_topic[topic] = self._by_topic.get(topic, 0) + 1

    def remove(self, topic: str) -> None:
        """Count an event of that topic out; its row in the register says so already."""
        left = self._by_topic[topic] - 1
        if left:
            self._by_topic[topic] = left
        else:
            del self._by_topic[topic]
        self._count -= 1
        if not self._count:
            self.chunks = []
            self._pairs = 0
            return
        self._pass_over()
        if self._pairs > self._count:
            self.changes += 1
        if self.chunks and self._pairs > 2 * self._count + _STALE_MIN:
            self._sweep()

    def is_dead(self, number: int, delivery: int) -> bool:
        """Tell whether the pair of that event and delivery is not stale."""
        row = self.row_of(number)
        return row is not None and row.place == Place.DEAD and row.delivery == delivery

    def live_in(self, chunk: Chunk) -> int | None:
        """Return how many of a chunk's letters are still dead, None if they have to be counted."""
        return chunk.live if chunk.counted_at == self.changes else None

    def _pass_over(self) -> None:
        """Drop stale pairs at the front: there they are when letters go in their order."""
        for _ in range(_SWEPT_AT_ONCE):
            if not self.chunks:
                return  # the register may be ahead: several letters leave in one step
            first = self.chunks[0]
            if self.is_dead(*first.peek()):
                return
            first.pop()
            first.counted_at = -1
            self._pairs -= 1
            if not len(first):
                del self.chunks[0]

    def _sweep(self) -> None:
        """Look at some pairs of one chunk; from the last chunk to the first, and round again."""
        at = min(self._swept_to, len(self.chunks) - 1)
        chunk = self.chunks[at]
        before = len(chunk)
        done = chunk.sweep(self.is_dead, _SWEPT_AT_ONCE)
        self._pairs -= before - len(chunk)
        if done:
            self._join(at)
            self._swept_to = at - 1 if at > 0 else len(self.chunks) - 1
        else:
            self._swept_to = at

    def _join(self, at: int) -> None:
        """Drop a chunk that was swept if it is empty; join two neighbours that are small."""
        if not len(self.chunks[at]):
            del self.chunks[at]
            return
        chunks = self.chunks[at : at + 2]
        if len(chunks) < 2 or sum(map(len, chunks)) > CHUNK_PAIRS // 2:
            return
        joint = Chunk(-1)
        for chunk in chunks:
            joint.firsts += chunk.firsts[chunk.head :]
            joint.seconds += chunk.seconds[chunk.head :]
        self.chunks[at : at + 2] = [joint]
