"""Log lines: JSON or readable, from structlog and from the standard library alike."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from web.logs import set_up_logs


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_json_is_one_object_a_line_whoever_logs() -> None:
    out = io.StringIO()
    set_up_logs("info", "auto", out)
    structlog.get_logger("ours").info("one", n=1)
    logging.getLogger("theirs").warning("two %s", "words")
    structlog.get_logger().error("three", exc_info=ValueError("why\nnot"))
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [list(line)[:3] for line in lines] == [["timestamp", "level", "message"]] * 3
    assert [line["message"] for line in lines] == ["one", "two words", "three"]
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert lines[0]["n"] == 1
    assert "ValueError" in lines[2]["exception"]


def test_a_terminal_gets_readable_lines() -> None:
    out = Terminal()
    set_up_logs("info", "auto", out)
    structlog.get_logger().warning("look", at="this")
    assert "\x1b[" in out.getvalue()
    assert "look" in out.getvalue()
    forced = Terminal()
    set_up_logs("info", "json", forced)
    structlog.get_logger().warning("look")
    assert json.loads(forced.getvalue())["message"] == "look"


def test_what_is_below_the_level_is_not_logged() -> None:
    out = io.StringIO()
    set_up_logs("warning", "console", out)
    structlog.get_logger().info("quiet")
    logging.getLogger("theirs").info("quiet")
    logging.getLogger("hypercorn.error").info("quiet")
    assert out.getvalue() == ""
    set_up_logs("info", "console", out)
    logging.getLogger("hypercorn.error").info("quiet")
    assert out.getvalue() == ""
    structlog.get_logger().info("loud")
    assert "loud" in out.getvalue()
    assert "\x1b[" not in out.getvalue()
