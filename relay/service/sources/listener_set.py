"""Sets of listeners that other programs open by one word."""

from __future__ import annotations

from relay.service.configuration.kinds import ListenerSet, Member
from relay.service.sources.datagrams import UDP
from relay.service.sources.relp import RELP
from relay.service.sources.streams import TCP, TLS

__all__ = ["DEFAULT_NETWORK", "SEMATEXT_RECEIVER"]

DEFAULT_NETWORK = ListenerSet(
    scheme="default-network",
    members=(
        Member("udp", UDP, 514),
        Member("tcp", TCP, 514),
        Member("rfc5424-tcp", TCP, 601),
        Member("rfc5424-tls", TLS, 6514),
    ),
    delivered="the listeners of syslog-ng's default-network-drivers()",
)
SEMATEXT_RECEIVER = ListenerSet(
    scheme="sematext-receiver",
    members=(
        Member("udp", UDP, 514),
        Member("tcp", TCP, 514),
        Member("tls", TLS, 10514),
        Member("relp", RELP, 20514),
    ),
    delivered="the listeners of Sematext's receivers",
)
