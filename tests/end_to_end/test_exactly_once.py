"""Exactly once: a sender, two relays, connections that are cut anywhere, and `kill -9`.

    sender ──proxy──▶ edge ──proxy──▶ central ──▶ (nobody listens: it all stays queued)

What the central relay has in its queue at the end is compared with what was sent: the
same messages, each once, in the same order.  The sender speaks for itself what
`relay/wire/relp/lineage.py` says, with none of its code.

The seed is printed; set ONCE_SEED to repeat it, and CYCLES to go on for longer.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import threading
import uuid
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import pytest

from relay.cli.control_client import AskFailed, ask
from relay.queue.store import QueueStore
from relay.service.tls.certificates import make_authority, make_leaf
from relay.wire.hops import without_hops
from tests.crash.kill import seed_from
from tests.cutting_proxy import CuttingProxy
from tests.end_to_end.central import ascending_sequences, numbered, numbers
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

CYCLES = int(os.environ.get("CYCLES", "15"))
ALIVE_SECONDS_MAX = 0.4
BYTES_MAX = 300_000  # that a connection may carry
BATCH = 50
MAP_BYTES = 2**30
OFFER = b"syslogrelay_lineage=0b5a8d7e-58a3-4e63-9c5f-6d0a4f1f2a3b,00000000deadbeef,%d,9"


class OnceSender(threading.Thread):
    """Sends numbered messages through one connection after another, each exactly once.

    Message n, from 1 on, has seq n; the sender never forgets any.

    Args:
        pause_seconds: Between batches.

    Attributes:
        count: How many messages there are so far.
        acknowledged: How many were answered, or are known to be there.
    """

    def __init__(self, port: int, *, pause_seconds: float = 0.0) -> None:
        super().__init__(name="once-sender", daemon=True)
        self._pause_seconds = pause_seconds
        self.count = 0
        self.acknowledged = 0
        self.sessions = 0
        self.failure: BaseException | None = None
        self._port = port
        self._id = str(uuid.uuid4())
        self._messages: list[bytes] = []
        self._stopping = threading.Event()

    @property
    def messages(self) -> list[bytes]:
        return self._messages

    def run(self) -> None:
        try:
            while not (self._stopping.is_set() and self.acknowledged == self.count):
                self._one_session()
                self._stopping.wait(0.02)
        except BaseException as error:
            self.failure = error

    def finish(self) -> None:
        self._stopping.set()
        self.join(60)
        assert not self.is_alive(), f"{self.count - self.acknowledged} messages have no answer"
        assert self.failure is None, repr(self.failure)

    def _one_session(self) -> None:
        first, end = self.acknowledged + 1, self.count + 1
        offer = b"syslogrelay_lineage=%s,%016x,%d,%d" % (self._id.encode(), 7, first, end)
        try:
            with closing(Opened(self._port, offer)) as session:
                have = re.search(rb"\nsyslogrelay_have=(\d+),", session.answer)
                assert have is not None, session.answer
                assert int(have[1]) < end, "the relay has what was never sent"
                self.acknowledged = max(self.acknowledged, int(have[1]))
                self.sessions += 1
                self._send_on(session)
        except (OSError, EOFError):
            pass  # cut, or nobody there

    def _send_on(self, session: Opened) -> None:
        while True:
            if self.acknowledged == self.count:
                if self._stopping.wait(self._pause_seconds):
                    return
                self._messages += numbered("once", BATCH, start=self.count)
                self.count += BATCH
            pending = self._messages[self.acknowledged : self.count]
            session.send(pending)
            for _ in pending:
                session.wait_answer()
                self.acknowledged += 1


class Opened:
    """A RELP session with one offer of its own; raises EOFError when it ends."""

    def __init__(self, port: int, offer: bytes) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._file = self._socket.makefile("rb")
        self._txnr = 1
        offers = b"relp_version=0\ncommands=syslog\n" + offer
        self._socket.sendall(b"1 open %d %s\n" % (len(offers), offers))
        self.answer = self._read_answer()

    def send(self, messages: list[bytes]) -> None:
        frames = []
        for message in messages:
            self._txnr += 1
            frames.append(b"%d syslog %d %s\n" % (self._txnr, len(message), message))
        self._socket.sendall(b"".join(frames))

    def wait_answer(self) -> None:
        assert self._read_answer() == b"200 OK"

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def _read_answer(self) -> bytes:
        header = b""
        while header.count(b" ") < 3:
            octet = self._file.read(1)
            if not octet or header.endswith(b"serverclose"):
                raise EOFError
            header += octet
        size = int(header.split(b" ")[2])
        data = self._file.read(size + 1)
        if len(data) <= size:
            raise EOFError
        return data[:-1]


class TwoRelays:
    """An edge relay that sends to a central one, which sends to nobody.

    Args:
        cuts: Whether connections are cut.
        destination, source: Further keys of the edge's destination and of the central source.
        relay: Further keys of the edge.
    """

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        *,
        cuts: bool,
        seed: int = 0,
        destination: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
        relay: Mapping[str, Any] | None = None,
    ) -> None:
        scheme = "relp+tls" if source else "relp"
        edge_port, central_port = free_port(), free_port()
        bytes_max = BYTES_MAX if cuts else None
        self.proxies = [
            CuttingProxy(edge_port, seed=seed, bytes_max=bytes_max),
            CuttingProxy(central_port, seed=seed + 1, bytes_max=bytes_max),
        ]
        self.port = self.proxies[0].port
        self.edge = RelayProcess(
            folder / "edge",
            name="edge",
            sources={"in": {"listen": f"relp://127.0.0.1:{edge_port}"}},
            destinations={
                "central": {
                    "connect": f"{scheme}://127.0.0.1:{self.proxies[1].port}",
                    **(destination or {}),
                    "retry_seconds_min": 0.05,
                    "retry_seconds_max": 0.2,
                }
            },
            relay=relay,
        )
        self.central = RelayProcess(
            folder / "central",
            name="central",
            sources={"in": {"listen": f"{scheme}://127.0.0.1:{central_port}", **(source or {})}},
            destinations={"out": {"connect": f"relp://127.0.0.1:{free_port()}"}},
        )
        for relay in (self.edge, self.central):
            programs.add(relay)

    def received(self) -> list[bytes]:
        """What the queue of the central relay, which is stopped now, has been given."""
        return queued(self.central.state_dir, "out")


def queued(state_dir: Path, destination: str) -> list[bytes]:
    store = QueueStore.open(
        str(state_dir / "queue"), destinations=[destination], map_bytes=MAP_BYTES
    )
    with closing(store):
        records = store.read(destination, start=1, records_max=10**9, bytes_max=10**12)
        return list(without_hops(records))


def report(relay: RelayProcess, kind: str) -> dict[str, Any]:
    """The status of the one source or destination of `relay`."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        try:
            found.extend(ask(str(relay.state_dir), "status")[kind])
        except AskFailed:  # it listens before it can be asked
            return False
        return True

    wait_until(is_there, f"the status of {relay.name}")
    return found[0]


