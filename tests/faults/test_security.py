"""A broker that asks who comes: with its rights a worker works; without one it ends, says which, and nothing is lost."""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import COMMAND, Pipeline, Worker, make_pipeline, wait_until
from tests.faults.secured import (
    DENY,
    DESCRIBE,
    DESCRIBE_CONFIGS,
    LITERAL,
    READ,
    TOPIC,
    WRITE,
    SecuredKafka,
    rights_of_a_worker,
    rule,
    secured_cluster,
)
from tests.kafka.test_popularity import spawn_following

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]

NUMBERS = itertools.count(1)
SECRET = "a-secret-of-the-test"
MISSING = ("clickstream", "group", "changelog", "fence", "updates", "dead letters")
USERS = ("all", "job", *(f"no-{each.replace(' ', '-')}" for each in MISSING))


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with secured_cluster(tmp_path_factory.mktemp("secured") / "kafka", dict.fromkeys(USERS, SECRET)) as broker:
        yield broker


@pytest.fixture
def pipeline(kafka: SecuredKafka, tmp_path: Path) -> Iterator[Pipeline]:
    yield from make_pipeline(kafka.url, lambda name: f"{name}-{next(NUMBERS)}", tmp_path)


def as_user(
    pipeline: Pipeline, kafka: SecuredKafka, user: str, password: str = SECRET, **changes: str
) -> dict[str, str]:
    """The environment of a command of that user."""
    file = pipeline.folder / f"password-{user}"
    file.write_text(password + "\n", encoding="utf-8")
    security = {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_USERNAME": user,
        "SASL_PASSWORD_FILE": str(file),
        "SSL_CAFILE": str(kafka.folder.certificate),
        **changes,
    }
    return {f"INTEREST_STREAM_{name}": value for name, value in security.items()}


def worker(
    pipeline: Pipeline, kafka: SecuredKafka, *arguments: str, user: str = "all", ready: bool = True, **changes: str
) -> Worker:
    """A worker that comes in by the listener for strangers, with its password in a file."""
    environment = as_user(pipeline, kafka, user, **changes)
    options = ("--null-model", *arguments)
    if "--broker" not in arguments:
        options = (*options, "--broker", kafka.secured_url)
    return pipeline.start(*options, ready=ready, more_environment=environment)


def ends_with(worker: Worker, *words: str) -> None:
    assert worker.process.wait(90) == 1, worker.log[-2000:]
    said = worker.log[worker.log.rindex("\ninterest-stream: ") if "\ninterest-stream: " in worker.log else 0 :]
    assert "Traceback" not in worker.log, worker.log[-3000:]
    assert all(word in said for word in words), worker.log[-2000:]
    assert SECRET not in worker.log


def allow(pipeline: Pipeline, user: str = "all", without: str = "") -> None:
    for name, rights in rights_of_a_worker(pipeline.settings).items():
        if name != without:
            rule(pipeline.settings, user, rights)


def test_with_its_rights_a_worker_works_until_one_is_taken(kafka: SecuredKafka, pipeline: Pipeline) -> None:
    allow(pipeline)
    first = worker(pipeline, kafka)
    command_line = Path(f"/proc/{first.process.pid}/cmdline").read_bytes()
    pipeline.produce(2_000)
    pipeline.wait_applied()
    assert SECRET.encode() not in command_line
    assert SECRET not in first.log
    changelog = pipeline.settings.changelog_topic
    rule(pipeline.settings, "all", (TOPIC, changelog, LITERAL, (WRITE,)), DENY)
    before = pipeline.committed()
    pipeline.produce(500, seed=2)
    ends_with(first, changelog, "TopicAuthorizationFailedError")
    assert pipeline.committed() == before, "nothing was committed that is not in the changelog"
    pipeline.workers.remove(first)
    pipeline.start("--null-model")  # by the other listener, which may do anything
    pipeline.wait_applied()
    assert pipeline.audit()["clean"]


@pytest.mark.parametrize("missing", MISSING)
def test_a_right_that_is_missing_is_named(kafka: SecuredKafka, pipeline: Pipeline, missing: str) -> None:
    user = f"no-{missing.replace(' ', '-')}"
    allow(pipeline, user, without=missing)
    pipeline.produce(200)
    name = rights_of_a_worker(pipeline.settings)[missing][1]
    ends_with(worker(pipeline, kafka, user=user, ready=False), name, "not allowed")
    assert pipeline.committed() == 0


def test_a_wrong_password_is_said(kafka: SecuredKafka, pipeline: Pipeline) -> None:
    ends_with(worker(pipeline, kafka, password="wrong", ready=False), "sasl_username", "sasl_password")


def test_a_wrong_authority_is_said(kafka: SecuredKafka, pipeline: Pipeline, tmp_path: Path) -> None:
    from tests.faults.secured import make_certificate

    make_certificate(tmp_path / "other.p12", tmp_path / "other.pem")
    ends_with(worker(pipeline, kafka, SSL_CAFILE=str(tmp_path / "other.pem"), ready=False), "certificate", "ssl_cafile")


def test_plain_words_to_a_secured_port_and_the_reverse(kafka: SecuredKafka, pipeline: Pipeline) -> None:
    ends_with(worker(pipeline, kafka, SECURITY_PROTOCOL="PLAINTEXT", ready=False), "security")
    ends_with(worker(pipeline, kafka, "--broker", kafka.url, ready=False), "security")
    wait_until(lambda: pipeline.committed() == 0, 10, "nothing was committed")


def test_live_popularity_needs_its_rights_and_no_more(kafka: SecuredKafka, pipeline: Pipeline) -> None:
    settings = pipeline.settings
    assert pipeline.run("topics", "create", "--live-popularity").returncode == 0
    pipeline.produce(200, users=5)
    environment = {**pipeline.environment, **as_user(pipeline, kafka, "job")}

    def count() -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, "popularity", "--once", "--broker", kafka.secured_url]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    rule(settings, "job", (TOPIC, settings.events_topic, LITERAL, (READ, DESCRIBE)))
    rule(settings, "job", (TOPIC, settings.popularity_topic, LITERAL, (READ, DESCRIBE)))
    refused = count()
    assert refused.returncode == 1
    assert "'job' is not allowed to write to any topic" in refused.stderr
    rule(settings, "job", (TOPIC, settings.popularity_topic, LITERAL, (WRITE,)))
    done = count()
    assert done.returncode == 0, done.stderr
    assert "200 events counted" in done.stdout

    pipeline.spawn = spawn_following
    allow(pipeline)
    rule(settings, "all", (TOPIC, settings.popularity_topic, LITERAL, (READ, DESCRIBE, DESCRIBE_CONFIGS)))
    follower = worker(pipeline, kafka, "--live-popularity")
    wait_until(lambda: follower.metric("popularity_as_of_seconds") > 0, 30, "the worker follows")
