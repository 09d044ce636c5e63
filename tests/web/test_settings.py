"""Settings: their sources, who wins, and the one line that is said of a bad one."""

import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.settings import BrokerSettings, FsyncPolicy
from web.settings import Settings, setting_table
from web.show import settings_toml
from web.sources import SettingsError, read_settings

CONTRACT = {
    "host": "127.0.0.1",
    "port": 3000,
    "data_dir": Path("data"),
    "queue_max_size": 1000,
    "worker_count": 4,
    "event_handler": "",
    "visibility_timeout_ms": 10_000,
    "max_retries": 5,
    "reaper_interval_ms": 1000,
    "default_poll_timeout_ms": 5000,
    "max_poll_timeout_ms": 30_000,
    "max_events_per_poll": 10,
    "base_backoff_ms": 1000,
    "max_backoff_ms": 30_000,
    "backoff_multiplier": 2,
    "fsync": FsyncPolicy(),
    "max_payload_bytes": 10_485_760,
    "shutdown_timeout_ms": 30_000,
    "backend_url": "embedded:",
    "segment_max_bytes": 67_108_864,
    "compaction_ratio": 0.5,
    "payload_cache_bytes": 67_108_864,
    "reserved_bytes": 16_777_216,
    "snapshot_after_bytes": 268_435_456,
    "leases_max": 100_000,
}


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = read_settings({}, {})
    assert {name: getattr(settings, name) for name in CONTRACT} == CONTRACT


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "broker.toml"
    file.write_text('port = 1\nhost = "file"\nmax_retries = 1\n')
    environ = {"CONFIG_FILE": str(file), "PORT": "2", "HOST": "environ"}
    settings = read_settings({"port": "3", "host": None}, environ)
    assert (settings.port, settings.host, settings.max_retries) == (3, "environ", 1)
    other = tmp_path / "other.toml"
    other.write_text("port = 4\n")
    assert read_settings({"config_file": str(other)}, {"CONFIG_FILE": str(file)}).port == 4


def test_an_empty_variable_counts_as_unset() -> None:
    environ = {setting.variable: "" for setting in setting_table()} | {"CONFIG_FILE": ""}
    assert read_settings({}, environ) == Settings()


def test_the_engine_is_told_what_concerns_it() -> None:
    told = read_settings(
        {"fsync": "interval:50", "base_backoff_ms": "5", "backoff_multiplier": "1.5"},
        {"DATA_DIR": "/somewhere", "MAX_RETRIES": "0"},
    ).broker_settings()
    assert told.fsync == FsyncPolicy(before_answer=False, interval_ms=50)
    assert told.backoff.delay_ms(2) == 7
    assert told.data_dir == Path("/somewhere")
    assert told.max_retries == 0


def test_every_number_for_the_engine_reaches_it() -> None:
    """Each gets a value of its own that is not its default."""
    by_name = {setting.name: setting for setting in setting_table()}
    shared = by_name.keys() & {field.name for field in attrs.fields(BrokerSettings)}
    chosen = {name: value for name, value in SHARED_NUMBERS.items() if name in shared}
    assert chosen.keys() == shared - {"data_dir", "fsync"}
    told = read_settings({name: str(value) for name, value in chosen.items()}, {}).broker_settings()
    assert {name: getattr(told, name) for name in chosen} == chosen


SHARED_NUMBERS = {
    "queue_max_size": 11,
    "visibility_timeout_ms": 12,
    "max_retries": 13,
    "reaper_interval_ms": 14,
    "segment_max_bytes": 4096,
    "compaction_ratio": 0.75,
    "payload_cache_bytes": 0,
    "reserved_bytes": 15,
    "snapshot_after_bytes": 0,
    "leases_max": 16,
}


def test_the_engine_by_itself_has_the_same_defaults() -> None:
    told = read_settings({}, {}).broker_settings()
    assert told == BrokerSettings()


GOOD: list[tuple[str, str, Any]] = [
    ("PORT", "0", 0),
    ("PORT", " 65535 ", 65_535),
    ("HOST", "[::1]", "::1"),
    ("HOST", "my-host.example", "my-host.example"),
    ("FSYNC", "ALWAYS", FsyncPolicy()),
    ("FSYNC", "never", FsyncPolicy(before_answer=False)),
    ("FSYNC", "interval:1", FsyncPolicy(before_answer=False, interval_ms=1)),
    ("BACKOFF_MULTIPLIER", "1", 1.0),
    ("EVENT_HANDLER", "shop.orders:handle", "shop.orders:handle"),
    ("LOG_LEVEL", "Debug", "debug"),
    ("MAX_EVENTS_PER_POLL", "100", 100),
    ("SEGMENT_MAX_BYTES", "4096", 4096),
    ("SEGMENT_MAX_BYTES", "4294967296", 4_294_967_296),
    ("COMPACTION_RATIO", "0.1", 0.1),
    ("COMPACTION_RATIO", "0.9", 0.9),
    ("PAYLOAD_CACHE_BYTES", "0", 0),
    ("RESERVED_BYTES", "0", 0),
    ("SNAPSHOT_AFTER_BYTES", "0", 0),
    ("LEASES_MAX", "1000000", 1_000_000),
]


