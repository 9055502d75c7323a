"""Every error the project raises on purpose, sorted by what the caller should do.

InterestStreamError
|- UsageError            wrong call, settings or file: exit code 2, nothing was done
|  `- SettingsError      a setting has a value that cannot work
`- Failure               the call was right, the world was not: exit code 1, the message says what to do
   |- BrokerError        Kafka cannot be reached, started or stopped
   |- TopicError         a topic is missing or its settings are unsafe
   |- ModelError         a model directory is damaged, unknown or does not fit
   |- DataError          input data cannot be used
   |- RefusalError       starting would lose or double events (DESIGN.md section 5)
   |- PublishError       an update or state was not acknowledged: the worker stops, nothing is committed
   |- FencedError        this worker no longer owns the partition it was about to write
   |- GroupError         the worker lives and the group's coordination in it has ended
   |- StalledError       the worker lives and consumes nothing
   `- PoisonError        too many bad records in a row: the breaker stopped the worker
"""

from __future__ import annotations


class InterestStreamError(Exception):
    """Base of all errors raised on purpose. The message says what happened and what to do."""

    exit_code = 1


class UsageError(InterestStreamError):
    """The call itself is wrong."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting has a value that cannot work; names the setting and the fix."""


class Failure(InterestStreamError):
    """The call was right and could not be carried out."""


class BrokerError(Failure):
    """Kafka cannot be reached, started or stopped."""


class TopicError(Failure):
    """A topic is missing or its settings are unsafe."""


class ModelError(Failure):
    """A model directory is damaged, unknown or does not fit."""


class DataError(Failure):
    """Input data cannot be used; names the file, line or field."""


class RefusalError(Failure):
    """Starting would lose or double events."""


class PublishError(Failure):
    """An update or a state was not acknowledged in time or was rejected."""


def refused_write(topic: str, partition: int, error: Exception) -> PublishError:
    """What a write to a partition that failed with an error is told as."""
    return PublishError(f"{topic}[{partition}] refused a write: {type(error).__name__}: {error}")


class FencedError(Failure):
    """The partition belongs to another worker or generation by now."""


class GroupError(Failure):
    """The client's part of the group's coordination has ended."""


class LostBatchError(Failure):
    """A batch that was read did not reach its states."""


class StalledError(Failure):
    """Lag and no progress."""


class PoisonError(Failure):
    """Too many bad records in a row."""
