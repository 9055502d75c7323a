"""Reads and checks the settings, which every room takes as one frozen object.

`settings` has one field a setting, `connection` those by which every client reaches Kafka; each
field carries its default, its words and its rule (`fields`). `kafka_options` says which options of
Kafka's clients may be given. `sources` finds the values: command line, environment, secrets, file.
Whoever needs settings imports from here; the rules are in stream/setting_rules.py, below. Begin
with `settings`.
"""

from stream.config.connection import (
    AWS_MSK_IAM,
    DEFAULT_BROKER,
    OAUTHBEARER,
    ConnectionSettings,
)
from stream.config.fields import PREFIX, SECRETS, wrong
from stream.config.settings import CONTRACT, EVENT_FORMATS, MAPPING, OWNERS_FORMATS, Settings
from stream.config.sources import connection_variables, from_environment, load_settings

__all__ = [
    "AWS_MSK_IAM",
    "CONTRACT",
    "DEFAULT_BROKER",
    "EVENT_FORMATS",
    "MAPPING",
    "OAUTHBEARER",
    "OWNERS_FORMATS",
    "PREFIX",
    "SECRETS",
    "ConnectionSettings",
    "Settings",
    "connection_variables",
    "from_environment",
    "load_settings",
    "wrong",
]
