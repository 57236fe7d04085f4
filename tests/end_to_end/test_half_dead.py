"""A plain receiver that goes away with unread messages: they are sent again."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from relay.cli.control_client import ask
from tests.end_to_end.central import numbered
from tests.plain_senders import feed_stream
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

RESET = struct.pack("ii", 1, 0)  # SO_LINGER


def read_lines(listener: socket.socket, count: int) -> list[bytes]:
    """Lines of the next connection, until there are `count`."""
    connected, _ = listener.accept()
    octets = b""
    with connected:
        connected.settimeout(20)
        while octets.count(b"\n") < count:
            octets += connected.recv(65536)
    return octets.split(b"\n")[:-1]


def test_what_a_receiver_did_not_read_is_sent_again(programs: Programs, tmp_path: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        relay = RelayProcess.started(
            programs,
            tmp_path,
            sources={"in": {"listen": f"tcp://127.0.0.1:{port}"}},
            destinations={
                "out": {
                    "connect": f"tcp://127.0.0.1:{listener.getsockname()[1]}",
                    "retry_seconds_min": 0.1,
                    "confirm_seconds": 5.0,
                }
            },
        )

        def report() -> dict[str, object]:
            (destination,) = ask(str(relay.state_dir), "status")["destinations"]
            found: dict[str, object] = destination
            return found

        first, _ = listener.accept()
        messages = numbered("in", 50)
        feed_stream(port, messages)
        wait_until(lambda: report()["in_flight_records"] == 50, "all to be in flight")
        assert "not confirmed by the receiver" in str(report()["state"])
        # Its kernel has them, its program never reads them.
        first.sendall(b"go away")
        wait_until(lambda: report()["unexpected_bytes"] == 7, "the bytes to be noticed")
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        first.close()
        assert read_lines(listener, 50) == messages
        assert report()["delivered_records"] == 0
        assert "'go away'" in relay.log()
        # A stop does not take them for delivered either.
        relay.stop()
        relay.start()
        assert read_lines(listener, 50) == messages
