"""No wrong setting gets further than the command line: exit code 2, its name, and the fix."""

from __future__ import annotations

import dataclasses
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import setting_rules
from stream.cli.root import main
from stream.config import PREFIX, SECRETS, Settings, kafka_options, load_settings
from stream.config.kafka_options import KafkaOptions
from stream.errors import SettingsError
from stream.setting_rules import (
    Brokers,
    Flag,
    Name,
    Number,
    OneOf,
    Pairs,
    Place,
    Rule,
    SecretUrl,
    Text,
    Urls,
    Words,
    addresses_of,
    words_of,
)

RULES: dict[str, Rule] = {each.name: each.metadata["rule"] for each in dataclasses.fields(Settings)}
NO_NUMBERS = ("", "many", "nan", "inf", "-inf", "1e999", "0x10", "1,5", "\x1b[31m")
NO_URLS = ("host:8081", "ftp://host", "https://me:secret@host", "https://a,b", ",", "\x1b[31m")
NO_BROKERS = (
    "",
    ";",
    " , ",
    "kafka://",
    "host",
    "host:",
    ":9092",
    "host:0",
    "host:65536",
    "host:port",
    "http://host:9092",
    "a:1;b",
    "user@host:9092",
    "host:9092/topic",
    "\udcff:9092",
)

NO_KAFKA_OPTIONS = (
    "client.rack",
    "client.rack=",
    "client.rac=a",
    "client.id=a,client_id=b",
    "retry.backoff.ms=soon",
    "metadata.max.age.ms=0",
    "acks=1",
    "group.id=mine",
    "ssl.endpoint.identification.algorithm=",
)
NO_SECRET_URLS = (
    "tokens.example",
    "ftp://tokens.example/",
    "https://",
    "https://user:word@tokens.example/",
    "https://tokens.example:port/",
    "http://tokens.example/",
    "http://127.0.0.1.example/",
)


OTHERS: tuple[tuple[type[Any], tuple[str, ...]], ...] = (
    (Brokers, NO_BROKERS),
    (KafkaOptions, NO_KAFKA_OPTIONS),
    (Pairs, ("a", "a=", "=b", "a=1,a=2", "a=\x1b[31m")),
    (SecretUrl, NO_SECRET_URLS),
    (Urls, NO_URLS),
    (Words, (",", "a,,b", "a,", "a\x1b[31m", "\udcff")),
    (Place, ()),
)
"""Values that no setting of these rules may have."""


def bad_values(rule: Rule) -> tuple[str, ...]:
    """Texts that no setting of this rule may have."""
    if isinstance(rule, Number):
        beyond = (f"{rule.least - 1:.0f}", f"{rule.most * 2 + 1:.0f}", "9" * 5_000)
        edge = (f"{rule.least:g}",) if rule.above else ()
        return (*NO_NUMBERS, *beyond, *edge, *(("1.5",) if rule.whole else ()))
    if isinstance(rule, Flag):
        return ("perhaps", "2", "\x1b[31m")
    if isinstance(rule, OneOf):
        return ("nonsense", f"{rule.words[0]},", "\x1b[31m", *(() if "" in rule.words else ("",)))
    if isinstance(rule, Name):
        several = ("a b", "ü", "a/b", ".", "..", "x" * (rule.most + 1), "\x1b[31m", "\udcff")
        return several if rule.optional else ("", *several)
    if isinstance(rule, Text):
        return ("a\x1b[31m", "a\nb", "\udcff", *(("", " ") if rule.needed else ()))
    for kind, values in OTHERS:
        if isinstance(rule, kind):
            return values
    raise AssertionError("a rule that this test does not know: give it bad values")


