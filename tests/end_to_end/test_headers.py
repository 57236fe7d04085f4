"""Headers that are unusual, from the socket to the file: one reading for every form."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from tests.plain_senders import feed_datagrams
from tests.processes import Programs, free_port
from tests.relay_process import RelayProcess, wait_for_lines

TOKEN = "0f8fad5b-d9cb-469f-a165-70867728950e"
BLANKS = b"<30>Oct 11 22:14:15 Media Server[12]: started"
USUAL = b"<30>Oct 11 22:14:15 app[7]: hello"
NAMED = b"<30>Oct 11 22:14:15 box app[7]: hello"


def feed_unix(path: Path, lines: list[bytes]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for line in lines:
            sender.sendto(line, str(path))


def test_local_lines_name_no_host_and_those_of_the_network_may(
    programs: Programs, tmp_path: Path
) -> None:
    port = free_port()
    (tmp_path / "token").write_text(TOKEN)
    rewrite = {"mode": "cee", "token_file": str(tmp_path / "token")}
    template = "$SOURCE|$HOST|$PROGRAM|$PID|$MSG"
    RelayProcess.started(
        programs,
        tmp_path,
        sources={
            "local": {"listen": f"unixgram://{tmp_path}/log"},
            "named": {
                "listen": f"unixgram://{tmp_path}/named",
                "parse": {"local_hostname": True},
            },
            "net": {"listen": f"udp://127.0.0.1:{port}"},
        },
        destinations={
            "tmpl": {"connect": f"file://{tmp_path}/tmpl.out", "template": template},
            "cee": {"connect": f"file://{tmp_path}/cee.out", "rewrite": rewrite},
            "filtered": {
                "connect": f"file://{tmp_path}/filtered.out",
                "match": {"hostname": "my-host"},
            },
        },
    )
    lines = tmp_path / "tmpl.out"
    feed_unix(tmp_path / "log", [USUAL])
    (usual,) = wait_for_lines(lines, 1)
    relay = usual.split(b"|")[1]
    assert usual == b"local|%s|app|7|hello" % relay
    feed_unix(tmp_path / "log", [BLANKS])
    feed_unix(tmp_path / "named", [NAMED])
    feed_datagrams(port, [b"my-host app: hello", b"no header at all", b'my-host {"a": 1}'])
    assert sorted(wait_for_lines(lines, 6)[1:]) == sorted(
        [
            b"local|%s|Media Server|12|started" % relay,
            b"named|box|app|7|hello",
            b"net|my-host|app||hello",
            b"net|127.0.0.1|||no header at all",
            b'net|my-host|||{"a": 1}',
        ]
    )
    assert len(wait_for_lines(tmp_path / "filtered.out", 2)) == 2
    sent = [
        (line.split(b" ")[1], json.loads(line.partition(b"@cee: ")[2]).get("message", ""))
        for line in wait_for_lines(tmp_path / "cee.out", 6)
    ]
    assert relay not in (b"", b"127.0.0.1", b"Media")
    assert sorted(pair for pair in sent if pair[0] == relay) == [
        (relay, "Media Server[12]: started"),
        (relay, "hello"),
    ]
    assert (b"127.0.0.1", "no header at all") in sent
    assert (b"my-host", "") in sent
