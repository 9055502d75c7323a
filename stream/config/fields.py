"""Declares a setting with its default, its words and its rule, and says what is wrong with one."""

from __future__ import annotations

import re
from dataclasses import field, fields
from typing import Any, Final

from stream.errors import SettingsError
from stream.setting_rules import Rule

PREFIX: Final = "INTEREST_STREAM_"
MOST_SHOWN: Final = 200
"""Characters of a wrong value in the message."""

SECRETS: Final = frozenset(
    {
        "sasl_password",
        "oauth_client_secret",
        "schema_registry_password",
        "schema_registry_token",
    }
)
"""Settings that are never shown, and have no option: others see the command line of a process."""

_LOGIN: Final = re.compile(r"[^\s,;/'\"]*@")
"""A user and a password in an address, where Kafka takes none."""

_SECRET: Final = re.compile(r"((?:password|secret|jaas)[^=,]*=)[^,]+", re.IGNORECASE)
"""An option of Kafka's clients that is a secret, which is a setting here."""


def setting(default: Any, doc: str, rule: Rule) -> Any:
    """Returns the field of a setting; `doc` is what `--show-settings` and the pages print."""
    return field(default=default, metadata={"doc": doc, "rule": rule})


def apply_rules(settings: Any) -> None:
    """Puts each value as its rule reads it; raises SettingsError naming the first wrong one."""
    for each in fields(settings):
        rule: Rule = each.metadata["rule"]
        value = getattr(settings, each.name)
        try:
            object.__setattr__(settings, each.name, rule.read(value))
        except ValueError as error:
            raise wrong(each.name, value, str(error)) from None


def variable_of(name: str) -> str:
    """Returns the variable of the environment that gives a setting."""
    return PREFIX + name.upper()


def wrong(name: str, value: object, fix: str) -> SettingsError:
    """Returns the error for a setting that cannot work; a secret is not shown in it."""
    shown = "not usable" if name in SECRETS and value else repr(value)
    if isinstance(value, str) and not value:
        shown = "empty"
    shown, fix = (_SECRET.sub(r"\1***", _LOGIN.sub("***@", text)) for text in (shown, fix))
    return SettingsError(f"{name} ({variable_of(name)}) is {_short(shown)}; {fix}", name)


def _short(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 3] + "..."
