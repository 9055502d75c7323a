"""Runs docker-compose.yml and the image for real, on a Debian machine without a Docker engine.

Such a machine is made by podman_machine.py. Build, up with the profiles demo and popularity, an
update seen, a snapshot of what is popular that the worker takes, a second worker that shares the
partitions, one worker stopped cleanly, an audit of every user, all of it once more after `down` and
`up` on the same volume; then the tests' own `--kafka=container`. Takes everything down.

    make compose-test                   images stay for the next run
    make compose-test ARGS=--clean      removes what earlier runs left; tests nothing
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import podman_machine as machine
from podman_machine import fail, run, say, succeeds, wait_for

PROJECT = "interest-stream-test"
PORT = os.environ.get("KAFKA_PORT", "21092")
PARTITIONS = 4
WORKER = "demo-worker"
PROFILES = ("--profile", "demo", "--profile", "popularity")
CONTAINER_TESTS = ("tests/kafka/test_topics.py", "-m", "kafka and not slow")
METRICS = """
import urllib.request
with urllib.request.urlopen("http://127.0.0.1:6066/metrics", timeout=4) as answer:
    print(answer.read().decode())
"""

PATIENCE_S = 400  # for a busy machine; what is seen ends a wait at once

HASHES = """
import hashlib, json, pathlib, sys
root = pathlib.Path(sys.argv[1])
packages = ("interest_stream", "stream", "models")
files = [path for name in packages for path in (root / name).rglob("*.py")]
hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
print(json.dumps({str(path.relative_to(root)): found for path, found in hashes.items()}))
"""
INSTALLED = "import pathlib, stream; print(pathlib.Path(stream.__file__).parents[1])"

Compose = Callable[..., str]


def build() -> None:
    say("building the image (torch is large: some minutes the first time)")
    words = (
        "--format",
        "docker",
        "--network",
        "host",
        "-f",
        "deploy/Dockerfile",
        "--build-arg",
        f"BASE={machine.BASE}",
    )
    run("podman", "build", *words, "-t", machine.APP, ".")


@contextmanager
def health_checks() -> Iterator[None]:
    """Runs the health checks, as systemd's timers do for podman.

    Here only until they pass, as each costs processes.
    """
    ended = threading.Event()

    def loop() -> None:
        while not ended.wait(1.0):
            for name in containers():
                if health_of(name) in ("starting", "unhealthy"):
                    succeeds("podman", "healthcheck", "run", name)

    thread = threading.Thread(target=loop, name="health")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def containers(service: str = "") -> list[str]:
    """Names of the project's running containers."""
    filters = ["--filter", f"label=com.docker.compose.project={PROJECT}"]
    if service:
        filters += ["--filter", f"label=com.docker.compose.service={service}"]
    return run("podman", "ps", *filters, "--format", "{{.Names}}", quiet=True, check=False).split()


def logs(name: str) -> str:
    return run("podman", "logs", name, quiet=True, check=False)


def is_ready(name: str) -> bool:
    """Returns whether the image's own health check passes."""
    return succeeds("podman", "exec", name, "interest-stream", "health")


