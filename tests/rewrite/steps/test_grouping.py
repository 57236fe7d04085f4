from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.model.message import JsonText, SyslogMessage
from relay.model.origin import Origin, Transport
from relay.rewrite.conditions import always, field_in
from relay.rewrite.drops import Drops
from relay.rewrite.steps import grouping
from relay.rewrite.steps.grouping import RECORDS_NAME, GroupBy, decode_members, encode_members
from relay.rewrite.steps.pipeline import Keeps
from relay.wire.hops import HOPS_NAME, hops_of
from relay.wire.parse import parse


def at(seconds: float) -> Origin:
    return Origin("in", Transport.UDP, "192.0.2.1", monotonic_at=seconds)


def message(host: str, text: str, severity: int = 6) -> SyslogMessage:
    return parse(f"<{8 + severity}>Oct 11 22:14:15 {host} app: {text}".encode())


def hosts(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
    return [each.hostname or b"" for each in messages]


class Stage:
    """Groups by host until a message of severity 3."""

    def __init__(self, **given: Any) -> None:
        self.drops = Drops()
        keywords = {"end": field_in("severity", [3]), "seconds_max": 10, "records_max": 100}
        condition = given.pop("condition", always)
        self.group_by = GroupBy(1, condition, hosts, drops=self.drops, **{**keywords, **given})

    def send(self, *messages: SyslogMessage, seconds: float = 0.0) -> list[bytes]:
        return [each.msg for each in self.group_by(messages, at(seconds))]


def test_a_message_that_fits_ends_its_group() -> None:
    stage = Stage()
    assert isinstance(stage.group_by, Keeps)
    assert stage.send(message("a", "1"), message("b", "2"), message("a", "3")) == []
    assert stage.send(message("a", "4", severity=3), message("a", "5")) == [b"1\n3\n4"]
    assert stage.group_by.waiting == 2
    assert stage.send(message("b", "6", severity=3)) == [b"2\n6"]
    assert stage.drops == {"grouped": 3}


def test_one_message_has_what_all_have() -> None:
    first = message("a", "1")._replace(pairs={"x": b"1", "y": b"1"}, tags=(b"one",))
    second = message("a", "2", severity=3)._replace(pairs={"y": b"2"}, tags=(b"two", b"one"))
    (merged,) = Stage().group_by([first, second], at(0))
    assert merged == first._replace(
        severity=3,
        msg=b"1\n2",
        pairs={"x": b"1", "y": b"2", RECORDS_NAME: JsonText(b"2"), HOPS_NAME: b""},
        tags=(b"one", b"two"),
    )


WAY = b"0000000000000001@a 0000000000000002@b"


def test_a_group_has_the_longest_way_of_its_members_and_nobody_elses() -> None:
    stage = Stage()
    for way in (b"", WAY, WAY[:18]):
        assert not stage.group_by([message("a", "x")], at(0)._replace(hops=way))
    stage.group_by([message("b", "x")], at(0))
    crashed, stage = stage, Stage()
    stage.group_by.restore(crashed.group_by.take_positions(), at(0))
    first, second = stage.group_by([message("c", "x")], at(10)._replace(hops=WAY))
    (third,) = stage.group_by.flush(math.inf)
    ways = [hops_of(each, at(0)._replace(hops=b"other")) for each in (first, second, third)]
    assert ways == [WAY, b"", WAY]


def test_a_way_that_is_none_is_not_believed() -> None:
    """Parsers can make a pair of any name."""
    for text in (b"\0", b"0000000000000001@a\0", b"x"):
        claimed = message("a", "1")._replace(pairs={HOPS_NAME: text})
        assert hops_of(claimed, at(0)._replace(hops=WAY)) == WAY


def test_what_does_not_fit_passes_in_its_place() -> None:
    stage = Stage(condition=field_in("severity", [6, 3]))
    notice = message("a", "notice", severity=5)
    assert stage.send(message("a", "1"), notice, message("a", "2", severity=3)) == [
        b"notice",
        b"1\n2",
    ]
    assert stage.send(notice) == [b"notice"]


def test_time_and_number_end_a_group() -> None:
    stage = Stage(records_max=2, end=None)
    assert stage.send(message("a", "1"), message("a", "2"), message("a", "3")) == [b"1\n2"]
    stage.send(message("b", "4"), seconds=5)
    assert stage.group_by.flush(9.9) == []
    assert [each.msg for each in stage.group_by.flush(10)] == [b"3"]
    assert stage.send(message("a", "5"), seconds=15) == [b"4"]  # flush was late
    assert [each.msg for each in stage.group_by.flush(math.inf)] == [b"5"]


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "_GROUPS_MAX", 2)
    stage = Stage()
    assert stage.send(*(message(host, host) for host in "abc")) == [b"a"]
    monkeypatch.setattr(grouping, "_GROUP_BYTES_MAX", 2000)
    assert stage.send(message("c", "x" * 1500)) == [b"c\n" + b"x" * 1500]
    monkeypatch.setattr(grouping, "_BYTES_MAX", 400)
    assert stage.send(message("d", "d"), message("e", "e")) == [b"b", b"d"]
    long = message("h" * 200, "x")
    stage.send(long)
    assert all(len(key) <= 200 for key in stage.group_by._groups)


