"""A hand in the state directory of a running relay: no message that was answered is lost."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relay.cli.control_client import AskFailed, ask
from tests.end_to_end.central import Central, numbered
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess
from tests.relp_sender import RelpSender

RETRY = {"retry_seconds_min": 0.05, "retry_seconds_max": 0.2}


class Chain:
    """A sender, a relay, and a receiver that is away until the end."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self.port, upstream = free_port(), free_port()
        self.central = Central(programs, folder / "central", upstream)
        self.relay = RelayProcess.started(
            programs,
            folder / "edge",
            sources={"feed": {"listen": f"relp://127.0.0.1:{self.port}"}},
            destinations={"central": {"connect": self.central.url, **RETRY}},
        )
        self.queue = self.relay.state_dir / "queue"
        self.answered: list[bytes] = []
        self._sent = 0

    def send(self, count: int) -> None:
        messages = numbered("app", count, start=self._sent)
        self._sent += count
        with RelpSender(self.port) as sender:
            sender.send(messages)
            sender.wait_answered()
        self.answered += messages

    def is_refused(self) -> bool:
        """Whether a message is not answered."""
        with RelpSender(self.port, seconds_max=1.5) as sender, pytest.raises(TimeoutError):
            sender.send(numbered("refused", 1))
            sender.wait_answered()
        return not sender.answered

    def admission(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = ask(str(self.relay.state_dir), "status")["admission"]
        except AskFailed:  # its socket was removed too
            return {"open": None, "reason": ""}
        return found

    def kill(self) -> None:
        self.relay.kill()

    def stop(self) -> int:
        self.relay.signal(signal.SIGTERM)
        return self.relay.wait_exit(10)

    def assert_nothing_lost(self) -> None:
        self.central.start()
        self.relay.start()
        arrived = self.central.wait_for(self.answered, 30)
        assert len(set(arrived)) == len(arrived), "and nothing comes twice"
        self.relay.stop()


@pytest.fixture
def chain(programs: Programs, tmp_path: Path) -> Chain:
    return Chain(programs, tmp_path)


def remove_file(chain: Chain) -> None:
    (chain.queue / "data.mdb").unlink()


def remove_all(chain: Chain) -> None:
    shutil.rmtree(chain.relay.state_dir)


def rename_all(chain: Chain) -> None:
    chain.relay.state_dir.rename(chain.relay.folder / "moved")


@pytest.mark.parametrize("harm", [remove_file, remove_all, rename_all])
def test_a_file_that_is_removed_is_brought_back(
    chain: Chain, harm: Callable[[Chain], None]
) -> None:
    chain.send(300)
    harm(chain)
    chain.send(200)
    assert "was removed or moved" in chain.relay.log()
    assert "it was written anew with everything that is in it" in chain.relay.log()
    wait_until(lambda: chain.admission()["open"] is True, "it can be asked again, and takes more")
    assert (chain.queue / "owner.lock").exists()
    chain.kill()
    chain.assert_nothing_lost()


def test_it_is_brought_back_while_nothing_comes_in(chain: Chain) -> None:
    chain.send(10)
    remove_all(chain)
    wait_until((chain.queue / "data.mdb").exists, "it is there again")
    wait_until(lambda: chain.admission()["open"] is True, "it can be asked again")
    assert chain.queue.parent.stat().st_mode & 0o777 == 0o700
    assert chain.stop() in (0, -signal.SIGTERM)
    chain.assert_nothing_lost()


def test_a_file_that_somebody_put_there_stays_and_ours_is_kept_beside_it(chain: Chain) -> None:
    chain.send(10)
    chain.stop()
    shutil.copytree(chain.queue, chain.relay.folder / "copy")
    chain.relay.start()
    chain.send(20)
    older = chain.relay.folder / "copy" / "data.mdb"
    content = older.read_bytes()
    older.rename(chain.queue / "data.mdb")
    assert chain.is_refused()
    assert "another file lies in the place of" in chain.admission()["reason"]
    assert chain.stop() == 1, "what was answered is not where it is looked for"
    assert (chain.queue / "data.mdb").read_bytes() == content
    (kept,) = chain.queue.glob("data.mdb.kept-*")
    assert f"the queue in use is kept as {kept}" in chain.relay.log()
    kept.rename(chain.queue / "data.mdb")
    chain.assert_nothing_lost()


def test_where_it_cannot_be_brought_back_nothing_is_answered(chain: Chain) -> None:
    chain.send(10)
    state_dir = chain.relay.state_dir
    state_dir.rename(chain.relay.folder / "moved")
    state_dir.write_text("a file")
    assert chain.is_refused()
    log = chain.relay.log
    wait_until(lambda: "nothing is taken or answered until it is there again" in log(), "a line")
    assert chain.stop() == 1
    assert state_dir.read_text() == "a file"
    state_dir.unlink()
    (chain.relay.folder / "moved").rename(state_dir)
    chain.assert_nothing_lost()


def test_it_goes_on_by_itself_when_the_file_is_put_back(chain: Chain) -> None:
    chain.send(10)
    file = chain.queue / "data.mdb"
    aside = chain.queue / "mine"
    file.rename(aside)
    file.write_text("theirs")
    assert chain.is_refused()
    assert str(aside) in chain.admission()["reason"]
    aside.rename(file)
    chain.send(5)
    assert not list(chain.queue.glob("data.mdb.kept-*"))
    assert chain.stop() in (0, -signal.SIGTERM)
    chain.assert_nothing_lost()


def test_a_second_relay_is_refused_without_the_lock_and_changes_nothing(
    chain: Chain, programs: Programs
) -> None:
    chain.send(50)
    for name in ("owner.lock", "lock.mdb"):
        (chain.queue / name).unlink()
    before = (chain.queue / "data.mdb").stat()
    second = RelayProcess(
        chain.relay.folder / "second",
        sources={"feed": {"listen": f"relp://127.0.0.1:{free_port()}"}},
        destinations={"central": {"connect": chain.central.url}},
        relay={"state_dir": str(chain.relay.state_dir)},
    )
    programs.add(second)
    second.start(wait=False)
    assert second.wait_exit() == 1
    assert f"is in use by process {chain.relay.pid}" in second.log()
    assert sorted(path.name for path in chain.queue.iterdir() if "damaged" in path.name) == []
    assert (chain.queue / "data.mdb").stat().st_ino == before.st_ino
    chain.send(50)
    chain.kill()
    chain.assert_nothing_lost()


def test_a_second_relay_asks_at_the_control_socket_first(chain: Chain, programs: Programs) -> None:
    """The queue was moved away, so there is no lock that it could meet."""
    chain.send(10)
    chain.relay.signal(signal.SIGSTOP)  # it cannot bring anything back now
    chain.queue.rename(chain.relay.folder / "moved")
    second = RelayProcess(
        chain.relay.folder / "second",
        sources={"feed": {"listen": f"relp://127.0.0.1:{free_port()}"}},
        destinations={"central": {"connect": chain.central.url}},
        relay={"state_dir": str(chain.relay.state_dir)},
    )
    programs.add(second)
    second.start(wait=False)
    assert second.wait_exit() == 1
    assert f"is in use by process {chain.relay.pid}" in second.log()
    assert not chain.queue.exists()
    chain.relay.signal(signal.SIGCONT)
    chain.send(10)
    chain.kill()
    chain.assert_nothing_lost()
