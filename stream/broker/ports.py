"""Finds free ports of this machine for servers of our own.

Not by binding port 0: that hands out ports of the range from which the system also takes the near
end of outgoing connections, so a client that retries while a broker restarts can sit on the
broker's own port.
"""

from __future__ import annotations

import random
import socket
import sys
from typing import Final

from stream.errors import Failure

FIRST: Final = 20_000
LAST: Final = 32_000
"""Below the ports of outgoing connections, which are those from 32768 on Linux and from 49152
elsewhere, and above those of known services."""


def free_ports(count: int) -> list[int]:
    """Returns ports of 127.0.0.1 that nothing uses and no other process is given, all different.

    Raises Failure if there are too few.
    """
    found: list[int] = []
    for port in random.sample(range(FIRST, LAST), k=500):
        if _hold(port):
            found.append(port)
        if len(found) == count:
            return found
    raise Failure(
        f"no {count} free ports between {FIRST} and {LAST} on 127.0.0.1; end some servers and try "
        "again"
    )


def _hold(port: int) -> bool:
    """Takes a port for servers of ours until this process ends; returns whether it was free.

    A server starts some seconds after its port was chosen, and may be started again later;
    meanwhile no other process may be given it.

    Bound without SO_REUSEADDR it collides with every other use. Linux lets a server that sets the
    option, as Java, Go and asyncio do, listen beside a socket that has it too and does not listen;
    other systems do not, so there the port is only looked at.
    """
    probe = socket.socket()
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        probe.close()
        return False
    if sys.platform == "linux":
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.detach()  # nobody closes it but the end of the process
    else:
        probe.close()
    return True
