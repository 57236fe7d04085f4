"""Which destination gets a message, from the socket to the file."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPSet

from relay.cli.control_client import ask
from tests.plain_senders import feed_lines
from tests.processes import Programs, free_port, wait_until
from tests.relay_process import RelayProcess, received, wait_for_lines
from tests.relp_sender import RelpSender


class Router(RelayProcess):
    """Listeners, and a file for each destination."""

    def __init__(
        self,
        folder: Path,
        ports: dict[str, int],
        scheme: str = "tcp",
        **destinations: dict[str, Any],
    ) -> None:
        self.files = {name: folder / f"{name}.log" for name in destinations}
        super().__init__(
            folder,
            sources={id: {"listen": f"{scheme}://127.0.0.1:{port}"} for id, port in ports.items()},
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


def test_columns_of_tables_become_pairs_and_new_files_are_read(
    programs: Programs, tmp_path: Path
) -> None:
    assets, places = tmp_path / "assets.csv", tmp_path / "places.mmdb"
    assets.write_text("name,owner,HOST\nweb,shop,web.example.com\n")
    writer = MMDBWriter(6, "City", ipv4_compatible=True)
    city = {"country": {"iso_code": "DE"}, "location": {"latitude": 52.5, "longitude": 13.25}}
    writer.insert_network(IPSet(["192.0.2.0/24"]), city)
    writer.to_db_file(str(places))
    port = free_port()
    relay = Router(
        tmp_path,
        {"in": port},
        out={
            "rewrite": [
                {"parse": "csv", "columns": ["PROGRAM", "ip"], "delimiter": " "},
                {"map": str(assets), "key": "$HOST", "prefix": "", "columns": ["owner", "HOST"]},
                {"map": str(places), "key": "$ip", "prefix": "geo.", "default": "?"},
            ],
            "template": "$HOST $PROGRAM ${owner} ${geo.country} ${geo.location} ${geo.city}",
        },
    )
    programs.add(relay)
    relay.start()
    start = b"<13>Oct 11 22:14:15 web"
    feed_lines(port, [b"%s x: app 192.0.2.9" % start, b"%s x: app 203.0.113.1" % start])
    assert wait_for_lines(relay.files["out"], 2) == [
        b"web.example.com app shop DE 52.5,13.25 ?",
        b"web.example.com app shop ? ? ?",
    ]
    for content in ("name,owner,HOST\nweb,blog,new\n", "name,owner\nbroken,file\n"):
        (tmp_path / "new").write_text(content)
        (tmp_path / "new").rename(assets)
        relay.signal(signal.SIGHUP)
        words = "read again" if "new" in content else "what was read before is still used"
        wait_until(lambda words=words: words in relay.log(), words)
    feed_lines(port, [b"%s x: app 192.0.2.9" % start])
    assert wait_for_lines(relay.files["out"], 3)[2:] == [b"new app blog DE 52.5,13.25 ?"]


def test_groups_survive_a_kill(programs: Programs, tmp_path: Path) -> None:
    port = free_port()
    relay = Router(
        tmp_path,
        {"in": port},
        out={
            "rewrite": [
                {
                    "group_by": "$PROGRAM/$PID",
                    "end": {"msg": "end"},
                    "seconds_max": 3600,
                    "records_max": 50,
                }
            ],
            "template": "$PID ${.group.records} $MSG",
        },
    )
    programs.add(relay)
    relay.start()
    start = b"<14>Oct 11 22:14:15 web"
    feed_lines(port, [b"%s job[%d]: begin" % (start, pid) for pid in (1, 2, 3)])
    feed_lines(port, [b"%s job[1]: end" % start])
    assert wait_for_lines(relay.files["out"], 1) == [b"1 2 begin#012end"]
    relay.kill()
    relay.start()
    assert ask(str(relay.state_dir), "status")["waiting_in_groups"] == {"out": 2}
    feed_lines(port, [b"%s job[2]: middle" % start, b"%s job[2]: end" % start])
    wait_until(
        lambda: b"2 3 begin#012middle#012end" in received(relay.files["out"]), "the second group"
    )
    relay.stop()
    relay.start()
    wait_until(lambda: b"3 1 begin" in received(relay.files["out"]), "the third at the stop")
    (report,) = ask(str(relay.state_dir), "status")["destinations"]
    assert report["dropped_records"] == {"grouped": 3}


def test_kills_lose_no_member_that_was_answered(programs: Programs, tmp_path: Path) -> None:
    port = free_port()
    relay = Router(
        tmp_path,
        {"in": port},
        "relp",
        out={
            "rewrite": [{"group_by": "$PID", "seconds_max": 3600, "records_max": 7}],
            "template": "$MSG",
        },
    )
    programs.add(relay)
    messages = [b"<14>Oct 11 22:14:15 web job[%d]: n%d" % (n % 13, n) for n in range(900)]
    answered: set[bytes] = set()
    for last in (300, 600, 900):
        relay.start()
        with RelpSender(port) as sender:
            sender.send([each for each in messages[:last] if each not in answered])
            sender.wait_for(100)
            answered |= set(sender.answered)
            relay.kill()
    relay.start()
    with RelpSender(port) as sender:
        sender.send([each for each in messages if each not in answered])
        sender.close()
    relay.stop()  # completes all groups
    relay.start()
    numbers = {b"n%d" % n for n in range(len(messages))}

    def arrived() -> set[bytes]:
        return {part for line in received(relay.files["out"]) for part in line.split(b"#012")}

    wait_until(lambda: arrived() >= numbers, "all members")
    assert arrived() == numbers
