from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from relay.model.errors import RelayError
from relay.observe.taps import READERS_MAX
from relay.service.configuration.model import RewriteConfiguration, UnreadToken, Url
from relay.service.tapping import WantedTap, message_test
from tests.assembled_relay import Relay
from tests.configurations import new_destination
from tests.connections import Wire, lose
from tests.processes import wait_until

FRAME = b"<11>Oct 11 22:14:15 web-7 app: hello"


@pytest.mark.parametrize(
    ("pattern", "options", "fits"),
    [
        ("hel+o", {}, True),
        ("HELLO", {}, False),
        ("HELLO", {"ignore_case": True}, True),
        ("hel+o", {"fixed": True}, False),
        ("hello", {"fixed": True, "hostname": "WEB-*"}, True),
        ("hello", {"hostname": "web-8"}, False),
        ("", {"severity": "..err"}, True),
        ("", {"severity": "warning.."}, False),
        ("nothing", {"severity": "..err"}, False),
    ],
)
def test_all_conditions_have_to_be_met(pattern: str, options: Any, fits: bool) -> None:
    assert message_test(pattern, **options)(FRAME) is fits


def test_without_conditions_there_is_nothing_to_test() -> None:
    assert WantedTap("received").test() is None
    for wanted in (
        WantedTap("received", pattern="x"),
        WantedTap("received", hostname="x"),
        WantedTap("received", severity="err"),
    ):
        test = wanted.test()
        assert test is not None
        assert not test(b"<14>other")


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (WantedTap("received", pattern="("), "not a regular expression"),
        (WantedTap("received", pattern=r"(a)\1"), "needs backtracking"),
        (WantedTap("received", severity="bad"), "--severity: there is no severity 'bad'"),
    ],
)
def test_a_wrong_filter_is_refused(wanted: WantedTap, text: str) -> None:
    with pytest.raises(RelayError, match=text):
        wanted.test()


def test_a_literal_pattern_may_look_like_any_expression() -> None:
    test = WantedTap("received", pattern=r"(a)\1", fixed=True).test()
    assert test is not None
    assert test(rb"x (a)\1 y")


def read(relay: Relay) -> None:
    for reader in relay.reactor.getReaders():
        if "source" in reader.logPrefix():
            reader.doRead()


class Tap:
    """A client that taps a whole relay."""

    def __init__(self, relay: Relay, stage: str, **arguments: Any) -> None:
        control: Any = relay.service.getServiceNamed("control")
        self.protocol = control.factory.buildProtocol(None)
        self.protocol.makeConnection(wire := Wire())
        self.relay, self.wire = relay, wire
        request = {"command": "tap", "arguments": {"stage": stage, **arguments}}
        self.protocol.dataReceived(json.dumps(request).encode() + b"\n")

    def shown(self) -> list[dict[str, Any]]:
        wait_until(self._has_item, "something is shown")
        lines = [json.loads(line) for line in self.wire.value().splitlines()]
        return [line["item"] for line in lines if "item" in line]

    def _has_item(self) -> bool:
        read(self.relay)
        self.relay.reactor.run_handed_over()
        self.relay.reactor.advance(0.1)
        return b'"item"' in self.wire.value()

    def close(self) -> None:
        lose(self.protocol)


@pytest.mark.parametrize(
    ("stage", "id", "key", "payload"),
    [
        ("received", "app", "source", FRAME),
        ("rewritten", "wrapped", "destination", b'"MESSAGE":"app: hello"'),
        ("delivered", "wrapped", "destination", b'"MESSAGE":"app: hello"'),
        ("delivered", "all", "destination", FRAME),
    ],
)
def test_each_stage_is_wired(tmp_path: Path, stage: str, id: str, key: str, payload: bytes) -> None:
    relay = Relay(tmp_path)
    relay.start()
    tap = Tap(relay, stage, id=id, pattern="hello")
    relay.send("app", b"<11>Oct 11 22:14:15 web-7 app: other")
    relay.send("app", FRAME)
    (item,) = tap.shown()
    assert item[key] == id
    assert payload in b64decode(item["payload"])
    tap.close()
    relay.stop()


def test_drops_are_wired(tmp_path: Path) -> None:
    relay = Relay(tmp_path, destinations=())
    relay.start()
    tap = Tap(relay, "dropped")
    relay.send("system", FRAME)
    (item,) = tap.shown()
    assert (item["source"], item["reason"]) == ("system", "no-destination")
    tap.close()
    relay.stop()


def test_a_closed_connection_makes_room_for_others(tmp_path: Path) -> None:
    relay = Relay(tmp_path)
    relay.start()
    taps = [Tap(relay, "received") for _ in range(READERS_MAX)]
    assert b"8 taps are open" in Tap(relay, "received").wire.value()
    taps[0].close()
    assert Tap(relay, "received").wire.value() == b'{"result":null}\n'
    relay.stop()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"rate": 0.5}, b"found 0.5 messages per second, expected 1 to 1000"),
        ({"rate": 1e9}, b"messages per second, expected 1 to 1000"),
        ({"stage": "sent"}, b"found stage 'sent'"),
        ({"colour": "red"}, b"the arguments do not fit"),
    ],
)
def test_what_cannot_be_asked(tmp_path: Path, arguments: Any, text: bytes) -> None:
    relay = Relay(tmp_path)
    relay.start()
    assert text in Tap(relay, **{"stage": "received", **arguments}).wire.value()
    relay.stop()


def test_a_token_that_is_known_late_is_masked(tmp_path: Path) -> None:
    late = UnreadToken("it is not there", file=str(tmp_path / "token"))
    central = new_destination(
        *("all", Url("file", path=str(tmp_path / "all.log")), ("app",)),
        rewrite=RewriteConfiguration("cee", late),
    )
    relay = Relay(tmp_path, destinations=(central,))
    relay.start()
    tap = Tap(relay, "delivered", id="all")
    relay.send("app", FRAME)
    read(relay)
    relay.reactor.advance(1.0)
    (tmp_path / "token").write_text("a-token-that-comes-late")
    (tmp_path / "token").chmod(0o600)
    relay.service.getServiceNamed("tokens").look()
    (item,) = tap.shown()
    assert b"hello" in (payload := b64decode(item["payload"]))
    assert b"a-to\xe2\x80\xa6late" in payload
    dropped = Tap(relay, "dropped")
    relay.send("system", b"<13>a-token-that-comes-late")
    assert len(dropped.shown()) == 1
    (samples,) = relay.ask("samples", source="system")["system"].values()
    assert samples[0]["text"] == "<13>a-to…late"
    dropped.close()
    tap.close()
    relay.stop()
