"""A metric that nothing sets would be a lie on every dashboard."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stream import metrics

SOURCE = Path(metrics.__file__).parent
NAMES = sorted(vars(metrics.Metrics()).keys() - {"registry", "labels"})


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_is_measured_somewhere(name: str) -> None:
    own = (SOURCE / "metrics.py").read_text(encoding="utf-8")
    others = "".join(
        path.read_text(encoding="utf-8")
        for path in SOURCE.rglob("*.py")
        if path.name != "metrics.py"
    )
    measured_here = re.search(rf"self\.{name}\.(inc|observe|set|labels)\(", own)
    assert measured_here or re.search(rf"metrics\.{name}\b", others)


def test_names_are_in_base_units_under_one_prefix() -> None:
    text = metrics.Metrics().text().decode()
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert names
    assert all(name.startswith("interest_stream_") for name in names)
    assert not any(re.search(r"_(ms|millis|kb|mb|minutes)\b", name) for name in names)