CASES = [(name, value) for name, rule in RULES.items() for value in bad_values(rule)]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_every_wrong_value_is_refused_with_name_variable_and_fix(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({PREFIX + name.upper(): value})
    assert caught.value.exit_code == 2
    told = str(caught.value)
    assert told.startswith(f"{name} ({PREFIX}{name.upper()}) is ")
    assert len(told.partition("; ")[2]) > 5, f"no fix: {told}"
    assert len(told) < 600
    if name in SECRETS and value:
        assert value not in told


@pytest.mark.parametrize("name", RULES)
def test_the_worker_exits_with_2_for_it(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in bad_values(RULES[name])[-2:] or ("/no/such/place",):
        monkeypatch.setenv(PREFIX + name.upper(), value)
        with pytest.raises(SystemExit) as ended:
            main(["worker"])
        told = capsys.readouterr().err
        assert ended.value.code == 2, told
        assert name in told
        assert PREFIX + name.upper() in told
        assert "unexpected" not in told
        assert "Traceback" not in told
        assert "\x1b" not in told


@pytest.mark.parametrize("given_", ["nan", "inf", "-1", "1e9"])
@pytest.mark.parametrize(
    "name", [name for name, rule in RULES.items() if isinstance(rule, Number) and not rule.whole]
)
def test_options_are_judged_as_variables_are(
    name: str, given_: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["worker", f"--{name.replace('_', '-')}", given_])
    assert ended.value.code == 2
    assert name in capsys.readouterr().err


@pytest.mark.parametrize("value", [None, b"x", [1], float("nan")])
def test_values_of_another_type_are_refused_too(value: Any) -> None:
    for name in RULES:
        with pytest.raises(SettingsError, match=name):
            Settings(**{name: value})
    with pytest.raises(SettingsError, match="max_batch_events"):
        Settings(max_batch_events=True)


@given(st.text(max_size=40))
def test_a_rule_returns_or_refuses_and_does_nothing_else(text: str) -> None:
    for rule in RULES.values():
        with suppress(ValueError):
            rule.read(text)


@pytest.mark.parametrize(
    ("broker", "addresses"),
    [
        ("kafka://a:1", ["a:1"]),
        ("a:1", ["a:1"]),
        ("kafka://a:1;b:2", ["a:1", "b:2"]),
        ("kafka://a:1,b:2", ["a:1", "b:2"]),
        ("kafka://a:1,kafka://b:2", ["a:1", "b:2"]),
        (" a:1 , b:2 ; ", ["a:1", "b:2"]),
        ("kafka://[::1]:9092/", ["[::1]:9092"]),
        ("kafka-0.kafka.svc.cluster.local:9092", ["kafka-0.kafka.svc.cluster.local:9092"]),
    ],
)
def test_brokers_are_taken_as_people_write_them(broker: str, addresses: list[str]) -> None:
    assert Settings(broker=broker).bootstrap == addresses
    assert addresses_of(Settings(broker=Settings(broker=broker).broker).broker) == addresses


@pytest.mark.parametrize(
    ("given_", "names"),
    [
        ("", ""),
        (" ", ""),
        ("Ads, Analytics And More ,Ads", "Ads,Analytics And More"),
        (["a", " b"], "a,b"),
        ([], ""),
    ],
)
def test_names_are_taken_as_a_text_or_a_list(given_: Any, names: str) -> None:
    assert Settings(consent_purposes=given_).consent_purposes == names
    assert Settings(consent_purposes=given_).purposes == words_of(names)
    assert words_of("a,b") == {"a", "b"}


def test_a_password_in_an_address_is_not_shown() -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings({"INTEREST_STREAM_BROKER": "kafka://shop:s3cret@kafka-1:9092"})
    assert "s3cret" not in str(raised.value)
    assert "kafka://***@kafka-1:9092" in str(raised.value)


@pytest.mark.parametrize(
    "given_",
    [
        {"broker": "a:1,shop:s3cret@kafka-1:9092"},
        {"kafka_options": "client.id=a,sasl.password=s3cret"},
        {"kafka_options": "ssl.key.password=s3cret"},
        {"kafka_options": 'sasl.jaas.config=Module required password="s3cret";'},
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(given_: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as raised:
        Settings(**given_)
    assert "s3cret" not in str(raised.value)


def test_words_are_taken_in_any_case() -> None:
    settings = Settings(
        security_protocol="sasl_ssl",
        sasl_mechanism="scram-sha-256",
        sasl_username="u",
        sasl_password="p",
        compression="ZSTD",
        publish="Changed",
    )
    assert (settings.security_protocol, settings.sasl_mechanism) == ("SASL_SSL", "SCRAM-SHA-256")
    assert (settings.compression, settings.publish) == ("zstd", "changed")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "GSSAPI", ""])
def test_mechanisms_that_do_not_work_here_are_refused(mechanism: str) -> None:
    with pytest.raises(SettingsError, match=r"sasl_mechanism.*SCRAM-SHA-512"):
        Settings(sasl_mechanism=mechanism)


@pytest.mark.parametrize("missing", ["sasl_username", "sasl_password"])
def test_a_login_without_its_half_is_refused(missing: str) -> None:
    login: dict[str, Any] = {"sasl_username": "u", "sasl_password": "p", missing: ""}
    with pytest.raises(SettingsError, match=f"{missing}.*SASL_SSL"):
        Settings(security_protocol="SASL_SSL", **login)


@pytest.mark.parametrize("name", ["model", "zero_shot", "language_model"])
def test_files_of_a_worker_are_looked_for_before_it_starts(name: str, tmp_path: Path) -> None:
    there: dict[str, Any] = {name: str(tmp_path)}
    Settings(**there).check_for_worker()
    absent: dict[str, Any] = {name: str(tmp_path / "none")}
    with pytest.raises(SettingsError, match=f"{name} .*no such file"):
        Settings(**absent).check_for_worker()


@pytest.mark.parametrize(
    "changes",
    [
        {"updates_topic": "clickstream"},
        {"profiles_topic": "interest-updates"},
        {"dead_letters_topic": "interest-stream-user-state-changelog"},
        {"popularity_topic": "clickstream-by-user", "rekey": True},
    ],
)
def test_a_worker_has_a_topic_for_each_purpose(changes: dict[str, Any]) -> None:
    Settings().check_for_worker()
    with pytest.raises(SettingsError, match="a topic of its own"):
        Settings(**changes).check_for_worker()


@pytest.mark.parametrize("name", ["ssl_cafile", "ssl_certfile", "ssl_keyfile"])
def test_files_of_tls_are_read_when_settings_are(name: str, tmp_path: Path) -> None:
    text = tmp_path / "no.pem"
    text.write_text("-----BEGIN NOTHING-----\n")
    for path in (tmp_path / "none.pem", tmp_path, text):
        with pytest.raises(SettingsError, match=name):
            load_settings({PREFIX + name.upper(): str(path)})


def test_a_certificate_without_its_key_is_told_apart(tmp_path: Path) -> None:
    system = ssl.get_default_verify_paths().cafile or "/etc/ssl/certs/ca-certificates.crt"
    if not Path(system).exists():
        pytest.skip("no certificates of the system")
    Settings(ssl_cafile=system)
    with pytest.raises(SettingsError, match=r"ssl_certfile.*no private key.*ssl_keyfile"):
        Settings(ssl_certfile=system)
    with pytest.raises(SettingsError, match=r"ssl_keyfile.*no private key"):
        Settings(ssl_certfile=system, ssl_keyfile=system)


def test_a_password_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"\xff\xfe")
    variable = f"{PREFIX}SASL_PASSWORD_FILE"
    with pytest.raises(SettingsError, match=f"{variable}.*UTF-8"):
        load_settings({variable: str(tmp_path / "password")})


def test_every_rule_is_one_of_this_module() -> None:
    modules = {type(rule).__module__ for rule in RULES.values()}
    assert modules == {setting_rules.__name__, kafka_options.__name__}
