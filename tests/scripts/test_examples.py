"""What is shown to newcomers works: the handlers, the tour, the demonstration."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from actors.handler import Event, load_handler
from scripts.demonstration.process import BrokerProcess, free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.usefixtures("in_root")
async def test_the_plain_handler_takes_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    handler = load_handler("examples.handler:log_event")
    assert handler.wants is Event
    await handler.function(Event("1", "orders", {"order": 7}, 0, 0))
    assert capsys.readouterr().out == "orders 1: {'order': 7}\n"


@pytest.mark.usefixtures("in_root")
async def test_the_typed_handler_takes_an_order(
    capsys: pytest.CaptureFixture[str], autojump_clock: trio.testing.MockClock
) -> None:
    assert autojump_clock is not None
    handler = load_handler("examples.handler:ship")
    await handler.function(handler.wants(order=7, customer="Ada", items=["compiler"]))
    assert capsys.readouterr().out == "order 7: 1 items to Ada\n"
    with pytest.raises(ValueError, match="order 8 of Ada is empty"):
        await handler.function(handler.wants(order=8, customer="Ada"))


@pytest.mark.process
@pytest.mark.skipif(shutil.which("curl") is None, reason="the tour needs curl")
async def test_the_tour_goes_through(tmp_path: Path) -> None:
    broker = BrokerProcess(tmp_path, free_port(), {})
    await broker.start()
    try:
        tour = await trio.run_process(
            [ROOT / "examples/tour.sh"],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**os.environ, "BROKER_URL": broker.url},
        )
    finally:
        assert await broker.stop() == 0
    assert tour.returncode == 0, tour.stdout.decode()[-2000:] + tour.stderr.decode()
    assert b"The tour is over" in tour.stdout


@pytest.mark.process
@pytest.mark.skipif(shutil.which("curl") is None, reason="the tour needs curl")
def test_a_tour_without_a_broker_says_so() -> None:
    tour = subprocess.run(
        [ROOT / "examples/tour.sh"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "BROKER_URL": f"http://127.0.0.1:{free_port()}"},
    )
    assert tour.returncode == 1
    assert "Is the broker running?" in tour.stderr


@pytest.mark.process
def test_the_demonstration_loses_nothing(tmp_path: Path) -> None:
    index = [
        {"name": f"kind_{n}", "examples": [{"text": "ä\n" * 300 * n, "n": n}]} for n in range(1, 8)
    ]
    payloads = tmp_path / "index.json"
    payloads.write_text(json.dumps(index))
    demo = subprocess.run(
        [
            *(sys.executable, "-m", "scripts.demonstration"),
            *("--events", "200", "--payloads", payloads, "--queue-max-size", "50"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert demo.returncode == 0, demo.stdout[-4000:] + demo.stderr[-4000:]
    assert "The broker was killed" in demo.stdout
    assert "agrees" in demo.stdout
