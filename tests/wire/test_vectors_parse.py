"""The conformance vectors of parsing, in all modes but ewmm, which is no parser's affair."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from relay.model.message import SyslogMessage
from relay.model.origin import Origin, Transport
from relay.model.parse_options import OPTION_NAMES, ParseOptions
from relay.wire.headers.structured_data import parse_structured_data
from relay.wire.headers.timestamp import to_datetime
from relay.wire.parse_options import new_parser, utf8_of
from relay.wire.parse_tags import is_parse_failure
from tests.lines import read_by

VECTORS = [
    vector
    for vector in json.loads((Path(__file__).parent / "vectors" / "parse.json").read_text())
    if vector["mode"] != "ewmm"
]
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=[v["name"] for v in VECTORS])


def text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("latin-1")


def options_of(vector: dict[str, Any], **more: Any) -> ParseOptions:
    options = vector.get("options", {})
    fields = {"mode": vector["mode"], "adapters": vector["mode"] == "auto", **more}
    fields.update(OPTION_NAMES[flag] for flag in options.get("flags", []))
    return ParseOptions(
        **fields,
        encoding=options.get("encoding"),
        message_bytes_max=options.get("log_msg_size", 0),
    )


def parsed(vector: dict[str, Any], **more: Any) -> tuple[SyslogMessage, float]:
    assert vector["tz"] == "UTC"
    received_at = datetime.fromisoformat(vector["now"]).timestamp()
    options = options_of(vector, **more)
    parser = new_parser(options, zone=UTC)
    origin = Origin("in", Transport.UDP, "192.0.2.1", 514, received_at=received_at)
    frame = utf8_of(options, vector["input"].encode("latin-1"))
    (message,) = read_by(parser, [frame], origin)
    return message, received_at


def as_expected(message: SyslogMessage, received_at: float) -> dict[str, Any]:
    stamp = message.timestamp
    return {
        "facility": message.facility,
        "severity": message.severity,
        "timestamp": stamp and to_datetime(stamp, received_at, UTC).isoformat(),
        "host": text(message.hostname),
        "program": text(message.app_name),
        "pid": text(message.procid),
        "msgid": text(message.msgid),
        "sdata": {
            sd_id: {name: text(values[-1]) for name, values in element.items()}
            for sd_id, element in parse_structured_data(message.structured_data).items()
        },
        "message": text(message.msg),
    }


def with_unset_as_none(expected: dict[str, Any]) -> dict[str, Any]:
    unset = ("timestamp", "host", "program", "pid", "msgid")
    found = {**expected, **{name: expected.get(name) or None for name in unset}}
    if found["timestamp"] is not None:  # in one spelling
        found["timestamp"] = datetime.fromisoformat(found["timestamp"]).isoformat()
    return found


# The vector calls it a message like any other, although the rest of its header is missing.
ENDS_EARLY = "rfc5424-truncated-after-host"


@each_vector
def test_each_vector_has_one_of_its_outcomes(vector: dict[str, Any]) -> None:
    message, received_at = parsed(vector)
    if is_parse_failure(message):
        assert vector["kind"] != "core" or vector["name"] == ENDS_EARLY
    if is_parse_failure(message) and vector["expected"].get("error"):
        # What could be read is kept, and MSG is what is behind it.
        assert vector["input"].rstrip("\n\0").endswith(text(message.msg) or "")
        assert message.version == 0 or message.hostname
        return
    outcomes = [vector["expected"], *(a["expected"] for a in vector.get("alternatives", []))]
    assert as_expected(message, received_at) in [with_unset_as_none(o) for o in outcomes]


@each_vector
def test_the_pairs_of_adapters(vector: dict[str, Any]) -> None:
    pairs = parsed(vector)[0].pairs or {}
    for name, value in vector.get("nv", {}).items():
        assert text(pairs[name]) == value
    assert vector["mode"] == "auto" or not [name for name in pairs if name[:1] == "."]


FAILURES = [vector for vector in VECTORS if vector["expected"].get("error")]


@pytest.mark.parametrize("vector", FAILURES, ids=[v["name"] for v in FAILURES])
def test_errors_may_be_told_as_syslog_ng_does(vector: dict[str, Any]) -> None:
    if not is_parse_failure(parsed(vector)[0]):
        assert vector.get("alternatives")  # it is read by one of them
        return
    message, _ = parsed(vector, piggyback_errors=True)
    assert (message.pri, message.app_name) == (43, b"syslog-ng")
    assert text(message.msg) == vector["expected"]["message"]


# Of these we take another alternative than 4.x, so there is something else to say.
OWN_TAGS = {
    "pri-3164-unterminated-digits-only": ["syslog.invalid_pri"],
    "auto-framed-in-3164": ["syslog.unexpected_framing"],
    "auto-sematext-seed-example": [".app.cee"],  # the JSON is its MSG
}
TAGGED = [vector for vector in VECTORS if "tags_4x" in vector]


@pytest.mark.parametrize("vector", TAGGED, ids=[v["name"] for v in TAGGED])
def test_all_tags_are_those_of_syslog_ng_4(vector: dict[str, Any]) -> None:
    tags = parsed(vector, parse_tags="all")[0].tags
    assert {text(tag) for tag in tags} == set(OWN_TAGS.get(vector["name"], vector["tags_4x"]))


@each_vector
def test_only_what_is_wrong_is_tagged(vector: dict[str, Any]) -> None:
    message, _ = parsed(vector)
    if vector["name"] == ENDS_EARLY:
        assert message.tags == (b"syslog.rfc5424_missing_app_name",)
    elif vector["kind"] == "core":
        assert message.tags == ()
    if vector["expected"].get("error") and is_parse_failure(message):
        assert message.tags
