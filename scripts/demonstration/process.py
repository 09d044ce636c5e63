"""The broker as a process of its own, to be killed and started again."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs
import click
import httpx
import trio

__all__ = ["BrokerProcess", "free_port"]

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 40
POLL_SECONDS = 0.02
WATCH_SECONDS = 0.2


def free_port() -> int:
    """Return a port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@attrs.define
class BrokerProcess:
    """A broker that is started, killed and stopped.

    Attributes:
        directory: holds the data directory `data` and the log file `broker.log`.
        port: where it listens, on 127.0.0.1.
        settings: more environment variables for it.
    """

    directory: Path
    port: int
    settings: Mapping[str, str]
    _process: trio.Process | None = None
    _may_end: bool = False

    @property
    def log_file(self) -> Path:
        """What the broker says."""
        return self.directory / "broker.log"

    @property
    def url(self) -> str:
        """Where the broker answers."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start the process and wait until it takes work."""
        from web.settings import setting_table  # noqa: PLC0415 - the ledger's tests do without

        ours = {"CONFIG_FILE", *(setting.variable for setting in setting_table())}
        environment = {name: value for name, value in os.environ.items() if name not in ours}
        environment |= {
            **self.settings,
            "DATA_DIR": str(self.directory / "data"),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
        }
        with self.log_file.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "web", "serve"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
            )
        self._may_end = False
        with trio.move_on_after(START_SECONDS_MAX):
            await self._wait_until_ready()
            return
        raise click.ClickException(
            f"The broker was not ready after {START_SECONDS_MAX} seconds.\n{self._last_words()}"
        )

    async def must_live(self) -> None:
        """Watch until cancelled.

        Raises:
            click.ClickException: the process ended although nobody killed or stopped it.
        """
        while True:
            process = self._started()
            if process.poll() is not None and not self._may_end:
                raise click.ClickException(
                    f"The broker ended by itself, with exit code {process.returncode}.\n"
                    f"{self._last_words()}"
                )
            await trio.sleep(WATCH_SECONDS)

    async def kill(self) -> None:
        """End the process at once with SIGKILL, as a power cut would end it."""
        process = self._started()
        self._may_end = True
        process.kill()
        await process.wait()

    async def stop(self) -> int | None:
        """Ask the process to stop; return its exit code, or None if it had to be killed."""
        process = self._started()
        self._may_end = True
        process.send_signal(signal.SIGTERM)
        with trio.move_on_after(STOP_SECONDS_MAX):
            return await process.wait()
        await self.kill()
        return None

    async def _wait_until_ready(self) -> None:
        process = self._started()
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=2) as client:
            while True:
                if process.poll() is not None:
                    raise click.ClickException(
                        f"The broker ended with exit code {process.returncode}.\n"
                        f"{self._last_words()}"
                    )
                try:
                    answer = await client.get("/readyz")
                except httpx.TransportError:
                    pass
                else:
                    if answer.status_code == httpx.codes.OK:
                        return
                await trio.sleep(POLL_SECONDS)

    def _started(self) -> trio.Process:
        if self._process is None:
            raise RuntimeError("start the broker first")
        return self._process

    def _last_words(self) -> str:
        lines = self.log_file.read_text(errors="replace").splitlines()
        return "\n".join(lines[-10:])
