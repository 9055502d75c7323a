"""The Python API of interest-stream: rank histories, send events, subscribe to interest updates.

    from interest_stream import Model, Producer, Service, profile, subscribe

`Model` scores histories of events in this process, without Kafka. `Producer` sends events to the
clickstream, `subscribe` reads the updates that workers publish, `profile` reads the latest update
of one user. `Service` asks `interest-stream serve` over HTTP; the types of its answers are in
`interest_stream.answers`. docs/start/python.md shows each of them at work.

Importing this package is cheap: PyTorch and the Kafka client are loaded when they are first used.
Everything else under `stream` and `models` may change between versions; these names do not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interest_stream.model import Model
    from interest_stream.producer import Producer
    from interest_stream.service import Service
    from interest_stream.subscription import Subscription, profile, subscribe
    from interest_stream.updates import Cause, Interest, Item, Place, Update
    from stream.contracts.event import Event
    from stream.contracts.faults import BadEvent
    from stream.errors import (
        BrokerError,
        DataError,
        InterestStreamError,
        ModelError,
        PublishError,
        ServiceError,
        SettingsError,
        TopicError,
    )

    __version__: str

__all__ = [
    "BadEvent",
    "BrokerError",
    "Cause",
    "DataError",
    "Event",
    "Interest",
    "InterestStreamError",
    "Item",
    "Model",
    "ModelError",
    "Place",
    "Producer",
    "PublishError",
    "Service",
    "ServiceError",
    "SettingsError",
    "Subscription",
    "TopicError",
    "Update",
    "__version__",
    "profile",
    "subscribe",
]

_MODULES = {
    "interest_stream.model": ("Model",),
    "interest_stream.producer": ("Producer",),
    "interest_stream.service": ("Service",),
    "interest_stream.subscription": ("Subscription", "profile", "subscribe"),
    "interest_stream.updates": ("Cause", "Interest", "Item", "Place", "Update"),
    "stream.contracts.faults": ("BadEvent",),
    "stream.errors": (
        "BrokerError",
        "DataError",
        "InterestStreamError",
        "ModelError",
        "PublishError",
        "ServiceError",
        "SettingsError",
        "TopicError",
    ),
    "stream.contracts.event": ("Event",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Loads a public name from its module when it is first used."""
    if name == "__version__":
        from importlib.metadata import version

        found: Any = version("interest-stream")
    elif name in _MODULE_OF:
        found = getattr(import_module(_MODULE_OF[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
