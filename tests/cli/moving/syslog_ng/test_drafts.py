from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.moving.imports import Result, import_text


def read(driver: str, folder: Path, before: str = "") -> Result:
    return import_text(
        "syslog-ng",
        f"{before} source s {{ internal(); }}; destination d {{ {driver}; }};"
        "log { source(s); destination(d); flags(flow-control); };",
        folder,
    )


@pytest.mark.parametrize(
    ("driver", "format"),
    [
        ('network("h")', {"name": "rfc3164"}),
        ('network("h" ts-format(iso))', {"name": "rfc3164"}),
        (
            'network("h" ts-format(iso) frac-digits(3))',
            {"name": "rfc3164", "frac_digits": 3},
        ),
        ('network("h" flags(syslog-protocol))', {"name": "rfc5424", "frac_digits": 0}),
        ('network("h" time-zone("UTC"))', {"name": "rfc3164", "time_zone": "UTC"}),
        (
            'file("/x")',
            {"name": "template", "template": "$STAMP $HOST $MSGHDR$MSG", "ts_format": "bsd"},
        ),
        (
            'file("/x" ts-format(rfc3339))',
            {
                "name": "template",
                "template": "$STAMP $HOST $MSGHDR$MSG",
                "ts_format": "iso",
                "frac_digits": 0,
            },
        ),
    ],
)
def test_default_formats(driver: str, format: object, tmp_path: Path) -> None:
    assert read(driver, tmp_path).destinations["d"]["format"] == format


def test_named_templates_are_written_out(tmp_path: Path) -> None:
    result = read('file("/x" template(t))', tmp_path, 'template t { template("$HOST $MSG\\n"); };')
    assert result.destinations["d"]["template"] == "$HOST $MSG"


def test_global_templates_are_defaults(tmp_path: Path) -> None:
    result = read(
        'file("/x")',
        tmp_path,
        'template t "$DATE $MSG\\n"; options { file-template(t); frac-digits(6); };',
    )
    assert result.destinations["d"]["format"] == {
        "name": "template",
        "template": "$DATE $MSG",
        "frac_digits": 6,
    }


def test_disk_buffers_are_limits(tmp_path: Path) -> None:
    result = read(
        'network("h" disk-buffer(reliable(yes) disk-buf-size(2097152) dir("/q")))', tmp_path
    )
    assert result.destinations["d"]["queue_bytes_max"] == 2097152
    assert [line for line in result.doubts if "state_dir" in line]


def test_without_flow_control_a_full_queue_drops(tmp_path: Path) -> None:
    text = (
        'source s { internal(); }; log { source(s); destination { network("h" '
        "disk-buffer(capacity-bytes(10)) suppress(9) time-reopen(10)); }; };"
    )
    (keys,) = import_text("syslog-ng", text, tmp_path).destinations.values()
    assert keys["queue_bytes_max"] == 1 << 20
    assert keys["when_full"] == "drop-newest"
    assert keys["rewrite"] == [{"suppress_repeats": 9}]
    assert keys["retry_seconds_max"] == 10


def test_marks_are_not_written(tmp_path: Path) -> None:
    result = read('file("/x" mark-mode(periodical))', tmp_path)
    assert any("writes no marks" in line for line in result.doubts)
