"""`event-broker log`: what it prints of a log, its exit codes, its errors of one line."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from persistence.entry import Stamp
from persistence.facts import Dead, Enqueued, Leased
from persistence.log import EventLog, LogOptions
from persistence.posix_disk import PosixDisk
from web.main import run_command
from web.settings import setting_table

NOW = 1_700_000_000_000
ONE = "events-0000000001.log"

Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def quiet_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variables of the machine, and a directory of one's own."""
    for setting in setting_table():
        monkeypatch.delenv(setting.variable, raising=False)
    monkeypatch.delenv("CONFIG_FILE", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; return its exit code and what it said on both streams."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = run_command(["log", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def open_log() -> EventLog:
    return EventLog.open(PosixDisk("data"), now=NOW, options=LogOptions(segment_max_bytes=700))


@pytest.fixture
def data() -> Path:
    """The directory of a stopped broker: events 1 to 12, of which 2 is dead and 3 is leased."""
    log = open_log()
    for number in range(1, 13):
        payload = b'{\n  "n": %d,\r\n "big": 12345678901234567890.10 }' % number
        foreign_id = "elsewhere-7" if number == 7 else ""
        topic = "orders" if number % 2 else "bills"
        event = Enqueued(number, NOW, NOW, topic, payload, foreign_id=foreign_id)
        log.append([event], now=NOW)
    stamp = Stamp(1, 1)
    log.append([Leased(2, NOW, 0, stamp, NOW, 9), Dead(2, NOW, 1, stamp, "rejected", "bäd\x1b[2J")])
    log.append([Leased(3, NOW, 0, stamp, NOW + 9, 9, consumer="me")])
    log.write()
    log.close()
    return Path("data")


@pytest.fixture
def damaged(data: Path) -> Path:
    """The same with a damaged batch: that of event 5 or so."""
    flip(data / ONE, 250)
    return data


def flip(file: Path, offset: int) -> None:
    content = bytearray(file.read_bytes())
    content[offset] ^= 6
    file.write_bytes(content)


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.name != "lock"}


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def said(out: str) -> str:
    return " ".join(out.split())


@pytest.mark.usefixtures("data")
def test_a_sound_log_is_told_to_be_sound(run: Run) -> None:
    code, out, err = run("verify")
    assert (code, err) == (0, "")
    assert out.startswith("The log in data is sound.\n")
    assert "16 facts in 16 batches" in out
    assert "\x1b" not in out


@pytest.mark.usefixtures("damaged")
def test_damage_is_named_with_file_and_offset(run: Run) -> None:
    code, out, err = run("verify")
    assert (code, err) == (1, "")
    assert "The log in data is damaged." in out
    assert f"data/{ONE}" in out
    assert "the checksum of a batch is wrong" in out
    assert "event-broker log repair" in said(out)
    code, out, _ = run("verify", "--json")
    assert code == 1
    found = json.loads(out)
    assert found["sound"] is False
    (finding,) = found["findings"]
    assert (finding["what"], finding["file"]) == ("damage", f"data/{ONE}")
    assert 0 < finding["offset"] < 250 < finding["offset"] + finding["size"]


def test_a_foreign_file_is_worth_a_line_and_no_damage(run: Run, data: Path) -> None:
    (data / "notes\x1b[2J\udcff.txt").write_text("x")
    code, out, _ = run("verify")
    assert code == 0
    assert "it is no file of the log's" in out
    assert "\x1b" not in out
    (finding,) = json.loads(run("verify", "--json")[1])["findings"]
    assert finding["what"] == "foreign"
    assert finding["file"] == "data/notes\x1b[2J\\udcff.txt"


