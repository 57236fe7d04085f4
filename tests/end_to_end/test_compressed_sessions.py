"""Peers that offer compressed blocks and abuse them: more than may, garbage, bombs, resets."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from relay.wire.relp.blocks import COMPRESS_OFFER, Packer
from tests.end_to_end.central import numbered
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines

MOST = 512
CONNECTION_BYTES_MAX = 900 * 1024
"""What a connection may cost: a window, a block that has not come to its end, and the rest."""


class Peer:
    """A RELP session that offers blocks."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        offers = b"relp_version=0\ncommands=syslog\n" + COMPRESS_OFFER
        self.socket.sendall(b"1 open %d %s\n" % (len(offers), offers))
        self.takes_blocks = COMPRESS_OFFER in self.wait_answered(1)
        self._packer = Packer(6)

    def send(self, messages: list[bytes], first: int = 2) -> None:
        """Send them as a block."""
        self.socket.sendall(self._packer.encode_syslog(first, messages))

    def wait_answered(self, txnr: int) -> bytes:
        """All that comes up to the answer to `txnr`."""
        data = b""
        while not re.search(rb"(?m)^%d rsp \d+ 200.*\n" % txnr, data):
            chunk = self.socket.recv(65536)
            if not chunk:
                raise ConnectionError(data)
            data += chunk
        return data

    def wait_refused(self, data: bytes) -> None:
        """Send `data`; the relay has to end the session then."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)
            while self.socket.recv(65536):
                pass

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class Receiver:
    def __init__(self, programs: Programs, folder: Path) -> None:
        self.port = free_port()
        self.path = folder / "received.log"
        self.relay = RelayProcess.started(
            programs,
            folder,
            sources={
                "relays": {
                    "listen": f"relp://127.0.0.1:{self.port}",
                    "connections_max": 1000,
                    "connections_per_peer_max": 1000,
                }
            },
            destinations={"file": {"connect": f"file:{self.path}"}},
        )

    @property
    def memory(self) -> int:
        """Bytes of memory that the relay takes now."""
        (pages,) = re.findall(
            r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.relay.pid}/status").read_text()
        )
        return int(pages) * 1024


@pytest.fixture
def receiver(programs: Programs, tmp_path: Path) -> Iterator[Receiver]:
    there = Receiver(programs, tmp_path)
    yield there
    there.relay.stop()


def block(data: bytes, txnr: int = 2) -> bytes:
    return b"%d syslogrelayz %d %s\n" % (txnr, len(data), data)


def packed(content: bytes) -> bytes:
    """The beginning of a zstd frame, flushed to its end."""
    frame = zstandard.ZstdCompressor().compressobj()
    return frame.compress(content) + frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)


def test_more_connections_than_may_compress(receiver: Receiver) -> None:
    noise = random.Random(1).randbytes(100_000).translate(None, b"\n\xff")
    unfinished = block(noise, 3)[:-1000]
    first = Peer(receiver.port)
    first.send([b"<13>app: first"])
    first.wait_answered(2)
    before = receiver.memory
    peers = [Peer(receiver.port) for _ in range(MOST - 1)]
    for number, peer in enumerate(peers):
        peer.send([b"<13>app: %d " % number + noise[:30_000]])
        peer.socket.sendall(unfinished)
    for peer in peers:
        peer.wait_answered(2)
    assert all(peer.takes_blocks for peer in peers)
    assert (receiver.memory - before) / MOST < CONNECTION_BYTES_MAX
    # One more gets no offer, and is served all the same.
    assert "may send compressed messages already" not in receiver.relay.log()
    late = Peer(receiver.port)
    assert not late.takes_blocks
    late.socket.sendall(b"2 syslog 13 <13>app: late\n")
    late.wait_answered(2)
    # Who goes in the middle of a block makes room, and what it had not finished is not there.
    for peer in peers:
        peer.reset()
    wait_until(lambda: Peer(receiver.port).takes_blocks, "room for another one")
    first.send([b"<13>app: still here"], 3)
    first.wait_answered(3)
    assert len(wait_for_lines(receiver.path, MOST + 2)) == MOST + 2


HOSTILE = {
    "garbage": block(b"\x28\xb5\x2f\xfd" + bytes(range(200))),
    "no frame": block(b"\0" * 100),
    "a bomb": block(packed(b"x" * 10**7 + b"\n")),
    "a bomb of short messages": block(packed(b"x\n" * 10**6)),
    "a window of 2 GiB": block(b"\x28\xb5\x2f\xfd\x00\xa8" + b"\0" * 100),
    "an endless block": b"2 syslogrelayz 999999999 " + b"\x28\xb5\x2f\xfd" + b"\0" * 2**20,
    "an endless header": b"2 syslogrelayz " + b"9" * 2**20,
    "a number too high": block(packed(b"<13>app: x\n"), 9),
    "another command": b"2 syslogrelayy 5 12345\n",
}


def test_hostile_peers_harm_only_themselves(receiver: Receiver) -> None:
    good, before = Peer(receiver.port), receiver.memory
    messages = numbered("good", 3 * len(HOSTILE))
    for number, data in enumerate(HOSTILE.values()):
        for attempt in range(3):
            start = 3 * number + attempt
            Peer(receiver.port).wait_refused(data)
            good.send([messages[start]], start + 2)
            good.wait_answered(start + 2)
    assert wait_for_lines(receiver.path, len(messages)) == messages
    assert receiver.memory - before < 64 * 2**20
    assert received(receiver.path) == messages
