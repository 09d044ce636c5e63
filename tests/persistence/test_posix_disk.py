"""What only a real directory has: modes, a lock between processes, and ways to be unusable."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from persistence.errors import DataDirectoryLocked, DataDirectoryUnusable
from persistence.facts import Enqueued
from persistence.log import EventLog
from persistence.posix_disk import PosixDisk
from tests.persistence.samples import NOW, append, event, view

HOLD = """
import sys
from persistence.posix_disk import PosixDisk
disk = PosixDisk(sys.argv[1])
disk.lock()
print("locked", flush=True)
sys.stdin.read()
"""


def test_directory_and_files_are_for_their_user_alone(tmp_path: Path) -> None:
    disk = PosixDisk(tmp_path / "deep" / "data")
    disk.lock()
    disk.create("a").close()
    disk.close()
    assert stat.S_IMODE((tmp_path / "deep" / "data").stat().st_mode) == 0o700
    for name in ("a", "lock"):
        assert stat.S_IMODE((tmp_path / "deep" / "data" / name).stat().st_mode) == 0o600


def test_the_lock_names_its_holder(tmp_path: Path) -> None:
    disk = PosixDisk(tmp_path)
    disk.lock()
    with pytest.raises(DataDirectoryLocked, match=f"in use by process {os.getpid()}"):
        PosixDisk(tmp_path).lock()
    disk.close()


def test_another_process_is_kept_out_and_its_end_frees_the_directory(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(DataDirectoryLocked, match=f"process {holder.pid}"):
            EventLog.open(PosixDisk(tmp_path), now=NOW)
        holder.kill()
    EventLog.open(PosixDisk(tmp_path), now=NOW).close()


def test_a_log_keeps_a_second_one_out_until_it_is_closed(tmp_path: Path) -> None:
    log = EventLog.open(PosixDisk(tmp_path), now=NOW)
    with pytest.raises(DataDirectoryLocked):
        EventLog.open(PosixDisk(tmp_path), now=NOW)
    log.close()
    EventLog.open(PosixDisk(tmp_path), now=NOW).close()


@pytest.mark.parametrize("below", ["", "data", "deep/data"])
def test_a_file_in_the_place_of_the_directory_is_told(tmp_path: Path, below: str) -> None:
    (tmp_path / "taken").write_text("not a directory")
    path = tmp_path / "taken" / below
    with pytest.raises(DataDirectoryUnusable, match="make it a directory that this user may write"):
        EventLog.open(PosixDisk(path), now=NOW)


def test_a_directory_in_the_place_of_the_lock_is_told(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(DataDirectoryUnusable, match="is a directory"):
        PosixDisk(tmp_path).lock()


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
    big = event(2, b'{"big":"' + b"x" * 9_000_000 + b'"}')
    append(log, Enqueued(event(1), NOW), Enqueued(big, NOW))
    log.close()
    again = EventLog.open(PosixDisk(tmp_path), now=NOW)
    assert [entry.event.number for entry in again.recovered.waiting] == [1, 2]
    events = [entry.event for entry in again.recovered.waiting]
    assert again.read(events) == [b'{"n":1}', big.payload]
    assert again.repairs == []
    assert view(again.recovered)[3] == 3
    again.close()