def test_a_start_that_is_refused_names_the_commands(
    run: Run, damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del run
    assert run_command(["serve", "--port", "0", "--data-dir", str(damaged)]) == 1
    reason = json.loads(capsys.readouterr().err.splitlines()[-1])["reason"]
    assert "'event-broker log verify'" in reason
    assert "'event-broker log repair'" in reason


@pytest.mark.usefixtures("data")
def test_a_dump_is_a_line_of_json_for_each_fact(run: Run) -> None:
    code, out, err = run("dump")
    assert (code, err) == (0, "")
    found = lines(out)
    assert [record["kind"] for record in found] == [
        "opened",
        *["enqueued"] * 12,
        "leased",
        "dead",
        "leased",
    ]
    event = found[1]
    assert event["payload"]["n"] == 1
    assert '"payload":{"n":1,"big":12345678901234567890.10}' in out.splitlines()[1]
    dead = found[14]
    assert (dead["number"], dead["topic"], dead["error"]) == (2, "bills", "bäd\x1b[2J")
    assert dead["id"] == found[2]["id"]
    assert len({record["id"] for record in found[1:13]}) == 12
    assert found[7]["id"] == "elsewhere-7"
    assert "\x1b" not in out


@pytest.mark.usefixtures("data")
def test_a_dump_can_be_narrowed_down(run: Run) -> None:
    everything = lines(run("dump")[1])
    (event_id,) = {record["id"] for record in everything if record.get("number") == 2}
    about = [record for record in everything if record.get("number") == 2]
    assert lines(run("dump", "--id", event_id)[1]) == about
    (foreign,) = lines(run("dump", "--id", "elsewhere-7")[1])
    assert foreign["number"] == 7
    assert run("dump", "--id", "nonsense") == (0, "", "")
    bills = lines(run("dump", "--topic", "bills", "--kind", "enqueued", "--kind", "dead")[1])
    assert [record["number"] for record in bills] == [2, 4, 6, 8, 10, 12, 2]
    start = str(everything[9]["position"])
    assert lines(run("dump", "--from", start)[1]) == everything[9:]
    (size,) = lines(run("dump", "--no-payloads", "--id", "elsewhere-7")[1])
    assert size["payload_size"] == 46
    assert "payload" not in size


def test_payloads_that_are_no_json_are_printed_in_base64(run: Run) -> None:
    log = open_log()
    log.append([Enqueued(1, NOW, NOW, "", b"\xff\x00"), Enqueued(2, NOW, NOW, "", b"{nope")])
    log.write()
    log.close()
    _, first, second = lines(run("dump")[1])
    assert first["payload_base64"] == "/wA="
    assert second["payload_base64"] == "e25vcGU="


@pytest.mark.usefixtures("damaged")
def test_a_dump_of_a_damaged_log_leaves_out_the_damage_and_says_so(run: Run) -> None:
    code, out, err = run("dump")
    assert code == 1
    assert len(lines(out)) == 15
    (line,) = err.splitlines()
    assert line.startswith(f"event-broker: What is damaged was left out: data/{ONE} at offset ")


def test_a_dump_ends_soon_when_nobody_reads_it() -> None:
    log = EventLog.open(PosixDisk("data"), now=NOW)
    payload = b'{"x":"%s"}' % (b"x" * 500)
    log.append([Enqueued(number, NOW, NOW, "", payload) for number in range(1, 2000)])
    log.write()
    log.close()
    arguments = [
        sys.executable,
        "-m",
        "web",
        "log",
        "dump",
        "--data-dir",
        str(Path("data").resolve()),
    ]
    with subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b'{"position":184')
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 1


def test_the_figures_of_a_log(run: Run, data: Path) -> None:
    code, out, err = run("stat")
    assert (code, err) == (0, "")
    text = said(out)
    assert "10 ready, 0 delayed, 1 leased, 1 dead" in text
    assert "12 enqueued" in text
    assert ONE in out
    found = json.loads(run("stat", "--json")[1])
    assert (found["ready"], found["leased"], found["dead"]) == (10, 1, 1)
    assert found["counters"]["enqueued"] == 12
    assert [segment["number"] for segment in found["segments"]] == [0, 1, 2, 3, 4]
    assert found["size"] == sum(file.stat().st_size for file in data.glob("*.log"))
    assert found["damage"] == []
    flip(data / ONE, 250)
    code, out, _ = run("stat")
    assert code == 0
    assert "It is damaged in 1 place" in said(out)


