"""Nothing is delivered into a file that has no name any more."""

from __future__ import annotations

from pathlib import Path

from relay.cli.control_client import ask
from tests.plain_senders import feed_lines
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines


def test_a_removed_or_renamed_file_is_opened_again_by_its_name(
    programs: Programs, tmp_path: Path
) -> None:
    port, out = free_port(), tmp_path / "received.log"
    relay = RelayProcess.started(
        programs,
        tmp_path,
        sources={"feed": {"listen": f"tcp://127.0.0.1:{port}"}},
        destinations={"file": {"connect": f"file://{out}"}},
    )

    def delivered() -> int:
        (report,) = ask(str(relay.state_dir), "status")["destinations"]
        return int(report["delivered_records"])

    feed_lines(port, [b"<13>one"])
    wait_until(lambda: delivered() == 1, "the first line, synced")  # or it is written again
    out.unlink()
    feed_lines(port, [b"<13>two"])
    assert wait_for_lines(out, 1) == [b"<13>two"]
    wait_until(lambda: delivered() == 2, "the second line, synced")
    rotated = out.rename(tmp_path / "received.log.1")
    wait_until(out.exists, "the file made anew without a message or a signal")
    feed_lines(port, [b"<13>three"])
    assert wait_for_lines(out, 1) == [b"<13>three"]
    assert received(rotated) == [b"<13>two"]
    wait_until(lambda: "destination file: " in relay.log(), "a line in the log")
    assert f"{out} was removed; opened it again by its name" in relay.log()
    relay.stop()
