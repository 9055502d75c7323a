"""Knows the shapes that the audit can read, by the names that `--event-format` takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from stream.audit.documents import FramedShape, Meant, Shape
from stream.audit.framed import Frames, contract
from stream.audit.mapping_rules import MappedShape
from stream.audit.owners.calls import posthog, rudderstack, segment
from stream.audit.owners.envelopes import cloudevents, debezium
from stream.audit.owners.ga4 import ga4
from stream.audit.owners.snowplow import snowplow
from stream.config import CONTRACT, MAPPING, Settings

SHAPES: Final[dict[str, Callable[..., Meant]]] = {
    "segment": segment,
    "rudderstack": rudderstack,
    "snowplow": snowplow,
    "ga4": ga4,
    "posthog": posthog,
    "cloudevents": cloudevents,
    "debezium": debezium,
}
"""The shapes that need no file; some are told which purposes of consent are asked for."""


def shape_of(settings: Settings) -> Shape | FramedShape | None:
    """Returns the shape of the input topic; None: it is the contract's.

    What `--rekey` forwards is of the contract, whatever it came from.
    """
    if settings.rekey:
        return None
    shape = _shape_of(settings)
    if settings.schema_registry:
        return FramedShape(shape or contract, Frames())
    return shape


def _shape_of(settings: Settings) -> Shape | None:
    if settings.event_format == CONTRACT:
        return None
    if settings.event_format == MAPPING:
        return MappedShape(Path(settings.mapping).read_text(encoding="utf-8"))
    shape = SHAPES[settings.event_format]
    return partial(shape, purposes=settings.purposes) if settings.purposes else shape