def is_delivered(relay: RelayProcess, count: int) -> bool:
    found = report(relay, "destinations")
    return bool(found["received_records"] == count and not found["queued_records"])


def kill_again_and_again(relays: TwoRelays, sender: OnceSender, chance: random.Random) -> None:
    """Kill either relay, or both, while messages flow; then wait until all are delivered."""
    relays.central.start()
    relays.edge.start()
    sender.start()
    for _ in range(CYCLES):
        victims = chance.choice([[relays.edge], [relays.central], [relays.edge, relays.central]])
        threading.Event().wait(chance.uniform(0, ALIVE_SECONDS_MAX))
        for victim in victims:
            victim.kill()
        for victim in victims:
            victim.start()
    for proxy in relays.proxies:
        proxy.stop_cutting()
    sender.finish()
    wait_until(
        lambda: is_delivered(relays.edge, sender.count), "the edge has delivered everything", 120
    )
    wait_until(  # the connection that delivered the last message may have been killed since
        lambda: bool(report(relays.edge, "destinations")["exactly_once"]),
        "a connection that is exactly once",
    )
    assert report(relays.central, "sources")["missing_records"] == 0
    relays.edge.stop()
    relays.central.stop()
    cuts = [proxy.cuts for proxy in relays.proxies]
    print(f"{sender.count} messages, {sender.sessions} sessions of the sender, cuts {cuts}")
    assert min(cuts) > 0


@pytest.mark.parametrize("compress", ["none", "zstd"])
def test_every_message_arrives_once_and_in_order(
    compress: str, programs: Programs, tmp_path: Path
) -> None:
    seed = seed_from("ONCE_SEED")
    keys = {"compress": compress}
    relays = TwoRelays(programs, tmp_path, cuts=True, seed=seed, destination=keys)
    sender = OnceSender(relays.port)
    kill_again_and_again(relays, sender, random.Random(seed))
    assert relays.received() == sender.messages
    assert (", compressed" in relays.edge.log()) == (compress == "zstd")


def test_with_live_first_every_message_arrives_once_and_each_lane_in_order(
    programs: Programs, tmp_path: Path
) -> None:
    seed = seed_from("ONCE_SEED")
    keys = {"order": "live-first", "drain_rate": "150 KiB"}
    relays = TwoRelays(programs, tmp_path, cuts=True, seed=seed, destination=keys)
    sender = OnceSender(relays.port, pause_seconds=0.05)
    kill_again_and_again(relays, sender, random.Random(seed))
    log = relays.edge.log()
    assert "new messages go before a backlog" in log and "join the backlog" in log, (
        "hardly an outage"
    )
    received = relays.received()
    assert sorted(received) == sorted(sender.messages)
    assert ascending_sequences(numbers(received, "once")) <= 2


