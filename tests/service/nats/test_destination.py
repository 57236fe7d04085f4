"""Destinations of NATS: their keys, and what is made of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from relay.model.errors import ConfigurationError
from relay.service.configuration.file import read_configuration
from relay.service.kinds import KINDS


def configured(folder: Path, text: str, url: str = "nats://n1:4222,n2:4222/LOGS") -> Any:
    path = folder / "relay.toml"
    path.write_text(
        '[sources.in]\nlisten = "udp://127.0.0.1:5514"\n[destinations.bus]\n'
        f'connect = "{url}"\n{text}\n'
    )
    return read_configuration(str(path), KINDS)


def destination(folder: Path, text: str, url: str = "nats://n1:4222,n2:4222/LOGS") -> Any:
    return configured(folder, text, url).destinations[0]


def test_without_keys_it_is_exactly_once(tmp_path: Path) -> None:
    found = destination(tmp_path, "")
    plan = found.plan
    assert (plan.stream, plan.subject) == ("LOGS", "logs.$LINEAGE")
    assert plan.demands.subjects == ("logs.*",)
    assert plan.demands.replicas_min == 2
    assert plan.demands.is_atomic
    assert found.record_key is None
    assert found.refusals_max == 1
    assert not list(found.warnings(str))


def test_macros_make_a_subject_of_each_message(tmp_path: Path) -> None:
    found = destination(tmp_path, 'subject = "logs.$HOST"')
    key = found.record_key
    assert key.text == "logs.$HOST"
    assert key.escape(b"a.b c") == b"a_b_c"
    assert found.plan.encoding.has_keys
    assert not found.plan.is_numbered
    assert "may come twice" in next(iter(found.warnings(str)))


def test_packs_need_no_batches(tmp_path: Path) -> None:
    plan = destination(tmp_path, "pack = true\nreplicas_min = 0").plan
    assert plan.encoding.is_packed
    assert not plan.demands.is_atomic
    assert plan.demands.replicas_min == 0


@pytest.mark.parametrize("is_set", ["true", "false"])
def test_numbers_may_be_in_the_text(tmp_path: Path, is_set: str) -> None:
    found = destination(tmp_path, f'sd_number = {is_set}\nformat = "rfc5424"')
    assert found.plan.encoding.has_numbers_in_text == (is_set == "true")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('subject = "a b"', "'a b' is no subject"),
        ('subject = "logs.>"', "'logs.>' is no subject"),
        ('subject = ""', "expected a subject such as"),
        ('subject = "$HOST.$LINEAGE"', "a lineage goes to one subject"),
        ('subject = "logs.$HOST"\npack = true', "pack: has no meaning with a subject of each"),
        ('token_file = "t"\ncredentials_file = "c"', "credentials_file: a client shows in one way"),
        ("replicas_min = 6", "replicas_min"),
        ("sd_number = true", "with no format there is no structured data to write into; write fo"),
        ('sd_number = true\nformat = "json"', "with the format json there is no structured data"),
        (
            'sd_number = true\nformat = "rfc5424"\nsubject = "a.$HOST"',
            "sd_number: has no effect without $LINEAGE in subject",
        ),
        ('trusted_ca = "x"', "trusted_ca: has no meaning for nats, only for"),
        ('policy = "balance"', "policy"),
    ],
)
def test_keys_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        configured(tmp_path, text)
    assert message in str(caught.value)


def test_a_url_without_a_stream(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="the stream is missing"):
        configured(tmp_path, "", "nats://n1:4222")


def test_a_missing_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats.aio.client", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'syslogrelay\[nats\]'"):
        configured(tmp_path, "")


def test_a_stall_is_twice_the_wait_for_an_answer(tmp_path: Path) -> None:
    assert destination(tmp_path, "answer_seconds_max = 5").stall_seconds == 10.0
