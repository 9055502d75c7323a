"""A benchmark brings a broker of its own where none serves, and leaves nothing of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stream.broker.ports import free_ports
from stream.broker.processes import identity
from tests.support.processes import HANG_S

pytestmark = pytest.mark.kafka

MEASURE = """
import sys, time
from stream.bench.broker import on_a_broker
from stream.broker.local_kafka import serves
from stream.config import Settings

def measure(settings):
    print(serves(settings.bootstrap[0]), flush=True)
    time.sleep(3600)

on_a_broker(Settings(broker=sys.argv[1]), False, lambda text: None, measure)
"""


@pytest.mark.parametrize("moment", ["starting", "measuring"])
def test_its_own_broker_serves_and_goes_away_with_it(tmp_path: Path, moment: str) -> None:
    address = f"kafka://127.0.0.1:{free_ports(1)[0]}"
    process = subprocess.Popen(
        [sys.executable, "-c", MEASURE, address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    while not (records := list(tmp_path.glob("*/kafka/broker.json"))):
        assert process.poll() is None
        time.sleep(0.005)
    pid = json.loads(records[0].read_text(encoding="utf-8"))["pid"]
    if moment == "measuring":
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
    for _ in range(2):
        process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=HANG_S)
    assert error.splitlines()[-1] == "KeyboardInterrupt"
    assert identity(pid) is None
    assert list(tmp_path.glob("interest-stream*")) == []
