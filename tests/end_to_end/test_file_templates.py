"""Files for each host and day: of real senders, with kill -9, a full disk, links and rotation."""

from __future__ import annotations

import gzip
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest
import zstandard

from relay.cli.control_client import ask
from relay.service.destinations.commands import SomeDestination
from tests.end_to_end.full_disk import small_mount
from tests.end_to_end.test_clock_steps import SettableClock
from tests.end_to_end.users import USER, UserPython, folder_of_user, python_for_user
from tests.plain_senders import feed_lines
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess

TEMPLATE = "${HOST}/${R_YEAR}-${R_MONTH}-${R_DAY}.log"


class Collector(RelayProcess):
    """A relay that writes files below `root`."""

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        *,
        template: str = TEMPLATE,
        user: UserPython | None = None,
        **keys: object,
    ) -> None:
        self.root = folder / "logs"
        self.port = free_port()
        self.clock = SettableClock(folder)
        super().__init__(
            folder,
            sources={"feed": {"listen": f"tcp://127.0.0.1:{self.port}"}},
            destinations={
                "files": {
                    "connect": f"file://{self.root}/{template}",
                    "retry_seconds_min": 0.1,
                    "retry_seconds_max": 0.3,
                    **keys,
                }
            },
            environment=user.environment if user else self.clock.environment,
            interpreter=user.path if user else None,
            user=USER if user else None,
        )
        programs.add(self)
        self.start()

    def feed(self, *messages: tuple[str, str]) -> None:
        """Send messages: host and text of each."""
        feed_lines(
            self.port,
            [f"<13>Oct 11 22:14:15 {host} app: {text}".encode() for host, text in messages],
        )

    def delivered(self) -> int:
        (report,) = ask(str(self.state_dir), "status")["destinations"]
        return int(report["delivered_records"])

    def queued(self) -> int:
        (report,) = ask(str(self.state_dir), "status")["destinations"]
        return int(report["queued_records"])

    def wait_for_queued(self, count: int) -> None:
        """All of `count` messages are in the queue, or were."""

        def is_there() -> bool:
            (report,) = ask(str(self.state_dir), "status")["destinations"]
            return bool(report["received_records"] == count)

        wait_until(is_there, f"{count} records in the queue")

    def names(self) -> list[str]:
        return [path.name for path in self.root.rglob("*")]

    def wait_for(self, count: int) -> None:
        wait_until(lambda: self.delivered() == count, f"{count} records in files")

    def texts(self) -> dict[str, list[str]]:
        """The texts of all messages in all files, by name."""
        return {
            str(path.relative_to(self.root)): [
                line.rpartition(b": ")[2].decode() for line in content(path).splitlines()
            ]
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }


def content(path: Path) -> bytes:
    raw = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(raw)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(raw).read()
    return raw


def test_two_hosts_and_two_days(programs: Programs, tmp_path: Path) -> None:
    relay = Collector(programs, tmp_path)
    relay.feed(("web", "1"), ("db", "2"), ("../../etc", "3"), (".ssh", "4"))
    relay.wait_for(4)
    today = time.strftime("%Y-%m-%d.log", time.localtime())
    relay.clock.set(86400.0)
    tomorrow = time.strftime("%Y-%m-%d.log", time.localtime(time.time() + 86400))
    relay.feed(("web", "5"))
    relay.wait_for(5)
    texts = relay.texts()
    assert texts[f"web/{today}"] == ["1"]
    assert texts[f"web/{tomorrow}"] == ["5"]
    assert texts[f"db/{today}"] == ["2"]
    assert sorted(line for lines in texts.values() for line in lines) == [*"12345"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        *("logs", "site", "state")
    ]
    relay.stop()


