from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.logger import Logger

from relay.model.errors import RelayError
from relay.observe.control import Asked
from relay.observe.log_levels import LOG_LEVELS
from relay.service.process.log import LogService

_log = Logger(namespace="relay")


@pytest.fixture
def service() -> Iterator[LogService]:
    made = LogService("warn")
    made.startService()
    yield made
    if made.running:
        made.stopService()


def call(service: LogService, **arguments: str) -> Any:
    command = service.commands()["log-level"]
    assert isinstance(command, Asked)
    return command.answer(command.arguments(**arguments))


def lines(service: LogService) -> Any:
    command = service.commands()["log-lines"]
    assert callable(command)
    return command()


def test_the_level_of_the_configuration_holds_while_it_runs(service: LogService) -> None:
    assert LOG_LEVELS.level == "warn"
    service.stopService()
    assert LOG_LEVELS.level == "info"


def test_lines_of_the_level_are_kept(service: LogService) -> None:
    _log.info("left out")
    _log.warn("kept")
    assert [line.partition("warning: ")[2] for line in lines(service)] == ["kept"]
    service.stopService()
    _log.warn("after the end")
    assert len(lines(service)) == 1


def test_a_level_can_be_set_and_asked(service: LogService) -> None:
    assert call(service)["level"] == "warn"
    report = call(service, level="debug", namespace="relay.commits")
    assert report == {
        "level": "warn",
        "configured": "warn",
        "namespaces": {"relay.commits": "debug"},
    }
    call(service, level="info")
    assert lines(service)[-1].endswith("log level: info")


def test_a_wrong_one_is_refused(service: LogService) -> None:
    with pytest.raises(RelayError, match="there is no level 'x'"):
        call(service, level="x")
