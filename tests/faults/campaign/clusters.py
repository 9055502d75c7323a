"""The broker of the campaign: one real Kafka, and a proxy in front of its second listener."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.broker.folder import PROPERTIES, KafkaFolder
from stream.broker.local_kafka import LocalKafka
from stream.broker.ports import free_ports
from tests.faults.campaign.proxy import Proxy
from tests.support.brokers import START_S, remove


class ProxiedFolder(KafkaFolder):
    """A broker with a second listener, which tells clients the proxy's port."""

    listener_port = proxy_port = 0

    def write_properties(self, port: int, controller_port: int) -> None:
        super().write_properties(port, controller_port)
        own, controller = (
            f"PLAINTEXT://127.0.0.1:{port}",
            f"CONTROLLER://127.0.0.1:{controller_port}",
        )
        more = (
            f"listeners={own},{controller},PROXIED://127.0.0.1:{self.listener_port}\n"
            f"advertised.listeners={own},PROXIED://127.0.0.1:{self.proxy_port}\n"
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT\n"
        )
        with self.properties.open("a", encoding="ascii") as properties:
            properties.write(more)


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[LocalKafka, Proxy]]:
    """A broker and a proxy in front of its second listener."""
    assert "listeners=" in PROPERTIES
    port, controller_port, listener_port, proxy_port = free_ports(4)
    broker = LocalKafka(folder, port, controller_port, heap_mb=512, short_lived=True)
    broker.folder = ProxiedFolder(folder)
    broker.folder.listener_port, broker.folder.proxy_port = listener_port, proxy_port
    proxy = Proxy(proxy_port, listener_port)
    proxy.start()
    try:
        broker.start(START_S)
        yield broker, proxy
    finally:
        proxy.stop()
        remove(broker)
