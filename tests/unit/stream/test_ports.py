"""Free ports are free, different, and not those from which the system takes outgoing connections."""

from __future__ import annotations

import socket

import pytest

from stream.errors import Failure
from stream.ports import FIRST, LAST, free_ports


def test_ports_can_be_bound_and_are_all_different() -> None:
    found = free_ports(20)
    assert len(set(found)) == 20
    assert all(FIRST <= port < LAST < 32_768 for port in found)
    with socket.create_server(("127.0.0.1", found[0])):
        pass


def test_a_port_in_use_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    (used, free) = free_ports(2)
    monkeypatch.setattr("stream.ports.random.sample", lambda *_, **__: [used, free])
    with socket.create_server(("127.0.0.1", used)):
        assert free_ports(1) == [free]
        with pytest.raises(Failure, match="no 2 free ports"):
            free_ports(2)
