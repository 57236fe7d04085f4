"""A central relay shows those that send to it over RELP with TLS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from relay import __version__
from relay.cli.control_client import ask
from tests.certificate_files import CLIENT_NAME, CertificateFiles
from tests.end_to_end.test_command_line import run
from tests.end_to_end.test_web import get
from tests.plain_senders import feed_stream
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess


def edge(
    programs: Programs, folder: Path, name: str, port: int, files: CertificateFiles, **keys: Any
) -> tuple[RelayProcess, int]:
    """A relay that sends to the central one and to a receiver that is away, and its TCP port."""
    own = free_port()
    relay = RelayProcess.started(
        programs,
        folder / name,
        name=name,
        sources={"in": {"listen": f"tcp://127.0.0.1:{own}"}},
        destinations={
            "central": {
                "connect": f"relp+tls://127.0.0.1:{port}",
                "trusted_ca": files.ca,
                "certificate": files.client_certificate,
                "private_key": files.client_key,
                "retry_seconds_min": 0.1,
                "retry_seconds_max": 0.2,
                **keys,
            },
            "away": {"connect": f"relp://127.0.0.1:{free_port()}"},
        },
    )
    return relay, own


def test_two_relays_report_and_one_that_is_killed_is_not_seen(
    programs: Programs, tmp_path: Path, certificates: CertificateFiles
) -> None:
    port, web = free_port(), f"http://127.0.0.1:{free_port()}"
    central = RelayProcess.started(
        programs,
        tmp_path / "central",
        name="central",
        sources={
            "relays": {
                "listen": f"relp+tls://127.0.0.1:{port}",
                "certificate": certificates.server_certificate,
                "private_key": certificates.server_key,
                "trusted_ca": certificates.ca,
            }
        },
        destinations={"file": {"connect": f"file://{tmp_path}/received.log"}},
        web={"listen": web},
    )

    def fleet() -> dict[str, dict[str, Any]]:
        members = ask(str(central.state_dir), "status")["fleet"]
        return {member["host"]: member for member in members}

    assert fleet() == {}
    first, own = edge(programs, tmp_path, "first", port, certificates)
    edge(programs, tmp_path, "second", port, certificates)
    edge(programs, tmp_path, "quiet", port, certificates, fleet_report=False)
    wait_until(lambda: {*fleet()} == {"first", "second"}, "both are known")
    wait_until(lambda: all(each["queued_records"] == 0 for each in fleet().values()), "reports")
    found = fleet()["first"]
    assert (found["peer"], found["version"], found["state"]) == (CLIENT_NAME, __version__, "ok")

    # What waits there is said at the next connection.
    feed_stream(own, [b"<14>host app: some message"] * 20)

    def queued() -> int:
        destinations = ask(str(first.state_dir), "status")["destinations"]
        return sum(each["queued_records"] for each in destinations)

    wait_until(lambda: queued() == 20, "only those for the receiver that is away wait")
    first.stop()  # a kill could come before the queue knows what the central relay has answered
    first.start()
    wait_until(lambda: fleet()["first"]["queued_records"] == 20, "they are reported")
    first.kill()
    before = fleet()["first"]["last_seen_seconds"]
    wait_until(lambda: fleet()["first"]["last_seen_seconds"] > before + 0.5, "it is not seen")
    printed = run("fleet", "--json", "-d", str(central.state_dir))[1]
    assert {each["host"]: each["queued_records"] for each in json.loads(printed)} == {
        "first": 20,
        "second": 0,
    }
    lines = run("fleet", "-d", str(central.state_dir))[1].splitlines()
    line = next(line for line in lines if line.startswith("first "))
    assert line.split()[:4] == ["first", CLIENT_NAME, __version__, "20"]
    labels = f'{{peer="{CLIENT_NAME}",relay="first"}}'
    assert f"syslogrelay_fleet_queued_messages{labels} 20.0" in get(f"{web}/metrics")[1]
