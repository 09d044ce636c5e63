"""Disks that are full, fail or end the process, for a broker in a process of its own."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.process.process import BrokerProcess

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("strace") is None or shutil.which("mount") is None,
    reason="making a disk fail takes root, strace and mount",
)


@asynccontextmanager
async def injected(broker: BrokerProcess, calls: str, fault: str) -> AsyncIterator[None]:
    """Let system calls of the running broker have a fault.

    Args:
        broker: it has been started.
        calls: their names, or a slash and a regular expression.
        fault: as in strace's `inject`.
    """
    what = ["-e", f"trace={calls}", "-e", f"inject={calls}:{fault}", "-o", "/dev/null"]
    command = ["strace", "-f", "-p", str(broker.process.pid), *what]
    async with trio.open_nursery() as nursery:
        strace: trio.Process = await nursery.start(
            partial(trio.run_process, command, stderr=subprocess.PIPE, check=False)
        )
        assert strace.stderr is not None
        async for said in strace.stderr:
            if b"attached" in said:
                break
        yield
        strace.terminate()


def mount(*arguments: str) -> None:
    """Mount something, or mount it otherwise."""
    subprocess.run(["/bin/mount", *arguments], check=True)


def fill(place: Path) -> Path:
    """Leave no room on the file system of a directory; return the file that takes it."""
    ballast = place / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    return ballast
