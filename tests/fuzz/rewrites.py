"""All rewrites: a valid header, valid JSON, one payload a message, and no change twice."""

from __future__ import annotations

import json
import random
import re
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

from relay.model.message import SyslogMessage
from relay.model.origin import Origin, Transport
from relay.model.token import Token
from relay.rewrite.forms.ewmm import ewmm
from relay.rewrite.forms.token import Writer, app_name, cee, tag
from relay.wire.ewmm import APP_NAME
from relay.wire.headers.rfc5424 import parse_rfc5424
from relay.wire.parse import parse, parse_all

__all__ = ["check_hops", "check_rewrites"]

_TOKEN = Token(b"01234567-89ab-cdef-0123-456789abcdef")
_ZONES = (UTC, ZoneInfo("Europe/Budapest"))
_ORIGINS = (
    Origin("in", Transport.UDP, "192.0.2.1", 40000, received_at=1795222800.25),
    Origin("a b", Transport.TCP, "2001:db8::1", 514, received_at=0.0),
    Origin("local", Transport.UNIX, pid=1, uid=2, gid=3, received_at=4.0e9),
)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LEGACY_HEADER = re.compile(rb"<[0-9]{1,3}>[0-9T:.+-]+Z? [!-~\x80-\xff]+ [!-~\x80-\xff]*?:")
_HEADER = re.compile(rb"<[0-9]{1,3}>1 [0-9T:.+-]+Z? [!-~\x80-\xff]+(?: [!-~]+){3} (?:-|\[)")


def _rewrites(name: bytes) -> dict[str, list[Writer]]:
    """Each of them with each zone."""
    return {
        "cee": [cee(_TOKEN, zone, relay_name=name) for zone in _ZONES],
        "tag": [tag(_TOKEN, zone, relay_name=name) for zone in _ZONES],
        "app-name": [app_name(_TOKEN, zone, relay_name=name) for zone in _ZONES],
        "ewmm": [ewmm(name, zone) for zone in _ZONES],
    }


_FIRST, _SECOND = _rewrites(b"edge"), _rewrites(b"central")


def check_rewrites(frame: bytes, source: random.Random) -> None:
    batch = [parse(frame)]
    if source.random() < 0.2:
        batch.append(parse(frame[::-1]))
    origin, later = source.choice(_ORIGINS), source.choice(_ORIGINS)
    for mode, variants in _FIRST.items():
        payloads = source.choice(variants)(batch, origin)
        assert len(payloads) == len(batch)
        if mode == "ewmm":
            for message in batch:
                check_hops(message, source)
        else:
            again = source.choice(_SECOND[mode])(parse_all(payloads), later)
            assert again == payloads, (mode, payloads, again)
        for message, payload in zip(batch, payloads, strict=True):
            if mode != "ewmm":
                _check_payload(mode, payload)
            if mode in ("tag", "app-name"):
                msg = message.msg.lstrip(b" ").rstrip(b"\n\r\0")
                assert payload.endswith(msg), (mode, payload)
            marked = _BYTE_ORDER_MARK + message.msg
            if mode == "app-name" and message.version and _line(message).endswith(marked):
                assert payload.endswith(marked), payload


def _line(message: SyslogMessage) -> bytes:
    return message.raw.rstrip(b"\n\r\0")


def _check_payload(mode: str, payload: bytes) -> None:
    header = _LEGACY_HEADER if mode in ("cee", "cee with tags", "tag") else _HEADER
    assert header.match(payload), (mode, payload)
    if mode.startswith("cee"):
        assert b"\n" not in payload and b"\0" not in payload
        members = _loads(payload.partition(b":@cee: ")[2])
        assert "logsene-app-token" in members


def check_hops(message: SyslogMessage, source: random.Random) -> None:
    """EWMM: valid, and what the first relay said is what the third one says."""
    origin, later = source.choice(_ORIGINS), source.choice(_ORIGINS)
    first, second = source.choice(_FIRST["ewmm"]), source.choice(_SECOND["ewmm"])
    (payload,) = first([message], origin)
    if message.app_name == APP_NAME:  # could not be opened, and is not wrapped
        assert payload == _line(message)
        return
    assert re.search(rb"[\x00-\x1f]", payload) is None, payload
    envelope = parse_rfc5424(payload, payload)
    assert envelope is not None and envelope.app_name == APP_NAME
    _loads(envelope.msg)
    arrived = parse(payload)
    # Names that are nested like others come in another order, once.
    (settled,) = first([arrived], origin)
    assert parse(settled)._replace(raw=payload) == arrived, (payload, settled)
    assert first([parse(settled)], origin) == [settled]
    (again,) = second([arrived], later)
    farther = parse(again)
    own = arrived._replace(raw=b"", pairs=None, tags=())
    assert farther._replace(raw=b"", pairs=None, tags=()) == own, (payload, again)
    assert farther.tags[: len(arrived.tags)] == arrived.tags
    pairs = farther.pairs or {}
    assert {name: pairs.get(name) for name in arrived.pairs or {} if name[:6] != ".unix."} == {
        name: value for name, value in (arrived.pairs or {}).items() if name[:6] != ".unix."
    }, (payload, again)


def _loads(text: bytes) -> dict[str, Any]:
    """Numbers stay text: Python refuses some that JSON allows."""
    members = json.loads(text.decode("utf-8").removeprefix("@cee:"), parse_int=str, parse_float=str)
    assert isinstance(members, dict)
    return members
