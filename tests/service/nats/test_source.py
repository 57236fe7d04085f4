"""Sources of NATS: their keys and what they tell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.model.errors import ConfigurationError
from relay.service.configuration.file import read_configuration
from relay.service.kinds import KINDS
from relay.service.log.source import LogSource
from tests.configurations import build_source


def configured(folder: Path, text: str, url: str = "nats://127.0.0.1:9/LOGS") -> Any:
    path = folder / "relay.toml"
    path.write_text(
        f'[sources.in]\nlisten = "{url}"\n{text}\n'
        '[destinations.out]\nconnect = "udp://127.0.0.1:5514"\n'
    )
    return read_configuration(str(path), KINDS)


def test_a_source_names_its_consumer(tmp_path: Path) -> None:
    plan = configured(tmp_path, 'consumer = "central"\nsubject = "logs.*"').sources[0].plan
    assert (plan.stream, plan.consumer, plan.subject) == ("LOGS", "central", "logs.*")
    assert plan.from_beginning
    assert plan.target == "127.0.0.1:9/LOGS"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'consumer: is missing; write consumer = "central"'),
        ('consumer = "a.b"', "consumer: expected a name of 1 to 64"),
        ('consumer = "a"\nsubject = "x..y"', 'subject: expected a filter such as "logs.>"'),
        ('consumer = "a"\noversize = "split"', "oversize: what is read by nats cannot be split"),
        ('consumer = "a"\nread_from = "x"', "read_from"),
        ('consumer = "a"\nuser = "u"', "password_file: is missing"),
        ('consumer = "a"\ntrusted_ca = "x"', "trusted_ca: has no meaning for nats"),
    ],
)
def test_keys_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured(tmp_path, text)
    assert message in str(caught.value)


def test_a_url_without_a_stream(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the stream is missing"):
        configured(tmp_path, 'consumer = "a"', "nats://n1:4222")


def test_a_relay_that_reads_what_it_publishes_is_a_loop(tmp_path: Path) -> None:
    path = tmp_path / "relay.toml"
    path.write_text(
        '[sources.in]\nlisten = "nats://n1:4222,n2:4222/LOGS"\nconsumer = "a"\n'
        '[destinations.out]\nconnect = "nats://n2:4222/LOGS"\n'
    )
    with pytest.raises(ConfigurationError, match="go round for ever"):
        read_configuration(str(path), KINDS)


def test_the_lineages_that_it_remembers_have_a_limit(tmp_path: Path) -> None:
    configuration = configured(tmp_path, 'consumer = "central"').sources[0]
    asked: list[int] = []

    def lineages_max() -> int:
        asked.append(1)
        return 100

    source = build_source(configuration, lineages_max=lineages_max)
    source._reader._sieve.sift([], [])
    assert asked


def test_the_source_is_not_ready_before_it_reads(tmp_path: Path) -> None:
    configuration = configured(tmp_path, 'consumer = "central"').sources[0]
    source = build_source(configuration)
    assert isinstance(source, LogSource)
    report = source.report()
    assert report["ready"] is False
    assert report["state"] == "starting"
    assert report["lag_records"] is None
    assert report["held_back_records"] == 0
