from __future__ import annotations

from pathlib import Path

from tests.cli.moving.imports import Result, import_text

HEAD = 'module(load="imudp")\ninput(type="imudp" port="514")\n'


def imported(text: str, folder: Path) -> Result:
    return import_text("rsyslog", HEAD + text, folder)


def test_global_parameters(tmp_path: Path) -> None:
    text = (
        'global(localHostname="web-1" maxMessageSize="32k")\nmain_queue(queue.maxDiskSpace="2g")\n'
    )
    result = imported(text, tmp_path)
    assert result.tables["relay"] == {"name": "web-1", "queue_bytes_max": "2 GiB"}
    assert result.sources["udp-514"]["frame_bytes_max"] == "32 KiB"


def test_senders_become_networks(tmp_path: Path) -> None:
    result = imported("$AllowedSender UDP, 10.0.0.0/8, [::1], *.example.com\n", tmp_path)
    assert result.sources["udp-514"]["allow"] == ["10.0.0.0/8", "::1"]
    assert [line for line in result.doubts if "by name" in line]


def test_unknown_parameters_and_templates_are_said(tmp_path: Path) -> None:
    text = (
        'global(bogus="1")\nmodule(load="imudp" bogus="2")\n'
        'action(type="omfile" file="/x" template="none")\nmodule(load="impstats")\n'
        'template(name="bad" type="string" string="%x")\n'
        'action(type="omfile" file="/y" template="bad")\n'
    )
    doubts = imported(text, tmp_path).doubts
    assert [line.split(":")[0] for line in doubts] == ["3", "4", "5", "6", "8", "1"]


def test_the_template_of_a_module_and_generators(tmp_path: Path) -> None:
    text = (
        'module(load="builtin:omfile" template="g")\n'
        'template(name="g" type="plugin" plugin="RSYSLOG_SyslogProtocol23Format")\n'
        'action(type="omfile" file="/x")\n'
    )
    assert imported(text, tmp_path).destinations["x"]["format"] == "rfc5424"
