"""Finds the value of each setting, in the first of five places that gives it.

They are the command line, the environment (INTEREST_STREAM_<NAME>), a folder of secrets (one file a
setting, as Docker and Kubernetes mount them), a TOML file, and the defaults. What is written in
none of their ways is refused with the nearest name: a misspelled setting would be a default that
nobody meant.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from stream.config.connection import FROM_FILES, ConnectionSettings
from stream.config.fields import PREFIX, variable_of, wrong
from stream.config.settings import Settings
from stream.errors import SettingsError

CONFIG: Final = f"{PREFIX}CONFIG"
SECRETS_DIR: Final = f"{PREFIX}SECRETS_DIR"
KINDS: Final[Mapping[str, type[Any]]] = {each.name: type(each.default) for each in fields(Settings)}
OTHERS: Final = frozenset(
    f"{PREFIX}{name}"
    for name in (
        "BROKER_DATA_DIR",  # `broker`
        "CONFIG",
        "FAILPOINTS",  # with TEST: stream/worker/failpoints.py
        "IMAGE",  # docker-compose.yml
        "KAFKA_IMAGE",
        "SECRETS_DIR",
        "SERVE_API_KEYS",  # and below: options of `serve`
        "SERVE_BEHIND_PROXY",
        "SERVE_BODY_MAPPING",
        "SERVE_DATA",
        "SERVE_HOST",
        "SERVE_MODEL",
        "SERVE_PORT",
        "SERVE_RATE_LIMIT",
        "TEST",
        "TEST_BROKER",  # tests/conftest.py
        "TEST_REGISTRY",  # tests/support/schema_registry.py
    )
)
"""Variables that are no settings."""

_OF_KUBERNETES: Final = re.compile(
    rf"{PREFIX}(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""Variables that Kubernetes gives a pod for each Service whose name begins with interest-stream."""

_OF_A_SERVICE: Final = re.compile(r"(tcp|udp|sctp)://.*")


@dataclass(frozen=True, slots=True)
class Source:
    """Holds what one place gives, and how a message names the place; empty: by the variable."""

    values: Mapping[str, Any]
    place: str = ""


def from_environment(config: str | None = None, **given: Any) -> Settings:
    """Returns the settings of this process.

    This is the one place that reads the process environment. `config` is the file of --config.
    """
    return load_settings(os.environ, config, **given)


def load_settings(
    environment: Mapping[str, str], config: str | None = None, **given: Any
) -> Settings:
    """Returns the settings, with each value from the first source that gives it.

    `given` is the command line; None: not given. Raises SettingsError naming the variable, the file
    or the key when a value cannot be read, or nothing has such a name.
    """
    refuse_unknown_variables(environment)
    sources = (
        Source({name: value for name, value in given.items() if value is not None}),
        Source(variables(environment)),
        secrets_of(environment.get(SECRETS_DIR, "")),
        file_of(config or environment.get(CONFIG, "")),
    )
    chosen = {name: source for source in reversed(sources) for name in source.values}
    try:
        return Settings(**{name: source.values[name] for name, source in chosen.items()})
    except SettingsError as error:
        place = chosen[error.setting].place if error.setting in chosen else ""
        if not place:
            raise
        raise SettingsError(f"{place}: {error}", error.setting) from None


def variables(environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns the values that the environment gives; raises SettingsError."""
    return {
        name: _parse(name, environment[variable_of(name)])
        for name in KINDS
        if variable_of(name) in environment
    }


def refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """Raises SettingsError if a variable looks like a setting and is none."""
    known = [variable_of(name) for name in KINDS]
    for name, value in environment.items():
        if not name.upper().startswith(PREFIX) or name in OTHERS or name in known:
            continue
        if _OF_KUBERNETES.fullmatch(name):
            continue
        if name.endswith("_PORT") and _OF_A_SERVICE.fullmatch(value):
            continue
        raise SettingsError(
            f"the variable {name} is no setting; {_nearest(name.upper(), known)}, or unset it"
        )


def secrets_of(folder: str) -> Source:
    """Returns what the files of a folder give that are named as settings; raises SettingsError.

    Other files are let be: such folders are shared.
    """
    if not folder:
        return Source({})
    if not Path(folder).is_dir():
        raise SettingsError(f"{SECRETS_DIR}: {folder!r} is no folder; name one of secrets")
    values = {}
    for name in KINDS:
        path = Path(folder) / name
        if not path.is_file():
            continue
        try:
            values[name] = _parse(name, path.read_text(encoding="utf-8").strip())
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SettingsError(f"{path} cannot be read: {reason}") from None
    return Source(values, folder)


def file_of(path: str) -> Source:
    """Returns what a TOML file gives; raises SettingsError naming the key or the line."""
    if not path:
        return Source({})
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"--config: {path!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"--config: {path!r} is not TOML: {error}") from None
    for key in values:
        if key not in KINDS:
            raise SettingsError(
                f"{path}: {key!r} is no setting; {_nearest(key.replace('-', '_'), KINDS)}, or take "
                "it out"
            )
    return Source(values, path)


def connection_variables(settings: ConnectionSettings) -> dict[str, str]:
    """Returns the environment by which a process of ours reaches Kafka as this one does."""
    own = {each.name: getattr(settings, each.name) for each in fields(ConnectionSettings)}
    own |= dict.fromkeys((f"{name}_file" for name in FROM_FILES), "")  # they have been read
    return {variable_of(name): value for name, value in own.items()}


def _nearest(name: str, known: Iterable[str]) -> str:
    """Returns in words which name may have been meant."""
    near = difflib.get_close_matches(name, list(known), n=1)
    if near:
        return f"did you mean {near[0]}? Rename it"
    return "'interest-stream worker --show-settings' lists them: use one of these"


def _parse(name: str, text: str) -> Any:
    """Returns a text as a value of the setting's kind; raises SettingsError."""
    kind = KINDS[name]
    if kind is bool:
        if text.strip().lower() in ("1", "true", "yes", "on"):
            return True
        if text.strip().lower() in ("0", "false", "no", "off", ""):
            return False
        raise wrong(name, text, "use true or false")
    try:
        return kind(text)
    except ValueError:
        raise wrong(name, text, f"a {'whole ' if kind is int else ''}number is needed") from None
