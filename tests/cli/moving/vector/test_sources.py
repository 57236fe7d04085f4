from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.moving.imports import Result, import_text


def read(source: str, folder: Path) -> Result:
    sink = '[sinks.o]\ntype = "socket"\ninputs = ["s"]\naddress = "h:1"\n'
    return import_text("vector", f"[sources.s]\n{source}\n{sink}", folder)


@pytest.mark.parametrize(
    ("source", "keys"),
    [
        ('type = "syslog"\naddress = "0.0.0.0:514"\nmode = "udp"', {"listen": "udp://:514"}),
        ('type = "syslog"\naddress = "[::1]:514"', {"listen": "tcp://[::1]:514"}),
        (
            'type = "socket"\naddress = "127.0.0.1:5"\nmax_length = 8192\nconnection_limit = 5',
            {"listen": "tcp://127.0.0.1:5", "frame_bytes_max": 8192, "connections_max": 5},
        ),
        (
            'type = "syslog"\naddress = "0.0.0.0:6"\ntls.enabled = true\ntls.crt_file = "c"\n'
            'tls.key_file = "k"\ntls.ca_file = "a"\ntls.verify_certificate = true',
            {"listen": "tls://:6", "certificate": "c", "private_key": "k", "trusted_ca": "a"},
        ),
        (
            'type = "syslog"\naddress = "0.0.0.0:6"\ntls.crt_file = "c"\ntls.key_file = "k"',
            {"listen": "tls://:6", "certificate": "c", "private_key": "k", "peer_verify": "none"},
        ),
        ('type = "socket"\nmode = "unix_datagram"\npath = "/x"', {"listen": "unixgram:///x"}),
        (
            'type = "file"\ninclude = ["/a/*.log"]\nread_from = "end"',
            {"listen": "file:///a/*.log", "read_from": "end"},
        ),
        (
            'type = "journald"\ninclude_units = ["ssh"]',
            {"listen": "journald://", "matches": ["_SYSTEMD_UNIT=ssh.service"]},
        ),
        ('type = "http_server"\naddress = "127.0.0.1:80"', {"listen": "http://127.0.0.1:80"}),
        (
            'type = "exec"\ncommand = ["/bin/x", "a"]',
            {"listen": "program:///bin/x", "arguments": ["a"]},
        ),
        ('type = "internal_logs"', {"listen": "internal://"}),
        (
            'type = "file"\ninclude = ["/a"]\n[sources.s.multiline]\nmode = "halt_before"\n'
            'start_pattern = "^x"\ncondition_pattern = "^y"\ntimeout_ms = 500',
            {"listen": "file:///a", "multi_line": "^y", "multi_line_seconds_max": 0.5},
        ),
    ],
)
def test_kinds(source: str, keys: dict[str, Any], tmp_path: Path) -> None:
    assert read(source, tmp_path).sources["s"] == keys


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('type = "kafka"', "no topics, or no group_id"),
        ('type = "martian"', "no source like martian"),
        ('type = "syslog"\naddress = "systemd#1"', "the address is none"),
        ('type = "syslog"\naddress = "0.0.0.0:99999"', "the address is none"),
        ('type = "file"\ninclude = ["a"]', "absolute paths"),
        ('type = "exec"\ncommand = "x"', "begins with the program's path"),
        ('type = "opentelemetry"\n[sources.s.grpc]\naddress = "0.0.0.0:1"', "not by gRPC"),
        ('type = "internal_logs"\nodd = 1', "no counterpart"),
    ],
)
def test_what_has_no_counterpart_is_said(source: str, said: str, tmp_path: Path) -> None:
    result = read(source, tmp_path)
    assert any("not supported" in line and said in line for line in result.doubts)
