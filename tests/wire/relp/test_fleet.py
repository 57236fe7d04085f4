from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.codec import encode_syslog
from relay.wire.relp.blocks import Packer
from relay.wire.relp.client import RelpClientSession
from relay.wire.relp.fleet import (
    FLEET_COMMAND,
    REPORT_BYTES_MAX,
    FleetOffer,
    FleetReport,
    fleet_in,
    format_fleet,
    format_report,
    parse_report,
    takes_reports,
)
from relay.wire.relp.frame import RelpFrameDecoder, encode_frame
from relay.wire.relp.offers import parse_offers
from relay.wire.relp.server import RelpServerSession

REPORT = FleetReport(57, 64)
OFFER = format_fleet("web-1", "1.2")


def new_server(**options: Any) -> RelpServerSession:
    options = {"data_bytes_max": 4096, "software": b"x", "takes_reports": True, **options}
    return RelpServerSession(**options)


def new_client(**options: Any) -> RelpClientSession:
    options = {"offer": OFFER, "report": lambda: REPORT, **options}
    return RelpClientSession(window_records=10, software=b"x", **options)


def opened(client: RelpClientSession, server: RelpServerSession) -> None:
    server.receive(client.data_to_send())
    client.receive(server.data_to_send())
    assert client.ready


def data_of(frame: bytes) -> bytes:
    ((txnr, command, data),) = RelpFrameDecoder(data_bytes_max=4096).feed(frame)
    assert (txnr, command) == (0, FLEET_COMMAND)
    return data


def test_a_name_is_what_an_offer_can_hold() -> None:
    assert OFFER == b"syslogrelay_fleet=web-1,1.2"
    odd = format_fleet("wéb,1\n=" + 100 * "x", "1,2\n" + 100 * "3")
    found = fleet_in(parse_offers(b"a=b\n" + odd + b"\nc=d"))
    assert found is not None
    assert (found.name[:7], len(found.name), found.version[:4]) == ("w_b_1__", 64, "1-2-")
    assert fleet_in(parse_offers(format_fleet("", ""))) == FleetOffer("relay", "0")


@pytest.mark.parametrize(
    "values",
    [
        *([], [b"web"], [b"web", b"1", b"2"], [b"", b"1"], [b"web", b""]),
        *([b"we b", b"1"], [b"web\x1b[2J", b"1"], [b"x" * 65, b"1"], [b"web", b"1" * 33]),
        *([b"web\n", b"1"], [b"w\xc3\xa9b", b"1"]),
    ],
)
def test_malformed_offers_are_none(values: list[bytes]) -> None:
    assert fleet_in({b"syslogrelay_fleet": values}) is None
    assert not takes_reports({b"syslogrelay_fleet": values})


@pytest.mark.parametrize("report", [REPORT, FleetReport(0, None), FleetReport(10**14, 10**9)])
def test_reports_survive(report: FleetReport) -> None:
    assert parse_report(data_of(format_report(report))) == report


def test_numbers_that_are_too_large_are_the_largest() -> None:
    found = parse_report(data_of(format_report(FleetReport(10**20, 10**20))))
    assert found == FleetReport(10**15 - 1, 10**10 - 1)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"57", b"queued_records", b"queued_records=", b"queued_records=-1"),
        *(b"queued_records=1,2", b"queued_records=1e3", b"queued_records=" + 16 * b"1"),
        *(b"queued_records=1\noldest_seconds=x", b"queued_records=1\noldest_seconds="),
        b"queued_records=1\n" + REPORT_BYTES_MAX * b"x",
    ],
)
def test_malformed_reports_are_none(data: bytes) -> None:
    assert parse_report(data) is None


def test_members_that_are_not_known_are_ignored() -> None:
    assert parse_report(b"mood=good\nqueued_records=57\noldest_seconds=64") == REPORT


@given(st.binary(max_size=200) | st.text("quedrcosl=_t0123456789,\n", max_size=80).map(str.encode))
def test_whatever_comes_is_a_report_within_bounds_or_none(data: bytes) -> None:
    found = parse_report(data)
    if found is not None:
        assert 0 <= found.queued_records < 10**15
        assert found.oldest_seconds is None or 0 <= found.oldest_seconds < 10**10


def test_the_server_learns_who_it_is_and_what_waits() -> None:
    client, server = new_client(), new_server()
    opened(client, server)
    assert server.fleet == FleetOffer("web-1", "1.2")
    assert client.reports and server.report is None
    client.tell_report()
    assert server.receive(client.data_to_send()) == []
    assert (server.report, server.error, server.unanswered) == (REPORT, None, 0)
    assert server.data_to_send() == b""


@pytest.mark.parametrize(
    ("client", "server"),
    [
        (new_client(), new_server(takes_reports=False)),
        (new_client(offer=b"", report=None), new_server()),
        (new_client(offer=b"syslogrelay_fleet=a b,1"), new_server()),
    ],
    ids=["foreign-server", "off", "malformed"],
)
def test_only_who_has_agreed_reports(client: RelpClientSession, server: RelpServerSession) -> None:
    opened(client, server)
    assert not client.reports and server.fleet is None
    server.receive(format_report(REPORT))
    assert server.error is not None  # as every number that is not due


def test_nothing_is_reported_before_the_session_is_open_and_after_its_end() -> None:
    client, server = new_client(), new_server()
    opening = client.data_to_send()
    client.tell_report()
    assert client.data_to_send() == b""
    server.receive(opening)
    client.receive(server.data_to_send())
    client.close()
    client.data_to_send()
    client.tell_report()
    assert client.data_to_send() == b""


@given(st.data())
def test_reports_anywhere_between_messages_change_nothing_else(data: st.DataObject) -> None:
    packs = data.draw(st.booleans())
    client = new_client(packer=Packer(3) if packs else None)
    server = new_server(unpacks=lambda: packs)
    opened(client, server)
    assert client.begin_packing() == packs
    sent: list[bytes] = []
    taken: list[bytes] = []
    acknowledged = 0
    for run in data.draw(st.lists(st.integers(0, 4), max_size=8)):
        if run:
            sent += (messages := [b"<13>message %d " % n + 40 * b"x" for n in range(run)])
            client.send(messages)
        if data.draw(st.booleans()):
            client.tell_report()
        stream = client.data_to_send()
        cut = data.draw(st.integers(0, len(stream)))
        for chunk in (stream[:cut], stream[cut:]):
            taken += server.receive(chunk)
        server.answer(server.unanswered)
        acknowledged += client.receive(server.data_to_send())
    assert (server.error, client.error) == (None, None)
    assert taken == sent and acknowledged == len(sent)


def test_a_report_among_cut_messages_moves_no_mark() -> None:
    client, server = new_client(), new_server(data_bytes_max=200)
    opened(client, server)
    stream = encode_syslog(2, [b"a" * 230]) + format_report(FleetReport(1, None))
    messages = server.receive(stream + encode_syslog(3, [b"b" * 240, b"c"]))
    assert [len(each) for each in messages] == [200, 200, 1]
    assert server.cut == {0: 230, 1: 240}
    assert server.error is None


def test_one_that_is_too_long_is_ignored() -> None:
    client, server = new_client(), new_server()
    opened(client, server)
    server.receive(encode_frame(0, FLEET_COMMAND, b"queued_records=1\n" + 9000 * b"x"))
    assert (server.report, server.error, server.cut) == (None, None, {})
