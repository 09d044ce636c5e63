"""The search for a page of dead letters, in slices. Pure."""

from actors.graveyard import Chunk, Graveyard


class PageSearch:
    """Finds a page of dead letters, a few at a time, so that others get their turn in between.

    What dies or leaves between two steps may or may not count, but `numbers` are of events that
    are dead when the search is done.

    Args:
        graveyard: where to search.
        topic: that topic alone, or None for all.
        offset: how many to pass over.
        limit: how many at most.
        payload_bytes: no further one after the first that would pass this many bytes of payload.

    Attributes:
        numbers: the numbers of the events found so far, in the order of their death.
    """

    def __init__(
        self,
        graveyard: Graveyard,
        *,
        topic: str | None,
        offset: int,
        limit: int,
        payload_bytes: int,
    ) -> None:
        self._graveyard = graveyard
        self._topic = topic
        self._offset = offset
        self._limit = limit
        self._payload_bytes = payload_bytes
        self._found: list[tuple[int, int]] = []
        # The graveyard may put others in the place of these; these keep what they have.
        hopeless = limit <= 0 or offset >= graveyard.count(topic)
        self._chunks = [] if hopeless else graveyard.chunks[::-1]

    @property
    def numbers(self) -> list[int]:
        """The events found so far, in the order of their death."""
        return [number for number, _ in self._found]

    def step(self, at_most: int = 4096) -> bool:
        """Go on; return whether the search is done.

        Args:
            at_most: letters to look at; may be passed by less than one chunk.
        """
        while at_most > 0 and self._chunks:
            chunk = self._chunks.pop()
            live = self._graveyard.live_in(chunk)
            if self._topic is None and live is not None and live <= self._offset:
                self._offset -= live  # the page begins behind this chunk
                at_most -= 1
            elif self._search(chunk):
                self._chunks = []
            else:
                at_most -= len(chunk)
        if self._chunks:
            return False
        self._found = [pair for pair in self._found if self._graveyard.is_dead(*pair)]
        return True

    def _search(self, chunk: Chunk) -> bool:
        """Look at one chunk's letters; return whether the page is full."""
        graveyard, live = self._graveyard, 0
        pairs = zip(chunk.firsts[chunk.head :], chunk.seconds[chunk.head :], strict=True)
        for number, delivery in pairs:
            if graveyard.is_dead(number, delivery):
                live += 1
                if self._belongs(number) and not self._take(number, delivery):
                    return True
        chunk.live, chunk.counted_at = live, graveyard.changes
        return False

    def _belongs(self, number: int) -> bool:
        if self._topic is not None and self._graveyard.topic_of(number) != self._topic:
            return False
        self._offset -= 1
        return self._offset < 0

    def _take(self, number: int, delivery: int) -> bool:
        """Take a letter for the page; return whether it has room for another one."""
        row = self._graveyard.row_of(number)
        self._payload_bytes -= row.payload_size if row is not None else 0
        if self._found and self._payload_bytes < 0:
            return False
        self._found.append((number, delivery))
        return len(self._found) < self._limit
