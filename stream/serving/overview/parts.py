"""Holds what the overview has, for the routes; without a model or a broker some of it is empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stream.serving.overview.outcomes import Events, Outcomes, Remembered
from stream.serving.overview.truth import Truth
from stream.serving.overview.workers import Workers


@dataclass(slots=True, kw_only=True)
class Overview:
    """Holds the parts of the overview of one serving process."""

    outcomes: Remembered = field(default_factory=Outcomes)
    events: Events | None = None
    workers: Workers | None = None
    touches: Mapping[str, Sequence[str]] = field(default_factory=dict)  # interests of items
    calibration: dict[str, Any] | None = None
    truth: Truth | None = None

    async def watch(self) -> None:
        """Looks at the workers until it is cancelled."""
        if self.workers is not None:
            await self.workers.run()

    async def close(self) -> None:
        """Disconnects."""
        if self.events is not None:
            await self.events.close()
