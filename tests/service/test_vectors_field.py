"""Inputs from the field that went wrong once: headers, by what each destination gets.

Each case of `field.json` has a configuration of its own.  What is about framing, encodings and
tokens is tested where these are.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from relay.service.configuration.file import read_configuration
from relay.service.kinds import KINDS
from relay.service.routes.explanation import Explainer

VECTORS = Path(__file__).parents[1] / "wire" / "vectors" / "field.json"
CASES = {case["name"]: case for case in json.loads(VECTORS.read_text())}
SECRET = "0f8fad5b-d9cb-469f-a165-70867728950e"
NOW = datetime(2026, 11, 29, 23, tzinfo=UTC).timestamp()
PEER = "127.0.0.1"
FIELDS = ("SOURCE", "PRI", "ISODATE", "HOST", "PROGRAM", "PID", "MSGID", "SDATA", "MSG")

HEADERS = [
    *("udp-pri-and-json", "udp-host-and-json", "5424-without-structured-data"),
    *("5424-header-then-leef", "iso-stamp-offset-without-colon", "bsd-stamp-with-offset"),
    *("unixgram-program-name-with-blank", "rfc3164-out-text-begins-with-bracket"),
    *("rfc3164-out-nested-brackets", "tab-after-stamp", "cef-without-host", "hex-word-colon"),
    *("number-colon-text", "ok-5424-bom-json", "ok-duplicate-sd-params", "ok-datagram-with-lines"),
    *("ok-long-app-name", "ok-octet-count-in-datagram"),
]


def sent(name: str, directory: Path) -> dict[str, str]:
    """What each destination gets of the message of a case."""
    case = CASES[name]
    (directory / "token").write_text(SECRET)
    text = case["config"].replace("PORT", "5514").replace("TOKENFILE", "token")
    (directory / "relay.toml").write_text(
        '[relay]\nname = "relay.example"\n' + text.replace("OUT", str(directory))
    )
    explainer = Explainer(
        read_configuration(str(directory / "relay.toml"), KINDS), now=NOW, zone=UTC
    )
    frame = case["bytes_latin1"].encode("latin-1")
    explained = explainer.explain(frame, peer_host="" if case["transport"] == "unixgram" else PEER)
    return {
        outcome.destination: (outcome.payload or b"").decode("latin-1")
        for outcome in explained.outcomes
    }


def columns(line: str) -> dict[str, str]:
    return dict(zip(FIELDS, line.split("|", len(FIELDS) - 1), strict=True))


def message_of(cee: str) -> Any:
    return json.loads(cee.partition("@cee: ")[2]).get("message")


@pytest.mark.parametrize("name", HEADERS)
def test_each_case_comes_out_as_it_should(name: str, tmp_path: Path) -> None:
    found = sent(name, tmp_path)
    for key, expected in CASES[name]["expected"].items():
        destination, _, what = key.partition(" ")
        if (name, key) in IN_WORDS:
            assert IN_WORDS[name, key](found[destination])
        elif what == "contains":
            line = columns(found["tmpl"])["MSG"] if destination == "MSG" else found[destination]
            assert expected in line
        elif what == "message":
            assert message_of(found[destination]) == expected.replace("\\t", "\t")
        elif key == "HOST":
            hosts = {"the peer": PEER, "the relay's name": "relay.example"}
            assert columns(found["tmpl"])["HOST"] == hosts.get(expected, expected)
        elif key in FIELDS:
            assert columns(found["tmpl"])[key] == expected
        elif key == "text (PROGRAM with MSG)":
            of = columns(found["tmpl"])
            assert f"{of['PROGRAM']}:{of['MSG']}" == expected
        else:
            line = found[destination]
            assert line == (expected[0] if isinstance(expected, list) else expected)


def is_merged(line: str) -> bool:
    """A JSON object that has got the token, and nothing in front of it but a header."""
    _, cookie, text = line.partition(" -:@cee: ")
    members = json.loads(text)
    return bool(cookie) and "logsene-app-token" in members and "message" not in members


IN_WORDS = {
    ("udp-pri-and-json", "cee"): lambda line: is_merged(line) and line.endswith(',"n":1}'),
    ("udp-pri-and-json", "json"): lambda line: (
        json.loads(json.loads(line)["MESSAGE"])["n"] == 1 and "PROGRAM" not in json.loads(line)
    ),
    ("udp-host-and-json", "cee"): lambda line: (
        line.startswith("<13>2026-10-11T22:14:15+00:00 h -:@cee: {") and is_merged(line)
    ),
    ("udp-host-and-json", "r5424"): lambda line: line.startswith(
        '<13>1 2026-10-11T22:14:15+00:00 h - - - - {"user":"joe",'
    ),
    ("number-colon-text", "cee message"): lambda line: message_of(line) == "404: not found /x",
    ("number-colon-text", "r5424"): lambda line: "sequenceId" not in line,
    ("ok-5424-bom-json", "cee"): lambda line: line.endswith(', "a":1}'),
    ("ok-duplicate-sd-params", "r5424"): lambda line: (
        line == CASES["ok-duplicate-sd-params"]["bytes_latin1"]
    ),
    ("ok-duplicate-sd-params", "json"): lambda line: (
        json.loads(line)["_SDATA"]["x@2620"]["rule_uid"] == ["a", "b"]
    ),
    ("ok-datagram-with-lines", "raw"): lambda line: line.count("\n") == 2,  # escaped by the file
    ("ok-long-app-name", "r5424"): lambda line: len(line.split(" ")[3]) == 48,
}
