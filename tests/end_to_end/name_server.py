"""A name server on loopback, and a relay that asks it.

As a program: `name_server.py PORT FILE` answers from the JSON in FILE, which is read anew for each
question: `{"up.test": {"A": ["127.0.0.1"], "ttl": 1}}`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import react
from twisted.names import dns, server
from twisted.names.error import DomainError

from tests.processes import Program, is_bound_udp

WITH_ITS_OWN_NAMES = """\
import functools, runpy, sys
from twisted.names import client
plain = client.Resolver.__init__
client.Resolver.__init__ = lambda self, resolv, reactor: plain(
    self, servers=[("127.0.0.1", {port})], reactor=reactor
)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class NameServer(Program):
    """The program.

    Args:
        port: Of UDP.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._file = folder / "names.json"
        self._port = port
        arguments = [sys.executable, "-m", "tests.end_to_end.name_server"]
        super().__init__(
            [*arguments, str(port), str(self._file)],
            folder=folder,
            name="names",
            is_ready=lambda: is_bound_udp(port),
        )

    def say(self, names: dict[str, Any]) -> None:
        """Answer with `names` from now on."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(names))
        new.rename(self._file)

    def interpreter(self) -> str:
        """A Python that asks this server for all names."""
        program = self._file.with_name("with_names.py")
        program.write_text(WITH_ITS_OWN_NAMES.format(port=self._port))
        script = self._file.with_name("python")
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {program} "$@"\n')
        script.chmod(0o700)
        return str(script)


class _Zone:
    """Resolves from the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def query(self, query: dns.Query, timeout: object = None) -> Deferred[Any]:
        name = query.name.name.decode()
        entry = json.loads(self._path.read_text()).get(name, {})
        ttl = entry.get("ttl", 1)
        records: list[Any] = []
        if query.type == dns.A:
            records = [dns.Record_A(address, ttl) for address in entry.get("A", ())]
        if query.type == dns.SRV:
            records = [dns.Record_SRV(*each, ttl=ttl) for each in entry.get("SRV", ())]
        if not records:
            return fail(DomainError(name))
        found = [
            dns.RRHeader(name, each.TYPE, ttl=ttl, payload=each, auth=True) for each in records
        ]
        return succeed((found, [], []))


def serve(reactor: Any, port: str, path: str) -> Deferred[None]:
    factory = server.DNSServerFactory(clients=[_Zone(Path(path))])
    reactor.listenUDP(int(port), dns.DNSDatagramProtocol(factory), interface="127.0.0.1")
    return Deferred()


if __name__ == "__main__":
    react(serve, sys.argv[1:])
