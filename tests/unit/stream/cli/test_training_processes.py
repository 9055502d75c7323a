"""A training that is stopped, and one of several processes: the model is that of one in one go."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file

from stream.broker.ports import free_ports
from tests.support.pipelines import wait_until
from tests.support.processes import HANG_S, Process, spawn, spawn_new
from tests.support.training_commands import run, training
from tests.support.training_commands import shop as shop  # the fixture

pytestmark = pytest.mark.slow

FEW = ("--name", "model", "--epochs", 2)
STOPPED = (130, -signal.SIGINT)
"""A shell shows 130 for both. Where Ctrl-C hits text that Python executes, as for a dataclass, it
ends the process by the signal at last, though the error was answered."""


@pytest.fixture(scope="module")
def alone(shop: Path) -> Path:
    """Returns a model of FEW epochs that one process has trained in one go."""
    done = run(*training(shop, shop / "alone", *FEW))
    assert done.returncode == 0, done.stderr
    return shop / "alone"


@pytest.mark.usefixtures("forks")
def test_interrupted_and_resumed_equals_uninterrupted(shop: Path, alone: Path) -> None:
    out, log = shop / "stopped", shop / "stopped.log"
    log.touch()
    process = spawn([str(word) for word in training(shop, out, *FEW)], dict(os.environ), log)
    try:
        wait_until(lambda: "lstm 1/2" in log.read_text(), "an epoch", moved=log.read_text)
        process.send_signal(signal.SIGINT)
        assert process.wait(HANG_S) in STOPPED
    finally:
        process.kill()
    assert "The same command goes on from there" in log.read_text()
    again = run(*training(shop, out, *FEW))
    assert again.returncode == 0, again.stderr
    assert "lstm 1/2" not in again.stderr  # that epoch is not run again
    weights = [(each / "weights.safetensors").read_bytes() for each in (out, alone)]
    assert weights[0] == weights[1]


@pytest.mark.usefixtures("forks")
def test_ctrl_c_while_pytorch_is_imported_is_answered(shop: Path) -> None:
    log, words = shop / "importing.log", training(shop, shop / "importing", *FEW)
    importing = spawn_new([str(word) for word in words], dict(os.environ), log)
    try:
        mapped = Path(f"/proc/{importing.pid}/maps")
        wait_until(lambda: "libtorch" in mapped.read_text(), "the import", moved=mapped.read_text)
        importing.send_signal(signal.SIGINT)
        assert importing.wait(HANG_S) == 130
    finally:
        importing.kill()
    assert log.read_text().strip().startswith("Stopped; what is done is kept in")


def like(found: Path, wanted: Path) -> None:
    """Checks that two trainings had the same losses and left the same networks, but for rounding.

    The bias of attention's keys changes no answer: its gradient is rounding and nothing else, from
    which Adam makes steps like those of any other, so it is left out.
    """
    curves = [json.loads((each / "report.json").read_text())["curves"] for each in (found, wanted)]
    losses = [
        [
            (stage, part, figure)
            for stage, epochs in curve.items()
            for figures in epochs
            for part, figure in figures.items()
            if part != "ndcg@10"
        ]
        for curve in curves
    ]
    assert [each[:2] for each in losses[0]] == [each[:2] for each in losses[1]]
    assert [each[2] for each in losses[0]] == pytest.approx(
        [each[2] for each in losses[1]], abs=2e-4
    )
    weights = [load_file(each / "weights.safetensors") for each in (found, wanted)]
    networks = [name for name in weights[1] if name.startswith("network.")]
    assert networks
    for name in networks:
        apart = (weights[0][name] - weights[1][name]).abs()
        if name.endswith("qkv.bias"):
            apart.view(3, -1)[1] = 0
        assert apart.max() < 1e-4, name


@pytest.mark.usefixtures("forks")
def test_two_processes_train_the_model_that_one_trains(shop: Path, alone: Path) -> None:
    done, out = ranks(shop, shop / "two", *FEW)
    assert [each.wait(HANG_S) for each in done] == [0, 0], out[0].read_text()
    assert "lstm 2/2" in out[0].read_text()
    assert out[1].read_text() == ""  # the first one alone speaks
    like(shop / "two", alone)


@pytest.mark.usefixtures("forks")
def test_a_process_that_dies_ends_the_others(shop: Path) -> None:
    (first, other), out = ranks(shop, shop / "died", "--epochs", 10_000)
    try:
        wait_until(lambda: "lstm 1/" in out[0].read_text(), "an epoch", moved=out[0].read_text)
        other.kill()
        assert first.wait(HANG_S) == 1
    finally:
        first.kill()
        other.kill()
    said = out[0].read_text()
    assert "another process of this training has ended" in said
    assert "The same command goes on from there" in said
    assert "Traceback" not in said


def ranks(shop: Path, out: Path, *more: object) -> tuple[list[Process], list[Path]]:
    """Starts a training of two processes, as torchrun does; returns them and what they print to."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_ports(1)[0]), "WORLD_SIZE": "2"}
    words = [str(word) for word in training(shop, out, *more)]
    logs = [shop / f"{out.name}-{rank}.log" for rank in range(2)]
    for log in logs:
        log.touch()
    started = [
        spawn(words, {**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)}, log)
        for rank, log in enumerate(logs)
    ]
    return started, logs


@pytest.mark.usefixtures("forks")
def test_what_ctrl_c_stopped_of_two_processes_one_finishes(shop: Path, alone: Path) -> None:
    out = shop / "interrupted"
    started, logs = ranks(shop, out, *FEW)
    try:
        wait_until(lambda: "lstm 1/2" in logs[0].read_text(), "an epoch", moved=logs[0].read_text)
        for each in started:  # as torchrun hands it on
            each.send_signal(signal.SIGINT)
        assert (started[0].wait(HANG_S) in STOPPED, started[1].wait(HANG_S)) == (True, 1)
    finally:
        for each in started:
            each.kill()
    assert logs[0].read_text().count("The same command goes on from there") == 1
    assert logs[1].read_text() == ""
    again = run(*training(shop, out, *FEW))
    assert again.returncode == 0, again.stderr
    assert "lstm 1/2" not in again.stderr  # that epoch is not run again
    like(out, alone)
