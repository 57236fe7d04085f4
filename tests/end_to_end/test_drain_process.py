"""The drain in a process of its own: killed at random moments, replaced, stopped, renewed.

TWO_PROCESSES=1 runs every other test with relays of this kind, too.  The seeds are
printed; set KILL_SEED to repeat one, and CYCLES to go on for longer.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.bench.usage import children_of, counting_syncs, sync_count, traced_pid
from tests.certificate_files import CertificateFiles, make_certificate_files
from tests.crash.audit import assert_drained
from tests.crash.kill import Traffic, seed_from
from tests.end_to_end.central import Central, numbered, numbers, without_repetition
from tests.end_to_end.picky import PickyUpstream
from tests.end_to_end.test_exactly_once import OnceSender, TwoRelays, is_delivered, report
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, wait_for_lines
from tests.relp_sender import RelpSender

CYCLES = int(os.environ.get("CYCLES", "10"))
ALIVE_SECONDS_MAX = 0.5
OURS = {"drain_process": True}
RETRY = {"retry_seconds_min": 0.05, "retry_seconds_max": 0.2}


def drain_process_of(relay: RelayProcess) -> int:
    """Its pid, or 0 if there is none now."""
    return next(iter(children_of(relay.pid)), 0)


def wait_for_drain_process(relay: RelayProcess, *, other_than: int = 0) -> int:
    wait_until(
        lambda: drain_process_of(relay) not in (0, other_than) and is_told(relay),
        "a drain process",
    )
    return drain_process_of(relay)


def is_told(relay: RelayProcess) -> bool:
    return f"drain process {drain_process_of(relay)} runs" in relay.log()


def is_gone(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def edge_relay(folder: Path, port: int, url: str, **destination: Any) -> RelayProcess:
    return RelayProcess(
        folder,
        sources={"feed": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={"central": {"connect": url, **RETRY, **destination}},
        relay=OURS,
    )


def send(port: int, tag: str, count: int, *, start: int = 0) -> None:
    with RelpSender(port) as sender:
        sender.send(numbered(tag, count, start=start))
        sender.close()


def test_whoever_is_killed_what_was_answered_arrives(programs: Programs, tmp_path: Path) -> None:
    moments = random.Random(seed_from("KILL_SEED"))
    port = free_port()
    central = Central(programs, tmp_path / "central", free_port())
    relay = edge_relay(tmp_path / "edge", port, central.url)
    programs.add(relay)
    central.start()
    relay.start()
    senders = [Traffic(port, tag) for tag in ("one", "two")]
    for sender in senders:
        sender.start()
    killed: Counter[str] = Counter()
    for _ in range(CYCLES):
        threading.Event().wait(moments.uniform(0.0, ALIVE_SECONDS_MAX))
        if moments.random() < 0.7:  # else it may be hit while it starts
            wait_for_drain_process(relay)
        victim = moments.choice(["drain process", "main process", "both", "central"])
        killed[victim] += 1
        child = drain_process_of(relay)
        if victim == "central":
            central.kill()
            central.start(wait=False)
            continue
        if victim != "main process" and child:
            os.kill(child, signal.SIGKILL)
        if victim != "drain process":
            relay.kill()
            wait_until(lambda child=child: is_gone(child), "the drain process ends, too")  # type: ignore[misc]
            relay.start(wait=False)
    for sender in senders:
        sender.finish()
    lines = central.wait_for(message for sender in senders for message in sender.answered)
    print(f"{len(lines)} messages, killed: {dict(killed)}")
    for sender, tag in zip(senders, ("one", "two"), strict=True):
        assert len(sender.answered) > CYCLES, "hardly any traffic"
        order = without_repetition(numbers(lines, tag))
        assert order == sorted(order), tag
    assert_drained(relay)
    assert "Traceback" not in relay.log() + central.log()


def test_every_message_arrives_once_and_in_order(programs: Programs, tmp_path: Path) -> None:
    chance = random.Random(seed_from("KILL_SEED"))
    relays = TwoRelays(programs, tmp_path, cuts=True, seed=chance.randrange(2**32), relay=OURS)
    relays.central.start()
    relays.edge.start()
    sender = OnceSender(relays.port)
    sender.start()
    for number in range(CYCLES):
        threading.Event().wait(chance.uniform(0, ALIVE_SECONDS_MAX))
        child = wait_for_drain_process(relays.edge)
        if number % 3 < 2:  # one that ends again and again would be waited for ever longer
            os.kill(child, signal.SIGKILL)
        else:
            relays.edge.kill()
            relays.edge.start()
    for proxy in relays.proxies:
        proxy.stop_cutting()
    sender.finish()
    wait_until(
        lambda: is_delivered(relays.edge, sender.count), "the edge has delivered everything", 60
    )
    wait_until(lambda: report(relays.edge, "destinations")["exactly_once"], "exactly once")
    assert report(relays.central, "sources")["missing_records"] == 0
    relays.edge.stop()
    relays.central.stop()
    print(f"{sender.count} messages, {sender.sessions} sessions of the sender")
    assert relays.received() == sender.messages


def test_an_outage_and_the_file_of_the_queue(programs: Programs, tmp_path: Path) -> None:
    """Drain processes that are killed while they read keep no pages of the queue."""
    port = free_port()
    central = Central(programs, tmp_path / "central", free_port())
    relay = edge_relay(tmp_path / "edge", port, central.url)
    programs.add(relay)
    relay.start()
    data = relay.state_dir / "queue" / "data.mdb"
    sizes = []
    for cycle in range(4):
        send(port, "app", 2000, start=2000 * cycle)
        child = wait_for_drain_process(relay)
        central.start()
        os.kill(child, signal.SIGKILL)
        central.wait_for(numbered("app", 2000, start=2000 * cycle))
        wait_until(lambda: report(relay, "destinations")["queued_records"] == 0, "drained")
        central.kill()
        sizes.append(data.stat().st_size)
    assert sizes[-1] <= 2 * max(sizes[:2])
    assert "Traceback" not in relay.log()


def test_refused_messages_are_set_aside(programs: Programs, tmp_path: Path) -> None:
    port, upstream = free_port(), free_port()
    relay = edge_relay(tmp_path, port, f"relp://127.0.0.1:{upstream}", refusals_max=2)
    programs.add(relay)
    relay.start()
    with PickyUpstream(upstream, b"poison") as picky:
        send(port, "good", 3)
        send(port, "poison", 1)
        send(port, "good", 3, start=3)
        wait_until(lambda: report(relay, "destinations")["quarantined_records"] == 1, "set aside")
        wait_until(lambda: len(picky.taken) >= 6, "the others")
        wait_until(lambda: report(relay, "destinations")["queued_records"] == 0, "drained")
        wait_until(lambda: report(relay, "destinations")["ready"], "it is connected again")
        # Told at most a tenth of a second later than the accounts.
        wait_until(lambda: not report(relay, "destinations")["in_flight_records"], "its counters")
        found = report(relay, "destinations")
        assert found["delivered_records"] == 6
        assert "every message acknowledged" in found["state"]
    assert relay.log().count("were set aside in the quarantine") == 1
    relay.stop()


def test_new_certificates_and_rotated_files(programs: Programs, tmp_path: Path) -> None:
    """SIGHUP: the main process reads what is new, the drain process uses it."""
    first = make_certificate_files(tmp_path / "first")
    second = make_certificate_files(tmp_path / "second")
    shutil.copy(second.ca, tmp_path / "ca.pem")  # not that of the central relay
    port, upstream, arrived = free_port(), free_port(), tmp_path / "received.log"
    central = tls_relay(programs, tmp_path / "central", upstream, first, arrived)
    copy = tmp_path / "copy.log"
    relay = RelayProcess.started(
        programs,
        tmp_path / "edge",
        sources={"feed": {"listen": f"relp://127.0.0.1:{port}"}},
        destinations={
            "central": {
                "connect": f"relp+tls://127.0.0.1:{upstream}",
                "trusted_ca": str(tmp_path / "ca.pem"),
                **RETRY,
            },
            "copy": {"connect": f"file://{copy}"},
        },
        relay=OURS,
    )
    send(port, "app", 3)
    wait_until(lambda: "is not accepted" in relay.log(), "the refusal of the certificate")
    wait_for_lines(copy, 3)
    copy.rename(tmp_path / "rotated.log")
    shutil.copy(first.ca, tmp_path / "ca.pem")
    relay.signal(signal.SIGHUP)
    wait_until(lambda: "new TLS files are in use" in relay.log(), "the new files")
    assert numbers(wait_for_lines(arrived, 3), "app") == [0, 1, 2]
    send(port, "app", 2, start=3)
    assert numbers(wait_for_lines(copy, 2), "app") == [3, 4]
    assert numbers(wait_for_lines(arrived, 5), "app") == [0, 1, 2, 3, 4]
    relay.stop()
    central.stop()


def tls_relay(
    programs: Programs, folder: Path, port: int, files: CertificateFiles, arrived: Path
) -> RelayProcess:
    source = {
        "listen": f"relp+tls://127.0.0.1:{port}",
        "certificate": files.server_certificate,
        "private_key": files.server_key,
        "peer_verify": "none",
    }
    return RelayProcess.started(
        programs,
        folder,
        sources={"in": source},
        destinations={"file": {"connect": f"file://{arrived}"}},
    )


def test_it_ends_with_the_relay_and_not_by_signals(programs: Programs, tmp_path: Path) -> None:
    relay = edge_relay(tmp_path, free_port(), f"relp://127.0.0.1:{free_port()}")
    programs.add(relay)
    relay.start()
    child = wait_for_drain_process(relay)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(child, number)
    assert drain_process_of(relay) == child
    relay.signal(signal.SIGHUP)
    relay.stop()
    assert is_gone(child)
    relay.start()
    child = wait_for_drain_process(relay)
    os.kill(child, signal.SIGKILL)
    another = wait_for_drain_process(relay, other_than=child)
    assert "drain process: ended by SIGKILL, next start in 0.5 s" in relay.log()
    os.kill(another, signal.SIGSTOP)  # it hangs
    relay.stop()
    assert is_gone(another)


def test_each_commit_is_synced(programs: Programs, tmp_path: Path) -> None:
    """As in one process: what is answered alone takes a sync of its own."""
    port = free_port()
    central = Central(programs, tmp_path / "central", free_port())
    central.start()
    relay = edge_relay(tmp_path / "edge", port, central.url)
    traced = counting_syncs(relay.command, tmp_path / "syncs")
    if traced is None:
        pytest.skip("strace is not installed")
    relay.command = traced
    programs.add(relay)
    relay.start()
    try:
        before = sync_count(tmp_path / "syncs")
        for number in range(50):
            send(port, "app", 1, start=number)
        assert sync_count(tmp_path / "syncs") >= before + 50
    finally:
        os.kill(traced_pid(relay.pid), signal.SIGKILL)
        relay.wait_exit()
