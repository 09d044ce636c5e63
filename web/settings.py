"""Every setting of the broker: name, default, what is allowed and what it does.

The table below is the only place that knows a setting: the file, the environment, the flags and
the help text are all derived from it.
"""

from pathlib import Path
from typing import Any, cast

import attrs

from actors.backoff import Backoff
from actors.settings import BrokerSettings, FsyncPolicy
from web.rules import (
    BACKEND,
    MS_MAX,
    Backend,
    Choice,
    Directory,
    Fraction,
    Fsync,
    Host,
    Rule,
    Text,
    Whole,
    names_a_function,
)

__all__ = ["Setting", "Settings", "setting_table"]

LEASE_MS_MAX = 43_200_000
MS = "milliseconds"
BYTES = "bytes"
MIB, GIB, TIB = 2**20, 2**30, 2**40
NETWORK, STORAGE, QUEUE, DELIVERY, WORKERS, LOGGING = (
    "Network",
    "Storage",
    "Queue",
    "Delivery and retries",
    "Workers in this process",
    "Logging",
)


@attrs.frozen
class Setting:
    """What is known of one setting besides its value.

    Attributes:
        name: lower case, as in the file; upper case it is the environment variable.
        group: the heading in the help.
        help: one sentence.
        rule: what is allowed.
        default: the value without any source.
    """

    name: str
    group: str
    help: str
    rule: Rule
    default: object

    @property
    def variable(self) -> str:
        """The environment variable."""
        return self.name.upper()

    @property
    def flag(self) -> str:
        """The command line flag."""
        return "--" + self.name.replace("_", "-")


def _setting(default: object, group: str, rule: Rule, text: str) -> Any:  # noqa: ANN401 - as attrs
    return attrs.field(default=default, metadata={"group": group, "rule": rule, "help": text})


