"""New events come in while there is room, whole or not at all."""

from actors.admission import Admission
from actors.broker import Rejected, Unavailable


def code(trouble: object) -> str:
    assert isinstance(trouble, Rejected | Unavailable)
    return trouble.code


def test_the_last_free_place_can_be_taken_and_the_next_is_refused() -> None:
    admission = Admission(queue_size=3, open_bytes=1000)
    assert admission.admit(1, 10, waiting=2) is None
    assert code(admission.admit(1, 10, waiting=2)) == "QUEUE_FULL"


def test_admitted_events_count_until_they_are_on_disk() -> None:
    admission = Admission(queue_size=3, open_bytes=1000)
    assert admission.admit(3, 30, waiting=0) is None
    assert code(admission.admit(1, 1, waiting=0)) == "QUEUE_FULL"
    admission.over(3, 30)
    assert (admission.admitted, admission.admitted_bytes) == (0, 0)
    assert code(admission.admit(1, 1, waiting=3)) == "QUEUE_FULL"
    assert admission.admit(1, 1, waiting=2) is None


def test_a_refused_batch_is_refused_whole_and_leaves_no_trace() -> None:
    admission = Admission(queue_size=10, open_bytes=1000)
    assert isinstance(admission.admit(4, 40, waiting=7), Unavailable)
    assert (admission.admitted, admission.admitted_bytes) == (0, 0)
    assert admission.admit(3, 30, waiting=7) is None


def test_a_batch_that_never_fits_is_the_callers_fault() -> None:
    admission = Admission(queue_size=10, open_bytes=1000)
    trouble = admission.admit(11, 1, waiting=0)
    assert isinstance(trouble, Rejected)
    assert trouble.code == "BATCH_TOO_LARGE"
    assert admission.admitted == 0


def test_a_slow_disk_refuses_further_bytes() -> None:
    admission = Admission(queue_size=100, open_bytes=100)
    assert admission.admit(1, 60, waiting=0) is None
    trouble = admission.admit(1, 41, waiting=0)
    assert isinstance(trouble, Unavailable)
    assert trouble.code == "BUSY"
    assert admission.admit(1, 40, waiting=0) is None


def test_a_request_larger_than_the_byte_limit_is_let_through_alone() -> None:
    admission = Admission(queue_size=100, open_bytes=100)
    assert admission.admit(2, 500, waiting=0) is None
    assert code(admission.admit(1, 0, waiting=0)) == "BUSY"
    admission.over(2, 500)
    assert admission.admit(1, 101, waiting=0) is None


def test_a_queue_that_a_restart_overfilled_refuses_until_it_drained() -> None:
    admission = Admission(queue_size=3, open_bytes=100)
    assert code(admission.admit(1, 1, waiting=50)) == "QUEUE_FULL"
    assert admission.admit(1, 1, waiting=2) is None
