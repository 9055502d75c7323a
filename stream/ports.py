"""Free ports of this machine for servers of our own.

Not by binding port 0: that hands out ports of the range from which the system also takes the near end of outgoing connections, so a
client that retries while a broker restarts can sit on the broker's own port.
"""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress
from typing import Final

from stream.errors import Failure

FIRST: Final = 20_000
LAST: Final = 32_000
"""Below the ports of outgoing connections (from 32768 on Linux, from 49152 elsewhere) and above those of known services."""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nothing uses at this moment, all different. Raises Failure if there are too few."""
    found: list[int] = []
    with ExitStack() as stack:
        for port in random.sample(range(FIRST, LAST), k=500):
            probe = stack.enter_context(socket.socket())
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
            if len(found) == count:
                return found
    raise Failure(f"no {count} free ports between {FIRST} and {LAST} on 127.0.0.1; end some servers and try again")
