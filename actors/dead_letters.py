"""The dead letters: the actor that owns events which are delivered no more."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import assert_never

import attrs
import trio

from actors.broker import (
    DeadLetterPage,
    DeadLetterView,
    NoSuchDeadLetter,
    OutcomeUnknown,
)
from actors.clock import Clock
from actors.dead_letters_port import (
    Bury,
    Count,
    DeadLettersMessage,
    DeadLettersPort,
    ListPage,
    PageReply,
    Resolve,
    ResolveReply,
    Stop,
    weight,
)
from actors.graveyard import Graveyard
from actors.inbox import STEP_MAX
from actors.mailbox import Mailbox
from actors.naming import Naming
from actors.page_search import PageSearch
from actors.queue_port import QueuePort
from actors.receipts import Receipts
from actors.running import running
from actors.stopped import stopped
from actors.waiting import Waiting
from actors.wal_port import Committed, WalWriter
from persistence.entry import Place, Row, Stamp
from persistence.facts import Dead, Discarded, Fact, Reprocessed


@attrs.define(eq=False)
class _Page:
    """A page that waits for what the log says of its letters."""

    letters: list[DeadLetterView]
    total: int
    reply: PageReply


@attrs.define(eq=False)
class _Resolved:
    """An answer that waits for its facts to be on disk."""

    answers: tuple[str | NoSuchDeadLetter, ...]
    reply: ResolveReply


class _DeadLettersActor:
    def __init__(
        self,
        mailbox: Mailbox[DeadLettersMessage],
        *,
        wal: WalWriter,
        queue: QueuePort,
        clock: Clock,
        naming: Naming,
        receipts: Receipts,
        sync_default: bool,
        page_bytes_max: int,
        graveyard: Graveyard,
    ) -> None:
        self._mailbox = mailbox
        self._wal = wal
        self._register = wal.register
        self._queue = queue
        self._clock = clock
        self._naming = naming
        self._receipts = receipts
        self._sync_default = sync_default
        self._page_bytes_max = page_bytes_max
        self._graveyard = graveyard
        self._unread: deque[DeadLettersMessage] = deque()
        self._searches: deque[ListPage] = deque()
        self._search: PageSearch | None = None  # for the first of `_searches`
        self._in_log: deque[_Page | _Resolved] = deque()
        self._stopping = False

    async def run(self) -> None:
        """Serve messages until told to stop and nothing is under way."""
        try:
            while not self._stopping or self._in_log or self._searches:
                await self._receive()
                self._step()
                if self._searches:
                    self._search_on()
        finally:
            self._end()

    def _step(self) -> None:
        """Serve messages, no more of them than one step has room for."""
        left = STEP_MAX
        while self._unread and left > 0:
            message = self._unread.popleft()
            left -= weight(message)
            self._on(message)

    async def _receive(self) -> None:
        """Take in all messages that wait; wait for one only if there is nothing else to do."""
        if self._unread or self._searches:
            await trio.lowlevel.checkpoint()
        else:
            self._sort(await self._mailbox.drain())
        while (message := self._mailbox.take()) is not None:
            self._sort([message])

    def _sort(self, messages: list[DeadLettersMessage]) -> None:
        """Bury at once: the register, by which the other messages go, knows of it already."""
        for message in messages:
            if isinstance(message, Bury):
                self._bury(message)
            else:
                self._unread.append(message)

    def _on(self, message: DeadLettersMessage) -> None:
        match message:
            case Bury():
                self._bury(message)
            case ListPage():
                self._searches.append(message)
            case Resolve():
                self._resolve(message)
            case Committed():
                self._committed(message)
            case Count(reply):
                reply.set(len(self._graveyard))
            case Stop():
                self._stopping = True
            case _:
                assert_never(message)

    def _bury(self, message: Bury) -> None:
        for number in message.numbers:
            row = self._register.get(number)
            if row is not None:
                self._graveyard.add(self._topic_of(row), number, row.delivery)

    def _topic_of(self, row: Row) -> str:
        return self._register.topics.name(row.topic)

    # Pages

    def _search_on(self) -> None:
        """Go on with the search for the first page; others get their turn before the next step."""
        asked = self._searches[0]
        if self._search is None:
            self._search = PageSearch(
                self._graveyard,
                topic=asked.topic,
                offset=asked.offset,
                limit=0 if asked.reply.abandoned else asked.limit,
                payload_bytes=self._page_bytes_max,
            )
        if self._search.step():
            self._searches.popleft()
            self._load(asked, self._search.numbers)
            self._search = None

    def _load(self, asked: ListPage, numbers: list[int]) -> None:
        """Have read from the log what a page shows of these dead letters."""
        rows = [(number, self._register.get(number)) for number in numbers]
        views = [self._view(number, row) for number, row in rows if row is not None]
        self._in_log.append(_Page(views, self._graveyard.count(asked.topic), asked.reply))
        self._wal.append([], load=numbers, look=numbers, to=self._mailbox)

    def _view(self, number: int, row: Row) -> DeadLetterView:
        """Show a dead letter as far as the register knows it."""
        return DeadLetterView(
            receipt=self._receipts.write(number, row.stamp),
            timestamp=row.due,
            reason="",
            error="",
            id=self._naming.id_of(number, row),
            event_timestamp=row.timestamp,
            topic=self._topic_of(row),
            payload=b"",
            retries=row.retries,
        )

    # Letters that leave

    def _find(self, number: int, stamp: Stamp) -> Row | None:
        row = self._register.get(number)
        is_it = row is not None and row.place == Place.DEAD and row.stamp == stamp
        return row if is_it else None

    def _resolve(self, message: Resolve) -> None:
        now, wall = self._clock.moment()
        facts: list[Fact] = []
        leaving: dict[int, tuple[Row, str]] = {}
        answers: list[str | NoSuchDeadLetter] = []
        for receipt in message.receipts:
            claim = self._receipts.read(receipt)
            row = None if claim is None else self._find(*claim)
            if claim is None or row is None or claim[0] in leaving:
                answers.append(NoSuchDeadLetter(receipt))
                continue
            number, stamp = claim
            leaving[number] = row, self._topic_of(row)
            if message.reprocess:
                facts.append(Reprocessed(number, wall, stamp))
            else:
                facts.append(Discarded(number))
            answers.append(self._naming.id_of(number, row))
        self._in_log.append(_Resolved(tuple(answers), message.reply))
        self._wal.append(facts, sync=self._sync_default, to=self._mailbox)
        for number, (row, topic) in leaving.items():
            if not self._graveyard.is_dead(number, row.delivery):  # unless the log has failed
                self._graveyard.remove(topic)
        if message.reprocess and leaving:
            self._queue.give_back(
                [Waiting(number, now, topic) for number, (_, topic) in leaving.items()]
            )

    # What the log answers

    def _committed(self, message: Committed) -> None:
        done = self._in_log.popleft()  # commits end in the order of their submission
        if message.failure is not None:
            done.reply.set(OutcomeUnknown(message.failure))
        elif isinstance(done, _Resolved):
            done.reply.set(done.answers)
        else:
            read = zip(done.letters, message.payloads, message.facts, strict=True)
            entries = tuple(
                attrs.evolve(view, payload=payload, reason=fact.reason, error=fact.error)
                for view, payload, fact in read
                if isinstance(fact, Dead)  # unless it left before it could be read
            )
            done.reply.set(DeadLetterPage(entries, done.total))

    def _end(self) -> None:
        """Answer everybody who still waits, rather than leave them waiting."""
        for message in (*self._searches, *self._unread, *self._mailbox.close()):
            match message:
                case ListPage(reply=reply):
                    reply.set(stopped())
                case Resolve(reply=resolve_reply):
                    resolve_reply.set(stopped())
                case Count(count_reply):
                    count_reply.set(len(self._graveyard))
                case _:
                    pass
        for done in self._in_log:
            done.reply.set(OutcomeUnknown("The broker ended before the disk answered."))


@asynccontextmanager
async def open_dead_letters(
    mailbox: Mailbox[DeadLettersMessage],
    *,
    wal: WalWriter,
    queue: QueuePort,
    clock: Clock,
    naming: Naming,
    receipts: Receipts,
    sync_default: bool,
    page_bytes_max: int,
    graveyard: Graveyard,
) -> AsyncIterator[DeadLettersPort]:
    """Run the dead letters; on the way out they answer all that was asked of them.

    Args:
        mailbox: made by the caller.
        wal: where their leaving is written, and what they say is read from.
        queue: where events go that are reprocessed.
        clock: the engine's time.
        naming: knows event ids.
        receipts: writes and reads receipts.
        sync_default: whether their leaving is forced to the disk before the answer.
        page_bytes_max: payload bytes after which a page takes no further entry.
        graveyard: what was dead when the last process ended.
    """
    actor = _DeadLettersActor(
        mailbox,
        wal=wal,
        queue=queue,
        clock=clock,
        naming=naming,
        receipts=receipts,
        sync_default=sync_default,
        page_bytes_max=page_bytes_max,
        graveyard=graveyard,
    )
    port = DeadLettersPort(mailbox)
    async with running(actor.run, port.stop):
        yield port
