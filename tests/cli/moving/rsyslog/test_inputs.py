from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.cli.moving.rsyslog.inputs import listen_url
from tests.cli.moving.imports import import_text


def sources(text: str, folder: Path) -> dict[str, dict[str, Any]]:
    return import_text("rsyslog", text, folder).sources


def test_addresses_of_listeners() -> None:
    assert listen_url("udp", "*", "514") == "udp://:514"
    assert listen_url("tcp", "::1", "514") == "tcp://[::1]:514"
    assert listen_url("tcp", "127.0.0.1", "1") == "tcp://127.0.0.1:1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            'input(type="imudp" address="127.0.0.1" port=["1","2"])',
            {"udp-1": {"listen": "udp://127.0.0.1:1"}, "udp-2": {"listen": "udp://127.0.0.1:2"}},
        ),
        (
            'module(load="imtcp" maxSessions="50")\ninput(type="imtcp" port="1" maxFrameSize="9k")',
            {"tcp-1": {"listen": "tcp://:1", "connections_max": 50, "frame_bytes_max": "9 KiB"}},
        ),
        ('input(type="imptcp" path="/run/x")', {"stream": {"listen": "unix:///run/x"}}),
        ('input(type="imrelp" port="1")', {"relp-1": {"listen": "relp://:1"}}),
        ('input(type="imuxsock" socket="/run/x")', {"socket": {"listen": "unixgram:///run/x"}}),
        (
            'input(type="imfile" file="/x/*.log" tag="a b:" severity="error"'
            ' startmsg.regex="^[[:alpha:]]")',
            {
                "file-a-b": {
                    "listen": "file:///x/*.log",
                    "tag": "a-b",
                    "facility": "local0",
                    "severity": "error",
                    "multi_line": "^[A-Za-z]",
                }
            },
        ),
        (
            'module(load="imuxsock")\nmodule(load="imklog")',
            {"system": {"listen": "system://", "read_from": "end"}},
        ),
        ('module(load="imklog")', {"system": {"listen": "kmsg://"}}),
        (
            'module(load="imjournal")',
            {"system": {"listen": "journald://", "read_from": "beginning"}},
        ),
        (
            'module(load="imuxsock" SysSock.Use="off")',
            {"internal": {"listen": "internal://"}},
        ),
    ],
)
def test_inputs_become_sources(text: str, expected: object, tmp_path: Path) -> None:
    assert sources(f"{text}\n*.* /x\n", tmp_path) == expected


def test_tls_by_the_stream_driver(tmp_path: Path) -> None:
    text = (
        'global(defaultNetstreamDriverCAFile="/ca" defaultNetstreamDriverCertFile="/c"'
        ' defaultNetstreamDriverKeyFile="/k")\nmodule(load="imtcp" streamDriver.mode="1"'
        ' streamDriver.authMode="x509/name" permittedPeer=["a", "b"])\n'
        'input(type="imtcp" port="1")\ninput(type="imtcp" port="2" streamDriver.mode="0")\n'
        'input(type="imtcp" port="3" streamDriver.authMode="anon")\n*.* /x\n'
    )
    tls = {"trusted_ca": "/ca", "certificate": "/c", "private_key": "/k"}
    assert sources(text, tmp_path) == {
        "tls-1": {"listen": "tls://:1", **tls, "peer_names": ["a", "b"]},
        "tcp-2": {"listen": "tcp://:2"},
        "tls-3": {"listen": "tls://:3", **tls, "peer_verify": "none"},
    }


@pytest.mark.parametrize(
    "text",
    ['input(type="bogus")', "input()", 'input(type="imfile" file="x")', 'input(type="imuxsock")'],
)
def test_what_is_no_source_is_not_supported(text: str, tmp_path: Path) -> None:
    result = import_text("rsyslog", f"{text}\n*.* /x\n", tmp_path)
    assert any(line.startswith("1: not supported") for line in result.doubts)
