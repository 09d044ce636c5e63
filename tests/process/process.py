"""A broker as a process of its own: started, spoken to, signalled, killed and started again."""

import os
import re
import signal
import subprocess
import sysconfig
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import trio

from web.settings import setting_table

START_S_MAX = 30
STOP_S_MAX = 30
COMMAND = str(Path(sysconfig.get_path("scripts")) / "event-broker")
_URL = re.compile(r"http://127\.0\.0\.1:\d+")


def environment(**settings: Any) -> dict[str, str]:
    """Return this process's environment with these settings and no others."""
    ours = {"CONFIG_FILE", *(setting.variable for setting in setting_table())}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return inherited | {name: str(value) for name, value in settings.items()}


@attrs.frozen
class Finished:
    """A process that has ended.

    Attributes:
        code: its exit code, negative for the signal that killed it.
        stderr: its lines on standard error.
        stdout: what it printed on standard output.
    """

    code: int
    stderr: list[str]
    stdout: str


# Takes from root what lets it write anywhere, so that modes count for it as for anybody else.
ORDINARY = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]


async def run_to_its_end(
    directory: Path, *, prefix: Sequence[str] = (), **settings: Any
) -> Finished:
    """Run `event-broker serve`, which is expected to end by itself, behind a command or none."""
    with trio.fail_after(START_S_MAX):
        result = await trio.run_process(
            [*prefix, COMMAND, "serve"],
            env=environment(HOST="127.0.0.1", **settings),
            cwd=directory,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    stderr = result.stderr.decode().splitlines()
    return Finished(result.returncode, stderr, result.stdout.decode())


class BrokerEnded(Exception):
    """The process ended before it listened; the text is what it said."""


@attrs.define(eq=False)
class BrokerProcess:
    """One broker on one data directory, life after life.

    Attributes:
        directory: where it runs; holds `data` and, for people, `broker.log`.
        settings: environment variables for every life.
        url: where this life listens.
    """

    directory: Path
    settings: dict[str, Any]
    url: str = ""
    _process: trio.Process | None = None
    _log_start: int = 0

    @property
    def process(self) -> trio.Process:
        assert self._process is not None, "start it first"
        return self._process

    @property
    def log_file(self) -> Path:
        return self.directory / "broker.log"

    def log(self) -> str:
        """Return what this life has said."""
        if not self.log_file.exists():
            return ""
        return self.log_file.read_bytes()[self._log_start :].decode(errors="replace")

    async def start(self, **settings: Any) -> None:
        """Start it, and wait until it takes work."""
        self.settings |= settings
        self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        chosen = {"HOST": "127.0.0.1", "PORT": 0, "DATA_DIR": "data", **self.settings}
        with self.log_file.open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                [COMMAND, "serve"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(**chosen),
                cwd=self.directory,
            )
        await until(self._listens, "the broker to listen")

    async def _listens(self) -> bool:
        for line in self.log().splitlines():
            if "listening" in line and (match := _URL.search(line)):
                self.url = match[0]
                return True
        if self.process.poll() is not None:
            raise BrokerEnded(self.log())
        return False

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def wait(self) -> int:
        """Wait until it has ended; return its exit code."""
        with trio.fail_after(STOP_S_MAX):
            return await self.process.wait()

    async def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        assert await self.wait() == -signal.SIGKILL

    async def stop(self) -> int:
        """Ask it to stop; return its exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait()

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Speak to this life."""
        async with httpx.AsyncClient(
            base_url=self.url, trust_env=False, timeout=httpx.Timeout(20)
        ) as client:
            yield client

    async def clean_up(self) -> None:
        """Leave no process behind."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            await self._process.wait()


async def publish(client: httpx.AsyncClient, *names: str, topic: str = "t") -> list[str]:
    """Publish an event for each name; return their ids."""
    ids = []
    for name in names:
        answer = await client.post("/api/events", params={"topic": topic}, json={"name": name})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        ids.append(answer.json()["id"])
    return ids


async def consume(
    client: httpx.AsyncClient, count: int = 1, timeout_ms: int = 0
) -> list[dict[str, Any]]:
    """Take events."""
    answer = await client.get(
        "/api/events/consume", params={"maxEvents": count, "timeoutMs": timeout_ms}
    )
    assert answer.status_code == httpx.codes.OK, answer.text
    events: list[dict[str, Any]] = answer.json()["events"]
    return events


async def acknowledge(client: httpx.AsyncClient, *receipts: str) -> list[str]:
    """Acknowledge; return the receipts that held."""
    answer = await client.post("/api/events/acknowledge", json={"receiptIds": receipts})
    assert answer.status_code == httpx.codes.OK, answer.text
    held: list[str] = answer.json()["acknowledged"]
    return held


async def status(client: httpx.AsyncClient) -> dict[str, Any]:
    """Ask where the events are."""
    answer = await client.get("/api/status")
    assert answer.status_code == httpx.codes.OK, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for something that another process brings about."""
    with trio.move_on_after(START_S_MAX):
        while not await condition():  # noqa: ASYNC110 - another process tells nobody
            await trio.sleep(0.005)
        return
    raise AssertionError(f"waited in vain for {what}")
