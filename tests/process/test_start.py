"""Starting: what is wrong is said in one clear line, with a code that a supervisor understands."""

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.process.conftest import MakeBroker
from tests.process.process import ORDINARY, BrokerProcess, Finished, publish, run_to_its_end

FAILED, BAD_USAGE = 1, 2


def the_one_line(finished: Finished, code: int) -> str:
    """Return the only line on standard error, besides that it starts."""
    assert finished.code == code, finished
    assert finished.stdout == ""
    said = [line for line in finished.stderr if '"message": "starting"' not in line]
    assert len(said) == 1, finished.stderr
    assert "Traceback" not in said[0]
    return said[0]


async def test_a_broker_says_where_it_listens_and_answers_there(broker: BrokerProcess) -> None:
    await broker.start()
    async with broker.client() as client:
        for path in ("/api/health", "/livez", "/readyz"):
            assert (await client.get(path)).status_code == httpx.codes.OK
    assert await broker.stop() == 0
    assert "Traceback" not in broker.log()


async def test_a_second_process_on_the_same_directory_is_told_who_has_it(
    broker: BrokerProcess,
) -> None:
    await broker.start()
    second = await run_to_its_end(broker.directory, PORT=0, DATA_DIR="data")
    line = the_one_line(second, FAILED)
    assert f"in use by process {broker.process.pid}" in line
    async with broker.client() as client:
        await publish(client, "still here")


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = the_one_line(await run_to_its_end(tmp_path, PORT=port), FAILED)
    assert f"127.0.0.1:{port}" in line
    assert "in use" in line
    assert not (tmp_path / "data").exists()


async def test_a_data_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a directory")
    line = the_one_line(await run_to_its_end(tmp_path, PORT=0, DATA_DIR="data"), FAILED)
    assert "data directory" in line
    assert str(tmp_path / "data") in line or "data" in line


@pytest.mark.skipif(
    os.geteuid() == 0 and shutil.which("setpriv") is None,
    reason="root may write anywhere, and there is no setpriv (util-linux) to take that from it",
)
async def test_a_data_directory_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o555)
    prefix = ORDINARY if os.geteuid() == 0 else ()
    line = the_one_line(
        await run_to_its_end(tmp_path, prefix=prefix, PORT=0, DATA_DIR="data"), FAILED
    )
    assert "data directory" in line
    assert "permission denied" in line


async def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    line = the_one_line(
        await run_to_its_end(tmp_path, PORT=0, DATA_DIR="/proc/no/such/place"), FAILED
    )
    assert "/proc/no/such/place" in line


async def test_a_damaged_log_is_refused_by_file_and_offset(broker: BrokerProcess) -> None:
    await broker.start()
    async with broker.client() as client:
        await publish(client, *(f"{i}" for i in range(20)))
    assert await broker.stop() == 0
    log = broker.directory / "data" / "events.log"
    content = bytearray(log.read_bytes())
    content[1000] ^= 1
    log.write_bytes(content)
    line = the_one_line(await run_to_its_end(broker.directory, PORT=0, DATA_DIR="data"), FAILED)
    assert "events.log is damaged at offset" in line
    assert log.read_bytes() == content


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        ("no_such_module:handle", "no_such_module"),
        ("handlers:missing", "missing"),
        ("handlers:plain", "async"),
        ("broken:handle", "boom"),
    ],
)
async def test_a_handler_that_cannot_be_used_is_named(
    tmp_path: Path, handler: str, why: str
) -> None:
    (tmp_path / "handlers.py").write_text("def plain(event): ...\n")
    (tmp_path / "broken.py").write_text("raise RuntimeError('boom')\n")
    finished = await run_to_its_end(tmp_path, PORT=0, EVENT_HANDLER=handler)
    line = the_one_line(finished, FAILED)
    assert "EVENT_HANDLER" in line
    assert handler in line
    assert why in line
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "seventy"),
        ("PORT", "70000"),
        ("QUEUE_MAX_SIZE", "0"),
        ("MAX_RETRIES", "-1"),
        ("FSYNC", "sometimes"),
        ("EVENT_HANDLER", "no-colon"),
        ("BACKEND_URL", "mysql://here"),
        ("BACKOFF_MULTIPLIER", "nan"),
        ("LOG_LEVEL", "loud"),
    ],
)
async def test_a_bad_setting_is_named_with_its_value_and_what_is_allowed(
    tmp_path: Path, variable: str, value: str
) -> None:
    settings: dict[str, Any] = {"PORT": 0, variable: value}
    finished = await run_to_its_end(tmp_path, **settings)
    line = the_one_line(finished, BAD_USAGE)
    assert line.startswith("event-broker: ")
    assert variable in line
    assert value in line
    assert not (tmp_path / "data").exists()


async def test_an_unknown_key_in_the_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text("port = 0\nmax_retrys = 3\n")
    finished = await run_to_its_end(tmp_path, CONFIG_FILE=file)
    assert "max_retrys" in the_one_line(finished, BAD_USAGE)


async def test_everything_said_to_a_pipe_is_one_json_object_a_line(
    make_broker: MakeBroker,
) -> None:
    broker = make_broker()
    await broker.start()
    await broker.stop()
    lines = [json.loads(line) for line in broker.log().splitlines()]
    assert all({"timestamp", "level", "message"} <= line.keys() for line in lines)
    assert lines[-1]["message"] == "stopped"
