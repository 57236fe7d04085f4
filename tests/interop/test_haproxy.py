"""Three receivers behind HAProxy, by the configuration in deploy/haproxy."""

from __future__ import annotations

import csv
import re
import signal
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import ask
from tests.certificate_files import CertificateFiles
from tests.interop.packages import PackagesRoot
from tests.plain_senders import feed_lines
from tests.processes import (
    Program,
    Programs,
    free_port,
    is_listening_tcp,
    running_programs,
    wait_until,
)
from tests.relay_process import RelayProcess, received
from tests.relp_sender import RelpSender

pytestmark = pytest.mark.slow

DEPLOYED = Path(__file__).resolve().parents[2] / "deploy" / "haproxy" / "haproxy.cfg"
PORTS = {"relp": 20514, "relp-tls": 20515, "syslog-tcp": 514, "syslog-tls": 6514}
SCHEMES = {"relp": "relp", "relp-tls": "relp+tls", "syslog-tcp": "tcp", "syslog-tls": "tls"}
HEALTH_PORT = 8514
RECEIVERS = 3
SENDERS = 8
"""Of each section."""
BURST = 8
LEAD_SECONDS = 2.0
FASTER = {
    "inter 2s fastinter 1s fall 2 rise 3": "inter 200ms fall 2 rise 1",
    "slowstart 60s": "slowstart 1s",
    "log /dev/log local2 notice": "",
    "maxconn 50000": "maxconn 500",  # as many descriptors as there may be here
}
"""What the tests change in the configuration, beside addresses and files."""


