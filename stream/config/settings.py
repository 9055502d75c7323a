"""Holds all settings of a worker: those of the connection, its model, its topics and its limits."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stream.config.connection import ConnectionSettings
from stream.config.fields import SECRETS, setting, wrong
from stream.setting_rules import (
    INT32,
    Flag,
    Name,
    Number,
    OneOf,
    Place,
    Text,
    Words,
    missing,
    words_of,
)

MOST_INTERVAL_S: Final = 86_400.0
"""Of updates withheld in memory: a day."""

DAY_MS: Final = 86_400_000
MIN_KEY_BYTES: Final = 16
"""Of a secret key in a file; 32 random bytes are usual."""

TOPICS: Final = (
    "events_topic",
    "updates_topic",
    "profiles_topic",
    "dead_letters_topic",
    "popularity_topic",
)
CHANGELOG_SUFFIX: Final = "-user-state-changelog"
REKEYED_SUFFIX: Final = "-by-user"

CONTRACT = "contract"
MAPPING = "mapping"
OWNERS_FORMATS = (
    "segment",
    "rudderstack",
    "snowplow",
    "ga4",
    "posthog",
    "cloudevents",
    "debezium",
)
EVENT_FORMATS = (CONTRACT, *OWNERS_FORMATS, MAPPING)
"""The shapes that records may have; stream/formats/registry.py makes them."""

UPDATE_FORMATS: Final = ("json", "avro", "json-schema")
"""How updates may be published."""

_COUNT = Number(1, INT32, whole=True)
_COUNT_OR_NONE = Number(0, INT32, whole=True)
_LIST = Number(0, 1_000, whole=True)
_WAIT_S = Number(1, 86_400)


@dataclass(frozen=True, kw_only=True)
class Settings(ConnectionSettings):
    """Holds all that a worker can be given, one field a line.

    The metadata of a field is what `--show-settings` and the documentation print.
    """

    app_id: str = setting(
        "interest-stream",
        "consumer group, and prefix of the changelog; one name for all workers of a pipeline",
        Name(Name().most - len(CHANGELOG_SUFFIX)),
    )
    model: str = setting("", "model directory, made by `train`; a worker needs one", Place())
    demo_model: bool = setting(
        False,
        "take the small demo model of the package instead, which knows nothing but the simulated "
        "shop",
        Flag(),
    )
    zero_shot: str = setting(
        "",
        "file of phrases, one a line, or what `match` wrote: scored beside the trained interests, "
        "without training",
        Place(),
    )
    language_model: str = setting(
        "",
        "where the language model of the model directory is now; empty: where it was in training",
        Place(),
    )
    device: str = setting("cpu", "that language model runs on: cpu or cuda", OneOf(("cpu", "cuda")))
    precision: str = setting(
        "",
        "of the language model: float32, bfloat16 or float16; empty: that of its training, for the "
        "small one the faster here",
        OneOf(("", "float32", "bfloat16", "float16")),
    )
    score_budget_s: float = setting(
        5.0,
        "seconds of one batch that it may take; what does not fit is scored by the LSTM alone, and "
        "marked",
        Number(0, 86_400, above=True),
    )
    score_spacing_s: float = setting(
        30.0,
        "when it cannot follow: it scores a user at most once in this many seconds",
        Number(0, 86_400),
    )
    events_topic: str = setting("clickstream", "events in", Name(Name().most - len(REKEYED_SUFFIX)))
    event_format: str = setting(
        CONTRACT,
        f"shape of the events in: {', '.join(EVENT_FORMATS[:-1])} or {EVENT_FORMATS[-1]}, which "
        "the file of --mapping describes",
        OneOf(EVENT_FORMATS),
    )
    mapping: str = setting(
        "",
        "TOML file that says how records of another shape are read as events; `interest-stream "
        "mapping suggest` makes one",
        Place(),
    )
    consent_purposes: str = setting(
        "",
        "purposes, with commas between them, none of which the user of an event may have denied; "
        "empty: any that the event format names",
        Words(),
    )
    updates_topic: str = setting("interest-updates", "interest updates out", Name())
    update_format: str = setting(
        "json",
        "of what is published there: json, or avro or json-schema with a schema in schema_registry",
        OneOf(UPDATE_FORMATS),
    )
    profiles_topic: str = setting(
        "interest-profiles", "latest update of each user, compacted", Name()
    )
    dead_letters_topic: str = setting(
        "clickstream-dead-letters", "bad records out, with their bytes and the reason", Name()
    )
    live_popularity: bool = setting(
        False,
        "score with what all users met lately: the snapshots that `interest-stream popularity` "
        "publishes",
        Flag(),
    )
    popularity_topic: str = setting(
        "item-popularity", "those snapshots, compacted, one partition", Name()
    )
    popularity_min_users: int = setting(
        10,
        "different users who must have met an item before a snapshot lists it",
        Number(1, 100, whole=True),
    )
    publish: str = setting(
        "every",
        "which updates: every, changed (other interests, or a probability that moved) or interval",
        OneOf(("every", "changed", "interval")),
    )
    publish_threshold: float = setting(
        0.05,
        "with publish=changed: a probability that moved by more, since the user's last update, is "
        "sent",
        Number(0, 1),
    )
    publish_interval_s: float = setting(
        60.0,
        "with publish=interval: a user at most once in this many seconds, the last update always",
        Number(0, MOST_INTERVAL_S, above=True),
    )
    rekey: bool = setting(
        False,
        "read events_topic keyed otherwise and forward it, keyed by user, to "
        "<events_topic>-by-user",
        Flag(),
    )
    pseudonym_key_file: str = setting(
        "",
        "with rekey: file of a secret key; each forwarded event has the HMAC-SHA-256 of its "
        "user_id under that key instead of the user_id",
        Place(),
    )
    max_value_bytes: int = setting(
        65_536, "a larger event is a dead letter", Number(64, INT32, whole=True)
    )
    max_text_bytes: int = setting(2_048, "a longer title, query or id is a dead letter", _COUNT)
    max_future_s: int = setting(
        86_400, "an event dated further ahead of the broker's time is a dead letter", _COUNT_OR_NONE
    )
    max_consecutive_dead_letters: int = setting(
        1_000, "more bad records in a row than this on a partition stop the worker", _COUNT_OR_NONE
    )
    control_key_file: str = setting(
        "",
        "file of the key that signs controls (erase, suppress, forget); with it an unsigned one is "
        "a dead letter; empty: whoever may write events may erase",
        Place(),
    )
    late_window_days: float = setting(
        30.0,
        "for so long after an erasure events of the user that happened before it are dropped; "
        "longer than dead letters are kept",
        Number(0, 36_500, above=True),
    )
    user_ttl_days: float = setting(
        0.0,
        "a user without an event for longer is forgotten, by the broker's time; 0: never",
        Number(0, 36_500),
    )
    max_batch_events: int = setting(
        16_384,
        "most records in one batch, and most events that the model takes at once; larger batches "
        "cost less an event and wait longer",
        _COUNT,
    )
    fetch_max_bytes: int = setting(4_194_304, "most bytes of one partition in one fetch", _COUNT)
    fetch_max_wait_ms: int = setting(
        100,
        "longest wait of a fetch on an idle topic; also bounds the pause of a rebalance",
        Number(1, 30_000, whole=True),
    )
    session_timeout_s: float = setting(
        30.0, "a worker silent for longer loses its partitions", _WAIT_S
    )
    heartbeat_s: float = setting(
        3.0, "between heartbeats; at most a third of session_timeout_s", Number(0.1, 28_800)
    )
    instance_id: str = setting(
        "",
        "a name of this worker's own, kept over restarts: one within session_timeout_s moves no "
        "partitions; empty: each start joins anew",
        Name(optional=True),
    )
    commit_interval_s: float = setting(
        1.0, "between commits of the source offsets", Number(0.01, 3_600)
    )
    publish_timeout_s: float = setting(
        30.0, "an update or state not acknowledged by then stops the worker", _WAIT_S
    )
    shutdown_timeout_s: float = setting(
        9.0,
        "SIGTERM: finish the batch, commit and leave within this, else exit 1",
        Number(0, 86_400),
    )
    stall_timeout_s: float = setting(
        60.0, "lag and no progress for longer ends the worker with code 1", _WAIT_S
    )
    items_per_update: int = setting(5, "next items in an update", _LIST)
    interests_per_update: int = setting(5, "interests in an update", Number(1, 1_000, whole=True))
    because_per_update: int = setting(3, "past events named as causes in an update", _LIST)
    min_replication: int = setting(
        1,
        "start is refused if an owned topic has fewer replicas; 3 in production",
        Number(1, 32_767, whole=True),
    )
    compression: str = setting(
        "lz4",
        "of what the worker writes: none, gzip, lz4, zstd, snappy",
        OneOf(("none", "gzip", "lz4", "zstd", "snappy")),
    )
    web: bool = setting(True, "serve /livez /readyz /metrics", Flag())
    web_host: str = setting(
        "127.0.0.1", "address they are served on; loopback unless set", Text(needed=True)
    )
    web_port: int = setting(
        0, "their port; 0: the first free one from 6066", Number(0, 65_535, whole=True)
    )
    torch_threads: int = setting(1, "threads of one model call", Number(1, 1_024, whole=True))

    def __post_init__(self) -> None:
        super().__post_init__()
        # what two of them together make wrong
        if self.heartbeat_s * 3 > self.session_timeout_s:
            raise wrong(
                "heartbeat_s",
                self.heartbeat_s,
                f"lower it to at most a third of session_timeout_s, which is "
                f"{self.session_timeout_s:g}",
            )
        if self.mapping and self.event_format == CONTRACT:
            object.__setattr__(self, "event_format", MAPPING)
        if self.mapping and self.event_format != MAPPING:
            fix = f"a mapping describes a shape, and event_format is {self.event_format}: give one"
            raise wrong("mapping", self.mapping, fix)
        if self.event_format == MAPPING and not self.mapping:
            fix = "name the file that describes the shape, as event_format is mapping"
            raise wrong("mapping", "", fix)
        if self.update_format != "json" and not self.schema_registry:
            fix = f"name the registry of the schema, as update_format is {self.update_format}"
            raise wrong("schema_registry", "", fix)

    def check_for_worker(self) -> None:
        """Raises SettingsError for what a worker alone needs: its files, a topic for each purpose.

        Other commands share the environment of a worker and not always its files.
        """
        for name in ("model", "zero_shot", "language_model"):
            path = getattr(self, name)
            if path and (reason := missing(path)) is not None:
                raise wrong(name, path, reason)
        self.control_key()
        if self.pseudonym_key() is not None and not self.rekey:
            fix = "give --rekey too: ids are replaced where events are forwarded"
            raise wrong("pseudonym_key_file", self.pseudonym_key_file, fix)
        taken = {self.changelog_topic: "the changelog of the states"}
        if self.rekey:
            taken[self.source_topic] = "where events are forwarded to"
        for name in TOPICS:
            topic = getattr(self, name)
            if topic in taken:
                raise wrong(name, topic, f"that is {taken[topic]}; give each a topic of its own")
            taken[topic] = f"{name} too"

    def control_key(self) -> bytes | None:
        """Returns the key that signs controls, None if they need no signature.

        Raises SettingsError if its file cannot be read or holds too little.
        """
        return self._key("control_key_file")

    def pseudonym_key(self) -> bytes | None:
        """Returns the key of the pseudonyms, None if users keep their ids; raises SettingsError."""
        return self._key("pseudonym_key_file")

    def _key(self, name: str) -> bytes | None:
        """Returns the key in the file that a setting names, None if it names none."""
        path = getattr(self, name)
        if not path:
            return None
        try:
            key = Path(path).read_bytes().strip()
        except OSError as error:
            fix = f"it cannot be read ({error.strerror}); name a file that this user may read"
            raise wrong(name, path, fix) from None
        if len(key) < MIN_KEY_BYTES:
            fix = (
                f"its key has {len(key)} bytes and {MIN_KEY_BYTES} are the least; make one with "
                "'openssl rand -hex 32'"
            )
            raise wrong(name, path, fix)
        return key

    @property
    def purposes(self) -> frozenset[str]:
        """Returns the purposes that must not be denied; none: any that the event format names."""
        return words_of(self.consent_purposes)

    @property
    def late_window_ms(self) -> int:
        """Returns for how long after an erasure older events are dropped."""
        return round(self.late_window_days * DAY_MS)

    @property
    def user_ttl_ms(self) -> int:
        """Returns the silence after which a user is forgotten; 0: never."""
        return round(self.user_ttl_days * DAY_MS)

    @property
    def source_topic(self) -> str:
        """Returns the topic whose events are applied, which is keyed by user."""
        return f"{self.events_topic}{REKEYED_SUFFIX}" if self.rekey else self.events_topic

    @property
    def changelog_topic(self) -> str:
        """Returns Faust's name for the changelog of the table user-state."""
        return f"{self.app_id}{CHANGELOG_SUFFIX}"

    def masked(self) -> dict[str, Any]:
        """Returns the effective values with secrets hidden."""
        values = dataclasses.asdict(self)
        return {
            name: ("***" if name in SECRETS and value else value) for name, value in values.items()
        }
