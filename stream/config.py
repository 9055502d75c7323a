"""Settings: command line, then environment (INTEREST_STREAM_*), then the defaults below. Checked when made."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from stream.errors import SettingsError

DEFAULT_BROKER = "kafka://127.0.0.1:19092"
PREFIX = "INTEREST_STREAM_"
MOST_INTERVAL_S = 86_400.0
"""Of updates withheld in memory: a day."""

INSTANCE_ID = re.compile(r"[A-Za-z0-9._-]{1,249}")

SECRETS = frozenset({"sasl_password"})


def _setting(default: Any, doc: str) -> Any:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class Settings:
    """All that a worker can be told. One field a line; the metadata is what `--show-settings` and the docs print."""

    broker: str = _setting(DEFAULT_BROKER, "Kafka, as kafka://host:port[;host:port]")
    app_id: str = _setting(
        "interest-stream", "consumer group, and prefix of the changelog; one name for all workers of a pipeline"
    )
    model: str = _setting("", "model directory; empty: the small demo model inside the package")
    zero_shot: str = _setting(
        "", "file of phrases, one a line, or what `match` wrote: scored beside the trained interests, without training"
    )
    language_model: str = _setting(
        "", "where the language model of the model directory is now; empty: where it was in training"
    )
    device: str = _setting("cpu", "that language model runs on: cpu or cuda")
    precision: str = _setting(
        "",
        "of the language model: float32, bfloat16 or float16; empty: that of its training, for the small one the faster here",
    )
    score_budget_s: float = _setting(
        5.0, "seconds of one batch that it may take; what does not fit is scored by the LSTM alone, and marked"
    )
    score_spacing_s: float = _setting(30.0, "when it cannot follow: it scores a user at most once in this many seconds")
    events_topic: str = _setting("clickstream", "events in")
    updates_topic: str = _setting("interest-updates", "interest updates out")
    profiles_topic: str = _setting("interest-profiles", "latest update of each user, compacted")
    dead_letters_topic: str = _setting("clickstream-dead-letters", "bad records out, with their bytes and the reason")
    live_popularity: bool = _setting(
        False, "score with what all users met lately: the snapshots that `interest-stream popularity` publishes"
    )
    popularity_topic: str = _setting("item-popularity", "those snapshots, compacted, one partition")
    publish: str = _setting(
        "every", "which updates: every, changed (other interests, or a probability that moved) or interval"
    )
    publish_threshold: float = _setting(
        0.05, "with publish=changed: a probability that moved by more, since the user's last update, is sent"
    )
    publish_interval_s: float = _setting(
        60.0, "with publish=interval: a user at most once in this many seconds, the last update always"
    )
    rekey: bool = _setting(
        False, "read events_topic keyed otherwise and forward it, keyed by user, to <events_topic>-by-user"
    )
    max_value_bytes: int = _setting(65_536, "a larger event is a dead letter")
    max_text_bytes: int = _setting(2_048, "a longer title, query or id is a dead letter")
    max_future_s: int = _setting(86_400, "an event dated further ahead of the broker's time is a dead letter")
    max_consecutive_dead_letters: int = _setting(
        1_000, "more bad records in a row than this on a partition stop the worker"
    )
    max_batch_events: int = _setting(
        16_384, "most events in one batch; larger batches cost less an event and wait longer"
    )
    fetch_max_bytes: int = _setting(4_194_304, "most bytes of one partition in one fetch")
    fetch_max_wait_ms: int = _setting(
        100, "longest wait of a fetch on an idle topic; also bounds the pause of a rebalance"
    )
    session_timeout_s: float = _setting(30.0, "a worker silent for longer loses its partitions")
    heartbeat_s: float = _setting(3.0, "between heartbeats; at most a third of session_timeout_s")
    instance_id: str = _setting(
        "",
        "a name of this worker's own, kept over restarts: one within session_timeout_s moves no partitions; empty: each start joins anew",
    )
    commit_interval_s: float = _setting(1.0, "between commits of the source offsets")
    publish_timeout_s: float = _setting(30.0, "an update or state not acknowledged by then stops the worker")
    shutdown_timeout_s: float = _setting(9.0, "SIGTERM: finish the batch, commit and leave within this, else exit 1")
    stall_timeout_s: float = _setting(60.0, "lag and no progress for longer ends the worker with code 1")
    items_per_update: int = _setting(5, "next items in an update")
    interests_per_update: int = _setting(5, "interests in an update")
    because_per_update: int = _setting(3, "past events named as causes in an update")
    min_replication: int = _setting(1, "start is refused if an owned topic has fewer replicas; 3 in production")
    compression: str = _setting("lz4", "of what the worker writes: none, gzip, lz4, zstd, snappy")
    web: bool = _setting(True, "serve /livez /readyz /metrics")
    web_host: str = _setting("127.0.0.1", "address they are served on; loopback unless set")
    web_port: int = _setting(0, "their port; 0: the first free one from 6066")
    torch_threads: int = _setting(1, "threads of one model call")
    security_protocol: str = _setting("PLAINTEXT", "PLAINTEXT, SSL, SASL_SSL or SASL_PLAINTEXT")
    sasl_mechanism: str = _setting("SCRAM-SHA-512", "SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN (over TLS only)")
    sasl_username: str = _setting("", "with SASL")
    sasl_password: str = _setting("", "with SASL; or INTEREST_STREAM_SASL_PASSWORD_FILE")
    ssl_cafile: str = _setting("", "CA certificates; empty: the system's")
    ssl_certfile: str = _setting("", "client certificate")
    ssl_keyfile: str = _setting("", "its key")

    def __post_init__(self) -> None:
        for name, least in (
            ("max_batch_events", 1),
            ("max_value_bytes", 64),
            ("interests_per_update", 1),
            ("items_per_update", 0),
        ):
            if getattr(self, name) < least:
                raise SettingsError(f"{name} is {getattr(self, name)}; set it to {least} or more")
        self._check_membership()
        if not self.broker.startswith("kafka://") or not self.bootstrap:
            raise SettingsError(f"broker {self.broker!r} is not a Kafka address; write kafka://host:port")
        self._check_publishing()
        if self.device not in ("cpu", "cuda"):
            raise SettingsError(f"device {self.device!r} is unknown; use cpu or cuda")
        if self.precision not in ("", "float32", "bfloat16", "float16"):
            raise SettingsError(f"precision {self.precision!r} is unknown; use float32, bfloat16 or float16")
        if self.compression not in ("none", "gzip", "lz4", "zstd", "snappy"):
            raise SettingsError(f"compression {self.compression!r} is unknown; use none, gzip, lz4, zstd or snappy")
        if self.security_protocol not in ("PLAINTEXT", "SSL", "SASL_SSL", "SASL_PLAINTEXT"):
            raise SettingsError(
                f"security_protocol {self.security_protocol!r} is unknown; use PLAINTEXT, SSL, SASL_SSL or SASL_PLAINTEXT"
            )
        if self.security_protocol == "SASL_PLAINTEXT" and self.sasl_mechanism == "PLAIN":
            raise SettingsError(
                "SASL PLAIN without TLS sends the password in the clear; set security_protocol to SASL_SSL"
            )

    def _check_membership(self) -> None:
        if self.heartbeat_s * 3 > self.session_timeout_s:
            raise SettingsError(
                f"heartbeat_s {self.heartbeat_s} is more than a third of session_timeout_s {self.session_timeout_s}; lower it"
            )
        if self.instance_id and not INSTANCE_ID.fullmatch(self.instance_id):
            raise SettingsError(
                f"instance_id {self.instance_id!r} is no name for Kafka; use up to 249 of a-z A-Z 0-9 . _ -"
            )

    def _check_publishing(self) -> None:
        if self.publish not in ("every", "changed", "interval"):
            raise SettingsError(f"publish {self.publish!r} is unknown; use every, changed or interval")
        if not 0 <= self.publish_threshold <= 1:
            raise SettingsError(f"publish_threshold is {self.publish_threshold}; a probability moves by 0 to 1")
        if not 0 < self.publish_interval_s <= MOST_INTERVAL_S:
            raise SettingsError(
                f"publish_interval_s is {self.publish_interval_s}; set it above 0 and to {MOST_INTERVAL_S:.0f} or less"
            )

    @property
    def bootstrap(self) -> list[str]:
        """The brokers as host:port."""
        return [part.removeprefix("kafka://") for part in self.broker.split(";") if part.removeprefix("kafka://")]

    @property
    def source_topic(self) -> str:
        """The topic whose events are applied: keyed by user."""
        return f"{self.events_topic}-by-user" if self.rekey else self.events_topic

    @property
    def changelog_topic(self) -> str:
        """Faust's name for the changelog of the table user-state."""
        return f"{self.app_id}-user-state-changelog"

    def masked(self) -> dict[str, Any]:
        """Effective values, secrets hidden."""
        values = dataclasses.asdict(self)
        return {name: ("***" if name in SECRETS and value else value) for name, value in values.items()}


