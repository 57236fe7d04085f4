from __future__ import annotations

from typing import Any

import pytest

from relay.service.configuration.model import (
    Url,
)
from relay.transport.stream.outbound import SyslogStreamOutProtocol
from relay.wire.framing.decoders import (
    encode_newline_syslog,
    encode_octet_counted_syslog,
)
from tests.destination_setup import Setup, protocol_of


@pytest.mark.parametrize(
    ("framing", "encode"),
    [("octet-counting", encode_octet_counted_syslog), ("newline", encode_newline_syslog)],
)
def test_plain_syslog_and_its_framing(setup: Setup, framing: str, encode: Any) -> None:
    service = setup.build(Url("tcp", host="up", port=514), framing=framing)
    protocol = protocol_of(service)
    assert isinstance(protocol, SyslogStreamOutProtocol)
    assert protocol._encode is encode
