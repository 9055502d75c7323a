"""Checks a worker on a broker that asks who comes.

With its rights the worker works; without one it ends, says which, and nothing is lost.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.faults.secured import (
    DENY,
    DESCRIBE,
    DESCRIBE_CONFIGS,
    GROUP,
    LITERAL,
    READ,
    TOPIC,
    WRITE,
    SecuredKafka,
    rights_of_a_worker,
    rule,
    secured_cluster,
)
from tests.support.pipelines import Pipeline, Worker, make_pipeline, wait_until
from tests.support.processes import run, spawn_new, spawner
from tests.support.tokens import TokenServer, token_server

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

NUMBERS = itertools.count(1)
SECRET = "a-secret-of-the-test"
MISSING = ("clickstream", "group", "changelog", "fence", "updates", "dead letters")
USERS = ("all", "job", "officer", *(f"no-{each.replace(' ', '-')}" for each in MISSING))


@pytest.fixture(scope="module")
def kafka(forks: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    with secured_cluster(
        tmp_path_factory.mktemp("secured") / "kafka", dict.fromkeys(USERS, SECRET)
    ) as broker:
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


def as_client(kafka: SecuredKafka, tokens: TokenServer, user: str = "all") -> dict[str, str]:
    """The environment of a command that has tokens of that user."""
    security = {
        "BROKER": kafka.secured_url,
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "OAUTHBEARER",
        "OAUTH_TOKEN_URL": tokens.url,
        "OAUTH_CLIENT_ID": user,
        "OAUTH_CLIENT_SECRET": tokens.secret,
        "SSL_CAFILE": str(kafka.folder.certificate),
    }
    return {f"INTEREST_STREAM_{name}": value for name, value in security.items()}


def worker(
    pipeline: Pipeline,
    kafka: SecuredKafka,
    *arguments: str,
    user: str = "all",
    ready: bool = True,
    **changes: str,
) -> Worker:
    """A worker that comes in by the listener for strangers, with its password in a file."""
    environment = as_user(pipeline, kafka, user, **changes)
    options = ("--null-model", *arguments)
    if "--broker" not in arguments:
        options = (*options, "--broker", kafka.secured_url)
    return pipeline.start(*options, ready=ready, more_environment=environment)


def ends_with(worker: Worker, *words: str) -> None:
    assert worker.wait() == 1, worker.log[-2000:]
    said = worker.log[
        worker.log.rindex("\ninterest-stream: ") if "\ninterest-stream: " in worker.log else 0 :
    ]
    assert "Traceback" not in worker.log, worker.log[-3000:]
    assert all(word in said for word in words), worker.log[-2000:]
    assert SECRET not in worker.log


def allow(pipeline: Pipeline, user: str = "all", without: str = "") -> None:
    for name, rights in rights_of_a_worker(pipeline.settings).items():
        if name != without:
            rule(pipeline.settings, user, rights)


def test_with_its_rights_a_worker_works_until_one_is_taken(
    kafka: SecuredKafka, pipeline: Pipeline
) -> None:
    allow(pipeline)
    pipeline.spawn = spawn_new  # a fork has no command line of its own
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
def test_a_right_that_is_missing_is_named(
    kafka: SecuredKafka, pipeline: Pipeline, missing: str
) -> None:
    user = f"no-{missing.replace(' ', '-')}"
    allow(pipeline, user, without=missing)
    pipeline.produce(200)
    name = rights_of_a_worker(pipeline.settings)[missing][1]
    ends_with(worker(pipeline, kafka, user=user, ready=False), name, "not allowed")
    assert pipeline.committed() == 0


def test_a_wrong_password_is_said(kafka: SecuredKafka, pipeline: Pipeline) -> None:
    ends_with(
        worker(pipeline, kafka, password="wrong", ready=False), "sasl_username", "sasl_password"
    )


def test_a_wrong_authority_is_said(kafka: SecuredKafka, pipeline: Pipeline, tmp_path: Path) -> None:
    from tests.faults.secured import make_certificate

    make_certificate(tmp_path / "other.p12", tmp_path / "other.pem")
    ends_with(
        worker(pipeline, kafka, SSL_CAFILE=str(tmp_path / "other.pem"), ready=False),
        "certificate",
        "ssl_cafile",
    )


def asked_again(tokens: TokenServer, times: int) -> bool:
    return len(tokens.asked) > times


def test_tokens_end_and_nothing_is_lost_or_closed(kafka: SecuredKafka, pipeline: Pipeline) -> None:
    allow(pipeline)
    with token_server(life_s=3.0) as tokens:
        environment = {**pipeline.environment, **as_client(kafka, tokens)}
        client = pipeline.start("--null-model", "-v", more_environment=environment)
        for round_ in range(2):
            given = len(tokens.asked)
            pipeline.produce(500, seed=round_)
            wait_until(partial(asked_again, tokens, given), "a new token is asked for")
        pipeline.produce(500, seed=3)
        pipeline.wait_applied()
        assert client.process.poll() is None
        audit = run(["audit", "--json"], environment)
        assert audit.returncode == 0, audit.stdout + audit.stderr
        refused = run(["audit"], {**environment, "INTEREST_STREAM_OAUTH_CLIENT_SECRET": "another"})
        assert refused.returncode == 1
        assert "HTTP 401, invalid_client" in refused.stderr
        stale = {**environment, "INTEREST_STREAM_OAUTH_EXTENSIONS": "a=b"}
        tokens.life_s = -60.0
        ended = run(["audit"], stale)
        assert ended.returncode == 1
        assert "refused the token" in ended.stderr
        tokens.life_s = 3.0
    assert "Connection at" not in client.log, "no connection was lost"


def test_plain_words_to_a_secured_port_and_the_reverse(
    kafka: SecuredKafka, pipeline: Pipeline
) -> None:
    ends_with(worker(pipeline, kafka, SECURITY_PROTOCOL="PLAINTEXT", ready=False), "security")
    ends_with(worker(pipeline, kafka, "--broker", kafka.url, ready=False), "security")
    wait_until(lambda: pipeline.committed() == 0, "nothing was committed")


def test_who_erases_needs_to_write_events_and_to_read_what_is_held(
    kafka: SecuredKafka, pipeline: Pipeline
) -> None:
    settings = pipeline.settings
    pipeline.start("--null-model")  # by the other listener, which may do anything
    pipeline.produce(50, users=5)
    pipeline.wait_applied()
    environment = {**pipeline.environment, **as_user(pipeline, kafka, "officer")}

    def ask(*words: str) -> subprocess.CompletedProcess[str]:
        return run([*words, "--broker", kafka.secured_url], environment)

    for topic in (
        settings.events_topic,
        settings.changelog_topic,
        settings.profiles_topic,
        settings.updates_topic,
        settings.dead_letters_topic,
    ):
        rule(settings, "officer", (TOPIC, topic, LITERAL, (READ, DESCRIBE)))
    rule(settings, "officer", (GROUP, settings.app_id, LITERAL, (READ, DESCRIBE)))
    out = pipeline.folder / "user-1.json"
    exported = ask("export", "--user", "user-1", "--out", str(out))
    assert exported.returncode == 0, exported.stderr
    refused = ask("erase", "--user", "user-1")
    assert refused.returncode == 1
    assert "'officer' is not allowed to write to any topic" in refused.stderr
    rule(settings, "officer", (TOPIC, settings.events_topic, LITERAL, (WRITE,)))
    erased = ask("erase", "--user", "user-1")
    assert erased.returncode == 0, erased.stderr
    assert "User user-1: erased" in erased.stdout
    assert "allow DescribeConfigs on it" in erased.stderr  # to say until when the rest lives


def test_live_popularity_needs_its_rights_and_no_more(
    kafka: SecuredKafka, pipeline: Pipeline
) -> None:
    settings = pipeline.settings
    assert pipeline.run("topics", "create", "--live-popularity").returncode == 0
    pipeline.produce(200, users=5)
    least = {"INTEREST_STREAM_POPULARITY_MIN_USERS": "1"}  # there are five, ten would be needed
    environment = {**pipeline.environment, **as_user(pipeline, kafka, "job"), **least}

    def count() -> subprocess.CompletedProcess[str]:
        return run(["popularity", "--once", "--broker", kafka.secured_url], environment)

    rule(settings, "job", (TOPIC, settings.events_topic, LITERAL, (READ, DESCRIBE)))
    rule(settings, "job", (TOPIC, settings.popularity_topic, LITERAL, (READ, DESCRIBE)))
    refused = count()
    assert refused.returncode == 1
    assert "'job' is not allowed to write to any topic" in refused.stderr
    rule(settings, "job", (TOPIC, settings.popularity_topic, LITERAL, (WRITE,)))
    done = count()
    assert done.returncode == 0, done.stderr
    assert "200 events counted" in done.stdout

    pipeline.spawn = spawner("tests.support.following_model:work")
    allow(pipeline)
    rule(
        settings,
        "all",
        (TOPIC, settings.popularity_topic, LITERAL, (READ, DESCRIBE, DESCRIBE_CONFIGS)),
    )
    follower = worker(pipeline, kafka, "--live-popularity")
    wait_until(lambda: follower.metric("popularity_as_of_seconds") > 0, "the worker follows")
