"""The dead letters: the actor that owns events which are delivered no more."""

from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import assert_never

import attrs

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
)
from actors.graveyard import Graveyard
from actors.ids import EventIds
from actors.mailbox import Mailbox
from actors.queue_port import QueuePort
from actors.receipts import Receipts
from actors.running import running
from actors.stopped import stopped
from actors.wal_writer import Committed, WalWriter
from persistence.entry import DeadLetter, Entry
from persistence.facts import Discarded, Fact, Reprocessed


@attrs.define(eq=False)
class _Page:
    """A page that waits for its payloads."""

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
        ids: EventIds,
        receipts: Receipts,
        page_bytes_max: int,
    ) -> None:
        self._mailbox = mailbox
        self._wal = wal
        self._queue = queue
        self._clock = clock
        self._ids = ids
        self._receipts = receipts
        self._page_bytes_max = page_bytes_max
        self._graveyard = Graveyard()
        self._in_log: deque[_Page | _Resolved] = deque()
        self._stopping = False

    def restore(self, letters: Iterable[DeadLetter]) -> None:
        """Take over what was dead when the last process ended."""
        for letter in letters:
            self._graveyard.add(letter)

    async def run(self) -> None:
        """Serve messages until told to stop and nothing is under way."""
        try:
            while not self._stopping or self._in_log:
                for message in await self._mailbox.drain():
                    self._on(message)
        finally:
            self._end()

    def _on(self, message: DeadLettersMessage) -> None:
        match message:
            case Bury(letters):
                for letter in letters:
                    letter.entry.event.payload = None
                    self._graveyard.add(letter)
            case ListPage():
                self._list(message)
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

    def _list(self, message: ListPage) -> None:
        letters = self._graveyard.page(
            topic=message.topic,
            offset=message.offset,
            limit=message.limit,
            payload_bytes=self._page_bytes_max,
        )
        views = [self._view(letter) for letter in letters]
        self._in_log.append(_Page(views, self._graveyard.count(message.topic), message.reply))
        self._wal.append([], load=[x.entry.event for x in letters], to=self._mailbox)

    def _view(self, letter: DeadLetter) -> DeadLetterView:
        entry, event = letter.entry, letter.entry.event
        return DeadLetterView(
            receipt=self._receipts.write(event.number, entry.stamp),
            timestamp=letter.timestamp,
            reason=letter.reason,
            error=letter.error,
            id=self._ids.write(event.number, event.timestamp),
            event_timestamp=event.timestamp,
            topic=event.topic,
            payload=b"",
            retries=entry.retries,
        )

    def _resolve(self, message: Resolve) -> None:
        now, wall = self._clock.moment()
        facts: list[Fact] = []
        back: list[Entry] = []
        answers: list[str | NoSuchDeadLetter] = []
        for receipt in message.receipts:
            claim = self._receipts.read(receipt)
            letter = None if claim is None else self._graveyard.remove(*claim)
            if letter is None:
                answers.append(NoSuchDeadLetter(receipt))
                continue
            entry, event = letter.entry, letter.entry.event
            if message.reprocess:
                entry.retries, entry.due = 0, now
                facts.append(Reprocessed(event, wall))
                back.append(entry)
            else:
                facts.append(Discarded(event))
            answers.append(self._ids.write(event.number, event.timestamp))
        self._in_log.append(_Resolved(tuple(answers), message.reply))
        self._wal.append(facts, sync=True, to=self._mailbox)
        if back:
            self._queue.give_back(back)

    def _committed(self, message: Committed) -> None:
        done = self._in_log.popleft()  # commits end in the order of their submission
        if message.failure is not None:
            done.reply.set(OutcomeUnknown(message.failure))
        elif isinstance(done, _Resolved):
            done.reply.set(done.answers)
        else:
            entries = tuple(
                attrs.evolve(view, payload=payload)
                for view, payload in zip(done.letters, message.payloads, strict=True)
            )
            done.reply.set(DeadLetterPage(entries, done.total))

    def _end(self) -> None:
        """Answer everybody who still waits, rather than leave them waiting."""
        for message in self._mailbox.close():
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
    ids: EventIds,
    receipts: Receipts,
    page_bytes_max: int,
    letters: Iterable[DeadLetter] = (),
) -> AsyncIterator[DeadLettersPort]:
    """Run the dead letters; on the way out they answer all that was asked of them.

    Args:
        mailbox: made by the caller.
        wal: where their leaving is written, and their payloads are read from.
        queue: where events go that are reprocessed.
        clock: the engine's time.
        ids: writes event ids.
        receipts: writes and reads receipts.
        page_bytes_max: payload bytes after which a page takes no further entry.
        letters: what was dead when the last process ended, in the order of death.
    """
    actor = _DeadLettersActor(
        mailbox,
        wal=wal,
        queue=queue,
        clock=clock,
        ids=ids,
        receipts=receipts,
        page_bytes_max=page_bytes_max,
    )
    actor.restore(letters)
    port = DeadLettersPort(mailbox)
    async with running(actor.run, port.stop):
        yield port