def test_no_line_is_lost_by_kill_9(programs: Programs, tmp_path: Path) -> None:
    relay = Collector(
        programs, tmp_path, template="${HOST}.log", rotate_bytes="8 KiB", compress="zstd"
    )
    sent: list[tuple[str, str]] = []
    allowed: list[int] = []  # how often each may be there
    chosen = random.Random(7)
    for round in range(6):
        ask(str(relay.state_dir), "pause", SomeDestination("files"))
        messages = [(f"host{chosen.randrange(50)}", f"{round}-{i}") for i in range(1500)]
        relay.feed(*messages)
        sent += messages
        allowed += [1] * 1500
        relay.wait_for_queued(len(sent))
        acknowledged = relay.delivered()
        allowed[acknowledged:] = [count + 1 for count in allowed[acknowledged:]]
        ask(str(relay.state_dir), "resume", SomeDestination("files"))
        time.sleep(chosen.uniform(0.0, 0.15))  # of the writing, which takes about as long
        relay.kill()
        relay.start()
    relay.wait_for(len(sent))
    found = Counter(
        (name.split(".")[0], text) for name, lines in relay.texts().items() for text in lines
    )
    assert {*found} == {*sent}
    for message, most in zip(sent, allowed, strict=True):
        assert found[message] <= most
    relay.stop()


def test_a_full_disk_and_room_again(programs: Programs, tmp_path: Path) -> None:
    with small_mount(tmp_path / "logs", 256 * 1024) as disk:
        if disk is None:
            pytest.skip("needs to mount a file system")
        relay = Collector(programs, tmp_path, template="${HOST}/a.log")
        messages = [(f"host{i % 7}", f"{i} " + "x" * 500) for i in range(1000)]
        relay.feed(*messages)
        wait_until(lambda: "No space left on device" in relay.log(), "a full disk in the log")
        wait_until(lambda: relay.delivered() > 0, "smaller batches, which find room")
        assert relay.delivered() < 1000
        disk.enlarge(relay)
        relay.wait_for(1000)
        texts = relay.texts()
        assert {*texts} == {f"host{i}/a.log" for i in range(7)}
        for i in range(7):
            # Whole, once, and in order: what did not fit was cut off again.
            assert texts[f"host{i}/a.log"] == [text for _, text in messages[i::7]]
        relay.stop()


