from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from relay.cli.moving.vector.sinks import templated
from tests.cli.moving.imports import Result, import_text


def read(sink: str, folder: Path) -> Result:
    source = '[sources.s]\ntype = "internal_logs"\n'
    return import_text("vector", f'{source}[sinks.o]\ninputs = ["s"]\n{sink}\n', folder)


@pytest.mark.parametrize(
    ("sink", "keys"),
    [
        (
            'type = "socket"\naddress = "h:514"\nmode = "udp"\nencoding.codec = "text"',
            {"connect": "udp://h:514", "template": "$MSG"},
        ),
        (
            'type = "socket"\naddress = "h:6514"\nencoding.codec = "json"\ntls.enabled = true',
            {"connect": "tls://h:6514", "framing": "newline", "format": "json"},
        ),
        (
            'type = "socket"\nmode = "unix"\npath = "/x"',
            {"connect": "unix:///x", "template": "$MSG"},
        ),
        (
            'type = "file"\npath = "/x/{{ host }}/%Y.log"\nencoding.codec = "text"',
            {"connect": "file:///x/${HOST}/${YEAR}.log", "template": "$MSG"},
        ),
        (
            'type = "elasticsearch"\nendpoints = ["http://e:9200"]\nbulk.index = "l-%Y"',
            {"connect": "http://e:9200", "index": "l-${YEAR}"},
        ),
        (
            'type = "elasticsearch"\nendpoint = "http://e:9200/"\nmode = "data_stream"',
            {"connect": "http://e:9200", "index": "logs-generic-default", "operation": "create"},
        ),
        (
            'type = "http"\nuri = "https://h/p"\nencoding.codec = "json"\ncompression = "gzip"',
            {"connect": "https://h/p", "compress": "gzip", "format": "json", "body": "array"},
        ),
        (
            'type = "sematext_logs"\nregion = "us"\ntoken = "abcdef-1"',
            {"connect": "sematext://us", "via": "https", "token_file": "sematext.token"},
        ),
        (
            'type = "splunk_hec_logs"\nendpoint = "https://s:8088"\ndefault_token = "abcdef-1"',
            {"connect": "https://s:8088", "token_file": "splunk.token", "body": "splunk-hec"},
        ),
        (
            'type = "loki"\nendpoint = "http://l:3100"\nlabels.job = "x"\nencoding.codec = "json"',
            {
                "connect": "http://l:3100/loki/api/v1/push",
                "body": "loki",
                "labels": {"job": "x"},
                "format": "json",
            },
        ),
        ('type = "papertrail"\nendpoint = "h:1"', {"connect": "tls://h:1", "format": "rfc5424"}),
        (
            'type = "socket"\naddress = "h:1"\nbuffer.type = "disk"\nbuffer.max_size = 268435488\n'
            'buffer.when_full = "drop_newest"',
            {
                "connect": "tcp://h:1",
                "template": "$MSG",
                "queue_bytes_max": 268435488,
                "when_full": "drop-newest",
            },
        ),
    ],
)
def test_kinds(sink: str, keys: dict[str, Any], tmp_path: Path) -> None:
    result = read(sink, tmp_path)
    assert result.destinations["o"] == keys
    assert "abcdef-1" not in "\n".join(result.imported.report.lines())


@pytest.mark.parametrize(
    ("sink", "said"),
    [
        ('type = "kafka"', "it has no topic"),
        ('type = "kafka"\ntopic = "x"', "it names no broker"),
        ('type = "redis"', "client of it"),
        ('type = "console"', "syslogrelay tap"),
        ('type = "martian"', "no destination like martian"),
        ('type = "socket"\naddress = "nowhere"', "the address is none"),
        ('type = "file"\npath = "x"', "path is absolute"),
        ('type = "http"\nuri = "ftp://x"', "the URL is none"),
        ('type = "sematext_logs"', "the token is missing"),
        ('type = "socket"\naddress = "h:1"\nencoding.codec = "avro"', "writes no avro"),
        ('type = "loki"\nendpoint = "http://l"\nlabels.a = "{{ b }}"', "labels are constants"),
    ],
)
def test_what_has_no_counterpart_is_said(sink: str, said: str, tmp_path: Path) -> None:
    result = read(sink, tmp_path)
    assert any("not supported" in line and said in line for line in result.doubts)


def test_a_black_hole_is_nothing(tmp_path: Path) -> None:
    assert not read('type = "blackhole"', tmp_path).doubts[1:]


def test_templates() -> None:
    assert templated("a-{{ .appname }}-%Y-%m-%d$") == "a-${PROGRAM}-${YEAR}-${MONTH}-${DAY}$$"
