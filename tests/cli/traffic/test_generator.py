from __future__ import annotations

import hashlib
import json
from collections import Counter
from functools import cache
from ipaddress import ip_address, ip_network
from itertools import islice
from re import findall

import pytest

from relay.cli.traffic.generator import BYTES_MAX, BYTES_MIN, HOSTS, KINDS, Line, lines
from relay.cli.traffic.generator import messages as traffic
from relay.model.message import SyslogMessage
from relay.wire.parse import parse

COUNT = 4000
WELL_FORMED = ("uniform", "host3164", "central3164", "host5424", "central5424", "json5424")
CENTRAL = ("central3164", "central5424", "json5424")
ALL_BUT_UNIFORM = KINDS[1:]
RFC5424 = ("host5424", "central5424", "json5424")
DOCUMENTATION = [
    ip_network(net)
    for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "0.0.0.0/32")
]


@cache
def lines_of(kind: str) -> tuple[Line, ...]:
    return tuple(islice(lines(kind), COUNT))


@cache
def parsed(kind: str) -> tuple[SyslogMessage, ...]:
    return tuple(parse(line.raw) for line in lines_of(kind))


def test_there_are_eight_kinds() -> None:
    assert (*WELL_FORMED, "devices", "mixed") == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_and_a_seed_give_the_same_messages_and_a_longer_corpus_the_same_start(
    kind: str,
) -> None:
    assert traffic(kind, 50, seed=7) == traffic(kind, 200, seed=7)[:50]


@pytest.mark.parametrize("kind", ALL_BUT_UNIFORM)
def test_another_seed_gives_other_messages(kind: str) -> None:
    assert not set(traffic(kind, 200, seed=1)) & set(traffic(kind, 200, seed=2))


def test_the_messages_are_the_same_in_every_process_and_on_every_machine() -> None:
    """Whoever changes the templates makes another corpus, and says so here."""
    digest = hashlib.sha256(b"\n".join(traffic("mixed", 500)))
    assert digest.hexdigest()[:16] == "7124f9a2388a5ff2"


@pytest.mark.parametrize("kind", WELL_FORMED)
def test_each_well_formed_line_has_a_host_a_program_and_a_stamp(kind: str) -> None:
    for message in parsed(kind):
        assert message.hostname and message.app_name and message.timestamp, message.raw
        assert not message.tags, message.raw


@pytest.mark.parametrize("kind", CENTRAL)
def test_a_central_receiver_hears_300_hosts_with_many_programs_and_pids(kind: str) -> None:
    assert 0.95 * HOSTS <= len({message.hostname for message in parsed(kind)}) <= HOSTS == 300
    assert len({message.app_name for message in parsed(kind)}) >= 25
    assert len({message.procid for message in parsed(kind)}) >= 500


@pytest.mark.parametrize("kind", ["host3164", "host5424"])
def test_one_host_has_many_programs_and_pids(kind: str) -> None:
    assert len({message.hostname for message in parsed(kind)}) == 1
    assert len({message.app_name for message in parsed(kind)}) >= 25
    assert len({message.procid for message in parsed(kind)}) >= 200


@pytest.mark.parametrize("kind", ALL_BUT_UNIFORM)
def test_lengths_are_from_40_to_900_bytes_and_spread(kind: str) -> None:
    lengths = sorted(len(line.raw) for line in lines_of(kind) if line.family != "odd")
    assert (BYTES_MIN, BYTES_MAX) == (40, 900)
    assert lengths[0] >= 40 and lengths[-1] <= 900
    assert lengths[0] < (150 if kind == "json5424" else 80)
    assert lengths[-1] > 700
    assert 100 < lengths[COUNT // 2] < 400


@pytest.mark.parametrize("kind", RFC5424)
def test_40_percent_of_rfc5424_have_structured_data(kind: str) -> None:
    with_data = sum(bool(message.structured_data) for message in parsed(kind))
    assert with_data / COUNT == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_stamps_move(kind: str) -> None:
    stamps = {message.timestamp for message in parsed(kind)}
    # RFC 3164 has seconds: 40 messages of one host, a few of 300 hosts with clocks of their own.
    assert len(stamps) > (COUNT / 50 if kind == "host3164" else 10)


def test_json_is_valid() -> None:
    for message in parsed("json5424"):
        assert isinstance(json.loads(message.msg.removeprefix(b"@cee:")), dict)


def test_devices_of_six_makes_write_as_they_do() -> None:
    families = Counter(line.family for line in lines_of("devices"))
    assert set(families) == {"asa", "ios", "fortigate", "panos", "junos", "esxi"}
    assert min(families.values()) > COUNT / 20
    start = {"asa": b"%ASA-", "ios": b": %", "fortigate": b">date=", "panos": b" 1,2026/"}
    for line, message in zip(lines_of("devices"), parsed("devices"), strict=True):
        assert start.get(line.family, b"") in line.raw
        if line.family in ("panos", "junos", "esxi"):
            assert message.hostname, line.raw
        if line.family in ("junos", "esxi"):
            assert message.app_name, line.raw


def test_mixed_is_all_of_them_with_3_percent_of_odd_lines() -> None:
    families = Counter(line.family for line in lines_of("mixed"))
    assert {"rfc3164", "rfc5424", "json5424", "asa", "fortigate", "odd"} <= set(families)
    assert families["odd"] / COUNT == pytest.approx(0.03, abs=0.01)
    odd = [line.raw for line in lines_of("mixed") if line.family == "odd"]
    assert any(parse(raw).tags for raw in odd)
    assert any(not raw.startswith(b"<") for raw in odd)


def test_mixed_has_some_utf8_and_some_latin_1() -> None:
    latin = utf8 = 0
    for line in lines_of("mixed"):
        try:
            utf8 += not line.raw.decode().isascii()
        except UnicodeDecodeError:
            latin += 1
    assert 0.01 < utf8 / COUNT < 0.03
    assert 0.002 < latin / COUNT < 0.02


@pytest.mark.parametrize("kind", ALL_BUT_UNIFORM)
def test_addresses_are_those_for_documentation(kind: str) -> None:
    for line in lines_of(kind):
        for found in findall(rb"(?<![\w.:])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])", line.raw):
            if not found.startswith(b"8."):  # a version
                address = ip_address(found.decode())
                assert any(address in net for net in DOCUMENTATION), line.raw