class Tier:
    """The balancer and its receivers."""

    def __init__(
        self,
        programs: Programs,
        packages: PackagesRoot,
        certificates: CertificateFiles,
        folder: Path,
    ) -> None:
        self.certificates = certificates
        self.ports = {section: free_port() for section in PORTS}
        self.receivers = [
            Receiver(programs, certificates, folder / f"receiver{number}")
            for number in range(1, RECEIVERS + 1)
        ]
        self._socket = folder / "admin.sock"
        program = Program(
            [str(packages.haproxy), "-db", "-f", str(self._configured(folder))],
            folder=folder,
            name="haproxy",
            environment=packages.environment,
            is_ready=lambda: all(map(is_listening_tcp, self.ports.values())),
        )
        programs.add(program)
        program.start()
        self._before = Counter[bytes]()

    def begin(self) -> None:
        """Begin a test: all receivers are up, and what has arrived does not count."""
        for receiver in self.receivers:
            if not receiver.relay.is_running:
                receiver.relay.start()
        wait_until(lambda: self.are_up() == RECEIVERS, "all receivers are up")
        self._before = self._all_lines()

    def _configured(self, folder: Path) -> Path:
        text = DEPLOYED.read_text()
        changes = {
            **FASTER,
            "/run/haproxy/admin.sock": str(self._socket),
            "/etc/haproxy/ca.pem": self.certificates.ca,
        }
        for section, port in PORTS.items():
            changes[f"bind :{port} "] = f"bind 127.0.0.1:{self.ports[section]} "
        for number, receiver in enumerate(self.receivers, start=1):
            for section, port in PORTS.items():
                changes[f" 10.0.0.{10 + number}:{port}\n"] = (
                    f" 127.0.0.1:{receiver.ports[section]} port {receiver.health}\n"
                )
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        assert "10.0.0" not in text.split("global", 1)[1]
        path = folder / "haproxy.cfg"
        path.write_text(text)
        return path

    def servers(self, section: str) -> list[dict[str, str]]:
        """HAProxy's statistics of the receivers in a section, in their order."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket))
            connection.sendall(b"show stat\n")
            with connection.makefile(encoding="ascii") as answer:
                rows = list(csv.DictReader(answer.read().removeprefix("# ").splitlines()))
        return [row for row in rows if row["pxname"] == section and row["svname"][:3] == "rec"]

    def is_up(self, section: str, index: int) -> bool:
        return self.servers(section)[index]["status"] == "UP"

    def are_up(self) -> int:
        """The receivers that are up in all sections."""
        return min(
            sum(each["status"] == "UP" for each in self.servers(section)) for section in PORTS
        )

    def connections(self, section: str) -> list[int]:
        """Open connections of each receiver."""
        return [int(each["scur"]) for each in self.servers(section)]

    def trouble(self, section: str) -> int:
        """Connections that failed, were tried again, or were sent to another receiver."""
        names = ("econ", "eresp", "wretr", "wredis")
        return sum(int(each[name] or 0) for each in self.servers(section) for name in names)

    def peers(self, section: str) -> set[str]:
        """The addresses that have sent something to any receiver."""
        return set[str]().union(*(each.peers(section) for each in self.receivers))

    def lines(self) -> Counter[bytes]:
        """What all receivers have stored in this test, without what stands before the text."""
        return self._all_lines() - self._before

    def _all_lines(self) -> Counter[bytes]:
        return Counter(
            re.sub(rb"^.* n=", b"", line)
            for receiver in self.receivers
            for line in received(receiver.arrived)
        )


class Receiver:
    """A relay as docs/balancer.md describes it."""

    def __init__(self, programs: Programs, certificates: CertificateFiles, folder: Path) -> None:
        self.ports = {section: free_port() for section in PORTS}
        self.health = free_port()
        self.arrived = folder / "received.log"
        own = {
            "certificate": certificates.server_certificate,
            "private_key": certificates.server_key,
        }
        token = folder / "web.token"
        folder.mkdir()
        token.write_text("reader-0123456789")
        common = {
            "proxy_protocol": True,
            "allow": ["127.0.0.1"],
            "connection_seconds_max": 2.0,
        }
        tls = {**own, "peer_verify": "none"}
        self.relay = RelayProcess.started(
            programs,
            folder,
            sources={
                section: {
                    "listen": f"{scheme}://127.0.0.1:{self.ports[section]}",
                    **common,
                    **(tls if "tls" in scheme else {}),
                }
                for section, scheme in SCHEMES.items()
            },
            destinations={"file": {"connect": f"file://{self.arrived}"}},
            web={
                "listen": f"https://127.0.0.1:{self.health}",
                "health_lead_seconds": LEAD_SECONDS,
                "token_file": str(token),
                "peer_verify": "none",
                **own,
            },
        )

    def source(self, section: str) -> dict[str, Any]:
        """The status of a source."""
        sources = ask(str(self.relay.state_dir), "status")["sources"]
        (found,) = [each for each in sources if each["id"] == section]
        return dict(found)

    def peers(self, section: str) -> set[str]:
        """The addresses that have sent something to a source."""
        return set(ask(str(self.relay.state_dir), "peers", {"source": section})[section]["peers"])


class Sender(threading.Thread):
    """Sends numbered messages by RELP, and those again that were not answered.

    Attributes:
        troubles: How connections ended, other than by the server's farewell, or could not be made.
        answered: Texts of the messages.
    """

    def __init__(self, port: int, name: str, tls: ssl.SSLContext | None) -> None:
        super().__init__(daemon=True)
        self.troubles: list[str] = []
        self.answered: list[bytes] = []
        self.ended = threading.Event()
        self._port, self._name, self._tls = port, name, tls
        self._again: list[bytes] = []
        self._count = 0

    def run(self) -> None:
        while self._again or not self.ended.is_set():
            try:
                with RelpSender(self._port, tls=self._tls) as session:
                    self._serve(session)
            except OSError as error:
                self.troubles.append(repr(error))
                time.sleep(0.05)  # so that an error is not counted thousands of times

    def _serve(self, session: RelpSender) -> None:
        try:
            while self._again or not self.ended.is_set():
                burst = self._again or [self._next() for _ in range(BURST)]
                self._again = []
                session.send(burst)
                session.wait_answered()
            session.close()
        except ConnectionError as error:
            if "the server closes the session" not in str(error):
                raise
        finally:
            self.answered += [_text_of(each) for each in session.answered]
            self._again = list(session.unanswered.values()) + self._again

    def _next(self) -> bytes:
        self._count += 1
        return b"<13>1 - web-1 app - - - n=%s/%d" % (self._name.encode(), self._count)


def _text_of(message: bytes) -> bytes:
    return message.partition(b" n=")[2]


@pytest.fixture
def programs() -> Iterator[Programs]:
    with running_programs() as running:
        yield running


@pytest.fixture(scope="module")
def running_tier(
    packages: PackagesRoot, certificates: CertificateFiles, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tier]:
    with running_programs() as programs:
        folder = tmp_path_factory.mktemp("tier")
        yield (found := Tier(programs, packages, certificates, folder))
        for receiver in found.receivers:
            if receiver.relay.is_running:
                receiver.relay.kill()  # a stop would take as long as its lead


@pytest.fixture
def tier(running_tier: Tier) -> Tier:
    """All receivers are up, and nothing has arrived yet."""
    running_tier.begin()
    return running_tier


def started(tier: Tier, section: str) -> list[Sender]:
    tls = None
    if section == "relp-tls":
        tls = ssl.create_default_context(cafile=tier.certificates.ca)
    senders = [Sender(tier.ports[section], f"{section}{n}", tls) for n in range(SENDERS)]
    for sender in senders:
        sender.start()
    return senders


def while_all_send(senders: list[Sender], is_enough: Callable[[], object], what: str) -> None:
    """Wait until it is enough, and for a few more answers of each sender."""
    wait_until(is_enough, what, 40.0)
    before = [len(sender.answered) for sender in senders]
    wait_until(
        lambda: all(
            len(sender.answered) > count for sender, count in zip(senders, before, strict=True)
        ),
        "answers to every sender",
    )


def test_a_receiver_stops_and_comes_back_under_load(tier: Tier) -> None:
    sections = ("relp", "relp-tls")
    senders = [sender for section in sections for sender in started(tier, section)]
    leaving = tier.receivers[1]

    def connections(index: int) -> list[int]:
        return [tier.connections(section)[index] for section in sections]

    while_all_send(
        senders,
        lambda: min(min(connections(index)) for index in range(RECEIVERS)) >= 2,
        "all receivers have some",
    )

    process = leaving.relay
    process.signal(signal.SIGTERM)
    for section in sections:
        wait_until(lambda s=section: not tier.is_up(s, 1), "the check of who stops fails")
        assert is_listening_tcp(leaving.ports[section])
    process.wait_exit(LEAD_SECONDS + 5)
    while_all_send(senders, lambda: max(connections(1)) == 0, "its senders have moved")

    process.start()
    while_all_send(senders, lambda: min(connections(1)) >= 2, "it has senders again")

    for sender in senders:
        sender.ended.set()
    for sender in senders:
        sender.join(20)
    assert [sender.troubles for sender in senders] == [[]] * len(senders)
    assert [tier.trouble(section) for section in sections] == [0, 0]
    answered = Counter(text for sender in senders for text in sender.answered)
    wait_until(lambda: tier.lines().total() >= answered.total(), "all messages in the files")
    assert tier.lines() == answered
    assert set(answered.values()) == {1}


def test_receivers_see_the_senders_addresses(tier: Tier) -> None:
    tls = ssl.create_default_context(cafile=tier.certificates.ca)
    for number, (section, port) in enumerate(tier.ports.items(), start=1):
        before = tier.peers(section)
        message, address = b"<13>1 - web-1 app - - - n=%d" % number, f"127.0.0.{70 + number}"
        over = tls if "tls" in section else None
        if "relp" in section:
            with RelpSender(port, address=address, tls=over) as session:
                session.send([message])
                session.wait_answered()
        else:
            opened = socket.create_connection(("127.0.0.1", port), 20, (address, 0))
            if over is not None:
                opened = over.wrap_socket(opened, server_hostname="127.0.0.1")
            with opened:
                opened.sendall(message + b"\n")
                wait_until(lambda: tier.lines().total() == number, "the message")  # noqa: B023
        assert tier.peers(section) - before == {address}


def test_relays_move_between_receivers_without_a_failure_or_a_duplicate(
    tier: Tier, programs: Programs, tmp_path: Path
) -> None:
    feed = free_port()
    sender = RelayProcess.started(
        programs,
        tmp_path / "sender",
        sources={"feed": {"listen": f"tcp://127.0.0.1:{feed}"}},
        destinations={"central": {"connect": f"relp://127.0.0.1:{tier.ports['relp']}"}},
    )

    def destination() -> dict[str, Any]:
        (found,) = ask(str(sender.state_dir), "status")["destinations"]
        return dict(found)

    sent = Counter[bytes]()
    while destination()["connects"] < 2 * RECEIVERS:  # so it has come back to one
        texts = [b"relay/%d" % number for number in range(sent.total(), sent.total() + 200)]
        sent.update(texts)
        feed_lines(feed, [b"<13>1 - web-1 app - - - n=" + text for text in texts])
    wait_until(lambda: tier.lines().total() >= sent.total(), "all messages")
    assert tier.lines() == sent
    assert destination()["failures"] == 0
    assert "may be missing" not in sender.log()
    for receiver in tier.receivers:
        source = receiver.source("relp")
        assert (source["missing_records"], source["duplicate_records"]) == (0, 0)
