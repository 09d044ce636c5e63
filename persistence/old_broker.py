"""Reads the data directory of the earlier broker, the one written in TypeScript. Changes nothing.

It kept three files, and appended a line at a time to each::

    events.log       an accepted event: {"id", "ts", "payload", "retries", "topic"?}
    dlq.log          a dead letter: {"receiptId", "timestamp", "reason", "record", "error"?},
                     the record being as in events.log
    committed.log    the id of an event that is done with

Times are wall time in milliseconds since the epoch. Payloads are kept as the bytes that they are.
Memory is bounded by the longest line.
"""

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Annotated

import attrs
import msgspec

from persistence.disk import Disk
from persistence.errors import ReadFailed, StorageError
from persistence.facts import COUNT_MAX
from persistence.lines import Line, lines

EVENTS_NAME, DEAD_NAME, DONE_NAME = "events.log", "dlq.log", "committed.log"

LINE_SIZE_MAX = 65 * 1024 * 1024
"""Bytes of the longest line that is read: the largest payload that a broker can be told to take,
and a little more."""

ID_CHARS_MAX = 255

_TIME_MAX = 2**48 - 1  # what fits an event id's layout
_SEGMENT_MAGIC = b"\x89EVLOG\r\n"  # what this broker's `events.log` begins with
_DIGEST_SIZE = 16

_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_CHARS_MAX)]
_Time = Annotated[int, msgspec.Meta(ge=0, le=_TIME_MAX)]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Record(msgspec.Struct):
    """A line of events.log."""

    id: _Id
    ts: _Time
    payload: msgspec.Raw
    retries: _Count = 0
    topic: str | None = None


class _Letter(msgspec.Struct):
    """A line of dlq.log."""

    timestamp: _Time
    reason: str
    record: _Record
    error: object = None


_records = msgspec.json.Decoder(_Record)
_letters = msgspec.json.Decoder(_Letter)


class NoOldFiles(StorageError):
    """The directory does not hold what the earlier broker wrote."""


@attrs.frozen
class Rules:
    """What the broker accepts, as its doors have it. Each says what is wrong, or None.

    Attributes:
        payload_fault: about the bytes of a payload.
        topic_fault: about the name of a topic.
    """

    payload_fault: Callable[[bytes], str | None]
    topic_fault: Callable[[str], str | None]


@attrs.frozen
class OldEvent:
    """An event as the earlier broker had it.

    Attributes:
        id: which it gave.
        timestamp: when it accepted the event.
        payload: a JSON object.
        retries: failed deliveries.
        topic: its name, or "".
    """

    id: str
    timestamp: int
    payload: bytes
    retries: int
    topic: str


@attrs.frozen
class OldDeath:
    """How an event became a dead letter there.

    Attributes:
        time: when.
        reason: a word for programs.
        error: what was said, or "".
    """

    time: int
    reason: str
    error: str


@attrs.frozen
class Entry:
    """A line that is not empty.

    Attributes:
        line: where it stands.
        event: what it says; None if it cannot be taken over.
        death: for a dead letter.
        fault: why it cannot be taken over; "" if it can.
    """

    line: Line
    event: OldEvent | None = None
    death: OldDeath | None = None
    fault: str = ""


class OldFile:
    """One of the files, opened.

    Args:
        disk: attached to for reading.
        name: of the file.

    Raises:
        ReadFailed: it could not be opened.
    """

    def __init__(self, disk: Disk, name: str) -> None:
        self.name = name
        self.where = f"{disk.path}/{name}"
        try:
            self._file = disk.open_to_read(name)
        except OSError as error:
            raise ReadFailed(self.where, error) from error

    def size(self) -> int:
        """Tell its length in bytes."""
        return self._file.size()

    def begins_with(self, start: bytes) -> bool:
        """Tell whether these are its first bytes."""
        return self._file.read(0, len(start)) == start

    def lines(self) -> Iterator[Line]:
        """Give the lines that are not empty, without blanks around them.

        Raises:
            ReadFailed: it could not be read.
        """
        try:
            for line in lines(self._file, LINE_SIZE_MAX):
                text = line.text if line.text is None else line.text.strip()
                if text != b"":
                    yield line._replace(text=text)
        except OSError as error:
            raise ReadFailed(self.where, error) from error

    def close(self) -> None:
        """Let go of it. Idempotent."""
        self._file.close()


