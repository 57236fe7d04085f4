from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.cli.moving.syslog_ng.sources import command_keys
from tests.cli.moving.imports import Result, import_text

USED = ' destination d { file("/var/log/d"); }; log { source(s); destination(d); };'


def read(driver: str, folder: Path, options: str = "keep-hostname(yes);") -> Result:
    return import_text(
        "syslog-ng", f"options {{ {options} }}; source s {{ {driver}; }};{USED}", folder
    )


@pytest.mark.parametrize(
    ("driver", "keys"),
    [
        ("network()", {"listen": "tcp://:514"}),
        ("network(transport(udp) ip(127.0.0.1))", {"listen": "udp://127.0.0.1:514"}),
        ('network(ip("::1") port(1))', {"listen": "tcp://[::1]:1"}),
        ("syslog()", {"listen": "tcp://:601"}),
        ("syslog(transport(udp))", {"listen": "udp://:514"}),
        (
            'syslog(transport(tls) tls(cert-file("c") key-file("k")))',
            {"listen": "tls://:6514", "certificate": "c", "private_key": "k"},
        ),
        ("tcp(port(1514) max-connections(20))", {"listen": "tcp://:1514", "connections_max": 20}),
        ("udp6(so-rcvbuf(1048576))", {"listen": "udp://:514", "receive_buffer_bytes": 1048576}),
        (
            "tcp(log-msg-size(8192) idle-timeout(60))",
            {"listen": "tcp://:514", "frame_bytes_max": 8192, "idle_seconds_max": 60},
        ),
        ("network(multi-line-mode(indented))", {"listen": "tcp://:514", "multi_line": r"^\S"}),
        (
            "network(flags(no-parse, store-raw-message) tags(a b))",
            {
                "listen": "tcp://:514",
                "parse": {"no_parse": True, "store_raw": True, "tags": ["a", "b"]},
            },
        ),
        (
            'network(time-zone("UTC") default-facility(local0) program-override("p"))',
            {
                "listen": "tcp://:514",
                "parse": {
                    "time_zone": "UTC",
                    "default_facility": "local0",
                    "program_override": "p",
                },
            },
        ),
        ("internal()", {"listen": "internal://"}),
        ("system()", {"listen": "system://"}),
        ('file("/proc/kmsg" flags(kernel))', {"listen": "kmsg://"}),
        (
            'unix-dgram("/dev/log" perm(0666))',
            {"listen": "unixgram:///dev/log", "socket_mode": 0o666},
        ),
        ('unix-stream("/run/x")', {"listen": "unix:///run/x"}),
        ("systemd-syslog()", {"listen": "systemd://syslog.socket"}),
        ("systemd-journal(read-old-records(no))", {"listen": "journald://", "read_from": "end"}),
        ('file("/var/log/x")', {"listen": "file:///var/log/x", "format": "syslog"}),
        (
            'file("/var/log/x" flags(no-parse) program-override("x") default-facility(mail))',
            {"listen": "file:///var/log/x", "tag": "x", "facility": "mail"},
        ),
        (
            'wildcard-file(base-dir("/var/log") filename-pattern("*.log") recursive(yes))',
            {"listen": "file:///var/log/**/*.log", "format": "syslog"},
        ),
        ('pipe("/run/p" perm(0620))', {"listen": "pipe:///run/p", "pipe_mode": 0o620}),
        (
            "program(\"/bin/x -a 'b c'\")",
            {"listen": "program:///bin/x", "arguments": ["-a", "b c"]},
        ),
        (
            "default-network-drivers(udp-port(1) tcp-port(2) rfc5424-tcp-port(3))",
            {
                "listen": "default-network://",
                "udp_port": 1,
                "tcp_port": 2,
                "rfc5424_tcp_port": 3,
                "rfc5424_tls_port": 0,
                "parse": {"adapters": True},
            },
        ),
    ],
)
def test_drivers(driver: str, keys: dict[str, Any], tmp_path: Path) -> None:
    result = read(driver, tmp_path)
    assert result.sources["s"] == keys


def test_host_names_are_syslog_ngs(tmp_path: Path) -> None:
    given = {
        "": {"keep_hostname": False},
        "keep-hostname(yes); use-dns(yes);": None,
        "keep-hostname(no); use-dns(no);": {"keep_hostname": False},
        "keep-hostname(yes); chain-hostnames(yes);": {"chain_hostnames": True},
    }
    for options, parse in given.items():
        result = read("network()", tmp_path, options)
        assert result.sources["s"].get("parse") == parse
        assert bool(result.doubts) == (options == "")


def test_options_of_the_source_come_before_global_ones(tmp_path: Path) -> None:
    result = read("network(keep-hostname(yes))", tmp_path, "keep-hostname(no);")
    assert "parse" not in result.sources["s"]


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        ("opentelemetry(port(4317))", "takes OTLP by HTTP"),
        ("kafka()", "write a source kafka://"),
        ("martian()", "no source like martian()"),
        ('unix-dgram("log")', "is absolute"),
        ("file(relative)", "is absolute"),
        ("wildcard-file(base-dir(x))", "are needed"),
        ('program("")', "has no name"),
        ("network(transport(rdma))", "not by rdma"),
    ],
)
def test_what_the_relay_has_no_source_for(driver: str, said: str, tmp_path: Path) -> None:
    result = read(driver, tmp_path)
    assert any("not supported" in line and said in line for line in result.doubts)
    assert "s" not in result.sources


def test_a_bad_port_is_said(tmp_path: Path) -> None:
    result = read("network(port(99999))", tmp_path)
    assert result.sources["s"]["listen"] == "tcp://:514"
    assert any("no port from 1 to 65535" in line for line in result.doubts)


def test_a_shell_only_where_it_is_needed() -> None:
    assert command_keys("/bin/a b") == ("/bin/a", ["b"])
    assert command_keys("/bin/a | b") == ("/bin/sh", ["-c", "/bin/a | b"])
    assert command_keys("a b") == ("/bin/sh", ["-c", "a b"])
    assert command_keys("/bin/a 'b") == ("/bin/sh", ["-c", "/bin/a 'b"])
