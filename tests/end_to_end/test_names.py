"""A name whose address changes, a name server that is away, and SRV records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.end_to_end.central import numbered
from tests.end_to_end.name_server import NameServer
from tests.end_to_end.test_targets import queued, report_of
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received
from tests.relp_sender import RelpSender

NAME, SERVICE = "central.test", "_syslog._tcp.central.test"


class Site:
    """A relay, a name server, and two centrals at the same port of different addresses."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self._folder, self._programs = folder, programs
        self.port, self.relp = free_port(), free_port()
        self.names = NameServer(folder / "names", free_port())
        programs.add(self.names)
        self.names.say({})
        self.names.start()
        self.centrals = [self._new_central(number) for number in (1, 2)]

    def _new_central(self, number: int) -> RelayProcess:
        folder = self._folder / f"central-{number}"
        return RelayProcess.started(
            self._programs,
            folder,
            sources={"relays": {"listen": f"relp://127.0.0.{number}:{self.port}"}},
            destinations={"file": {"connect": f"file://{folder}/received.log"}},
        )

    def start_relay(self, url: str, **keys: Any) -> None:
        self.relay = RelayProcess.started(
            self._programs,
            self._folder / "edge",
            sources={"relp": {"listen": f"relp://127.0.0.1:{self.relp}"}},
            destinations={
                "central": {
                    "connect": url,
                    "retry_seconds_min": 0.1,
                    "retry_seconds_max": 0.5,
                    **keys,
                }
            },
            interpreter=self.names.interpreter(),
        )

    def sent_to(self, number: int, start: int) -> None:
        """Ten messages arrive at a central, and nowhere else."""
        messages = numbered("relp", 10, start=start)
        with RelpSender(self.relp) as sender:
            sender.send(messages)
            sender.close()
        path = self.centrals[number - 1].folder / "received.log"
        wait_until(lambda: received(path)[-10:] == messages, f"messages at 127.0.0.{number}")
        wait_until(lambda: queued(self.relay) == 0, "the answers")


def test_the_connection_follows_the_name_when_its_ttl_has_ended(
    programs: Programs, tmp_path: Path
) -> None:
    site = Site(programs, tmp_path)
    site.names.say({NAME: {"A": ["127.0.0.1"], "ttl": 1}})
    site.start_relay(f"relp://{NAME}:{site.port}", bind="127.0.0.3")
    site.sent_to(1, 0)
    site.names.say({NAME: {"A": ["127.0.0.2"], "ttl": 600}})
    wait_until(lambda: report_of(site.relay)["connects"] == 2, "the connection to move")
    site.sent_to(2, 10)
    assert report_of(site.relay)["failures"] == 0
    # It comes from the address that was asked for, in the kernel's spelling.
    assert "0300007F:" in Path("/proc/net/tcp").read_text()
    # A name server that is away keeps nobody from connecting again.
    site.names.kill()
    site.centrals[1].stop()
    site.centrals[1].start()
    site.sent_to(2, 20)
    wait_until(lambda: "using the last addresses: 127.0.0.2" in site.relay.log(), "the log")


def test_srv_records_place_a_service(programs: Programs, tmp_path: Path) -> None:
    site = Site(programs, tmp_path)
    site.names.say(
        {
            SERVICE: {
                "SRV": [[20, 0, site.port, "two.test"], [10, 0, site.port, "one.test"]],
                "ttl": 600,
            },
            "one.test": {"A": ["127.0.0.1"]},
            "two.test": {"A": ["127.0.0.2"]},
        }
    )
    site.start_relay(f"relp://{SERVICE}")
    site.sent_to(1, 0)
    site.centrals[0].stop()
    site.sent_to(2, 10)
