"""A log in a real directory: it keeps others out, lets go of everything, and is there again."""

from pathlib import Path

import pytest

from persistence.errors import DataDirectoryLocked, DataDirectoryUnusable
from persistence.log import EventLog
from persistence.posix_disk import PosixDisk
from tests.persistence.samples import NOW, enqueued


def test_a_log_keeps_a_second_one_out_until_it_is_closed(tmp_path: Path) -> None:
    log = EventLog.open(PosixDisk(tmp_path), now=NOW)
    with pytest.raises(DataDirectoryLocked):
        EventLog.open(PosixDisk(tmp_path), now=NOW)
    log.close()
    EventLog.open(PosixDisk(tmp_path), now=NOW).close()


def test_a_log_is_not_opened_where_there_can_be_no_directory(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("not a directory")
    with pytest.raises(DataDirectoryUnusable, match="make it a directory that this user may write"):
        EventLog.open(PosixDisk(tmp_path / "taken" / "data"), now=NOW)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    def count() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    before = count()
    for _ in range(3):
        log = EventLog.open(PosixDisk(tmp_path), now=NOW)
        with pytest.raises(DataDirectoryLocked):
            EventLog.open(PosixDisk(tmp_path), now=NOW)
        log.close()
    assert count() == before


def test_a_log_on_a_real_disk_is_the_same_after_reopening(tmp_path: Path) -> None:
    log = EventLog.open(PosixDisk(tmp_path), now=NOW)
    big = b'{"big":"' + b"x" * 9_000_000 + b'"}'
    log.append([enqueued(1), enqueued(2, big)])
    log.write()
    log.sync()
    log.close()
    again = EventLog.open(PosixDisk(tmp_path), now=NOW)
    assert [number for number, _ in again.register.rows()] == [1, 2]
    assert again.read(again.spans([1, 2])) == [b'{"n":1}', big]
    assert again.repairs == []
    again.close()