@attrs.frozen(kw_only=True)
class Settings:
    """The effective settings. Durations are in milliseconds, sizes in bytes."""

    host: str = _setting("127.0.0.1", NETWORK, Host(), "Name or address to listen on.")
    port: int = _setting(
        3000, NETWORK, Whole(0, 65_535), "TCP port to listen on; 0 takes any free one."
    )
    max_payload_bytes: int = _setting(
        10_485_760,
        NETWORK,
        Whole(1, 67_108_864, BYTES),
        "Largest request body, of one event or of a batch.",
    )
    shutdown_timeout_ms: int = _setting(
        30_000,
        NETWORK,
        Whole(0, 3_600_000, MS),
        "How long a shutdown waits for the handlers that still run.",
    )
    data_dir: Path = _setting(  # noqa: RUF009 - attrs.field inside
        Path("data"),
        STORAGE,
        Directory(),
        "Where the log lives; one process at a time, it is locked.",
    )
    fsync: FsyncPolicy = _setting(  # noqa: RUF009 - attrs.field inside
        FsyncPolicy(),
        STORAGE,
        Fsync(),
        "When the log is forced to the disk: always (before each answer), interval:MS or never.",
    )
    segment_max_bytes: int = _setting(
        64 * MIB,
        STORAGE,
        # A small one serves only to see many of them soon.
        Whole(4096, 4 * GIB, BYTES),
        "Size above which a new segment of the log is begun.",
    )
    compaction_ratio: float = _setting(
        0.5,
        STORAGE,
        Fraction(0.1, 0.9),
        "Share of the log that may be dead before live records are copied out of old segments.",
    )
    payload_cache_bytes: int = _setting(
        64 * MIB,
        STORAGE,
        Whole(0, TIB, BYTES),
        "Payloads of waiting events kept in memory; the others are read back at delivery.",
    )
    reserved_bytes: int = _setting(
        16 * MIB,
        STORAGE,
        Whole(0, TIB, BYTES),
        "Space kept for a full disk, so that consumers can go on; 0 keeps none.",
    )
    snapshot_after_bytes: int = _setting(
        256 * MIB,
        STORAGE,
        Whole(0, TIB, BYTES),
        "Bytes of log after which the index is saved again for a quick start; 0: only at a stop.",
    )
    backend_url: str = _setting(BACKEND, STORAGE, Backend(), "The engine that keeps the events.")
    queue_max_size: int = _setting(
        1000,
        QUEUE,
        Whole(1, 1_000_000_000, "events"),
        "Waiting events above which new ones are refused.",
    )
    max_events_per_poll: int = _setting(
        10, QUEUE, Whole(1, 100, "events"), "Events a consumer gets when it does not say how many."
    )
    default_poll_timeout_ms: int = _setting(
        5000,
        QUEUE,
        Whole(0, 3_600_000, MS),
        "How long a poll waits when the consumer does not say.",
    )
    max_poll_timeout_ms: int = _setting(
        30_000, QUEUE, Whole(0, 3_600_000, MS), "The longest that a poll may wait."
    )
    visibility_timeout_ms: int = _setting(
        10_000,
        DELIVERY,
        Whole(1, LEASE_MS_MAX, MS),
        "How long a consumer holds an event before it is delivered again.",
    )
    leases_max: int = _setting(
        100_000,
        DELIVERY,
        Whole(1, 1_000_000, "leases"),
        "Events held by consumers at a time; further consumers wait.",
    )
    max_retries: int = _setting(
        5,
        DELIVERY,
        Whole(0, 1_000_000, "retries"),
        "Failed deliveries after the first before an event becomes a dead letter.",
    )
    base_backoff_ms: int = _setting(
        1000, DELIVERY, Whole(0, MS_MAX, MS), "Delay before the first retry."
    )
    max_backoff_ms: int = _setting(
        30_000, DELIVERY, Whole(0, MS_MAX, MS), "The longest delay before a retry."
    )
    backoff_multiplier: float = _setting(
        2.0, DELIVERY, Fraction(1, 1000), "Growth of the delay from one retry to the next."
    )
    reaper_interval_ms: int = _setting(
        1000, DELIVERY, Whole(1, 3_600_000, MS), "The longest that the reaper of timeouts sleeps."
    )
    event_handler: str = _setting(
        "",
        WORKERS,
        Text("module:function, or empty for none", names_a_function),
        "module:function, an async def f(event); empty: consumption over the API alone.",
    )
    worker_count: int = _setting(
        4, WORKERS, Whole(1, 1000, "workers"), "Workers that call the handler, side by side."
    )
    handler_timeout_ms: int = _setting(
        0,
        WORKERS,
        Whole(0, LEASE_MS_MAX, MS),
        "How long one call of the handler may take; 0: as long as the visibility timeout.",
    )
    log_level: str = _setting(
        "info",
        LOGGING,
        Choice(("debug", "info", "warning", "error")),
        "Least level that is logged: debug, info, warning or error.",
    )
    log_format: str = _setting(
        "auto",
        LOGGING,
        Choice(("auto", "json", "console")),
        "json, console or auto (console on a terminal).",
    )

    def broker_settings(self) -> BrokerSettings:
        """Return what the engine is told."""
        return BrokerSettings(
            data_dir=self.data_dir,
            queue_max_size=self.queue_max_size,
            visibility_timeout_ms=self.visibility_timeout_ms,
            max_retries=self.max_retries,
            backoff=Backoff(
                base_ms=self.base_backoff_ms,
                max_ms=self.max_backoff_ms,
                multiplier=self.backoff_multiplier,
            ),
            reaper_interval_ms=self.reaper_interval_ms,
            fsync=self.fsync,
            segment_max_bytes=self.segment_max_bytes,
            compaction_ratio=self.compaction_ratio,
            reserved_bytes=self.reserved_bytes,
            snapshot_after_bytes=self.snapshot_after_bytes,
            payload_cache_bytes=self.payload_cache_bytes,
            leases_max=self.leases_max,
        )

    def shown(self) -> dict[str, str | int | float]:
        """Return every setting as one would write it in a file; there are no secrets among them."""
        return {s.name: s.rule.show(getattr(self, s.name)) for s in setting_table()}


def setting_table() -> tuple[Setting, ...]:
    """Return what is known of each setting, in the order of the help."""
    return tuple(
        Setting(
            name=field.name,
            group=field.metadata["group"],
            help=field.metadata["help"],
            rule=cast("Rule", field.metadata["rule"]),
            default=field.default,
        )
        for field in attrs.fields(Settings)
    )