def load_settings(environment: Mapping[str, str], **given: Any) -> Settings:
    """Settings from what the command line gave (None: not given), then the environment, then defaults.

    Raises SettingsError naming the variable when a value cannot be read.
    """
    values: dict[str, Any] = {}
    for each in fields(Settings):
        if given.get(each.name) is not None:
            values[each.name] = given[each.name]
        elif PREFIX + each.name.upper() in environment:
            values[each.name] = _parse(
                PREFIX + each.name.upper(), environment[PREFIX + each.name.upper()], type(each.default)
            )
        elif each.name in SECRETS and PREFIX + each.name.upper() + "_FILE" in environment:
            values[each.name] = _read_secret(PREFIX + each.name.upper() + "_FILE", environment)
    return Settings(**values)


def from_environment(**given: Any) -> Settings:
    """The one place that reads the process environment."""
    return load_settings(os.environ, **given)


def _parse(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text.lower() in ("1", "true", "yes", "on"):
            return True
        if text.lower() in ("0", "false", "no", "off", ""):
            return False
        raise SettingsError(f"{name} is {text!r}; use true or false")
    try:
        return kind(text)
    except ValueError:
        raise SettingsError(f"{name} is {text!r}; a {kind.__name__} is needed") from None


def _read_secret(name: str, environment: Mapping[str, str]) -> str:
    try:
        return Path(environment[name]).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingsError(f"{name}: cannot read {environment[name]}: {error.strerror}") from None
