"""Free ports are free, different, and none that the system takes for outgoing connections."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from stream.broker.ports import FIRST, LAST, free_ports
from stream.errors import Failure


def test_ports_can_be_bound_and_are_all_different() -> None:
    found = free_ports(20)
    assert len(set(found)) == 20
    assert all(FIRST <= port < LAST < 32_768 for port in found)
    with socket.create_server(("127.0.0.1", found[0])):
        pass


def test_a_port_in_use_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    (used, free) = range(FIRST, LAST)[:2]
    monkeypatch.setattr("stream.broker.ports.random.sample", lambda *_, **__: [used, free])
    server = socket.create_server(("127.0.0.1", used))
    with server, pytest.raises(Failure, match="no 2 free ports"):
        free_ports(2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a port be held for a server")
def test_a_port_is_given_once_and_a_server_may_still_listen_there_again_and_again() -> None:
    (port,) = free_ports(1)
    other = f"""
import random
from stream.broker.ports import free_ports
random.sample = lambda *_, **__: [{port}]
free_ports(1)
"""
    found = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True)
    assert "no 1 free ports" in found.stderr
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port)):
            socket.create_connection(("127.0.0.1", port)).close()
