from __future__ import annotations

import pytest

from relay.wire.adapters.panos import read_panos
from relay.wire.parse import parse

SYSTEM = (
    b"1,2020/04/14 16:48:54,unknown,SYSTEM,auth,0,2020/04/14 16:48:54,,auth-fail,,0,0,general,"
    b'medium,"failed, for user ""admin""",1718,0x0,0,0,0,0,,paloalto'
)
CONFIG = (
    b"1,2020/04/14 16:54:18,unknown,CONFIG,0,0,2020/04/14 16:54:18,10.0.10.55,,set,admin,Web,"
    b"Succeeded, deviceconfig system,%s127,0x0,0,0,0,0,,paloalto"
)
START = b"<12>Apr 14 16:48:54 fw.test.net "


def test_columns_are_pairs() -> None:
    message = read_panos(parse(START + SYSTEM))
    assert message is not None
    assert (message.hostname, message.app_name, message.procid) == (
        *(b"fw.test.net", b"paloalto_panos"),
        None,
    )
    assert message.msg == SYSTEM
    assert message.pairs is not None
    assert message.pairs[".panos.opaque"] == b'failed, for user "admin"'
    assert message.pairs[".panos.device_name"] == b"paloalto"
    assert message.pairs[".app.name"] == b"panos"
    assert "LEGACY_MSGHDR" not in message.pairs


@pytest.mark.parametrize("details", [b"", b"before,after,"])
def test_config_logs_come_in_two_lengths(details: bytes) -> None:
    message = read_panos(parse(START + CONFIG % details))
    assert message is not None
    assert message.pairs is not None
    assert message.pairs[".panos.seqno"] == b"127"
    assert message.pairs[".panos.device_name"] == b"paloalto"
    assert message.pairs.get(".panos.after_change_detail") == (b"after" if details else None)


@pytest.mark.parametrize(
    "line",
    [
        b"1,2,3",
        SYSTEM.replace(b"SYSTEM", b"NEW"),
        SYSTEM.removesuffix(b",paloalto"),
        b'1,2,3,SYSTEM,"',
        b"1,\0,\r,SYSTEM",
    ],
)
def test_what_only_looks_like_it_is_left_alone(line: bytes) -> None:
    assert read_panos(parse(START + line)) is None
