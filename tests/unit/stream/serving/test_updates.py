"""What is read of a record, and which of two profiles is the newer one."""

from __future__ import annotations

from typing import get_args

from models.contract import TRENDS
from stream.serving.updates import Trend, read_update
from tests.support.serving import record


def test_every_trend_of_a_model_is_read() -> None:
    assert get_args(Trend) == TRENDS
    value = record("anna", 1).value or b""
    for trend in TRENDS:
        assert read_update(b"anna", value.replace(b"rising", trend.encode())) is not None
    assert read_update(b"anna", value.replace(b"rising", b"soaring")) is None
