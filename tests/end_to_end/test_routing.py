"""Which destination gets a message, from the socket to the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.plain_senders import feed_lines
from tests.processes import Programs, free_port
from tests.relay_process import RelayProcess, received, wait_for_lines


class Router(RelayProcess):
    """Listeners, and a file for each destination."""

    def __init__(self, folder: Path, ports: dict[str, int], **destinations: dict[str, Any]) -> None:
        self.files = {name: folder / f"{name}.log" for name in destinations}
        super().__init__(
            folder,
            sources={id: {"listen": f"tcp://127.0.0.1:{port}"} for id, port in ports.items()},
            destinations={
                name: {"connect": f"file://{self.files[name]}", **keys}
                for name, keys in destinations.items()
            },
        )


def test_final_fallback_and_catch_all(programs: Programs, tmp_path: Path) -> None:
    ports = {"a": free_port(), "b": free_port()}
    relay = Router(
        tmp_path,
        ports,
        rest={"fallback": True, "catch_all": True},
        logins={"match": {"app_name": "sshd"}, "final": True, "sources": ["a"]},
        loud={"match": {"severity": "..err"}},
    )
    programs.add(relay)
    relay.start()
    feed_lines(ports["a"], [b"<11>sshd: 1", b"<11>cron: 2", b"<14>cron: 3"])
    feed_lines(ports["b"], [b"<11>sshd: 4", b"<14>sshd: 5"])
    wait_for_lines(relay.files["rest"], 2)
    wait_for_lines(relay.files["loud"], 2)
    wait_for_lines(relay.files["logins"], 1)
    relay.stop()
    assert {name: sorted(received(path)) for name, path in relay.files.items()} == {
        "rest": [b"<14>cron: 3", b"<14>sshd: 5"],
        "logins": [b"<11>sshd: 1"],
        "loud": [b"<11>cron: 2", b"<11>sshd: 4"],
    }