def metrics(name: str) -> list[str]:
    """Returns what a worker shows at /metrics."""
    done = subprocess.run(
        ["podman", "exec", name, "python3", "-c", METRICS],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.splitlines()


def metric(name: str, of: str) -> float:
    """Returns a metric without labels, or 0 if it is not there."""
    return next(
        (
            float(line.split()[-1])
            for line in metrics(name)
            if line.startswith(f"interest_stream_{of} ")
        ),
        0.0,
    )


def lag(name: str) -> dict[str, float]:
    """Events behind, by partition that a worker holds."""
    lines = [line for line in metrics(name) if line.startswith("interest_stream_consumer_lag{")]
    return {line.split('partition="')[1].split('"')[0]: float(line.split()[-1]) for line in lines}


def share_work(workers: list[str]) -> bool:
    held = [set(lag(name)) for name in workers if is_ready(name)]
    return (
        len(held) == len(workers)
        and all(held)
        and sum(map(len, held)) == len(set.union(*held)) == PARTITIONS
    )


def updates_seen(tail: str) -> list[str]:
    return [line for line in logs(tail).splitlines() if re.search(r" user-\d+ .*\d% ", line)]


def scenario(compose: Compose) -> None:
    first_updates(compose)
    worker = containers(WORKER)[0]
    check_code(worker)
    check_confined(worker)
    check_health(worker)
    check_host_listener()
    check_popularity(compose, worker)
    second_worker(compose)
    applied = audit(compose)
    check_volume(compose, applied)


def first_updates(compose: Compose) -> None:
    began = time.monotonic()
    compose(*PROFILES, "up", "-d")
    (tail,) = containers("tail")
    wait_for(lambda: len(updates_seen(tail)) >= 3, PATIENCE_S, "no update was seen")
    say(
        f"first updates {time.monotonic() - began:.0f} s after 'up':\n"
        + "\n".join(updates_seen(tail)[:3])
    )


def check_code(worker: str) -> None:
    """Checks that the image holds the code of this tree.

    A builder's cache may say so wrongly.
    """
    root = run(
        "podman", "exec", worker, "/opt/interest-stream/bin/python3", "-c", INSTALLED, quiet=True
    ).strip()
    there = run("podman", "exec", worker, "python3", "-c", HASHES, root, quiet=True)
    here = run(sys.executable, "-c", HASHES, str(machine.ROOT), quiet=True)
    if json.loads(there) != json.loads(here):
        fail("the image holds other code than this tree")
    say("the image holds the code of this tree")


def check_confined(worker: str) -> None:
    """Checks that a worker is not root, has no capability, and can write nothing but /tmp."""
    user = run("podman", "exec", worker, "id", "-u", quiet=True).strip()
    status = run("podman", "exec", worker, "cat", "/proc/1/status", quiet=True)
    rights = next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd"))
    writable = succeeds("podman", "exec", worker, "touch", "/opt/interest-stream/x")
    if user != "10001" or int(rights, 16) or writable:
        fail(
            f"the worker is user {user} with capabilities {rights} and "
            f"can{'' if writable else 'not'} write its code"
        )
    if not succeeds("podman", "exec", worker, "touch", "/tmp/x"):
        fail("the worker cannot write /tmp")
    say("the worker is user 10001 without capabilities, on a root that it cannot write")


def check_health(worker: str) -> None:
    wait_for(lambda: is_ready(worker), PATIENCE_S, "the worker is not ready")
    wait_for(
        lambda: health_of(worker) == "healthy", PATIENCE_S, "the image's health check does not pass"
    )
    say("the image's health check passes")


def health_of(name: str) -> str:
    return run(
        "podman", "inspect", "--format", "{{.State.Health.Status}}", name, quiet=True, check=False
    ).strip()


def check_host_listener() -> None:
    """Checks the topics from outside the containers, by the address that the broker gives out."""
    run(
        sys.executable,
        "-m",
        "stream.cli",
        "topics",
        "check",
        "--broker",
        f"kafka://127.0.0.1:{PORT}",
        timeout_s=PATIENCE_S,
    )
    say("Kafka answers from this machine too, and its topics are as they must be")


def check_popularity(compose: Compose, worker: str) -> None:
    """Stops the job, which publishes what it counted, and the worker scores with it."""
    compose("stop", "popularity")
    wait_for(
        lambda: metric(worker, "popularity_as_of_seconds") > 0,
        PATIENCE_S,
        "the worker follows no popularity",
    )
    say("the worker scores with the snapshot that the popularity job left")


def second_worker(compose: Compose) -> None:
    """Scales to two workers and stops one, and the other goes on alone."""
    compose(*PROFILES, "up", "-d", "--no-recreate", "--scale", f"{WORKER}=2")
    wait_for(
        lambda: len(both := containers(WORKER)) == 2 and share_work(both),
        PATIENCE_S,
        "two workers do not share the partitions",
    )
    say("; ".join(f"{name} holds partitions {sorted(lag(name))}" for name in containers(WORKER)))
    first, second = containers(WORKER)
    (tail,) = containers("tail")
    stopped = time.monotonic()
    run("podman", "stop", "--time", "45", first)
    code = run("podman", "inspect", "--format", "{{.State.ExitCode}}", first, quiet=True).strip()
    if code != "0":
        fail(f"the stopped worker ended with {code}:\n{logs(first)[-2000:]}")
    say(f"one worker ended by SIGTERM with exit code 0 after {time.monotonic() - stopped:.1f} s")
    wait_for(lambda: share_work([second]), PATIENCE_S, "the other worker did not take over")
    seen = len(updates_seen(tail))
    wait_for(lambda: len(updates_seen(tail)) > seen, PATIENCE_S, "no updates after the takeover")
    say(
        f"the other holds all partitions and publishes {time.monotonic() - stopped:.1f} s after "
        "the stop began"
    )


def audit(compose: Compose) -> int:
    """Ends the load, waits until all is applied, compares every user with the topic.

    Returns how many events were read.
    """
    # nothing comes any more, and everything that came is applied
    compose("stop", "produce")
    workers = containers(WORKER)
    wait_for(
        lambda: all(is_ready(each) and not sum(lag(each).values()) for each in workers),
        PATIENCE_S,
        "lag did not end",
    )
    report: dict[str, int] = {}

    def complete() -> bool:
        # not `compose run`: docker-compose 1.29 asks for it with links, which podman lacks
        answer = run(
            "podman",
            "exec",
            containers(WORKER)[0],
            "interest-stream",
            "audit",
            "--json",
            check=False,
        )
        found = [line for line in answer.splitlines() if line.startswith("{")]
        if not found:
            say(f"no audit yet: {answer.strip()}")  # a starved broker answers late
            return False
        report.update(flat(json.loads(found[0])))
        if not report["clean"]:
            fail(f"the audit found differences: {found[0]}")
        return report["users.ahead"] == 0 and report["users.compared"] > 0

    wait_for(complete, PATIENCE_S, "no audit of all users")
    say(f"audit clean: {report['users.compared']} users, {report['events.read']} events")
    return report["events.read"]


def flat(report: dict[str, object], prefix: str = "") -> dict[str, int]:
    """Returns nested counts as name.name."""
    found: dict[str, int] = {}
    for name, value in report.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{name}."))
        elif isinstance(value, int):
            found[prefix + name] = value
    return found


def check_volume(compose: Compose, events: int) -> None:
    """Checks that `down` without -v keeps Kafka's data: the same events, audited again."""
    compose(*PROFILES, "down")
    compose("up", "-d")
    if (found := audit(compose)) != events:
        fail(f"{events} events before 'down', {found} after 'up'")
    say("after 'down' and 'up' all events and states are still there")


def container_tests(env: dict[str, str]) -> None:
    """Runs the tests that start Kafka in a container, by the same Docker API."""
    settings = {
        "TESTCONTAINERS_RYUK_DISABLED": "true",  # it would be one more image to pull
        "TESTCONTAINERS_CONNECTION_MODE": "docker_host",
        "INTEREST_STREAM_KAFKA_IMAGE": machine.KAFKA,
    }
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--kafka=container", *CONTAINER_TESTS)
    printed = run(sys.executable, *words, env={**env, **settings})
    say("tests with --kafka=container: " + printed.strip().splitlines()[-1])


def main() -> None:
    """Makes the machine, runs the scenario on it and takes everything down."""
    if "--clean" in sys.argv[1:]:
        machine.remove_images()
        return
    # the images, and what docker-compose.yml takes from the environment
    machine.prepare()
    build()
    variables = {
        "BASE_IMAGE": machine.BASE,
        "KAFKA_IMAGE": machine.KAFKA,
        "INTEREST_STREAM_IMAGE": machine.APP,
        "KAFKA_PORT": PORT,
        "PARTITIONS": str(PARTITIONS),
        "LIVE_POPULARITY": "true",
    }
    with machine.docker_api() as env, health_checks():

        def compose(*words: str) -> str:
            return run(
                "docker-compose",
                "-p",
                PROJECT,
                *words,
                env={**env, **variables},
                timeout_s=2 * PATIENCE_S,
            )

        # An interrupted run may have left containers and a volume.
        compose(*PROFILES, "down", "-v", "--remove-orphans")
        try:
            scenario(compose)
        except SystemExit:
            for name in containers():
                say(f"--- {name}\n{logs(name)[-1500:]}")
            raise
        finally:
            compose(*PROFILES, "down", "-v", "--remove-orphans")
        container_tests(env)

    # nothing may be left
    left = containers()
    if left:
        fail(f"left running: {', '.join(left)}")
    say(
        "passed; images are kept for the next run, remove them with: make compose-test ARGS=--clean"
    )


if __name__ == "__main__":
    main()