def test_members_are_stored_once_and_forgotten_with_their_group() -> None:
    stage = Stage()
    stage.send(message("a", "1"), message("b", "2"), message("a", "3"))
    positions = stage.group_by.take_positions()
    assert list(positions) == ["1/0/0", "1/1/0"]
    assert [each.msg for each in decode_members(positions["1/0/0"])] == [b"1", b"3"]
    assert stage.group_by.take_positions() == {}
    stage.send(message("a", "4"))
    assert list(stage.group_by.take_positions()) == ["1/0/1"]
    stage.send(message("a", "5", severity=3), message("c", "6", severity=3))
    assert stage.group_by.take_positions() == {"1/0/0": b"", "1/0/1": b""}


def test_members_are_as_they_were() -> None:
    pairs = {"a": b"\xff", "n": JsonText(b"1.50")}
    odd = message("a", "\0")._replace(pairs=pairs, tags=(b"x",), app="shop", is_utf8=True)
    members = [odd, parse(b'<1>1 - - - - - [a b="c"]')]
    found = decode_members(encode_members(members))
    assert found == members
    assert isinstance((found[0].pairs or {})["n"], JsonText)
    for damaged in (b"", b"x", encode_members(members)[:-1], b"\x92\x91\x01\x90"):
        assert decode_members(damaged) == []


def test_damaged_groups_are_forgotten_and_others_go_on() -> None:
    stage = Stage()
    left = {
        "1/4/1": encode_members([message("a", "2")]),
        "1/4/0": encode_members([message("a", "1")]),
        "1/5/0": b"",
        "1/6/0": encode_members([message("a", "x")]),
        "2/0/0": b"of another step",
    }
    assert sorted(stage.group_by.restore(left, at(100))) == ["1/4/0", "1/4/1", "1/5/0", "1/6/0"]
    assert stage.group_by.take_positions() == {"1/5/0": b""}
    assert stage.send(message("a", "3", severity=3), seconds=105) == [b"1\n2\n3"]
    stage.send(message("n", "new"), seconds=106)
    assert stage.group_by.take_positions().keys() == {"1/4/0", "1/4/1", "1/7/0"}
    assert [each.msg for each in stage.group_by.flush(111)] == [b"x"]


texts = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([3, 6]), st.booleans()))


@given(texts)
def test_a_crash_after_any_transaction_loses_and_repeats_nothing(
    sent: list[tuple[str, int, bool]],
) -> None:
    """What is on disk is always what was sent: as groups, or as members of those to come."""
    disk: dict[str, bytes] = {}
    stored: list[bytes] = []
    stage = Stage(records_max=3)

    def commit(payloads: list[bytes], positions: Mapping[str, bytes]) -> None:
        stored.extend(payloads)
        for name, members in positions.items():
            if members:
                assert name not in disk
                disk[name] = members
            else:
                del disk[name]

    for number, (host, severity, crashes) in enumerate(sent):
        payloads = stage.send(message(host, f"{host}{number}", severity))
        commit(payloads, stage.group_by.take_positions())
        if crashes:
            stage = Stage(records_max=3)
            stage.group_by.restore(disk, at(0))
        on_disk = [each.msg for members in disk.values() for each in decode_members(members)]
        lines = [line for payload in stored for line in payload.split(b"\n")]
        expected = [f"{host}{n}".encode() for n, (host, _, _) in enumerate(sent[: number + 1])]
        assert sorted(lines + on_disk) == sorted(expected)
    commit([each.msg for each in stage.group_by.flush(math.inf)], stage.group_by.take_positions())
    assert disk == {}
    for host in "ab":
        lines = [line for payload in stored for line in payload.split(b"\n")]
        own = [line for line in lines if line.startswith(host.encode())]
        assert own == [f"{host}{n}".encode() for n, (each, _, _) in enumerate(sent) if each == host]
