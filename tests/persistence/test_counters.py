"""Each fact counts once in the log's life, whoever repeats it."""

from typing import Any

import attrs

from persistence.counters import Counters
from persistence.entry import Stamp
from persistence.facts import Dead, Fact, Imported, Leased, Opened, ReturnCause, Returned
from tests.persistence.samples import NOW, every_kind, history


def totals(*facts: Fact) -> dict[str, int]:
    counters = Counters()
    for fact in facts:
        counters.advance(fact)
    return {name: count for name, count in attrs.asdict(counters).items() if count}


def copy(fact: Any) -> Any:
    return attrs.evolve(fact, copied=True) if hasattr(fact, "copied") else fact


def test_a_history_is_counted() -> None:
    assert totals(*(fact for batch in history() for fact in batch)) == {
        "enqueued": 7,
        "consumed": 7,
        "acknowledged": 2,
        "failed": 4,
        "dead": 3,
        "reprocessed": 1,
        "discarded": 1,
    }


def test_copied_facts_do_not_count() -> None:
    originals = [fact for fact in every_kind() if hasattr(fact, "copied")]
    assert len({type(fact) for fact in originals}) == 7
    assert totals(*map(copy, originals)) == {}
    assert totals(*map(copy, every_kind())) == {"acknowledged": 1, "discarded": 1}


def test_opening_and_importing_count_nothing() -> None:
    assert totals(Opened(1, NOW), Imported("stream", 5)) == {}


def test_a_release_is_no_failure() -> None:
    stamp = Stamp(1, 1)
    lease = Leased(1, NOW, 0, stamp, NOW, 5)
    assert totals(lease, Returned(1, NOW, 0, stamp, ReturnCause.RELEASED)) == {"consumed": 1}
    for cause in set(ReturnCause) - {ReturnCause.RELEASED}:
        assert totals(Returned(1, NOW, 1, stamp, cause)) == {"failed": 1}
    assert totals(Dead(1, NOW, 1, stamp, "rejected")) == {"failed": 1, "dead": 1}


def test_totals_come_back_from_a_header() -> None:
    counters, other = Counters(), Counters()
    for fact in every_kind():
        counters.advance(fact)
    other.reset(counters.values())
    assert other == counters
