"""The demonstration's books: what counts as lost, changed, invented or brought back."""

from scripts.demonstration.ledger import Balance, Ledger

TOPIC = "push"


def payload(number: int) -> bytes:
    return b'{"delivery": %d}' % number


def publish(ledger: Ledger, number: int, event_id: str) -> None:
    ledger.sending(number, TOPIC, payload(number))
    ledger.accepted(number, event_id)


def deliver(ledger: Ledger, number: int, event_id: str, retries: int = 0) -> None:
    ledger.delivered(event_id, TOPIC, payload(number), retries)


def balance_of_one(ledger: Ledger) -> Balance:
    balance = ledger.balance()
    assert balance.published == 1
    return balance


def test_an_acknowledged_event_is_settled() -> None:
    ledger = Ledger()
    publish(ledger, 0, "a")
    deliver(ledger, 0, "a")
    assert ledger.settled == 0
    ledger.acknowledged("a", retries=0)
    assert ledger.settled == 1
    balance = balance_of_one(ledger)
    assert balance.clean
    assert (balance.delivered, balance.redelivered, balance.acknowledged) == (1, 0, 1)


def test_a_delivery_may_be_seen_before_its_publisher_has_the_answer() -> None:
    ledger = Ledger()
    ledger.sending(0, TOPIC, payload(0))
    deliver(ledger, 0, "a")
    ledger.acknowledged("a", retries=0)
    ledger.accepted(0, "a")
    assert balance_of_one(ledger).clean


def test_a_published_event_without_any_trace_is_lost() -> None:
    ledger = Ledger()
    publish(ledger, 0, "a")
    balance = balance_of_one(ledger)
    assert balance.lost == 1
    assert not balance.clean


def test_an_event_that_was_delivered_but_never_settled_is_lost() -> None:
    ledger = Ledger()
    publish(ledger, 0, "a")
    deliver(ledger, 0, "a")
    assert balance_of_one(ledger).lost == 1


def test_a_dead_letter_is_settled() -> None:
    ledger = Ledger()
    publish(ledger, 0, "a")
    deliver(ledger, 0, "a")
    ledger.dead("a", TOPIC, payload(0))
    balance = balance_of_one(ledger)
    assert balance.clean
    assert (balance.dead, balance.acknowledged) == (1, 0)


def test_an_acknowledgement_without_an_answer_accounts_for_its_event() -> None:
    ledger = Ledger()
    publish(ledger, 0, "a")
    deliver(ledger, 0, "a")
    ledger.perhaps_acknowledged("a")
    balance = balance_of_one(ledger)
    assert balance.clean
    assert (balance.acknowledged, balance.perhaps_acknowledged) == (0, 1)


def test_a_later_confirmation_takes_the_place_of_the_doubt() -> None:
    ledger = Ledger()
    publish(ledger, 0, "a")
    deliver(ledger, 0, "a")
    ledger.perhaps_acknowledged("a")
    deliver(ledger, 0, "a", retries=1)
    ledger.acknowledged("a", retries=1)
    balance = balance_of_one(ledger)
    assert balance.clean
    assert (balance.acknowledged, balance.perhaps_acknowledged) == (1, 0)
    assert balance.redelivered == 1


def test_one_changed_byte_is_a_mismatch() -> None:
    ledger = Ledger()
    publish(ledger, 0, "a")
    ledger.delivered("a", TOPIC, payload(0).replace(b" ", b""), 0)
    ledger.acknowledged("a", retries=0)
    balance = balance_of_one(ledger)
    assert balance.mismatches == 1
    assert not balance.clean


def test_another_topic_is_a_mismatch() -> None:
    ledger = Ledger()
    publish(ledger, 0, "a")
    ledger.delivered("a", None, payload(0), 0)
    ledger.acknowledged("a", retries=0)
    assert balance_of_one(ledger).mismatches == 1


def test_a_dead_letter_with_other_bytes_is_a_mismatch() -> None:
    ledger = Ledger()
    publish(ledger, 0, "a")
    deliver(ledger, 0, "a")
    ledger.dead("a", TOPIC, b"{}")
    assert balance_of_one(ledger).mismatches == 1


def test_bytes_of_another_event_are_a_mismatch() -> None:
    ledger = Ledger()
    publish(ledger, 0, "a")
    publish(ledger, 1, "b")
    deliver(ledger, 1, "a")
    deliver(ledger, 1, "b")
    ledger.acknowledged("a", retries=0)
    ledger.acknowledged("b", retries=0)
    assert ledger.balance().mismatches == 1


def test_an_unanswered_publication_may_be_stored_once_more() -> None:
    ledger = Ledger()
    ledger.sending(0, TOPIC, payload(0))
    ledger.reply_lost(0)
    publish(ledger, 0, "b")
    for event_id in ("a", "b"):
        deliver(ledger, 0, event_id)
        ledger.acknowledged(event_id, retries=0)
    balance = balance_of_one(ledger)
    assert balance.clean
    assert (balance.lost_replies, balance.stored_unanswered) == (1, 1)
    assert balance.acknowledged == 2


def test_an_unanswered_publication_may_be_gone() -> None:
    ledger = Ledger()
    ledger.sending(0, TOPIC, payload(0))
    ledger.reply_lost(0)
    publish(ledger, 0, "b")
    deliver(ledger, 0, "b")
    ledger.acknowledged("b", retries=0)
    balance = balance_of_one(ledger)
    assert balance.clean
    assert (balance.lost_replies, balance.stored_unanswered) == (1, 0)


def test_more_copies_than_unanswered_publications_are_strangers() -> None:
    ledger = Ledger()
    publish(ledger, 0, "a")
    for event_id in ("a", "b"):
        deliver(ledger, 0, event_id)
        ledger.acknowledged(event_id, retries=0)
    balance = balance_of_one(ledger)
    assert balance.strangers == 1
    assert not balance.clean


def test_bytes_that_nobody_sent_are_a_stranger() -> None:
    ledger = Ledger()
    ledger.delivered("x", TOPIC, b'{"who": "knows"}', 0)
    assert ledger.balance().strangers == 1


def test_a_delivery_after_the_acknowledgement_is_a_resurrection() -> None:
    ledger = Ledger()
    publish(ledger, 0, "a")
    deliver(ledger, 0, "a")
    ledger.acknowledged("a", retries=0)
    deliver(ledger, 0, "a", retries=1)
    balance = balance_of_one(ledger)
    assert balance.resurrected == 1
    assert not balance.clean


def test_an_older_delivery_that_arrives_late_is_no_resurrection() -> None:
    ledger = Ledger()
    publish(ledger, 0, "a")
    deliver(ledger, 0, "a", retries=1)
    ledger.acknowledged("a", retries=1)
    deliver(ledger, 0, "a", retries=0)
    assert balance_of_one(ledger).clean


def test_an_event_cannot_be_both_acknowledged_and_dead() -> None:
    ledger = Ledger()
    publish(ledger, 0, "a")
    deliver(ledger, 0, "a")
    ledger.acknowledged("a", retries=0)
    ledger.dead("a", TOPIC, payload(0))
    balance = balance_of_one(ledger)
    assert balance.doubly_settled == 1
    assert not balance.clean
