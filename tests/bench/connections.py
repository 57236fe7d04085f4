"""What idle TLS connections cost one receiver: `python -m tests.bench.connections`.

Clients in few processes open RELP over TLS, send one message each, and stay.  Printed are the
handshakes a second, with the processor time that the relay needs for each, and the memory of each
connection; then the time from a message to its answer while few messages a second come by all of
them.  With `--direct` a broker of Kafka's protocol gives the answers.  Clients, relay and broker
share the processors of this machine.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import selectors
import socket
import ssl
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from relay.codec import encode_syslog
from relay.wire.relp.frame import encode_frame
from tests.bench.usage import Watch
from tests.certificate_files import CertificateFiles, make_certificate_files
from tests.engines.tansu import Tansu
from tests.processes import free_port, running_programs
from tests.relay_process import RelayProcess

OPEN = encode_frame(1, b"open", b"relp_version=0\nrelp_software=bench,1,x\ncommands=syslog")
MESSAGE = b"<165>1 2026-11-21T05:00:00.000003Z web-1 app 123 ID47 - ".ljust(256, b"x")
PER_ADDRESS = 5000
"""Connections from one local address, which has some 28,000 ports."""
OPENING = 50
"""Connections that one process opens at a time."""
PROCESSES = 2
AT_ONCE = 10
"""Messages that one process sends before it reads answers."""
PARTITIONS = 4
"""Of the topic in direct mode."""
LATE_SECONDS = 30.0
"""The longest wait for an answer."""


class Client:
    """One connection."""

    def __init__(self, number: int, port: int, context: ssl.SSLContext) -> None:
        plain = socket.socket()
        plain.setblocking(False)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        plain.bind((f"127.0.0.{1 + number // PER_ADDRESS}", 0))
        plain.connect_ex(("127.0.0.1", port))
        self.plain = plain
        self.socket: ssl.SSLSocket | None = None
        self.context = context
        self.is_open = False
        self.heard = b""
        self.txnr = 2
        self.sent_at = 0.0  # of the message that waits for its answer; 0 = none does

    def fileno(self) -> int:
        return (self.socket or self.plain).fileno()

    def go_on(self) -> int:
        """Go on with the opening; returns the events to wait for, 0 once the session is open."""
        if self.socket is None:
            self.socket = self.context.wrap_socket(
                self.plain, server_hostname="127.0.0.1", do_handshake_on_connect=False
            )
        try:
            if not self.is_open:
                self.socket.do_handshake()
                self.is_open = True
                self.socket.send(OPEN)
            return 0 if self.hears(b"1 rsp ") else selectors.EVENT_READ
        except ssl.SSLWantReadError:
            return selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            return selectors.EVENT_WRITE

    def send(self) -> None:
        assert self.socket is not None
        self.sent_at = time.monotonic()
        self.socket.send(encode_syslog(self.txnr, [MESSAGE]))

    def answer_seconds(self) -> float:
        """How long the answer took that is there to read; 0 = it has not come as a whole."""
        try:
            if not self.hears(b"%d rsp 6 200 OK" % self.txnr):
                return 0.0
        except ssl.SSLWantReadError:
            return 0.0
        self.txnr += 1
        seconds, self.sent_at = time.monotonic() - self.sent_at, 0.0
        return seconds

    def hears(self, begin: bytes) -> bool:
        """Read; whether a frame that begins so is there."""
        assert self.socket is not None
        chunk = self.socket.recv(4096)
        assert chunk, "the relay has closed a connection"
        self.heard += chunk
        if not self.heard.endswith(b"\n") or len(self.heard) < len(begin) + 1:
            return False
        assert self.heard.startswith(begin), self.heard
        self.heard = b""
        return True


class Clients:
    """The connections of one process."""

    def __init__(self, numbers: range, port: int, context: ssl.SSLContext) -> None:
        self._numbers, self._port, self._context = numbers, port, context
        self._selector = selectors.DefaultSelector()
        self._clients: list[Client] = []

    def open_all(self) -> None:
        """Open all of them; each sends a message and is answered."""
        left, opening = iter(self._numbers), 0
        while len(self._clients) < len(self._numbers):
            while opening < OPENING and (number := next(left, None)) is not None:
                client = Client(number, self._port, self._context)
                self._selector.register(client, selectors.EVENT_WRITE, client)
                opening += 1
            for key, _ in self._ready():
                client = key.data
                if client.sent_at:
                    if client.answer_seconds():
                        self._clients.append(client)
                        opening -= 1
                elif events := client.go_on():
                    self._selector.modify(client, events, client)
                else:
                    self._selector.modify(client, selectors.EVENT_READ, client)
                    client.send()

    def send(self, rate: float, seconds: float) -> list[float]:
        """Send so many messages a second by connections at random; the times of the answers."""
        began, times, due = time.monotonic(), list[float](), 0
        whole, waiting = round(rate * seconds), 0
        while due < whole or waiting:
            for _ in range(AT_ONCE):  # and no more: a process that is late has to read as well
                if due == whole or time.monotonic() < began + due / rate:
                    break
                client = random.choice(self._clients)
                if not client.sent_at:
                    client.send()
                    waiting += 1
                    due += 1
            pause = max(0.0, began + due / rate - time.monotonic()) if due < whole else LATE_SECONDS
            for key, _ in self._selector.select(pause):
                if taken := key.data.answer_seconds():
                    times.append(taken)
                    waiting -= 1
        return times

    def _ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        found = self._selector.select(LATE_SECONDS)
        assert found, f"nothing has happened for {LATE_SECONDS:g} s"
        return found


def work(pipe: Connection, numbers: range, port: int, files: CertificateFiles) -> None:
    """A process of clients: does what comes by the pipe, until that is None."""
    context = ssl.create_default_context(cafile=files.ca)
    context.load_cert_chain(files.client_certificate, files.client_key)
    clients = Clients(numbers, port, context)
    clients.open_all()
    pipe.send([])
    while (task := pipe.recv()) is not None:
        pipe.send(clients.send(*task))


@dataclass(frozen=True, slots=True)
class Swarm:
    """The processes of clients."""

    pipes: Sequence[Connection]
    processes: Sequence[multiprocessing.Process]

    @classmethod
    def of(cls, count: int, port: int, files: CertificateFiles) -> Swarm:
        pipes, processes = [], []
        for place in range(PROCESSES):
            ours, theirs = multiprocessing.Pipe()
            numbers = range(place * count // PROCESSES, (place + 1) * count // PROCESSES)
            process = multiprocessing.Process(
                target=work, args=(theirs, numbers, port, files), daemon=True
            )
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        return cls(pipes, processes)

    def answers(self) -> list[float]:
        """What all processes have found; raises EOFError if one has failed."""
        return [seconds for pipe in self.pipes for seconds in pipe.recv()]

    def send(self, rate: float, seconds: float) -> list[float]:
        for pipe in self.pipes:
            pipe.send((rate / PROCESSES, seconds))
        return self.answers()

    def end(self) -> None:
        for pipe in self.pipes:
            pipe.send(None)
        for process in self.processes:
            process.join(30)


def new_relay(
    folder: Path, port: int, count: int, files: CertificateFiles, tansu: Tansu | None
) -> RelayProcess:
    source: dict[str, object] = {
        "listen": f"relp+tls://127.0.0.1:{port}",
        "certificate": files.server_certificate,
        "private_key": files.server_key,
        "trusted_ca": files.ca,
        "connections_max": count + 100,
        "connections_per_peer_max": 0,
    }
    destination: dict[str, object] = {"connect": f"file://{folder}/received.log"}
    if tansu is not None:
        source["answer"] = "out"
        destination = {"connect": f"kafka://{tansu.address}/logs", "replicas_min": 0}
    return RelayProcess(folder, sources={"many": source}, destinations={"out": destination})


def measure(
    folder: Path, count: int, rates: Sequence[float], seconds: float, *, is_direct: bool
) -> None:
    files, port = make_certificate_files(folder / "certificates"), free_port()
    with running_programs() as programs:
        tansu = None
        if is_direct:
            tansu = Tansu.started(programs, folder / "tansu", topics={"logs": PARTITIONS})
        relay = new_relay(folder, port, count, files, tansu)
        programs.add(relay)
        relay.start()
        first = Swarm.of(PROCESSES, port, files)  # what is loaded once is no part of a connection
        first.answers()
        first.end()
        before = resident(relay.pid)
        began = time.monotonic()
        with Watch(relay.pid) as watch:
            swarm = Swarm.of(count, port, files)
            swarm.answers()
            elapsed = time.monotonic() - began
        print(
            f"{count:,} connections: {count / elapsed:,.0f} handshakes/s, "
            f"{1000 * watch.usage.cpu_seconds / count:.2f} ms of processor time each; "
            f"{(resident(relay.pid) - before) / count / 1024:.1f} KiB each, "
            f"{resident(relay.pid) / 2**20:,.0f} MiB in all"
        )
        with Watch(relay.pid) as watch:
            time.sleep(seconds)
        print(f"idle: {100 * watch.usage.cpu_seconds / seconds:.1f} % of a processor")
        for rate in rates:
            with Watch(relay.pid) as watch:
                times = swarm.send(rate, seconds)
            quantiles = statistics.quantiles(times, n=1000)
            print(
                f"{rate:,.0f} messages/s: answers p50 {1000 * quantiles[499]:.1f} ms, "
                f"p99 {1000 * quantiles[989]:.1f} ms, longest {1000 * max(times):.0f} ms; "
                f"{1e6 * watch.usage.cpu_seconds / len(times):.0f} µs of processor time each; "
                f"{(resident(relay.pid) - before) / count / 1024:.1f} KiB a connection"
            )
        swarm.end()


def resident(pid: int) -> int:
    """Anonymous memory of a process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon: this needs Linux")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", "--count", type=int, default=15_000, help="connections (15,000)")
    parser.add_argument("--rates", default="100,1000,5000", help="messages a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each rate (15)")
    parser.add_argument("--direct", action="store_true", help="a broker gives the answers")
    arguments = parser.parse_args()
    wanted, (soft, hard) = arguments.count + 500, resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    rates = [float(rate) for rate in arguments.rates.split(",")]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        measure(Path(folder), arguments.count, rates, arguments.seconds, is_direct=arguments.direct)


if __name__ == "__main__":
    sys.exit(main())
