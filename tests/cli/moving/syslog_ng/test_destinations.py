from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.moving.imports import Result, import_text

TOKEN = "11111111-2222-3333-4444-555555555555"


def read(driver: str, folder: Path) -> Result:
    return import_text(
        "syslog-ng",
        f"source s {{ internal(); }}; destination d {{ {driver}; }};"
        "log { source(s); destination(d); };",
        folder,
    )


@pytest.mark.parametrize(
    ("driver", "keys"),
    [
        ('network("h")', {"connect": "tcp://h:514"}),
        ('network("h" transport(udp) port(1))', {"connect": "udp://h:1"}),
        ('tcp("2001:db8::1")', {"connect": "tcp://[2001:db8::1]:514"}),
        ('udp("h")', {"connect": "udp://h:514"}),
        ('syslog("h")', {"connect": "tcp://h:601", "framing": "octet-counting"}),
        (
            'syslog("h" transport(tls) tls(ca-file("/ca")))',
            {"connect": "tls://h:6514", "trusted_ca": "/ca"},
        ),
        (
            'network("h" transport(tls) port(6514) tls())',
            {"connect": "tls://h:6514", "framing": "newline"},
        ),
        ('tcp("h" port(6514) tls())', {"connect": "tls://h:6514", "framing": "newline"}),
        (
            'network("a" failover(servers("b", "c") failback()))',
            {"connect": ["tcp://a:514", "tcp://b:514", "tcp://c:514"], "policy": "failover"},
        ),
        (
            'network("h" localip(192.0.2.1) tcp-keepalive-time(30))',
            {"connect": "tcp://h:514", "bind": "192.0.2.1", "keepalive_seconds": 30},
        ),
        (
            'syslog-ng(server("h") port(514))',
            {"connect": "tcp://h:514", "rewrite": {"mode": "ewmm"}},
        ),
        ('unix-dgram("/run/x")', {"connect": "unixgram:///run/x"}),
        ('unix-stream("/run/x")', {"connect": "unix:///run/x"}),
        (
            'program("/bin/cat > /x")',
            {"connect": "program:///bin/sh", "arguments": ["-c", "/bin/cat > /x"]},
        ),
        ('pipe("/dev/xconsole")', {"connect": "pipe:///dev/xconsole"}),
        ('usertty("*")', {"connect": "usertty://"}),
        ('usertty("root")', {"connect": "usertty://", "users": ["root"]}),
        (
            'file("/x/${HOST}.log" owner(root) group(adm) perm(0600) dir-perm(0755))',
            {
                "connect": "file:///x/${HOST}.log",
                "owner": "root",
                "group": "adm",
                "mode": 0o600,
                "directory_mode": 0o755,
            },
        ),
        (
            'file("/x" logrotate(enable(yes) size(1MiB) rotations(4)))',
            {
                "connect": "file:///x",
                "mode": 0o600,
                "directory_mode": 0o700,
                "rotate_bytes": 1 << 20,
                "keep_files": 4,
            },
        ),
    ],
)
def test_drivers(driver: str, keys: dict[str, Any], tmp_path: Path) -> None:
    found = read(driver, tmp_path).destinations["d"]
    found.pop("format", None)
    assert found == keys


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        ("mongodb()", "no destination for it"),
        ("loki(url(x))", "gRPC"),
        ("martian()", "no destination like martian()"),
        ('network("a b")', "neither a host name nor an address"),
        ('file("/dev/tty12")', "not to devices"),
        ('file("/x/$(lowercase $HOST)")', "the path"),
        ('pipe("/x/$HOST")', "without macros"),
        ('program("")', "has no name"),
        ('unix-dgram("x")', "is absolute"),
        ('network("h" spoof-source(yes))', "come from the relay's address"),
        ('network("h" throttle(10))', "drain_rate"),
        ('network("h" martian(10))', "no counterpart"),
    ],
)
def test_what_the_relay_has_nothing_for(driver: str, said: str, tmp_path: Path) -> None:
    result = read(driver, tmp_path)
    assert any("not supported" in line and said in line for line in result.doubts)


def test_nothing_has_to_be_written_to_dev_null(tmp_path: Path) -> None:
    result = read('file("/dev/null")', tmp_path)
    assert "d" not in result.destinations
    assert result.said_of("file(") == [0]


def test_sematexts_receivers_have_a_name(tmp_path: Path) -> None:
    template = '<${PRI}>1 ${ISODATE} ${HOST} ${PROGRAM} ${PID} - - {"message":"${MESSAGE}",'
    text = template.replace('"', '\\"') + f'\\"logsene-app-token\\":\\"{TOKEN}\\"}}\\n'
    result = read(
        f'tcp("logsene-syslog-receiver.eu.sematext.com" port(10514) template("{text}")'
        ' tls(ca_dir("/etc/ssl/certs") peer_verify(required-trusted)))',
        tmp_path,
    )
    assert result.destinations["d"] == {
        "connect": "sematext://eu",
        "token_in": "json",
        "token_file": "sematext.token",
    }
    extra = result.imported.extra_files["sematext.token"]
    assert (extra.text, extra.is_secret) == (f"{TOKEN}\n", True)
    assert TOKEN not in "\n".join(result.imported.report.lines())
