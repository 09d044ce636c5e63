"""What the log still says about an event is found, and what it does not say any more is admitted.

What an event went through is called E for enqueued, L leased, X extended, R returned, D dead, P
reprocessed, S settled and K discarded; small letters are copies.
"""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persistence.entry import Stamp
from persistence.errors import LogDamaged
from persistence.facts import (
    Dead,
    Discarded,
    Enqueued,
    Extended,
    Fact,
    Leased,
    Reprocessed,
    ReturnCause,
    Returned,
    Settled,
)
from persistence.history import History, history_of, search
from persistence.log import EventLog
from persistence.memory_disk import MemoryDisk
from persistence.reading import LogReader
from persistence.segment import FRAME_HEADER_SIZE, encode_frame
from persistence.segment_files import SegmentGone
from tests.persistence.logs import commit, copy_forward, let_go, open_log
from tests.persistence.old_release import an_old_log
from tests.persistence.samples import NOW, content, enqueued

EVENT = 1
STAMP = Stamp(1, 1)
SIGNS: dict[type, str] = {
    Enqueued: "E",
    Leased: "L",
    Extended: "X",
    Returned: "R",
    Dead: "D",
    Reprocessed: "P",
    Settled: "S",
    Discarded: "K",
}


def fact(sign: str) -> Fact:
    match sign:
        case "E":
            return enqueued(EVENT, b"x" * 50)
        case "L":
            return Leased(EVENT, NOW, 0, STAMP, NOW + 9, 9, consumer="me")
        case "X":
            return Extended(EVENT, NOW, 0, STAMP, NOW + 99, 90)
        case "R":
            return Returned(EVENT, NOW, 1, STAMP, ReturnCause.REJECTED, "no")
        case "D":
            return Dead(EVENT, NOW, 2, STAMP, "rejected", "why")
        case "P":
            return Reprocessed(EVENT, NOW, STAMP)
        case "S":
            return Settled(EVENT)
        case _:
            return Discarded(EVENT)


@attrs.define
class Life:
    """A log with one event that we are interested in, and many others."""

    log: EventLog = attrs.field(factory=lambda: open_log(MemoryDisk(), segment_max_bytes=500))
    now: int = NOW

    def go(self, signs: str) -> None:
        """Let something happen to the event; a space begins another segment."""
        for sign in signs:
            if sign == " ":
                self.roll()
            else:
                self.now += 1
                self.log.append([fact(sign)], now=self.now)
                self.log.write()

    def roll(self) -> None:
        sealed = self.log.fold.holdings.active.number
        while self.log.fold.holdings.active.number == sealed:
            number = max(100, self.log.fold.next_number)
            commit(self.log, enqueued(number, b"x" * 150), Settled(number))

    def copy(self, number: int) -> None:
        copy_forward(self.log, number)

    def let_go(self) -> None:
        let_go(self.log)

    def history(self) -> History | None:
        row = self.log.register.get(EVENT)
        reader = LogReader(self.log)
        if row is None:
            return search(reader, EVENT)
        return history_of(reader, row, self.log.fold.home_of(EVENT, row)[0])

    def told(self) -> str:
        """The event's history in signs; a dot at its end says that something is missing."""
        history = self.history()
        if history is None:
            return "nothing"
        signs = [
            SIGNS[type(r.fact)].lower() if getattr(r.fact, "copied", False) else SIGNS[type(r.fact)]
            for r in history.records
        ]
        return "".join(signs) + ("" if history.whole else ".")


def lived(signs: str) -> Life:
    life = Life()
    life.go(signs)
    return life


LIVES = ["E", "EL", "ELX", "ELRLD", "ELDP", "ELDPLX", "ELS", "ELDK", "ES", "ELRLDPLXS"]


@pytest.mark.parametrize("signs", LIVES)
@pytest.mark.parametrize("apart", [False, True])
def test_all_that_happened_is_told(signs: str, apart: bool) -> None:
    life = lived(" ".join(signs) if apart else signs)
    assert life.told() == signs


def test_each_fact_is_told_with_its_place_and_time() -> None:
    life = lived("E L R")
    history = life.history()
    assert history is not None
    facts = [fact(sign) for sign in "ELR"]
    assert [content(r.fact) for r in history.records] == [content(one) for one in facts]
    positions = [record.position for record in history.records]
    assert positions == sorted(positions)
    row = life.log.register.get(EVENT)
    assert row is not None
    assert positions[-1] == row.last_fact
    assert [record.time for record in history.records] == [NOW + 1, NOW + 2, NOW + 3]


def test_the_time_is_not_told_where_nobody_knows() -> None:
    life = Life()
    commit(life.log, fact("E"))
    for signs in ("", "S"):
        life.go(signs)
        history = life.history()
        assert history is not None
        assert history.records[0].time is None


def test_an_event_that_the_log_does_not_know_has_no_history() -> None:
    life = lived("E")
    reader = LogReader(life.log)
    assert search(reader, 77) is None


def test_an_event_that_went_with_its_segments_has_no_history() -> None:
    life = lived("E L S ")
    life.let_go()
    assert life.told() == "nothing"


# What is gone


def test_what_went_with_a_segment_is_missing_from_an_event_that_is_there() -> None:
    life = lived("E L R ")
    life.let_go()
    assert life.told() == "ER."


