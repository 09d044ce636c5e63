"""What the log gave back, brought onto the engine's time line. Pure."""

from collections.abc import Iterable, Iterator
from sys import intern

import attrs

from actors.backlog import Backlog
from actors.clock import Moment
from actors.deaths import Deaths
from actors.departures import Departures
from actors.graveyard import Graveyard
from actors.leases import Lease
from actors.put_off import PutOff, restored_due
from persistence.entry import ConsumerKind, Place, Row
from persistence.facts import Extended, Fact, Leased
from persistence.register import Register

_SORTED_AT_ONCE_MAX = 4096

_WAITING, _LEASED = int(Place.WAITING), int(Place.LEASED)


@attrs.frozen
class Restored:
    """Where every event stands at the start.

    Attributes:
        backlog: what waits.
        departures: tells the backlog what still waits.
        put_off: tells when what was put off is due.
        leased: numbers of events that were leased; see `held`.
        graveyard: the dead letters in the order of death.
    """

    backlog: Backlog
    departures: Departures
    put_off: PutOff
    leased: list[int]
    graveyard: Graveyard


def restore(register: Register, boot: int, at: Moment) -> Restored:
    """Bring the events' times onto the engine's time line, whatever the wall clock did meanwhile.

    The line starts at the wall clock; see `restored_due`. New events keep the order of their
    acceptance, also where the clock was set back between two of them.

    Args:
        register: all events; nobody changes it meanwhile.
        boot: this process's boot number.
        at: the start.
    """
    name = register.topics.name

    def topic_of(number: int) -> str:
        row = register.get(number)
        if row is None:
            raise KeyError(number)
        return name(row.topic)

    departures = Departures(register)
    backlog = Backlog(departures.waits, topic_of)
    graveyard = Graveyard(register.get, topic_of)
    leased: list[int] = []
    deaths = Deaths()
    now, latest, add_fresh = at.now, 0, backlog.add_fresh
    # There may be ten million of these, so each is looked at once and kept nowhere; and most are
    # new events, so what is asked of those is asked in as few words as Python has for it.
    for number, row in register.rows():
        place, due = row.place, row.due
        if place == _WAITING and not row.delivery and due <= row.timestamp:
            if due > latest:
                latest = min(due, now)
            add_fresh(name(row.topic), latest, number)
        elif place == _WAITING:
            backlog.add(name(row.topic), restored_due(row, now), number, now)
        elif place == _LEASED:
            leased.append(number)
        else:
            deaths.add(due, number)
    for number, row in _in_order_of_death(deaths, register):
        graveyard.add(name(row.topic), number, row.delivery)
    return Restored(backlog, departures, PutOff(boot, now), leased, graveyard)


def _in_order_of_death(deaths: Deaths, register: Register) -> Iterator[tuple[int, Row]]:
    """Yield (number, row) of dead letters by their time; of one millisecond in the log's order."""
    letters: list[tuple[int, int, Row]] = []
    last = None
    for time, number in deaths.in_order():
        if time != last or len(letters) == _SORTED_AT_ONCE_MAX:
            letters.sort()
            for _, one, row in letters:
                yield one, row
            letters = []
            last = time
        found = register.get(number)
        if found is not None:
            letters.append((found.last_fact, number, found))
    for _, number, row in sorted(letters):
        yield number, row


def held(facts: Iterable[Fact], at: Moment) -> list[Lease]:
    """Bring leases onto the engine's time line; none lasts longer than its length from now on.

    Args:
        facts: the newest about each event that was leased.
        at: this moment.
    """
    leases: list[Lease] = []
    for fact in facts:
        if not isinstance(fact, Leased | Extended):
            raise TypeError(f"a leased event whose newest fact is {fact}")
        leases.append(
            Lease(
                number=fact.number,
                stamp=fact.stamp,
                deadline=at.now + min(fact.length, max(0, fact.deadline - at.now)),
                length=fact.length,
                due=min(fact.due, at.now),
                kind=ConsumerKind(fact.kind),
                consumer=intern(fact.consumer),
            )
        )
    return leases
