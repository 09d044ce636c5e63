"""`event-broker events`: what it prints of a running broker's answer, and of the lack of one."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from web.main import run_command

Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command beside the broker; return its exit code and what it said on both streams."""

    async def run(*arguments: str) -> tuple[int, str, str]:
        code = await trio.to_thread.run_sync(run_command, list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


async def test_an_event_is_explained_to_people_and_to_programs(house: Any, run: Run) -> None:
    (event_id,) = await house.publish('{"n":1}', topic="orders")
    url = ("--url", house.server.urls[0])
    code, out, err = await run("events", "explain", event_id, *url)
    assert (code, err) == (0, "")
    assert out.startswith(f"{event_id} waits for a consumer")
    assert "topic orders, 7 bytes, 0 retries" in out
    assert "accepted" in out

    code, out, err = await run("events", "explain", event_id, *url, "--json")
    assert (code, err) == (0, "")
    assert out.endswith("}\n")
    answer = await house.client.get(f"/api/events/{event_id}")
    assert json.loads(out) == answer.json()


@pytest.mark.parametrize("name", ["nonsense", "a/b", "?topic=x", "é", "..", "\udcff"])
async def test_an_event_that_is_not_known_is_one_line(house: Any, run: Run, name: str) -> None:
    code, out, err = await run("events", "explain", name, "--url", house.server.urls[0])
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("event-broker: ")


@pytest.mark.parametrize("name", ["consume", "batch", "acknowledge", ""])
async def test_no_other_call_is_made_by_a_name(house: Any, run: Run, name: str) -> None:
    await house.publish("{}")
    code, out, _ = await run("events", "explain", name, "--url", house.server.urls[0])
    assert (code, out) == (2, "")
    assert (await house.broker.status()).leases == 0


async def test_a_broker_that_does_not_run_is_one_line(run: Run) -> None:
    code, out, err = await run("events", "explain", "x", "--url", "http://127.0.0.1:1")
    assert (code, out) == (1, "")
    assert err == (
        "event-broker: No broker answers at http://127.0.0.1:1: Connection refused."
        " Is it running, and is that its --url?\n"
    )


async def test_a_bad_url_is_one_line(run: Run) -> None:
    code, out, err = await run("events", "explain", "x", "--url", "localhost")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
