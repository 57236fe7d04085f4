"""Bytes on disk and in memory, for docs/sizing.md: `python -m tests.bench.sizes`.

Bytes do not depend on how busy the machine is, so this may run beside other programs.  Disk: the
relay takes messages for an upstream that is away, as fast as they come and one commit at a time;
what its queue then uses is divided by their number.  Memory: RssAnon of the relay's process, which
leaves mapped files out, before and while connections are open.
"""

from __future__ import annotations

import os
import re
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from relay.cli.control_client import ask
from tests.bench.traffic import lines
from tests.certificate_files import CertificateFiles, make_certificate_files
from tests.plain_senders import feed_stream
from tests.processes import Programs, free_port, running_programs, wait_until
from tests.relay_process import RelayProcess

CONNECTIONS = 500
SLOW_COUNT = 400
HEADER = b"<13>1 2026-10-11T22:14:15.003000Z web-1 app 4711 - - "


def of_length(length: int, count: int) -> list[bytes]:
    """Messages of RFC 5424 with `length` bytes each."""
    return [(HEADER + b"%08d " % number).ljust(length, b"x") for number in range(count)]


class Queued:
    """A relay whose upstream is away; it ends with `programs`."""

    def __init__(self, programs: Programs, folder: Path, mode: str) -> None:
        self.port = free_port()
        token = {"token_env": "SIZES_TOKEN"} if mode == "cee" else {}
        self.process = RelayProcess.started(
            programs,
            folder,
            sources={
                "tcp": {"listen": f"tcp://127.0.0.1:{self.port}", "frame_bytes_max": 1 << 20},
                "udp": {"listen": f"udp://127.0.0.1:{self.port}"},
            },
            destinations={
                "next": {
                    "connect": f"relp://127.0.0.1:{free_port()}",
                    "rewrite": {"mode": mode, **token},
                }
            },
            relay={"compact_free_percent": 0, "min_free_bytes": 0},
            environment={**os.environ, "SIZES_TOKEN": "11111111-2222-3333-4444-555555555555"},
        )

    def used_bytes(self) -> int:
        return int(ask(str(self.process.state_dir), "status")["admission"]["queue_bytes"])

    def received(self, count: int) -> int:
        """Wait for all but a thousandth, which bad frames of the traffic join; say how many."""

        def has_come() -> int:
            (found,) = ask(str(self.process.state_dir), "status")["destinations"]
            return int(found["received_records"])

        wait_until(lambda: has_come() >= count * 0.999, f"{count} messages", 120.0)
        return has_come()


def disk(
    programs: Programs, folder: Path, mode: str, messages: Sequence[bytes], *, slow: bool
) -> float:
    """Bytes that a queued message takes on disk."""
    queued = Queued(programs, folder, mode)
    before = queued.used_bytes()
    if slow:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for message in messages:
                sender.sendto(message, ("127.0.0.1", queued.port))
                time.sleep(0.02)  # far above the delay between commits
    else:
        feed_stream(queued.port, messages)
    count = queued.received(len(messages))
    after = queued.used_bytes()
    queued.process.stop()
    return (after - before) / count


def memory(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"RssAnon:\s+(\d+)", text)[0]) * 1024


def connections(
    programs: Programs, folder: Path, scheme: str, files: CertificateFiles
) -> Iterator[float]:
    """Memory of the relay while it is idle; then KiB of each of CONNECTIONS."""
    port = free_port()
    tls = {
        "certificate": files.server_certificate,
        "private_key": files.server_key,
        "trusted_ca": files.ca,
    }
    relay = RelayProcess.started(
        programs,
        folder,
        sources={
            "in": {
                "listen": f"{scheme}://127.0.0.1:{port}",
                "connections_max": 2 * CONNECTIONS,
                "connections_per_peer_max": 0,
                **(tls if "tls" in scheme else {}),
            }
        },
        destinations={"next": {"connect": f"relp://127.0.0.1:{free_port()}"}},
    )
    time.sleep(2.0)  # what is done after the start
    yield (idle := memory(relay.pid)) / 1024
    with ExitStack() as stack:
        connect = _connect(scheme, port, files)
        for number in range(CONNECTIONS):
            connection = stack.enter_context(connect())
            if scheme.startswith("relp"):
                offers = b"relp_version=0\ncommands=syslog"
                connection.sendall(b"1 open %d %b\n" % (len(offers), offers))
                connection.recv(1000)
                message = HEADER + b"%d" % number
                connection.sendall(b"2 syslog %d %b\n" % (len(message), message))
                connection.recv(1000)
            else:
                connection.sendall(HEADER + b"%d\n" % number)
        time.sleep(2.0)
        yield (memory(relay.pid) - idle) / 1024 / CONNECTIONS
    relay.stop()


def _connect(scheme: str, port: int, files: CertificateFiles) -> Callable[[], socket.socket]:
    def plain() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), timeout=20)

    if "tls" not in scheme:
        return plain
    context = ssl.create_default_context(cafile=files.ca)
    context.load_cert_chain(files.client_certificate, files.client_key)
    context.check_hostname = False
    return lambda: context.wrap_socket(plain())


def main() -> None:
    with tempfile.TemporaryDirectory(dir=".") as place, running_programs() as programs:
        _print_disk(programs, Path(place).resolve())
        _print_memory(programs, Path(place).resolve())


def _print_disk(programs: Programs, folder: Path) -> None:
    print("| message | mode | bytes on disk, streaming | one at a time |")
    print("| --- | --- | ---: | ---: |")
    mixed = [line.raw for line in islice(lines("mixed", 1), 50_000)]
    rows = [
        (f"{length:,} bytes", "none", of_length(length, max(2000, 20_000_000 // length)))
        for length in (100, 256, 1024, 4096, 16_384)
    ]
    mean = sum(map(len, mixed)) / len(mixed)
    rows += [(f"mixed traffic, {mean:.0f} bytes", mode, mixed) for mode in ("none", "cee", "ewmm")]
    for number, (name, mode, messages) in enumerate(rows):
        fast = disk(programs, folder / f"fast-{number}", mode, messages, slow=False)
        slow = disk(programs, folder / f"slow-{number}", mode, messages[:SLOW_COUNT], slow=True)
        print(f"| {name} | {mode} | {fast:,.0f} | {slow:,.0f} |", flush=True)


def _print_memory(programs: Programs, folder: Path) -> None:
    files = make_certificate_files(folder / "certificates")
    print("\n| source | idle, KiB | KiB a connection |\n| --- | ---: | ---: |")
    for scheme in ("tcp", "relp", "tls", "relp+tls"):
        idle, each = connections(programs, folder / scheme, scheme, files)
        print(f"| {scheme} | {idle:,.0f} | {each:.1f} |", flush=True)


if __name__ == "__main__":
    main()
