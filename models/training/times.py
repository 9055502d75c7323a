"""Shares out the processor time of a training among its networks.

What is learned with validation held out may be learned again at the end with everything, which takes
as long again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass
class Times:
    """Holds what a training takes, in seconds of processor time."""

    end: float
    """When it is to end."""
    anew: int
    """How often what was learned is learned again at the end."""
    networks: float = 0.0
    """What LSTM and bridge took."""
    attention: float = 0.0
    """What the attention took."""

    def for_attention(self) -> float:
        """Returns what the attention may take: to learn all of it again takes as long."""
        return (self._left - self.anew * self.networks) / (1 + self.anew)

    def for_more_dropout(self) -> float:
        """Returns what another LSTM and bridge may take, which may be learned again likewise."""
        return (self._left - self.anew * self.attention) / (1 + self.anew)

    @property
    def _left(self) -> float:
        return self.end - time.process_time()
