"""Defines every error the project raises on purpose, sorted by what the caller should do.

InterestStreamError
|- UsageError            wrong call, settings or file: exit code 2, nothing was done
|  `- SettingsError      a setting has a value that cannot work
`- Failure               the call was right, the world was not: exit code 1, the message says what
   |                     to do
   |- BrokerError        Kafka cannot be reached, started or stopped
   |- TopicError         a topic is missing or its settings are unsafe
   |- RegistryError      the schema registry cannot be asked, or refuses
   |- ModelError         a model directory is damaged, unknown or does not fit
   |- DataError          input data cannot be used
   |- ServiceError      the HTTP service refused a request, or did not answer
   |- RefusalError       starting would lose or double events (docs/understand/delivery.md)
   |- PublishError       an update or state was not acknowledged: the worker stops, and nothing is
   |                     committed
   |- FencedError        this worker no longer owns the partition it was about to write
   |- GroupError         the worker lives and the group's coordination in it has ended
   |- LostBatchError     a batch that was read did not reach its states
   |- StalledError       the worker lives and consumes nothing
   `- PoisonError        too many bad records in a row: the breaker stopped the worker
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stream.plain_text import told


class InterestStreamError(Exception):
    """Serves as the base of all errors raised on purpose.

    The message says what happened and what to do.
    """

    exit_code = 1


class UsageError(InterestStreamError):
    """Says that the call itself is wrong."""

    exit_code = 2


class SettingsError(UsageError):
    """Says that a setting has a value that cannot work.

    The message names the setting and the fix; `setting` is its name, empty if there is none.
    """

    def __init__(self, message: str, setting: str = "") -> None:
        super().__init__(message)
        self.setting = setting


class Failure(InterestStreamError):
    """Says that the call was right and could not be carried out."""


class BrokerError(Failure):
    """Says that Kafka cannot be reached, started or stopped."""


class TopicError(Failure):
    """Says that a topic is missing or its settings are unsafe."""


class RegistryError(Failure):
    """Says that the schema registry cannot be asked now, or refuses to answer."""


class ModelError(Failure):
    """Says that a model directory is damaged, unknown or does not fit."""


class DataError(Failure):
    """Says that input data cannot be used.

    The message names the file, line or field.
    """


class ServiceError(Failure):
    """Says that the HTTP service refused a request, or did not answer.

    `status` is that of its answer, 0 where there was none. `problem` holds the members of the
    answer (RFC 9457), such as `near`, the names that an unknown interest may have meant.
    `retry_after_s` is how long it asked to wait, None if it did not.
    """

    def __init__(
        self,
        message: str,
        status: int = 0,
        problem: Mapping[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.problem = status, problem or {}
        self.retry_after_s = retry_after_s


class RefusalError(Failure):
    """Says that starting would lose or double events."""


class PublishError(Failure):
    """Says that an update or a state was rejected, or not acknowledged in time."""


def refused_write(topic: str, partition: int, error: Exception) -> PublishError:
    """Returns the error to raise when a write to a partition has failed with `error`."""
    return PublishError(f"{topic}[{partition}] refused a write: {told(error)}")


class FencedError(Failure):
    """Says that the partition belongs to another worker or generation by now."""


class GroupError(Failure):
    """Says that the client's part of the group's coordination has ended."""


class LostBatchError(Failure):
    """Says that a batch that was read did not reach its states."""


class StalledError(Failure):
    """Says that there is lag and no progress."""


class PoisonError(Failure):
    """Says that too many bad records came in a row."""