@pytest.mark.usefixtures("data")
def test_a_sound_log_needs_no_repair(run: Run) -> None:
    before = contents(Path("data"))
    assert run("repair") == (
        0,
        "The log in data is sound: there is nothing to mend.\n",
        "",
    )
    assert contents(Path("data")) == before


def test_a_repair_changes_nothing_before_somebody_has_chosen(run: Run, damaged: Path) -> None:
    before = contents(damaged)
    code, out, err = run("repair")
    assert (code, err) == (1, "")
    text = said(out)
    for words in (
        f"data/{ONE}",
        "--skip-damage",
        "--truncate",
        "events left",
        "Nothing was changed",
    ):
        assert words in text
    assert contents(damaged) == before


@pytest.mark.parametrize("flag", ["--skip-damage", "--truncate"])
def test_a_repair_keeps_the_original_and_the_log_is_sound(
    run: Run, damaged: Path, flag: str
) -> None:
    original = (damaged / ONE).read_bytes()
    code, out, err = run("repair", flag)
    assert (code, err) == (0, "")
    assert "The log in data is mended, and sound." in out
    assert f"- {ONE}.damaged" in out
    assert (damaged / f"{ONE}.damaged").read_bytes() == original
    assert run("verify")[0] == 0
    log = open_log()
    assert len(log.register) == (11 if flag == "--skip-damage" else 3)
    log.close()


def test_an_event_that_is_lost_is_named_by_its_id(run: Run, data: Path) -> None:
    events = {record["id"] for record in lines(run("dump", "--kind", "enqueued")[1])}
    flip(data / ONE, 250)
    left = {record["id"] for record in lines(run("dump", "--kind", "enqueued")[1])}
    (lost,) = events - left
    out = run("repair")[1]
    assert f"{lost} lost" in said(out)


def test_files_out_of_order_are_put_right_without_a_choice(run: Run, data: Path) -> None:
    (data / ONE).rename(data / "events-0000000008.log")
    assert run("verify")[0] == 1
    code, out, _ = run("repair")
    assert code == 0
    assert f"gets its right name {ONE} again" in said(out)
    assert run("verify")[0] == 0


@pytest.fixture
def used(data: Path) -> Iterator[Path]:
    """A directory that is in use."""
    log = open_log()
    yield data
    log.close()


@pytest.mark.usefixtures("used")
def test_only_repair_needs_the_directory_for_itself(run: Run) -> None:
    for command in ("verify", "dump", "stat"):
        assert run(command)[0] == 0
    code, out, err = run("repair")
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert "data directory data is in use by process" in line


@pytest.mark.parametrize("command", ["verify", "dump", "stat", "repair"])
def test_a_directory_without_a_log_is_one_line(run: Run, command: str, tmp_path: Path) -> None:
    code, out, err = run(command, "--data-dir", "nowhere")
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert "data directory nowhere cannot be used" in line
    (tmp_path / "empty").mkdir()
    code, out, err = run(command, "--data-dir", "empty")
    assert (code, out) == (1, "")
    assert "there is no log in empty" in err
    assert not Path("nowhere").exists()


def test_the_directory_comes_from_the_same_settings_as_that_of_a_broker(
    run: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.rename("other")
    monkeypatch.setenv("DATA_DIR", "other")
    assert "The log in other is sound" in run("verify")[1]
    monkeypatch.delenv("DATA_DIR")
    Path("broker.toml").write_text('data_dir = "other"\n')
    assert "The log in other is sound" in run("verify", "--config-file", "broker.toml")[1]
    assert run("verify")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["repair", "--skip-damage", "--truncate"], "exclude each other"),
        (["dump", "--kind", "nonsense"], "nonsense"),
        (["dump", "--from", "-1"], "-1"),
        (["verify", "extra"], "extra"),
    ],
)
def test_bad_usage_is_one_line_and_two(run: Run, arguments: list[str], words: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert words in line
