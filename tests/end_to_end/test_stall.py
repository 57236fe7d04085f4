"""An upstream that is there and does not answer, or takes one thing after another and fails.

The relay sees that nothing moves, says so, tries again by itself, and never ends for it.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from relay.cli.control_client import ask
from tests.crash.audit import status_of
from tests.end_to_end.central import Central, numbered, numbers
from tests.end_to_end.picky import PickyUpstream
from tests.end_to_end.test_systemd import Manager
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, wait_for_lines
from tests.relp_sender import RelpSender

ANSWER_SECONDS = 0.5
QUICK = {"retry_seconds_min": 0.05, "retry_seconds_max": 0.2}
SIGNS_OF_LIFE_SECONDS = 0.4


def feed(port: int, frames: list[bytes]) -> None:
    with RelpSender(port) as sender:
        sender.send(frames)
        sender.close()


class Mute(PickyUpstream):
    """Opens sessions and answers for nothing, until it is told to speak."""

    def __init__(self, port: int) -> None:
        super().__init__(port, poison=b"\0never")
        self.silent = True
        self.heard = 0
        """Messages of the session that came last."""
        self.heard_max = 0
        """Of all sessions."""

    def _answer(self, session: socket.socket) -> None:
        self.heard = 0
        super()._answer(session)

    def _response(self, txnr: bytes, command: bytes, data: bytes) -> bytes:
        response = super()._response(txnr, command, data)
        if command == b"syslog":
            self.heard += 1
            self.heard_max = max(self.heard, self.heard_max)
            return b"" if self.silent else response
        return response


def report_of(relay: RelayProcess, id: str) -> dict[str, Any]:
    reports = ask(str(relay.state_dir), "status")["destinations"]
    return next(report for report in reports if report["id"] == id)


def test_an_upstream_that_never_answers_is_unhealthy_and_not_for_ever(
    programs: Programs, tmp_path: Path
) -> None:
    port, upstream, arrived = free_port(), free_port(), tmp_path / "received.log"
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={"feed": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={
            "mute": {
                "connect": f"relp://127.0.0.1:{upstream}",
                "answer_seconds_max": ANSWER_SECONDS,
                **QUICK,
            },
            "file": {"connect": f"file://{arrived}"},
        },
    )
    messages = numbered("app", 1000)
    with Mute(upstream) as mute:
        feed(port, messages)
        wait_until(lambda: report_of(relay, "mute")["stalled_seconds"], "the stall to be seen")
        assert report_of(relay, "file")["stalled_seconds"] is None
        assert "nothing acknowledged in " in relay.log()
        assert report_of(relay, "mute")["failures"] > 0  # it connects again by itself
        assert 0 < mute.heard_max <= 256  # and does not pour more into it
        mute.silent = False
        wait_until(lambda: len(set(mute.taken)) == len(messages), "all messages to be taken", 30)
        wait_until(
            lambda: report_of(relay, "mute")["stalled_seconds"] is None, "it to be well again"
        )
    assert len(wait_for_lines(arrived, len(messages))) == len(messages)
    relay.stop()


HANGS = """
import sys, threading, time
from pathlib import Path
from relay.queue.store import QueueStore
read = QueueStore.read
def hang(self, *arguments, **keywords):
    while Path(sys.argv[-1]).with_name("hang").exists():
        time.sleep(0.02)
    return read(self, *arguments, **keywords)
QueueStore.read = hang
"""


def test_a_relay_that_is_stuck_itself_gives_the_service_manager_no_sign_of_life(
    programs: Programs, tmp_path: Path
) -> None:
    """The disk does not give back what is queued: the thread that reads hangs."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(HANGS)
    (tmp_path / "hang").touch()
    manager = Manager(tmp_path)
    port = free_port()
    central = Central(programs, tmp_path / "central", free_port())
    paths = f"{site}:{os.environ.get('PYTHONPATH', '')}"
    relay = RelayProcess(
        tmp_path,
        sources={"feed": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={
            "central": {"connect": central.url, "answer_seconds_max": ANSWER_SECONDS, **QUICK}
        },
        environment={
            **os.environ,
            "PYTHONPATH": paths,
            "NOTIFY_SOCKET": manager.path,
            "WATCHDOG_USEC": "100000",
        },
    )
    programs.add(relay)
    relay.start(wait=False)
    wait_until(lambda: manager.heard("WATCHDOG=1"), "a sign of life")
    messages = numbered("app", 100)
    feed(port, messages)  # while nobody takes them: what is sent at once need not be read
    central.start()
    wait_until(lambda: "no sign of life any more" in relay.log(), "the relay to see it")
    manager.heard("")
    manager.reports.clear()
    threading.Event().wait(SIGNS_OF_LIFE_SECONDS)  # silence cannot be waited for otherwise
    assert not manager.heard("WATCHDOG=1")
    assert report_of(relay, "central")["stalled_seconds"] >= 2 * ANSWER_SECONDS
    (tmp_path / "hang").unlink()  # if that passes, it is well again
    assert numbers(central.wait_for(messages), "app") == list(range(100))
    wait_until(lambda: manager.heard("WATCHDOG=1"), "a sign of life again")
    manager.close()
    relay.stop()


class Slams(threading.Thread):
    """Takes connections and closes them at once, or says something that nobody asked for."""

    def __init__(self, greeting: bytes = b"") -> None:
        super().__init__(daemon=True)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._greeting = greeting

    def run(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with connection:
                    connection.sendall(self._greeting)

    def __enter__(self) -> Slams:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self.join(10)
        self._listening.close()


def test_whatever_is_wrong_with_upstreams_the_relay_stays_and_says_when_it_tries_again(
    programs: Programs, tmp_path: Path
) -> None:
    port, arrived = free_port(), tmp_path / "received.log"
    (tmp_path / "plain").write_text("no directory")
    with Slams() as slams, Slams(b"HTTP/1.1 400 Bad Request\r\n\r\n") as stranger:
        broken = {
            "refused": f"relp://127.0.0.1:{free_port()}",
            "nameless": "relp://no-such-host.invalid:20514",
            "slammed": f"relp://127.0.0.1:{slams.port}",
            "stranger": f"relp://127.0.0.1:{stranger.port}",
            "no-tls": f"tls://127.0.0.1:{stranger.port}",
            "no-directory": f"file://{tmp_path}/plain/received.log",
        }
        relay = RelayProcess.started(
            programs,
            tmp_path,
            sources={"feed": {"listen": f"relp://127.0.0.1:{port}"}},
            destinations={
                "file": {"connect": f"file://{arrived}"},
                **{id: {"connect": url, **QUICK} for id, url in broken.items()},
            },
        )
        feed(port, numbered("app", 100))
        for id in broken:
            wait_until(lambda id=id: report_of(relay, id)["failures"] >= 4, f"{id} fails", 30)
        feed(port, numbered("app", 100, start=100))
        assert numbers(wait_for_lines(arrived, 200), "app") == list(range(200))
    for id in broken:
        wait_until(
            lambda id=id: report_of(relay, id)["state"].endswith(", next try in 1 s"),  # type: ignore[misc]
            f"{id} is to be tried again",
        )
    wait_until(lambda: report_of(relay, "file")["queued_records"] == 0, "the answers to be noted")
    queued = {each["id"]: each["queued_records"] for each in status_of(relay)["destinations"]}
    assert queued == {"file": 0, **dict.fromkeys(broken, 200)}
    relay.stop()
