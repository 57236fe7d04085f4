"""Messages of several lines, over connections and datagrams."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from tests.plain_senders import feed_lines
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines
from tests.relp_sender import RelpSender

TRACE = [b"<11>app: Traceback", b"  File 1", b"  File 2"]


class Joiner(RelayProcess):
    """One source that joins indented lines, and a file with JSON, where LF is no end of a line."""

    def __init__(self, folder: Path, listen: str, **keys: Any) -> None:
        self.file = folder / "out.log"
        super().__init__(
            folder,
            sources={"in": {"listen": listen, "multi_line": r"^<\d", **keys}},
            destinations={"out": {"connect": f"file://{self.file}", "template": "$MSG"}},
        )


def test_lines_of_connections_and_datagrams_are_joined(programs: Programs, tmp_path: Path) -> None:
    for scheme in ("tcp", "udp"):
        port = free_port()
        folder = tmp_path / scheme
        folder.mkdir()
        relay = Joiner(folder, f"{scheme}://127.0.0.1:{port}", multi_line_seconds_max=0.2)
        programs.add(relay)
        relay.start()
        lines = [*TRACE, b"<11>app: next", b" of it"]
        if scheme == "tcp":
            feed_lines(port, lines)
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for line in lines:
                    sender.sendto(line, ("127.0.0.1", port))
        expected = [b"Traceback#012  File 1#012  File 2", b"next#012 of it"]
        assert wait_for_lines(relay.file, 2) == expected
        relay.stop()


def test_a_clean_stop_stores_what_waits_for_another_line(
    programs: Programs, tmp_path: Path
) -> None:
    port = free_port()
    relay = Joiner(tmp_path, f"relp://127.0.0.1:{port}", multi_line_seconds_max=3600)
    programs.add(relay)
    relay.start()
    with RelpSender(port) as sender:
        sender.send([b"<11>app: first", *TRACE])
        sender.wait_for(1)  # all came together, and the rest waits in memory
        relay.stop()
        sender.wait_answered()
        assert sender.answered[1:] == TRACE
    relay.start()
    assert wait_for_lines(relay.file, 2)[1:] == [b"Traceback#012  File 1#012  File 2"]


def test_kill_while_lines_wait_loses_nothing_that_was_answered(
    programs: Programs, tmp_path: Path
) -> None:
    port = free_port()
    relay = Joiner(tmp_path, f"relp://127.0.0.1:{port}", multi_line_seconds_max=3600)
    programs.add(relay)
    relay.start()
    with RelpSender(port) as sender:
        sender.send([*TRACE, b"<11>app: second", b" of it"])
        wait_for_lines(relay.file, 1)
        sender.wait_for(len(TRACE))
        assert sender.answered == TRACE  # the second waits in memory
        unanswered = list(sender.unanswered.values())
        relay.kill()
    assert unanswered == [b"<11>app: second", b" of it"]
    relay.start()
    with RelpSender(port) as sender:
        sender.send([*unanswered, b"<11>app: third"])
        sender.wait_for(2)
        wait_until(lambda: b"second#012 of it" in received(relay.file), "the second message")
        # A file may repeat what was in flight at a kill.
        assert set(received(relay.file)) == {
            b"Traceback#012  File 1#012  File 2",
            b"second#012 of it",
        }
