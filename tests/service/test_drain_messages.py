from __future__ import annotations

from dataclasses import replace
from typing import get_args

import msgspec
import pytest

from relay.flow.pacing import DrainRate
from relay.model.token import Token
from relay.service import drain_messages
from relay.service.configuration import (
    DestinationConfiguration,
    FormatConfiguration,
    RewriteConfiguration,
    TlsConfiguration,
    Url,
)
from relay.service.drain_messages import (
    Acknowledged,
    Began,
    Begin,
    LetGo,
    Order,
    Renew,
    Report,
    Said,
    State,
    Stored,
    Task,
    configuration_of,
    decode_orders,
    decode_reports,
    encode,
    task_configuration,
)
from relay.transport.tls_context import TlsMaterial

CONFIGURATION = DestinationConfiguration(
    id="out",
    connect=Url("relp+tls", "central.example.com", 20515),
    sources=("in", "other"),
    tls=TlsConfiguration(trusted_ca="/ca.pem", peer_fingerprints=("SHA-256:AB",)),
    drain_rate=DrainRate(bytes_per_second=1e6),
    window_records=77,
)


def task(configuration: DestinationConfiguration = CONFIGURATION) -> Task:
    material = TlsMaterial(private_key_pem=b"\xff\0", trusted_ca="/ca.pem")
    return Task(task_configuration(configuration), 5, 9, b'{"id":""}', ["hand"], material)


def test_both_sides_understand_each_other() -> None:
    orders = [Begin("/queue", 2**33, [task()]), Stored("out", 2**63), LetGo()]
    orders.append(Renew("out", TlsMaterial(crl_pem=b"\n")))
    assert decode_orders(encode(orders)) == orders
    reports = [Began("no"), Acknowledged("out", 3), State("out", "ready", in_flight=2)]
    reports.append(Said("relay", "info", "häßlich"))
    assert decode_reports(encode(reports)) == reports


def test_every_message_has_a_place_in_one_of_the_two() -> None:
    own = {
        one
        for one in vars(drain_messages).values()
        if isinstance(one, type)
        and issubclass(one, msgspec.Struct)
        and one.__module__ == drain_messages.__name__
    }
    assert own == {*get_args(Order), *get_args(Report), Task}
    assert not set(get_args(Order)) & set(get_args(Report))


def test_what_is_done_before_the_queue_stays_in_the_main_process() -> None:
    configuration = replace(
        CONFIGURATION,
        match={"severity": "..err"},
        rewrite=RewriteConfiguration("cee", Token(b"0123456789-secret")),
        format=FormatConfiguration("json"),
    )
    given = task(configuration)
    assert b"secret" not in given.configuration
    assert configuration_of(given) == CONFIGURATION


def test_what_nobody_has_said() -> None:
    for octets in (b"", b"\x91\x91\xa6Nobody", encode([Stored("out", 3)])):
        with pytest.raises(msgspec.MsgspecError):
            decode_reports(octets)
