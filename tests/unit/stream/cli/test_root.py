"""Every command: its help, wrong use, a broker that is not there, and one that is no Kafka."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from stream.broker.ports import free_ports
from stream.cli.root import COMMANDS, main
from tests.support import processes
from tests.support.command_lines import commands, parses

CLI = Path(__file__).resolve().parents[4] / "stream" / "cli"
ALL = dict(commands())
REQUIRED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("produce",): ("--simulate", "--limit", "5"),
    ("inspect",): ("--user", "u"),
    ("erase",): ("--user", "u"),
    ("unsuppress",): ("--user", "u"),
    ("forget",): ("--user", "u", "--item", "i"),
    ("export",): ("--user", "u", "--out", "no-such-folder/u.json"),
    ("worker",): ("--demo-model",),
    ("mapping", "suggest"): ("--from-topic", "clicks"),
    ("mapping", "try"): ("--event-format", "segment", "--from-topic", "clicks"),
}
WITH_BROKER = [
    words
    for words, command in ALL.items()
    if any("--broker" in each.opts for each in command.params)
]
IN_PROCESS = [
    words
    for words in WITH_BROKER
    if words not in (("worker",), ("bench",), ("bench", "compare"), ("bench", "conditions"))
]  # those load a model first


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(words))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_list_of_commands_is_complete() -> None:
    files = {
        path.name.removesuffix("_command.py").replace("_", "-") for path in CLI.glob("*_command.py")
    }
    assert files == COMMANDS.keys()
    assert len(WITH_BROKER) == 20


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_is_a_sentence_examples_and_exit_codes(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, *words, "--help")
    assert code == 0
    text = ALL[words].help or ""
    assert re.match(r"[A-Z][^\n]*(\n[^\n]+)*\.\n\n", text), "one sentence first"
    assert re.search(rf"Examples?:\n +.*interest-stream {' '.join(words)}", out)
    assert "Exit codes: 0 " in out
    for each in ALL[words].params:
        if isinstance(each, click.Argument):
            assert words == ("mapping", "try"), "options have names, and are told"
            continue
        assert isinstance(each, click.Option)
        assert each.help or each.hidden, each.name


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_the_examples_of_the_help_parse(words: tuple[str, ...]) -> None:
    text = re.sub(r"\\\n\s*", "", ALL[words].help or "")  # a backslash continues a line
    for line in re.findall(r"interest-stream ([^|>\n]+)", text):
        parses(line)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_wrong_use_exits_2_and_says_what_is_wrong(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *words, "--no-such-option")
    assert code == 2
    assert "--no-such-option" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("nonsense", "nonsense"),
        ("produce", "--events FILE, or --simulate"),
        ("produce --events a --simulate", "not both"),
        ("produce --simulate --rate 5 --speed 2x", "contradict"),
        ("produce --simulate --speed fast", "60x"),
        ("produce --simulate --rate 0", "--rate"),
        ("produce --simulate --rate nan", "--rate"),
        ("demo --for inf", "--for"),
        ("broker start --timeout nan", "--timeout"),
        ("produce --events x --columns user_id", "--columns"),
        ("inspect", "--user"),
        ("tail --limit 0", "--limit"),
        ("tail --broker localhost", "write host:port"),
        ("worker --heartbeat-s 20", "heartbeat_s"),
        ("worker --compression brotli", "compression"),
        ("bench --events few", "--events"),
        ("topics create --partitions 0", "--partitions"),
    ],
)
def test_wrong_values_exit_2_and_name_the_option(
    words: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, *words.split())
    assert code == 2
    assert told in err
    assert "Traceback" not in err


@pytest.fixture
def no_kafka() -> Iterator[int]:
    """A port where something listens that hangs up on every word."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.slow
@pytest.mark.parametrize("words", WITH_BROKER, ids=" ".join)
def test_a_broker_that_is_not_there_exits_1_and_says_what_to_do(
    forks: None, words: tuple[str, ...]
) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    done = processes.run([*words, *REQUIRED.get(words, ()), "--broker", f"kafka://{address}"])
    assert (done.returncode, done.stdout) == (1, "")
    *logged, told = done.stderr.splitlines()
    assert told.startswith(
        f"interest-stream: no Kafka broker answers ({address}: connection refused)"
    )
    assert "interest-stream broker start" in told
    assert not logged or words == ("worker",)  # whose log is on standard error too
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("words", IN_PROCESS, ids=" ".join)
def test_what_listens_and_is_no_kafka_exits_1_and_says_so(
    words: tuple[str, ...], no_kafka: int, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(
        capsys, *words, *REQUIRED.get(words, ()), "--broker", f"kafka://127.0.0.1:{no_kafka}"
    )
    assert (code, out) == (1, "")
    assert err.startswith(
        f"interest-stream: 127.0.0.1:{no_kafka} accepts connections but does not answer as Kafka"
    )
    assert err.count("\n") == 1, err


def test_a_traceback_is_shown_with_v_only(capsys: pytest.CaptureFixture[str]) -> None:
    broker = f"kafka://127.0.0.1:{free_ports(1)[0]}"
    assert "Traceback" not in run(capsys, "topics", "check", "--broker", broker)[2]
    assert "Traceback" in run(capsys, "topics", "check", "--broker", broker, "-v")[2]


ENDING = """
import sys, threading, time

def wait():
    while threading.main_thread().is_alive():
        time.sleep(0.01)
    print("ending", flush=True)
    time.sleep(600)

threading.Thread(target=wait).start()
from stream.cli.root import program
sys.argv = ["interest-stream", "--version"]
program()
"""


def test_ctrl_c_when_python_ends_already_leaves_no_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENDING], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as ending:
        assert ending.stdout is not None
        assert ending.stdout.readline().startswith("interest-stream, version")
        assert ending.stdout.readline() == "ending\n"
        ending.send_signal(signal.SIGINT)
        _, said = ending.communicate(timeout=60)
    assert ending.returncode == -signal.SIGINT
    assert said == ""
