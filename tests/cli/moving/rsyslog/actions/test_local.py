from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.moving.imports import import_text

HEAD = 'module(load="imudp")\ninput(type="imudp" port="514")\n'


@pytest.mark.parametrize(
    ("action", "keys"),
    [
        (
            'action(type="omprog" binary="/bin/x -a \'b c\'")',
            {
                "connect": "program:///bin/x",
                "arguments": ["-a", "b c"],
                "template": "${ISODATE} ${HOST} ${SYSLOGTAG} ${MSG}",
            },
        ),
        ("*.* :omusrmsg:*", {"connect": "usertty://"}),
        ("*.* root,admin", {"connect": "usertty://", "users": ["root", "admin"]}),
        (
            "$OMUxSockSocket /run/x\n*.* :omuxsock:",
            {"connect": "unixgram:///run/x", "format": "rfc3164"},
        ),
    ],
)
def test_programs_terminals_and_sockets(action: str, keys: object, tmp_path: Path) -> None:
    (found,) = import_text("rsyslog", f"{HEAD}{action}\n", tmp_path).destinations.values()
    assert found == keys


@pytest.mark.parametrize(
    "action",
    [
        'action(type="omprog" binary="x")',
        'action(type="omprog" binary="\'")',
        'action(type="omusrmsg" users="a b")',
        'action(type="omuxsock")',
    ],
)
def test_what_is_none(action: str, tmp_path: Path) -> None:
    result = import_text("rsyslog", f"{HEAD}{action}\n", tmp_path)
    assert result.doubts[0].startswith("3: not supported")