def test_what_went_with_a_segment_is_missing_from_an_event_that_is_done_with() -> None:
    life = Life()
    commit(life.log, enqueued(50))  # it keeps the first segment
    life.go("E L R L S ")
    life.let_go()
    assert life.log.places.places[0].number == 0
    assert life.told() == "ES."


def test_a_copy_begins_the_history_anew() -> None:
    life = lived("E L R ")
    for place in life.log.places.places[:-1]:
        life.copy(place.number)
    assert life.told() == "er."
    life.let_go()
    assert life.told() == "er."
    life.go("L")
    assert life.told() == "erL."
    life.go("S")
    assert life.told() == "erLS."


def test_a_copy_of_the_newest_fact_alone_leaves_the_home_where_it_was() -> None:
    life = lived("E L ")
    [newest] = life.log.newest_facts([EVENT])
    place = life.log.places.at(newest.position)
    assert place is not None
    life.copy(place.number)
    assert life.told() == "ELl"
    life.let_go()
    assert life.told() == "El."
    life.go("S")
    assert life.told() == "ElS."


def test_an_event_that_moves_meanwhile_has_to_be_asked_for_again() -> None:
    life = lived("E L ")
    row = life.log.register.get(EVENT)
    assert row is not None
    home = life.log.fold.home_of(EVENT, row)[0]
    for place in life.log.places.places[:-1]:
        life.copy(place.number)
    life.let_go()
    with pytest.raises(SegmentGone):
        history_of(LogReader(life.log), row, home)


def test_of_a_long_history_the_newest_part_is_told() -> None:
    for times, whole in ((505, False), (499, True)):
        life = Life()
        commit(life.log, *map(fact, "E" + "LR" * times))
        assert life.told() == "E" + "LR" * min(times, 500) + ("" if whole else ".")
        life.go("S")
        newest = ("LR" * times + "S")[-999:]
        assert life.told() == "E" + newest + ("" if whole else ".")


def test_what_happened_in_release_0_1_0_is_told() -> None:
    log = open_log(an_old_log().disk())
    reader = LogReader(log)
    row = log.register.get(12)
    assert row is not None
    histories = [history_of(reader, row, log.fold.home_of(12, row)[0])]
    histories += [one for one in (search(reader, 9), search(reader, 10)) if one is not None]
    signs = ["".join(SIGNS[type(r.fact)] for r in history.records) for history in histories]
    assert signs == ["ELDPL", "ELS", "ELDK"]
    assert all(history.whole for history in histories)


# Damage


def test_a_fact_that_makes_no_sense_is_named_by_file_and_offset() -> None:
    life = lived("EL")
    row = life.log.register.get(EVENT)
    assert row is not None
    disk = life.log.disk
    assert isinstance(disk, MemoryDisk)
    place = life.log.places.at(row.last_fact)
    assert place is not None
    disk.open(place.name).write(row.last_fact - place.base, b"\xee")
    with pytest.raises(LogDamaged) as caught:
        life.told()
    expected = f"memory/{place.name}", row.last_fact - place.base
    assert (caught.value.file, caught.value.offset) == expected


def test_a_batch_that_passes_its_checksum_and_makes_no_sense_is_named() -> None:
    life = lived("ELS")
    disk, end = life.log.disk, life.log.end
    assert isinstance(disk, MemoryDisk)
    place = life.log.places.places[-1]
    # In the place of the batch that settled it, and of the same size.
    size = 22
    salt = life.log._tail.segment.salt
    at = end - size - FRAME_HEADER_SIZE
    frame = encode_frame([b"\xee" * size], position=at, count=1, synced=0, time=0, salt=salt)
    disk.open(place.name).write(at - place.base, frame)
    with pytest.raises(LogDamaged) as caught:
        life.told()
    assert caught.value.offset == at + FRAME_HEADER_SIZE - place.base


# Whatever happens


steps_of_a_life = st.lists(
    st.sampled_from(["go", "go", "go", " ", "copy", "drop", "end"]), min_size=5, max_size=20
)


@settings(max_examples=80)
@given(steps_of_a_life)
def test_a_history_is_whole_or_says_that_it_is_not(steps: list[str]) -> None:
    life = lived("E")
    happened = "E"
    after = {"E": "L", "L": "X", "X": "R", "R": "D", "D": "P", "P": "L"}
    for step in steps:
        if happened[-1] in "SK":
            break
        if step == "go":
            life.go(after[happened[-1]])
            happened += after[happened[-1]]
        elif step == " ":
            life.roll()
        elif step == "copy":
            for place in life.log.places.places[:-1]:
                life.copy(place.number)
        elif step == "drop":
            life.let_go()
        else:
            sign = "K" if happened[-1] == "D" else "S"
            life.go(sign)
            happened += sign
        told = life.told()
        missing = told.endswith(".")
        originals = "".join(sign for sign in told.strip(".") if sign.isupper())
        assert originals == happened or missing
        assert missing or "e" not in told
        # What is left is told in order, and the newest fact always.
        rest = iter(happened)
        assert all(sign in rest for sign in originals)
        assert told.strip(".")[-1].upper() == happened[-1]
