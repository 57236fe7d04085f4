"""docs/moving.md: from rsyslog to a relay on the same host and back, while messages come."""

from __future__ import annotations

import socket

from relay.cli.control_client import ask
from tests.interop.daemons import Rsyslog
from tests.interop.lab import Lab
from tests.processes import free_port, wait_until
from tests.relay_process import received

MESSAGE = b"<13>1 2026-10-11T22:14:15.003000+00:00 fw-1 app - - - number %d"


def old_daemon(lab: Lab, name: str, port: int, central: int) -> Rsyslog:
    return lab.rsyslog(
        f"""
        module(load="imtcp")
        module(load="omrelp")
        input(type="imtcp" port="{port}" address="127.0.0.1")
        action(type="omrelp" target="127.0.0.1" port="{central}" template="raw-frame"
          action.resumeRetryCount="-1" action.resumeInterval="1")
        """,
        tcp=[port],
        name=name,
    )


def send(port: int, numbers: range) -> None:
    """Each message through a connection of its own, as the kernel redirects new connections."""
    for number in numbers:
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(MESSAGE % number + b"\n")


def wait_for(lab: Lab, count: int) -> None:
    """Until the old daemon's queue, or ours, is empty: all messages have come."""
    wait_until(lambda: len(received(lab.arrived)) >= count, f"{count} messages at the centre")


def test_there_and_back_every_message_arrives_once(lab: Lab) -> None:
    old_port, new_port, central = free_port(), free_port(), free_port()
    lab.relay_from({"listen": f"relp://127.0.0.1:{central}"})
    old = old_daemon(lab, "old", old_port, central)
    send(old_port, range(50))
    new = lab.relay(
        "new",
        source={"listen": f"tcp://127.0.0.1:{new_port}"},
        destination={"connect": f"relp://127.0.0.1:{central}"},
    )
    send(new_port, range(50, 100))  # redirected, while the old daemon still has its queue
    wait_for(lab, 100)
    old.end()
    send(new_port, range(100, 150))
    old = old_daemon(lab, "back", old_port, central)
    send(old_port, range(150, 200))
    wait_until(
        lambda: ask(str(new.state_dir), "status")["destinations"][0]["queued_records"] == 0,
        "the relay's queue is empty",
    )
    new.stop()
    wait_for(lab, 200)
    assert sorted(received(lab.arrived)) == sorted(MESSAGE % number for number in range(200))
