"""What a restart keeps, whatever was done to the configuration meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from relay.cli.control_client import ask
from tests.crash.audit import status_of
from tests.end_to_end.central import Central, numbered, numbers
from tests.end_to_end.test_start import content_of
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

COUNT = 500
QUICK = {"retry_seconds_min": 0.05, "retry_seconds_max": 0.2}


class Site:
    """A relay with a backlog for a central relay that is away."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self.port = free_port()
        self.central = Central(programs, folder / "central", free_port())
        self.relay = RelayProcess(
            folder / "edge",
            sources={"feed": {"listen": f"relp://127.0.0.1:{self.port}"}},
            destinations={"central": self.destination()},
        )
        programs.add(self.relay)
        self.relay.start()
        with RelpSender(self.port) as sender:
            sender.send(numbered("app", COUNT))
            sender.close()

    def destination(self, **keys: Any) -> dict[str, Any]:
        return {"connect": self.central.url, **QUICK, **keys}

    def restart(self, **destinations: dict[str, Any]) -> None:
        """With other destinations."""
        if self.relay.is_running:
            self.relay.stop()
        self.relay.configure(
            relay={"state_dir": str(self.relay.state_dir), "allow_volatile_state": True},
            sources={"feed": {"listen": f"relp://127.0.0.1:{self.port}"}},
            destinations=destinations,
        )
        self.relay.start()
        wait_until(self.answers, "the relay to answer")

    def answers(self) -> bool:
        return (self.relay.state_dir / "control.sock").exists()

    def assert_delivered(self, count: int = COUNT) -> None:
        self.central.start()
        arrived = self.central.wait_for(numbered("app", count))
        assert numbers(arrived, "app") == list(range(count))


def test_a_configuration_that_is_wrong_does_not_touch_what_is_queued(
    programs: Programs, tmp_path: Path
) -> None:
    site = Site(programs, tmp_path)
    site.relay.kill()
    right = site.relay.config_path.read_text()
    before = content_of(site.relay.state_dir)
    for wrong, words in (
        (right + "\n[destinations.", "relay.toml"),
        (right.replace("central", "central!"), "central!"),
        (right.replace("relp://", "rlp://"), "destinations.central.connect"),
    ):
        site.relay.config_path.write_text(wrong)
        before_log = len(site.relay.log())
        site.relay.start(wait=False)
        assert site.relay.wait_exit() > 0
        assert words in site.relay.log()[before_log:]
        assert content_of(site.relay.state_dir) == before
    site.relay.config_path.write_text(right)
    site.relay.start()
    site.assert_delivered()


def test_a_destination_that_was_renamed_keeps_its_backlog_until_it_is_back(
    programs: Programs, tmp_path: Path
) -> None:
    site = Site(programs, tmp_path)
    site.restart(other=site.destination())
    assert status_of(site.relay)["orphans"] == ["central"]
    assert f"queue of central: {COUNT:,} records, numbers 1 to {COUNT}, which is not" in (
        site.relay.log()
    )
    site.central.start()
    wait_until(lambda: status_of(site.relay)["destinations"][0]["ready"], "a connection")
    site.central.stop()
    site.restart(central=site.destination())
    assert status_of(site.relay)["orphans"] == []
    site.assert_delivered()


def test_limits_that_were_changed_keep_what_is_queued(programs: Programs, tmp_path: Path) -> None:
    site = Site(programs, tmp_path)
    for limits in (
        {"queue_bytes_max": "1 MiB", "when_full": "drop-newest"},
        {"queue_bytes_max": "2 GiB", "when_full": "drop-oldest", "queue_seconds_max": 3600},
        {"when_full": "block", "window_records": 10},
        {"queue_bytes_max": "3 MiB", "when_full": "drop-by-severity"},
    ):
        site.restart(central=site.destination(**limits))
        assert status_of(site.relay)["destinations"][0]["queued_records"] == COUNT
    site.assert_delivered()


def test_the_start_after_a_kill_says_what_it_has_found(programs: Programs, tmp_path: Path) -> None:
    site = Site(programs, tmp_path)
    site.relay.kill()
    site.relay.start()
    wait_until(
        lambda: f"queue of central: {COUNT:,} records, numbers 1 to {COUNT}\n" in site.relay.log(),
        "it to say so",
    )


def test_an_upstream_that_comes_back_is_found_without_any_traffic(
    programs: Programs, tmp_path: Path
) -> None:
    site = Site(programs, tmp_path)
    site.assert_delivered()

    def report() -> dict[str, Any]:
        (found,) = ask(str(site.relay.state_dir), "status")["destinations"]
        return dict(found)

    words = f"refused by 127.0.0.1:{site.central.port}, next try in 1 s"
    for _ in range(3):
        site.central.kill()
        wait_until(lambda: report()["state"] == words, "the cause and the next try to be said")
        site.central.start()
        wait_until(lambda: report()["ready"], "it to be connected again")
    assert report()["queued_records"] == 0
