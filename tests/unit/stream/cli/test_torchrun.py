"""Checks what of the environment says that a training has several processes."""

from __future__ import annotations

from typing import Any

import pytest

from stream.cli.torchrun import Place, check_shared, place_of
from stream.errors import UsageError

SET = {
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "MASTER_ADDR": "host",
    "MASTER_PORT": "29500",
}


def test_a_process_knows_its_place() -> None:
    assert place_of(SET) == Place(3, 1, 4)
    assert place_of({}) == place_of({"RANK": "3", "WORLD_SIZE": ""}) == Place(0, 0, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict.fromkeys(("RANK", "MASTER_PORT"), ""), "and RANK, MASTER_PORT not: start"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two' and no whole number"),
        ({"RANK": "4"}, "RANK is 4 and LOCAL_RANK 1 with WORLD_SIZE 4"),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK -1"),
        ({"MASTER_PORT": "none"}, "MASTER_PORT is 'none' and no whole number"),
    ],
)
def test_an_environment_that_torchrun_did_not_make_is_refused(
    changes: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        place_of({**SET, **changes})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"language_model": "m"}, "with --language-model and --start-from"),
        ({"dp_epsilon": 8.0}, "without torchrun"),
    ],
)
def test_what_processes_cannot_share_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_shared({"language_model": None, "dp_epsilon": None, **given})
