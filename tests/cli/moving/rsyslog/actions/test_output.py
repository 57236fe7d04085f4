from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.cli.moving.rsyslog.actions.output import checked_path
from relay.cli.moving.rsyslog.filters import NotSupported
from tests.cli.moving.imports import import_text

HEAD = 'module(load="imudp")\ninput(type="imudp" port="514")\n'


def keys_of(parameters: str, folder: Path) -> dict[str, Any]:
    text = f'{HEAD}action(type="omfwd" target="h" protocol="tcp" {parameters})\n'
    (found,) = import_text("rsyslog", text, folder).destinations.values()
    return found


@pytest.mark.parametrize(
    ("parameters", "keys"),
    [
        ('queue.type="Disk" queue.maxDiskSpace="1g"', {"queue_bytes_max": "1 GiB"}),
        ('queue.maxDiskSpace="1"', {"queue_bytes_max": "1 MiB"}),
        (
            'queue.timeoutEnqueue="0" queue.maxDiskSpace="2m"',
            {"queue_bytes_max": "2 MiB", "when_full": "drop-newest"},
        ),
        (
            'action.resumeInterval="90" action.resumeRetryCount="-1"',
            {"retry_seconds_min": 90, "retry_seconds_max": 90},
        ),
        ('action.execOnlyEveryNthTime="5"', {"rewrite": [{"sample": 5}]}),
    ],
)
def test_queues_retries_and_frequency(parameters: str, keys: object, tmp_path: Path) -> None:
    found = keys_of(parameters, tmp_path)
    assert {name: found[name] for name in found if name not in ("connect", "format")} == keys


def test_the_name_of_an_action_is_its_id(tmp_path: Path) -> None:
    text = f'{HEAD}action(name="to centre" type="omfwd" target="h")\n'
    assert [*import_text("rsyslog", text, tmp_path).destinations] == ["to-centre"]


def test_paths_without_control_characters() -> None:
    assert checked_path("/a b") == "/a b"
    with pytest.raises(NotSupported):
        checked_path("/a\nb")
