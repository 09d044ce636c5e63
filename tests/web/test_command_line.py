"""The command line: what it prints, and the exit code and the one line of every failure."""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from web.main import run_command
from web.settings import setting_table
from web.sockets import bind_sockets


@pytest.fixture(autouse=True)
def quiet_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No variables of the machine, a directory of one's own, and logging as it was before."""
    for setting in setting_table():
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.delenv("CONFIG_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def failure(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    """Run a command that fails and return the one line that it leaves on standard error."""
    assert run_command(list(arguments)) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert "Traceback" not in line
    return line


def start_failure(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a `serve` that fails and return the reason; no other line is an error."""
    assert run_command(["serve", *arguments]) == 1
    *before, last = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["message"] for line in before] in ([], ["starting"])
    assert (last["level"], last["message"]) == ("error", "cannot start")
    reason: str = last["reason"]
    return reason


def test_help_names_every_setting_with_variable_and_default(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(["serve", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for setting in setting_table():
        assert setting.flag in text
        assert f"[{setting.variable};" in text
    assert "default: 3000]" in text
    for heading in ("Network:", "Storage:", "Queue:", "Workers in this process:"):
        assert heading in text


def test_the_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out.startswith("event-broker ")


def test_config_prints_a_file_that_it_takes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run_command(["config", "--port", "4000", "--fsync", "interval:7"]) == 0
    printed = capsys.readouterr().out
    assert "port = 4000\n" in printed
    (tmp_path / "broker.toml").write_text(printed)
    assert run_command(["config", "--config-file", "broker.toml"]) == 0
    assert capsys.readouterr().out == printed
    assert run_command(["config", "--check"]) == 0
    assert capsys.readouterr().out == "The settings are valid.\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "--prot", "1"], "--prot"),
        (["serve", "--port"], "--port"),
        (["serve", "extra"], "extra"),
        (["sreve"], "sreve"),
        (["events", "explian"], "explian"),
        (["events", "explain"], "ID"),
        (["events", "explain", ""], "no event's id"),
        (["events", "explain", "consume"], "no event's id"),
        (["--nope"], "--nope"),
        (["serve", "--port", "x"], "PORT: 'x' from --port"),
        (["serve", "--port", ""], "PORT: '' from --port"),
        (["config", "--check", "--fsync", "x"], "FSYNC: 'x'"),
        (["serve", "--config-file", "none.toml"], "none.toml"),
    ],
)
def test_bad_usage_is_one_line_and_two(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    line = failure(capsys, *arguments, code=2)
    assert line.startswith("event-broker: ")
    assert words in line


def test_nothing_at_all_is_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["events"]):
        assert run_command(arguments) == 2
        assert "Commands:" in capsys.readouterr().err


def test_a_taken_port_stops_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    (taken,) = bind_sockets("127.0.0.1", 0)
    taken.listen()
    port = str(taken.getsockname()[1])
    assert f"127.0.0.1:{port}: the port is in use" in start_failure(capsys, "--port", port)
    taken.close()
    assert not Path("data").exists()


def test_an_unusable_data_directory_stops_the_start(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    assert str(file) in start_failure(capsys, "--port", "0", "--data-dir", str(file))


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        ("nowhere_at_all:f", "nowhere_at_all"),
        ("json:nothing", "nothing"),
        ("json:dumps", "async"),
        ("broken:f", "first line second line"),
    ],
)
def test_an_unusable_handler_stops_the_start(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, handler: str, words: str
) -> None:
    (tmp_path / "broken.py").write_text('raise ValueError("first line\\nsecond line")')
    assert words in start_failure(capsys, "--port", "0", "--event-handler", handler)


def test_a_bad_variable_stops_the_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUE_MAX_SIZE", "many")
    line = failure(capsys, "serve", code=2)
    assert line == (
        "event-broker: QUEUE_MAX_SIZE: 'many' from the environment is not allowed;"
        " it must be a whole number from 1 to 1000000000 events."
    )