@pytest.mark.parametrize(("variable", "text", "value"), GOOD)
def test_a_good_value_is_read(variable: str, text: str, value: object) -> None:
    assert getattr(read_settings({}, {variable: text}), variable.lower()) == value


BAD = [
    ("PORT", "65536"),
    ("PORT", "-1"),
    ("PORT", "3000.0"),
    ("PORT", "three"),
    ("PORT", "٣"),
    ("PORT", "1" * 5000),
    ("PORT", "1_000"),
    ("HOST", "a b"),
    ("HOST", "http://x"),
    ("HOST", "x" * 300),
    ("QUEUE_MAX_SIZE", "0"),
    ("VISIBILITY_TIMEOUT_MS", "0"),
    ("MAX_RETRIES", "-1"),
    ("MAX_EVENTS_PER_POLL", "101"),
    ("BACKOFF_MULTIPLIER", "0.5"),
    ("BACKOFF_MULTIPLIER", "nan"),
    ("BACKOFF_MULTIPLIER", "inf"),
    ("FSYNC", "sometimes"),
    ("FSYNC", "interval"),
    ("FSYNC", "interval:0"),
    ("FSYNC", "interval:-5"),
    ("MAX_PAYLOAD_BYTES", "0"),
    ("BACKEND_URL", "postgresql://host/db"),
    ("BACKEND_URL", "sqlite:"),
    ("EVENT_HANDLER", "module"),
    ("EVENT_HANDLER", "module.function"),
    ("EVENT_HANDLER", "../x:f"),
    ("LOG_LEVEL", "loud"),
    ("LOG_FORMAT", "xml"),
    ("DATA_DIR", " "),
    ("DATA_DIR", "a\0b"),
    ("DATA_DIR", "\udcff"),
    ("WORKER_COUNT", "0"),
    ("SEGMENT_MAX_BYTES", "4095"),
    ("SEGMENT_MAX_BYTES", "4294967297"),
    ("SEGMENT_MAX_BYTES", "64M"),
    ("COMPACTION_RATIO", "0.09"),
    ("COMPACTION_RATIO", "0.91"),
    ("COMPACTION_RATIO", "nan"),
    ("PAYLOAD_CACHE_BYTES", "-1"),
    ("RESERVED_BYTES", "-1"),
    ("SNAPSHOT_AFTER_BYTES", "-1"),
    ("LEASES_MAX", "0"),
    ("LEASES_MAX", "1000001"),
]


@pytest.mark.parametrize(("variable", "text"), BAD)
def test_a_bad_value_is_one_line_with_name_value_and_rule(variable: str, text: str) -> None:
    for flags, environ, source in (
        ({}, {variable: text}, "the environment"),
        ({variable.lower(): text}, {}, "--" + variable.lower().replace("_", "-")),
    ):
        with pytest.raises(SettingsError) as caught:
            read_settings(flags, environ)
        line = str(caught.value)
        assert line.startswith(f"{variable}: ")
        assert repr(text)[:80] in line
        assert source in line
        assert "it must be " in line
        assert "\n" not in line
        assert len(line) < 300


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(SettingsError, match="PostgreSQL is not available") as caught:
        read_settings({}, {"BACKEND_URL": "postgresql://user:s3cret@host/db"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", "unknown key 'prot'"),
        ('port = "3000"', "PORT: '3000'"),
        ("port = true", "PORT: True"),
        ("port = 1.0", "PORT: 1.0"),
        ("port = [1]", "PORT: [1]"),
        ("[port]", "PORT: {}"),
        ("host = 1", "HOST: 1"),
        ("PORT = 1", "unknown key 'PORT'"),
        ("port 1", "is not a TOML file"),
        ("fsync = true", "FSYNC: True"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "broker.toml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_settings({"config_file": str(file)}, {})
    assert words in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(SettingsError, match=r"^CONFIG_FILE: cannot read "):
            read_settings({"config_file": str(path)}, {})
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="is not a TOML file"):
        read_settings({"config_file": str(binary)}, {})


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "port": st.integers(0, 65_535),
            "data_dir": st.text(
                st.characters(exclude_characters="\0~", exclude_categories=["Cs"]), min_size=1
            ).filter(str.strip),
            "backoff_multiplier": st.floats(1, 1000),
            "compaction_ratio": st.floats(0.1, 0.9),
            "segment_max_bytes": st.integers(4096, 2**32),
            "fsync": st.sampled_from(["always", "never"])
            | st.integers(1, 86_400_000).map("interval:{}".format),
            "log_level": st.sampled_from(["debug", "info", "warning", "error"]),
        },
    )
)
def test_what_is_shown_reads_back_as_the_same(flags: dict[str, Any]) -> None:
    settings = read_settings({name: str(value) for name, value in flags.items()}, {})
    shown = tomllib.loads(settings_toml(settings))
    assert shown == settings.shown()
    again = read_settings({name: str(value) for name, value in shown.items()}, {})
    assert again == settings
