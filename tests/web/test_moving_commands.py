"""`event-broker import`, `backup` and `restore`: what they do, print and refuse, in one process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from persistence.errors import DataDirectoryLocked
from persistence.log import EventLog
from persistence.posix_disk import PosixDisk
from tests.persistence.old_files import json_lines, letter, record
from web.main import run_command
from web.settings import setting_table

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def quiet_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variables of the machine, and a directory of one's own."""
    for setting in setting_table():
        monkeypatch.delenv(setting.variable, raising=False)
    for name in ("CONFIG_FILE", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RESERVED_BYTES", "0")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = run_command(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def old() -> Path:
    """What the earlier broker has left."""
    path = Path("old")
    path.mkdir()
    events = [record("a"), record("b", topic="orders"), record("c", topic="no topic")]
    (path / "events.log").write_bytes(
        json_lines(events) + b"rubb\x1bish\n" + json_lines([record("d", payload={"x": [[1]]})])
    )
    (path / "dlq.log").write_bytes(json_lines([letter("dead")]))
    (path / "committed.log").write_bytes(b"a\n")
    return path


def ids_in(directory: str) -> set[str]:
    log = EventLog.open(PosixDisk(directory), now=1)
    try:
        return {one for _, one in log.register.foreign.items()}
    finally:
        log.close()


def the_line(result: tuple[int, str, str], code: int = 1) -> str:
    """Return the last line of a failure, which is the only one that is no step."""
    found, out, err = result
    assert (found, out) == (code, "")
    *steps, last = err.splitlines()
    assert not any(line.startswith("event-broker") for line in steps)
    assert "Traceback" not in err
    return last


@pytest.mark.usefixtures("old")
def test_an_import_says_what_it_took_and_what_not(run: Run) -> None:
    code, out, err = run("import", "old")
    assert code == 0
    assert out.splitlines()[0] == "2 events and 1 dead letter have been taken over."
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "taken over 2 1" in lines
    assert "done with, so not taken 1 0" in lines
    assert any(
        line.startswith("events.log 3 its topic cannot be taken: 'no topic'") for line in lines
    )
    assert any(line.startswith("events.log 4 it cannot be read: malformed JSON") for line in lines)
    assert [line.split(":")[0] for line in err.splitlines()] == [
        "opening data",
        "reading committed.log",
        "reading dlq.log",
        "importing dlq.log",
        "importing events.log",
    ]
    assert ids_in("data") == {"b", "d", "dead"}


@pytest.mark.usefixtures("old")
def test_an_import_that_is_run_again_takes_nothing_and_names_the_bad_lines_to_programs(
    run: Run,
) -> None:
    run("import", "old", "--data-dir", "new")
    code, out, _ = run("import", "old", "--data-dir", "new", "--json", "--skipped", "left.jsonl")
    assert code == 0
    report = json.loads(out)
    assert report["events"]["taken"] == 0
    assert report["events"]["earlier"] == 3
    assert report["events"]["faulty"] == 2
    assert report["dead_letters"]["earlier"] == 1
    assert [(skip["file"], skip["line"]) for skip in report["skipped"]] == [
        ("events.log", 3),
        ("events.log", 4),
    ]
    written = [json.loads(line) for line in Path("left.jsonl").read_text().splitlines()]
    assert written == report["skipped"]
    assert not Path("data").exists()


def test_payloads_and_topics_are_held_to_the_rules_of_the_api(run: Run) -> None:
    Path("old").mkdir()
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    good = [record("1", topic="t" * 255), record("2", payload={"a": deep[0]})]
    bad = [record("3", topic="t" * 256), record("4", payload={"a": deep}), record("5", payload=[])]
    lines = json_lines([*good, *bad]) + b'{"id":"6","ts":1,"payload":{"a":"\\ud800"}}\n'
    (Path("old") / "events.log").write_bytes(lines)
    _, out, _ = run("import", "old", "--json")
    reasons = [skip["reason"] for skip in json.loads(out)["skipped"]]
    assert ids_in("data") == {"1", "2"}
    assert "topic" in reasons[0]
    assert "deeper than 100" in reasons[1]
    assert "array" in reasons[2]
    assert "surrogate" in reasons[3]


def test_many_bad_lines_are_counted_and_some_are_shown(run: Run) -> None:
    Path("old").mkdir()
    (Path("old") / "events.log").write_bytes(b"rubbish\n" * 1234)
    _, out, _ = run("import", "old")
    assert "... and 1,214 more; --skipped FILE writes them all to a file" in out
    _, out, _ = run("import", "old", "--json", "--skipped", "all.jsonl")
    assert json.loads(out)["skipped_total"] == 1234
    assert len(json.loads(out)["skipped"]) == 1000
    assert len(Path("all.jsonl").read_text().splitlines()) == 1234


def test_an_import_into_a_log_that_was_torn_says_so(run: Run, old: Path) -> None:
    run("import", "old")
    with (Path("data") / "events.log").open("ab") as file:
        file.write(b"half a batch")
    with (old / "events.log").open("ab") as file:
        file.write(json_lines([record("e")]))
    code, out, _ = run("import", "old")
    assert code == 0
    assert "1 event and 0 dead letters" in out
    assert "The log was repaired first: cut 12 bytes" in out.replace("\n", " ")


@pytest.mark.usefixtures("old")
def test_what_was_committed_after_an_import_is_pointed_out(run: Run) -> None:
    run("import", "old")
    (Path("old") / "committed.log").write_bytes(b"a\nb\n")
    _, out, _ = run("import", "old")
    assert "committed there since, and still here to be delivered: 1 event." in out


@pytest.mark.usefixtures("old")
def test_a_broker_that_runs_is_named(run: Run) -> None:
    log = EventLog.open(PosixDisk("data"), now=1)
    line = the_line(run("import", "old"))
    assert line.startswith("event-broker: data directory data is in use by process ")
    assert "stop that one" in line
    with pytest.raises(DataDirectoryLocked):
        PosixDisk("data").lock()
    log.close()


def test_a_backup_of_a_log_in_use_is_restored_elsewhere(run: Run, old: Path) -> None:
    run("import", str(old))
    log = EventLog.open(PosixDisk("data"), now=1)
    log.mark()
    log.write()
    code, out, err = run("backup", "copy")
    assert (code, err.splitlines()[0].split(":")[0]) == (0, "copying")
    assert out.startswith("The backup is in copy.\n")
    assert "does not run" not in out
    log.close()

    code, out, err = run("restore", "copy", "--data-dir", "again")
    assert code == 0
    assert [line.split(":")[0] for line in err.splitlines()] == ["checking", "copying"]
    assert out.startswith("The backup is whole, and is now the log in again.\n")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "waiting 2 events" in lines
    assert "dead letters 1" in lines
    assert ids_in("again") == {"b", "d", "dead"}


@pytest.mark.usefixtures("old")
def test_programs_get_the_reports_as_json(run: Run) -> None:
    run("import", "old")
    _, out, _ = run("backup", "copy", "--json")
    made = json.loads(out)
    assert (made["target"], made["segments"], made["synced"]) == ("copy", 1, True)
    _, out, _ = run("restore", "copy", "--data-dir", "again", "--json")
    put = json.loads(out)
    assert (put["data_dir"], put["waiting"], put["dead"]) == ("again", 2, 1)
    assert (put["size"], put["segments"]) == (made["size"], 1)


@pytest.mark.usefixtures("old")
def test_on_a_terminal_steps_are_bars(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    code, out, err = run("import", "old", "--json")
    assert code == 0
    json.loads(out)  # nothing of it gets into the result
    for step in ("reading committed.log", "importing events.log"):
        assert step in err
    assert "100%" in err or "/" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["import", "nowhere"], "nowhere does not exist"),
        (["import", "file"], "file is no directory"),
        (["import", "empty"], "empty has neither events.log nor dlq.log"),
        (["import", "data"], "data is the data directory of the broker itself"),
        (["import", "data", "--data-dir", "x"], "data is a data directory of this broker"),
        (["import", "old", "--data-dir", "file"], "data directory file cannot be used"),
        (["import", "old", "--skipped", "no/such"], "no/such cannot be written: No such file"),
        (["backup", "x", "--data-dir", "nowhere"], "nowhere does not exist"),
        (["backup", "x", "--data-dir", "empty"], "there is no log in empty"),
        (["backup", "old"], "old is not empty"),
        (["backup", "file"], "data directory file cannot be used"),
        (["restore", "nowhere", "--data-dir", "x"], "nowhere does not exist"),
        (["restore", "empty", "--data-dir", "x"], "there is no log in empty: give a backup"),
        (["restore", "data"], "data is not empty"),
        (["restore", "half", "--data-dir", "x"], "half has no events.manifest"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    run: Run, old: Path, arguments: list[str], words: str
) -> None:
    run("import", str(old))
    run("backup", "half")
    (Path("half") / "events.manifest").unlink()
    Path("empty").mkdir()
    Path("file").touch()
    line = the_line(run(*arguments))
    assert line.startswith("event-broker: ")
    assert words in line
    assert not Path("x").exists() or not list(Path("x").glob("events*"))


@pytest.mark.parametrize("command", ["import", "backup", "restore"])
def test_a_directory_must_be_given(run: Run, command: str) -> None:
    assert "Missing argument" in the_line(run(command), 2)
