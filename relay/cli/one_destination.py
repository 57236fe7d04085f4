"""A destination that the command line describes, and how a relay would write its messages."""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo

from twisted.logger import Logger

from relay.flow.routing import Routes
from relay.model.clock import Reactor, WallClock
from relay.model.origin import Arrival, Origin, Transport
from relay.model.parse_options import ParseOptions
from relay.service.configuration.file import read_tables
from relay.service.configuration.model import Configuration
from relay.service.destinations.kind import Delivery, DestinationParts
from relay.service.kinds import KINDS
from relay.service.routes.lookup_file import LookupFile
from relay.service.routes.rewriting import Rewriting
from relay.service.tls.certificate_watch import CertificateWatch
from relay.transport.notices import Notices
from relay.wire.parse_options import new_parser

_ID = "to"
_PATH = f"destinations.{_ID}."
_SOURCE = {"listen": "unixgram:/dev/null/none"}
"""A relay needs one; here it says that messages are of this host."""


class OneDestination:
    """The destination at `url` with the keys of its kind.

    Args:
        keys: As in the configuration file.
        flag: Turns the name of a key into what the user wrote.

    Raises:
        ValueError: Something is wrong with them, or with the files that they name.
    """

    def __init__(
        self, url: str, keys: Mapping[str, object], *, flag: Callable[[str], str], zone: tzinfo
    ) -> None:
        self._configuration = _read({**keys, "connect": url}, flag)
        (self._destination,) = self._configuration.destinations
        self._kind = KINDS.destination(self._destination.connect.scheme)
        rewriting = Rewriting(self._configuration, zone=zone, now=time.time, lookup=LookupFile)
        self._routes = Routes([rewriting.route(self._destination)])
        self._fill = rewriting.tokens[_ID].fill
        self._parse = new_parser(ParseOptions(), zone=zone)
        if rewriting.problems:
            raise ValueError("; ".join(rewriting.problems))

    @property
    def target(self) -> str:
        """Its name, for people."""
        return ", ".join(map(str, self._destination.targets))

    def payloads(self, messages: Sequence[bytes]) -> Sequence[bytes]:
        """What a relay would send of messages; less than one each if some are dropped."""
        if not self._routes.need_lines:
            return messages
        origin = Origin("send", Transport.UNIX, received_at=time.time())
        arrival = Arrival.of_one(len(messages), origin)
        routed = self._routes.route(self._parse(messages, arrival), arrival)
        return self._fill(routed.payloads.get(_ID, ()))

    def delivery(self, reactor: Reactor) -> Delivery:
        """What makes its sessions."""
        notices = Notices(clock=reactor, log=Logger(namespace="relay"))
        watch = CertificateWatch(notices=notices, now=time.time, clock=reactor)
        wall = WallClock(now=time.time, elapsed=time.monotonic)
        parts = DestinationParts(watch, notices, wall, reactor)
        delivery: Delivery = self._kind.make(self._destination, parts)
        return delivery


def _read(table: Mapping[str, object], flag: Callable[[str], str]) -> Configuration:
    values = {"sources": {"send": _SOURCE}, "destinations": {_ID: table}}
    configuration, problems = read_tables(values, KINDS, base_dir=os.getcwd())
    if problems:
        raise ValueError("; ".join(_with_flag(problem, flag) for problem in problems))
    return configuration


def _with_flag(problem: str, flag: Callable[[str], str]) -> str:
    path, colon, reason = problem.partition(": ")
    return f"{flag(path.removeprefix(_PATH))}{colon}{reason}" if path.startswith(_PATH) else problem


def read_setting(text: str) -> tuple[str, object]:
    """The key and the value of ``KEY=VALUE``; a value that is no TOML is text.

    Raises:
        ValueError: There is no ``=``.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ValueError(f"expected KEY=VALUE, as in framing=newline, found {text!r}")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value.strip()
