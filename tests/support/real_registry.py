"""Runs the tests of the schema registry against a real one, on the tests' real Kafka.

    python -m tests.support.real_registry [words for pytest]

The registry is Apicurio Registry, which answers Confluent's API and keeps its schemas in memory.
Its distribution comes once from its Maven coordinates into the user's cache: 158 MB, so no other
test asks for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from pathlib import Path
from typing import Final

from stream.broker.jars import default_cache_dir, java
from stream.broker.ports import free_ports
from tests.support.pipelines import wait_until
from tests.support.schema_registry import REAL

VERSION: Final = "3.3.3"
API: Final = "apis/ccompat/v7"
TESTS: Final = (
    "tests/kafka/test_schema_registry.py",
    "tests/unit/stream/schema_registry/test_confluent.py",
)
FETCH_S: Final = 600


def distribution() -> Path:
    """Returns the folder of the unpacked registry; fetches it where the cache has none."""
    folder = default_cache_dir().parent / "apicurio" / VERSION
    if not (folder / "quarkus-run.jar").exists():
        from jgo.maven import MavenContext

        context = MavenContext(repo_cache=folder.parent / "repository", timeout=FETCH_S)
        project = context.project("io.apicurio", "apicurio-registry-app").at_version(VERSION)
        archive = project.artifact(classifier="all", packaging="tar.gz").resolve()
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")
    return folder


def answers(url: str) -> bool:
    """Returns whether a registry serves there."""
    try:
        with urllib.request.urlopen(f"{url}/schemas/types", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def main() -> int:
    """Starts the registry, runs the tests, ends it; returns pytest's exit code."""
    folder, (port,) = distribution(), free_ports(1)
    url = f"http://127.0.0.1:{port}/{API}"
    serving = {"QUARKUS_HTTP_PORT": str(port), "QUARKUS_HTTP_HOST": "127.0.0.1"}
    with tempfile.TemporaryFile() as log:
        command = [str(java()), "-Xmx512m", "-jar", str(folder / "quarkus-run.jar")]
        registry = subprocess.Popen(command, env=os.environ | serving, stdout=log, stderr=log)
        try:
            wait_until(lambda: answers(url) or registry.poll() is not None, "the registry serves")
            if registry.poll() is not None:
                log.seek(0)
                sys.stderr.write(log.read()[-3000:].decode(errors="replace"))
                return 1
            sys.stdout.write(f"Apicurio Registry {VERSION} at {url}\n")
            sys.stdout.flush()
            words = [sys.executable, "-m", "pytest", *(sys.argv[1:] or TESTS)]
            return subprocess.run(words, env=os.environ | {REAL: url}, check=False).returncode
        finally:
            registry.terminate()
            registry.wait()


if __name__ == "__main__":
    sys.exit(main())
