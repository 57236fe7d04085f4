from __future__ import annotations

import sys
import threading

import pytest

from relay.transport.kafka.library import (
    LibraryLog,
    load_library,
    settings_problem,
    text_of,
)


def test_settings_are_judged_without_a_thread() -> None:
    before = threading.active_count()
    assert settings_problem({}) == ""
    assert settings_problem({"socket.keepalive.enable": "true", "linger.ms": "7"}) == ""
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"soket.keepalive": "true"}, 'No such configuration property: "soket.keepalive"'),
        ({"linger.ms": "-4"}, "value -4 is outside allowed range"),
        ({"compression.codec": "lz5"}, 'Invalid value "lz5"'),
    ],
)
def test_a_wrong_setting_is_told_in_the_words_of_the_library(
    settings: dict[str, str], problem: str
) -> None:
    assert problem in settings_problem(settings)


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ImportError, match=r"pip install 'syslogrelay\[kafka\]'"):
        load_library()


def test_the_library_s_errors_are_one_printable_line() -> None:
    assert text_of("a\nb\x1b[1m" + "c" * 1000).startswith("a b")
    assert len(text_of("c" * 1000)) <= 200
    assert "\x1b" not in text_of("\x1b[1m")


def test_warnings_of_the_library_are_handed_on_and_notes_are_not() -> None:
    texts: list[str] = []
    log = LibraryLog(texts.append)
    log.log(40, "%s [%s] %s", "FAIL", "rdkafka#producer-1", "Connect to k1:9092 failed")
    log.log(30, "%s [%s] %s", "CONFWARN", "rdkafka#producer-1", "gapless is experimental")
    log.log(20, "%s [%s] %s", "FAIL", "rdkafka#producer-1", "Disconnected")
    assert texts == ["Connect to k1:9092 failed"]
