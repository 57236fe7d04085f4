"""Levels of the log, and topics: details that are logged only if they are turned on.

A topic that is off costs the test of an attribute:

    if CONNECTIONS.is_on:
        _connections.debug("source {source}: {peer}: connected", source=id, peer=peer)

`relay.observe.log_levels` turns them on and off.
"""

from __future__ import annotations

LEVELS = ("debug", "info", "warn", "error")
"""Of the log, from the most to the least that is written."""


class Topic:
    """Details of one kind.

    Args:
        namespace: That of its log events, such as ``relay.connections``.

    Attributes:
        is_on: Whether its events are written.
    """

    __slots__ = ("is_on", "namespace")

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.is_on = False


CONNECTIONS = Topic("relay.connections")
"""Connections of senders: when they begin and end."""
SESSIONS = Topic("relay.sessions")
"""Connections to upstreams: attempts, sessions, and pauses before the next attempt."""
COMMITS = Topic("relay.commits")
"""Transactions of the queue: how much was stored and forgotten, and how long that took."""
TOPICS = (CONNECTIONS, SESSIONS, COMMITS)