def test_links_that_a_local_user_has_made(programs: Programs, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    victim = outside / "victim"
    victim.write_text("")
    relay = Collector(programs, tmp_path, template="${HOST}/${PROGRAM}.log")
    relay.feed(("web", "1"))
    relay.wait_for(1)
    (relay.root / "db").symlink_to(outside / "sub")
    (relay.root / "web" / "app.log").unlink()
    (relay.root / "web" / "app.log").symlink_to(victim)
    relay.feed(("web", "2"), ("db", "3"), ("mail", "4"))
    relay.wait_for(4)
    assert victim.read_text() == "" and not [*(outside / "sub").iterdir()]
    texts = relay.texts()
    assert texts["_overflow-files.log"] == ["2", "3"]
    assert texts["mail/app.log"] == ["4"]
    assert "app.log: it is a link, or not what belongs there" in relay.log()
    (report,) = ask(str(relay.state_dir), "status")["destinations"]
    assert (
        f"2 messages went to {relay.root}/_overflow-files.log; the log says why"
        in report["details"]
    )
    relay.stop()


def test_files_of_a_day_are_compressed_and_late_messages_are_kept_whoever_dies(
    programs: Programs, tmp_path: Path
) -> None:
    """The day is that of the sender: a message may be late for any file."""
    relay = Collector(programs, tmp_path, template="${HOST}/${MONTH}-${DAY}.log", compress="zstd")
    sent: list[tuple[str, str]] = []

    def feed(round: int) -> None:
        messages = [(f"host{i % 20}", f"{round}-{i}") for i in range(400)]
        sent.extend(messages)
        relay.feed(*messages)
        wait_until(lambda: lines_of_all() == {text for _, text in sent}, "all lines in files", 60)
        # Or they are written once more after the kill, on another day.
        wait_until(lambda: relay.queued() == 0, "an empty queue")

    def lines_of_all() -> set[str]:
        try:
            return {line for lines in relay.texts().values() for line in lines}
        except FileNotFoundError:  # closed or compressed meanwhile
            return set()

    def plain() -> list[str]:
        return [name for name in relay.names() if "." in name[1:] and not name.endswith(".zst")]

    chosen = random.Random(11)
    for round in range(3):
        feed(round)
        relay.clock.set(86400.0)
        for _ in range(3):  # each start looks at once, so this is while files are compressed
            relay.kill()
            relay.start()
            wait_until(lambda: len(plain()) < 20, "the first file that is compressed", 90)
            time.sleep(chosen.random() / 50)
            if not plain():
                break
        wait_until(lambda: not plain(), "compressed files", 90)
    texts = relay.texts()
    assert {len(name.split(".log.")) for name in texts} == {2}
    assert len(texts) == 60  # of each host one for each round
    lines = Counter(line for each in texts.values() for line in each)
    assert lines.keys() == {text for _, text in sent}
    relay.stop()


@pytest.mark.parametrize("compress", ["zstd", "gzip"])
def test_files_are_rotated_and_compressed_while_they_are_written(
    programs: Programs, tmp_path: Path, compress: str
) -> None:
    relay = Collector(
        programs,
        tmp_path,
        template="${HOST}.log",
        rotate_bytes="16 KiB",
        compress=compress,
        mode=0o604,
        group="4321",
    )
    sent = []
    for round in range(20):
        messages = [(f"host{i % 3}", f"{round}-{i} " + "x" * 100) for i in range(200)]
        relay.feed(*messages)
        sent += messages
        relay.wait_for(len(sent))
    suffix = ".zst" if compress == "zstd" else ".gz"

    def are_compressed() -> bool:
        """All closed files are, so that none changes its name while it is read here."""
        closed = [name for name in relay.names() if not name.endswith(".log") and name[0] != "."]
        return bool(closed) and all(name.endswith(suffix) for name in closed)

    wait_until(are_compressed, "compressed files", 90)
    texts = relay.texts()
    for i in range(3):
        own = sorted(
            line for name, lines in texts.items() if f"host{i}.log" in name for line in lines
        )
        assert own == sorted(text for host, text in sent if host == f"host{i}")
    statuses = [path.stat() for path in relay.root.glob("host*")]
    assert {(each.st_mode & 0o777, each.st_gid) for each in statuses} == {(0o604, 4321)}
    relay.stop()


def test_logrotate_renames_files_and_the_relay_makes_them_again(
    programs: Programs, tmp_path: Path
) -> None:
    relay = Collector(programs, tmp_path, template="${HOST}.log")
    for round in range(3):
        relay.feed(("web", f"{round}"), ("db", f"{round}"))
        relay.wait_for(2 * round + 2)
        for host in ("web", "db"):
            (relay.root / f"{host}.log").rename(relay.root / f"{host}.log.{round}")
    relay.feed(("web", "last"))
    relay.wait_for(7)
    assert relay.texts() == {
        "web.log": ["last"],
        **{f"{host}.log.{round}": [f"{round}"] for host in ("web", "db") for round in range(3)},
    }
    assert "web.log was renamed or replaced; opened it again by its name" in relay.log()
    relay.stop()


def test_a_directory_in_the_place_of_a_file_is_in_nobodys_way(
    programs: Programs, tmp_path: Path
) -> None:
    relay = Collector(programs, tmp_path, template="${HOST}/a.log")
    (relay.root / "db" / "a.log").mkdir(parents=True)
    relay.feed(("db", "1"), ("web", "2"))
    relay.wait_for(2)
    assert relay.texts() == {"_overflow-files.log": ["1"], "web/a.log": ["2"]}
    relay.stop()


def test_what_may_not_be_written_is_named_with_user_and_remedy(programs: Programs) -> None:
    python = python_for_user()
    with folder_of_user() as folder:
        relay = Collector(programs, folder, template="${HOST}/a.log", user=python)
        wait_until(relay.root.exists, "the directory for the files")
        closed = relay.root / "db"
        closed.mkdir(mode=0o755)  # and root's
        relay.feed(("db", "1"), ("web", "2"))
        wait_until(lambda: "Permission denied" in relay.log(), "the refusal in the log")
        assert (
            f"destination files: {closed}/a.log: Permission denied: user {USER} may not make files "
            f"in {closed}, owned by root, mode 0755; let {USER} write to {closed}, or choose "
            "another path"
        ) in relay.log()
        assert relay.delivered() == 0
        shutil.chown(closed, USER)
        relay.wait_for(2)
        assert relay.texts() == {"db/a.log": ["1"], "web/a.log": ["2"]}
        relay.stop()