class RecordFile(OldFile):
    """events.log or dlq.log."""

    def __init__(self, disk: Disk, name: str) -> None:
        super().__init__(disk, name)
        self._decode: Callable[[bytes], _Record | _Letter] = (
            _letters.decode if name == DEAD_NAME else _records.decode
        )

    def source(self) -> str | None:
        """Name the file such that it is known again; None if there is nothing in it to take over.

        A path would not do: directories are copied, moved and mounted elsewhere. The file grows, so
        neither would a digest of any given length. Its first record stays what it is, and holds an
        id that no other record has.
        """
        for line in self.lines():
            if line.ended and line.text and not isinstance(self._shape(line.text), str):
                digest = blake2b(line.text, digest_size=_DIGEST_SIZE).hexdigest()
                return f"{self.name} {digest}"
        return None

    def entries(self, rules: Rules) -> Iterator[Entry]:
        """Read it.

        Raises:
            ReadFailed: it could not be read.
        """
        for line in self.lines():
            yield self._entry(line, rules)

    def _entry(self, line: Line, rules: Rules) -> Entry:
        if line.text is None:
            return Entry(line, fault=f"it is longer than {LINE_SIZE_MAX} bytes")
        if not line.ended:
            return Entry(line, fault="its end is missing: it was cut short, or is being written")
        shape = self._shape(line.text, rules.payload_fault)
        if isinstance(shape, str):
            return Entry(line, fault=shape)
        record = shape.record if isinstance(shape, _Letter) else shape
        topic, payload = record.topic or "", bytes(record.payload)
        fault = rules.topic_fault(topic) if topic else None
        if fault is not None:
            return Entry(line, fault=f"its topic cannot be taken: {fault}")
        fault = rules.payload_fault(payload)
        if fault is not None:
            return Entry(line, fault=f"its payload is not valid: {fault}")
        event = OldEvent(record.id, record.ts, payload, min(record.retries, COUNT_MAX), topic)
        if isinstance(shape, _Letter):
            return Entry(line, event, _death(shape))
        return Entry(line, event)

    def _shape(
        self, text: bytes, fault: Callable[[bytes], str | None] = lambda _: None
    ) -> _Record | _Letter | str:
        """Decode a line, or say why that cannot be done.

        Args:
            text: the line.
            fault: has better words for what is wrong with JSON.
        """
        try:
            return self._decode(text)
        except RecursionError:
            return "it is nested too deep"
        except UnicodeDecodeError:
            return "it is not valid UTF-8"
        except msgspec.ValidationError as error:
            return f"it is no record: {_lowered(str(error))}"
        except msgspec.DecodeError as error:
            detail = fault(text) or str(error).replace("JSON is malformed", "malformed JSON")
            return f"it cannot be read: {_lowered(detail)}"


def _death(letter: _Letter) -> OldDeath:
    error = letter.error
    if error is None:
        return OldDeath(letter.timestamp, letter.reason, "")
    text = error if isinstance(error, str) else msgspec.json.encode(error).decode()
    return OldDeath(letter.timestamp, letter.reason, text)


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


class DoneFile(OldFile):
    """committed.log."""

    def ids(self) -> Iterator[tuple[Line, str, str]]:
        """Give of each line the id, or why there is none.

        The last one may be a part of an id, which is then nobody's.

        Raises:
            ReadFailed: it could not be read.
        """
        for line in self.lines():
            try:
                one = (line.text or b"").decode()
            except UnicodeDecodeError:
                yield line, "", "it is not valid UTF-8"
                continue
            if 0 < len(one) <= ID_CHARS_MAX:
                yield line, one, ""
            else:
                yield line, "", f"it is longer than the {ID_CHARS_MAX} characters of an id"


@attrs.frozen
class OldFiles:
    """The files of one directory, opened. A missing one is None.

    Attributes:
        path: of the directory, for people.
        events: events.log.
        dead: dlq.log.
        done: committed.log.
    """

    path: str
    events: RecordFile | None
    dead: RecordFile | None
    done: DoneFile | None

    @classmethod
    def open(cls, disk: Disk) -> "OldFiles":
        """Open what is there.

        Args:
            disk: attached to for reading.

        Raises:
            NoOldFiles: this is no directory of the earlier broker.
            ReadFailed: the disk could not be read.
        """
        names = set(disk.names())
        if not names & {EVENTS_NAME, DEAD_NAME}:
            raise NoOldFiles(
                f"{disk.path} has neither {EVENTS_NAME} nor {DEAD_NAME}:"
                " give the data directory of the earlier broker"
            )
        files = cls(
            disk.path,
            RecordFile(disk, EVENTS_NAME) if EVENTS_NAME in names else None,
            RecordFile(disk, DEAD_NAME) if DEAD_NAME in names else None,
            DoneFile(disk, DONE_NAME) if DONE_NAME in names else None,
        )
        if files.events is not None and files.events.begins_with(_SEGMENT_MAGIC):
            files.close()
            raise NoOldFiles(
                f"{disk.path} is a data directory of this broker, not of the earlier one:"
                " start the broker on it"
            )
        return files

    def close(self) -> None:
        """Let go of them. Idempotent."""
        for file in (self.events, self.dead, self.done):
            if file is not None:
                file.close()
