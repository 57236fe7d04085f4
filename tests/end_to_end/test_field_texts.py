"""Texts and tokens from the field that went wrong once: `field.json`, from the socket to the file.

Each case has a configuration; here one relay has the sources of all of them.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from relay.cli.main import main
from tests.end_to_end.test_send import send
from tests.plain_senders import feed_datagrams, feed_lines, feed_stream
from tests.processes import Programs, free_port
from tests.relay_process import RelayProcess, wait_for_lines

VECTORS = Path(__file__).parents[1] / "wire" / "vectors" / "field.json"
CASES = {case["name"]: case for case in json.loads(VECTORS.read_text())}
TOKEN = "0f8fad5b-d9cb-469f-a165-70867728950e"
OTHER = "99999999-8888-7777-6666-555555555555"


def octets_of(name: str) -> bytes:
    octets: bytes = CASES[name]["bytes_latin1"].encode("latin-1")
    return octets


def source_of(name: str, listen: str) -> dict[str, Any]:
    """The source of a case, listening somewhere else."""
    source: dict[str, Any] = tomllib.loads(CASES[name]["config"])["sources"]["s"]
    return {**source, "listen": listen}


def test_each_text_arrives_as_one_message(programs: Programs, tmp_path: Path) -> None:
    wide, tokens, relp, lines, counted = (free_port() for _ in range(5))
    (tmp_path / "token").write_text(TOKEN)
    out = {name: tmp_path / f"{name}.out" for name in ("tmpl", "cee", "sd", "json")}
    rewrite = {"mode": "cee", "token_file": str(tmp_path / "token")}
    template = tomllib.loads(CASES["file-utf16le"]["config"])["destinations"]["tmpl"]["template"]
    texts = ["file", "bom", "wide", "relp", "lines"]
    RelayProcess.started(
        programs,
        tmp_path,
        sources={
            "file": source_of("file-utf16le", f"file://{tmp_path}/in.log"),
            "bom": {"listen": f"file://{tmp_path}/bom.log", "facility": 16, "severity": "err"},
            "wide": source_of("utf16-datagram-with-bom", f"udp://127.0.0.1:{wide}"),
            "tokens": source_of("json-token-is-null", f"udp://127.0.0.1:{tokens}"),
            "relp": {"listen": f"relp://127.0.0.1:{relp}"},
            "lines": {
                "listen": f"tcp://127.0.0.1:{lines}",
                "frame_bytes_max": 480,
                "parse": {"encoding": "ISO-8859-1"},
            },
            "counted": {
                "listen": f"tcp://127.0.0.1:{counted}",
                "parse": {"keep_line_end": True},
            },
        },
        destinations={
            "tmpl": {"connect": f"file://{out['tmpl']}", "template": template, "sources": texts},
            "cee": {"connect": f"file://{out['cee']}", "rewrite": rewrite, "sources": ["tokens"]},
            "sd": {
                "connect": f"file://{out['sd']}",
                "rewrite": {**rewrite, "structured_data": True},
                "sources": ["tokens"],
            },
            "json": {"connect": f"file://{out['json']}", "format": "json", "sources": ["counted"]},
        },
    )
    (tmp_path / "in.log").write_bytes(octets_of("file-utf16le"))
    (tmp_path / "bom.log").write_bytes(b"\xef\xbb\xbffirst\nsecond\n")
    feed_datagrams(wide, [octets_of("utf16-datagram-with-bom")])
    done = send(octets_of("send-line-with-nul"), "--to", f"relp://127.0.0.1:{relp}")
    assert (done.returncode, done.stderr) == (0, b"")
    feed_lines(
        lines,
        [b"<13>Oct 11 22:14:15 h app: " + b"\xe9" * 240, b"<13>Oct 11 22:14:15 h app: a \0 b"],
    )
    found: dict[str, list[list[str]]] = {name: [] for name in texts}
    for line in wait_for_lines(out["tmpl"], 8):
        fields = line.decode().split("|")
        found[fields[0]].append(fields[1:])
    assert [fields[-1] for fields in found["file"]] == CASES["file-utf16le"]["expected"]["messages"]
    assert [(fields[0], fields[-1]) for fields in found["bom"]] == [
        (str(16 * 8 + 3), "first"),
        (str(16 * 8 + 3), "second"),
    ]
    expected = CASES["utf16-datagram-with-bom"]["expected"]
    ((_, _, host, program, *_, text),) = found["wide"]
    assert (host, program, text) == (expected["HOST"], expected["PROGRAM"], "café")
    assert len(found["relp"]) == CASES["send-line-with-nul"]["expected"]["messages"]
    assert found["relp"][0][-1] == "with #000 nul"
    assert [fields[-1] for fields in found["lines"]] == [
        "é" * ((480 - len("<13>Oct 11 22:14:15 h app: ")) // 2),
        "a #000 b",
    ]

    frame = b"<13>Oct 11 22:14:15 h app: x\r\n"
    feed_stream(counted, [frame, frame[:-2]])
    messages = [json.loads(line)["MESSAGE"] for line in wait_for_lines(out["json"], 2)]
    assert messages == ["x\r\n", "x"]
    feed_datagrams(tokens, [octets_of("json-token-is-null")])
    feed_datagrams(tokens, [b"my-host %s:hello\n" % OTHER.encode()])
    feed_datagrams(tokens, [b'<13>1 2026-10-11T22:14:15Z h a - ID1 [x@1 b="c"] m'])
    objects = [json.loads(line.partition(b"@cee: ")[2]) for line in wait_for_lines(out["cee"], 3)]
    assert objects == [
        {"logsene-app-token": TOKEN, "message": "m"},
        {"logsene-app-token": OTHER, "message": "hello"},
        {"logsene-app-token": TOKEN, "message": "m"},
    ]
    with_data = json.loads(wait_for_lines(out["sd"], 3)[2].partition(b"@cee: ")[2])
    assert with_data == {**objects[0], "msgid": "ID1", "_SDATA": {"x@1": {"b": "c"}}}


@pytest.mark.parametrize("scheme", ["tcp", "default-network"])
def test_a_stream_in_utf16_is_refused_with_words(tmp_path: Path, scheme: str) -> None:
    case = CASES["tcp-utf16le"]
    assert "check refuses" in case["expected"]["or"]
    text = case["config"].replace("PORT", "5514").replace("OUT", str(tmp_path))
    if scheme != "tcp":
        text = text.replace("tcp://127.0.0.1:5514", f"{scheme}://127.0.0.1")
        text = text.replace("parse", "rfc5424_tls_port = 0\nparse")
    (tmp_path / "relay.toml").write_text(text)
    result = CliRunner().invoke(main, ["check", str(tmp_path / "relay.toml")])
    assert result.exit_code == 1
    assert "sources.s.parse.encoding: 'utf-16le' is no superset of US-ASCII" in result.stderr
