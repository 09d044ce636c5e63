"""What only a real directory has: modes, a lock between processes, and ways to be unusable."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from persistence.errors import DataDirectoryLocked, DataDirectoryUnusable
from persistence.posix_disk import PosixDisk

HOLD = """
import sys
from persistence.posix_disk import PosixDisk
disk = PosixDisk(sys.argv[1])
disk.lock()
print("locked", flush=True)
sys.stdin.read()
"""


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


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
        disk = PosixDisk(tmp_path)
        with pytest.raises(DataDirectoryLocked, match=f"process {holder.pid}"):
            disk.lock()
        disk.look()
        assert disk.names() == []
        assert int((tmp_path / "lock").read_text()) == holder.pid
        holder.kill()
        holder.wait()
        disk.lock()
        disk.close()


@pytest.mark.parametrize("below", ["", "data", "deep/data"])
def test_a_file_in_the_place_of_the_directory_is_told(tmp_path: Path, below: str) -> None:
    (tmp_path / "taken").write_text("not a directory")
    disk = PosixDisk(tmp_path / "taken" / below)
    with pytest.raises(DataDirectoryUnusable, match="make it a directory that this user may write"):
        disk.lock()
    with pytest.raises(DataDirectoryUnusable, match="not a directory"):
        disk.look()


def test_a_directory_in_the_place_of_the_lock_is_told(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(DataDirectoryUnusable, match="is a directory"):
        PosixDisk(tmp_path).lock()


def test_looking_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryUnusable, match="no such file or directory"):
        PosixDisk(tmp_path / "data").look()
    disk = PosixDisk(tmp_path)
    disk.look()
    disk.close()
    assert list(tmp_path.iterdir()) == []


def test_looking_takes_no_right_to_write(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"read me")
    file.chmod(0o400)
    tmp_path.chmod(0o500)
    disk = PosixDisk(tmp_path)
    disk.look()
    found = disk.open_to_read("a")
    assert found.read(0, 100) == b"read me"
    found.close()
    disk.close()
    tmp_path.chmod(0o700)


def test_the_file_system_tells_how_much_is_free(tmp_path: Path) -> None:
    disk = PosixDisk(tmp_path)
    disk.look()
    free = disk.free()
    assert free is None or free >= 0
    disk.close()


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = descriptors()
    for _ in range(3):
        first, second = PosixDisk(tmp_path), PosixDisk(tmp_path)
        first.look()
        first.lock()
        for _ in range(2):
            with pytest.raises(DataDirectoryLocked):
                second.lock()
            second.look()
        first.close()
        second.lock()
        second.look()
        second.close()
    assert descriptors() == before