class Settled:
    """Two relays and messages that are sent when all before them have arrived."""

    def __init__(self, programs: Programs, folder: Path, **keywords: Any) -> None:
        self.relays = TwoRelays(programs, folder, cuts=False, **keywords)
        self.edge, self.central = self.relays.edge, self.relays.central
        self.central.start()
        self.edge.start()

    def send(self, tag: str, count: int) -> list[bytes]:
        """Messages that the central relay has in its queue by then."""
        sent = report(self.edge, "destinations")["received_records"] + count
        with RelpSender(self.relays.port) as sender:
            sender.send(numbered(tag, count))
            sender.close()
        wait_until(lambda: is_delivered(self.edge, sent), f"{tag} is delivered")
        return numbered(tag, count)

    def keep(self, relay: RelayProcess) -> None:
        """Make a copy of its queue."""
        relay.stop()
        shutil.copytree(relay.state_dir / "queue", relay.folder / "copy")
        relay.start()

    def restore(self, relay: RelayProcess) -> None:
        relay.stop()
        shutil.rmtree(relay.state_dir / "queue")
        shutil.move(relay.folder / "copy", relay.state_dir / "queue")
        relay.start()

    def end(self) -> list[bytes]:
        self.edge.stop()
        self.central.stop()
        return self.relays.received()


def test_a_sending_relay_restored_from_an_older_copy(programs: Programs, tmp_path: Path) -> None:
    both = Settled(programs, tmp_path)
    sent = both.send("before", 10)
    both.keep(both.edge)
    sent += both.send("lost", 20)
    both.central.stop()  # so that more comes in before the two talk
    both.restore(both.edge)
    with RelpSender(both.relays.port) as sender:
        sender.send(numbered("after", 50))
        sender.close()
    both.central.start()
    wait_until(lambda: is_delivered(both.edge, 60), "everything after is delivered")
    assert "the receiver has records up to 30, which were not sent from here" in both.edge.log()
    assert report(both.edge, "destinations")["exactly_once"]
    sent += numbered("after", 50)
    sent += both.send("later", 5)
    assert both.end() == sent


def test_a_receiving_relay_restored_from_an_older_copy(programs: Programs, tmp_path: Path) -> None:
    both = Settled(programs, tmp_path)
    sent = both.send("before", 10)
    both.keep(both.central)
    both.send("lost", 20)
    both.restore(both.central)
    sent += both.send("after", 5)
    assert "the receiver has records up to 10, and 31 is the next one here" in both.edge.log()
    assert "goes on with record 31, the last one that came is 10: 20 were" in both.central.log()
    assert report(both.central, "sources")["missing_records"] == 20
    assert both.end() == sent


def test_two_relays_whose_connection_hangs(programs: Programs, tmp_path: Path) -> None:
    """The sending relay gives a connection up that the receiving one still has."""
    relays = TwoRelays(programs, tmp_path, cuts=False)
    relays.central.start()
    with closing(Opened(relays.proxies[1].port, OFFER % 1)) as old:
        old.send(numbered("hangs", 3))
        for _ in range(3):
            old.wait_answer()
        with closing(Opened(relays.proxies[1].port, OFFER % 1)) as new:
            assert b"\nsyslogrelay_have=3," in new.answer
            with pytest.raises((EOFError, OSError)):
                old.send(numbered("late", 1))
                old.wait_answer()
            new.send(numbered("hangs", 2, start=3))
            new.wait_answer()
            new.wait_answer()
    assert report(relays.central, "sources")["duplicate_records"] == 3
    relays.central.stop()
    assert relays.received() == numbered("hangs", 5)


def test_a_sending_relay_with_another_certificate(programs: Programs, tmp_path: Path) -> None:
    authority = make_authority("Test authority", days=2)
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem())

    def certified(name: str, purpose: Literal["server", "client"]) -> dict[str, Any]:
        issued = make_leaf(authority, [name], purpose=purpose, days=1)
        (tmp_path / f"{name}.pem").write_bytes(issued.certificate_pem())
        (tmp_path / f"{name}-key.pem").write_bytes(issued.private_key_pem())
        return {
            "trusted_ca": str(tmp_path / "ca.pem"),
            "certificate": str(tmp_path / f"{name}.pem"),
            "private_key": str(tmp_path / f"{name}-key.pem"),
        }

    web_2 = certified("web-2.example.com", "client")
    both = Settled(
        programs,
        tmp_path,
        destination={**certified("web-1.example.com", "client"), "server_name": "central"},
        source=certified("central", "server"),
    )
    sent = both.send("one", 10)
    assert report(both.edge, "destinations")["exactly_once"]
    both.edge.stop()
    config = both.edge.config_path.read_text().replace("web-1.example.com", "web-2.example.com")
    assert web_2["certificate"] in config
    both.edge.config_path.write_text(config)
    both.edge.start()
    sent += both.send("two", 5)
    assert "knows this queue by another TLS identity" in both.edge.log()
    assert "not one of 'web-2.example.com'" in both.central.log()
    assert report(both.edge, "destinations")["exactly_once"]
    assert report(both.central, "sources")["refused_lineages"] == 1
    assert both.end() == sent
