"""What `sematext://` sends, beside what real rsyslog makes of the same with Sematext's template."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.lab import Lab
from tests.interop.messages import wait_for
from tests.plain_senders import feed_lines, feed_stream
from tests.processes import free_port, wait_until

TOKEN = "01234567-89ab-cdef-0123-456789abcdef"

# As the documentation of Sematext has it for rsyslog, but for the names of the token and file.
TEMPLATE = r"""
template(name="sematext" type="list") {
  constant(value="<") property(name="pri") constant(value=">")
  property(name="timestamp" dateFormat="rfc3339") constant(value=" ")
  property(name="hostname") constant(value=" ") property(name="syslogtag")
  constant(value="@cee: {\"logsene-app-token\": \"%s\", \"message\": \"")
  property(name="msg" format="json") constant(value="\"}\n")
}
"""
START = b"<%d>Oct 11 22:14:15 mymachine su[%d]:"
EQUAL = [
    START % (8 * number + number % 8, 1000 + number) + text
    for number, text in enumerate(
        [
            b"plain words",
            b"quotes \" and ' of both kinds",
            b'backslashes \\ \\n \\" \\\\',
            b"a tab\there",
            b"controls \x01\x02\x10 and \x7f",
            b"\x08\x0c in the middle\x11[31m",
            b"a line\nand another\r\none",
            "árvíztűrő tükörfúrógép 日本語 🐘".encode(),
            b"percent %s %d %% $PATH ${HOME}",
            b"{not json}",
            b"<34>1 - : ; [x]",
            b'x [not="structured data"]',
        ]
    )
]
"""What both write in the same bytes."""
OTHER = [
    START % (13, 1) + b"slashes / and /var/log",  # needless escapes
    START % (13, 2) + b"controls \x1b and \x0b",  # their digits
    START % (13, 3) + b"latin-1 \xe1rv\xedz",  # what is not UTF-8 is not JSON as it is
    START % (13, 4) + b"broken \xff\xfe and \xc3( and \xed\xa0\x80",
    b"<34>Oct  1 02:04:05 mymachine su: a space before the text",
    b"<86>Oct 11 22:14:15 mymachine sudo:    alice",
    b"<13>2026-10-11T22:14:15.003Z mymachine kernel: x",
    b'<165>1 2026-10-11T22:14:15.123456+02:00 web-1.example.com app 77 ID7 - say "hi"',  # no colon
]


def as_the_relay_writes(golden: bytes) -> bytes:
    """A line of rsyslog with the differences that docs/destinations/sematext.md lists."""
    text = golden.decode(errors="surrogateescape")
    text = re.sub("[\ud800-\udfff]", lambda found: rf"\\x{ord(found[0]) - 0xDC00:02x}", text)
    text = text.replace(r"\/", "/")
    text = re.sub(r"\\u00[0-9A-F]{2}", lambda found: found[0].lower(), text)
    text = text.replace('"message": " ', '"message": "')
    return re.sub(r"(?<!:)@cee:", ":@cee:", text).encode()


class Sink:
    """Takes lines over TCP."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(60)
        self.port = self._listener.getsockname()[1]
        self._bytes = b""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def lines(self) -> list[bytes]:
        return self._bytes.split(b"\n")[:-1]

    def _run(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(60)
            while data := connection.recv(65536):
                self._bytes += data

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink()
    yield made
    made.close()


def relay_to_sink(lab: Lab, sink: Sink, folder: Path, listen: str, **keys: object) -> None:
    token = folder / "token"
    token.write_text(TOKEN)
    destination = {
        "connect": "sematext://eu",
        "via": "tcp",
        "host": "127.0.0.1",
        "port": sink.port,
        "token_file": str(token),
        **keys,
    }
    lab.relay("sender", source={"listen": listen}, destination=destination)


def sent(
    lab: Lab, sink: Sink, folder: Path, frames: list[bytes], *, lines: bool = False, **keys: object
) -> list[bytes]:
    """What the relay sends of frames, which it gets octet-counted or as lines."""
    feed = free_port()
    relay_to_sink(lab, sink, folder, f"tcp://127.0.0.1:{feed}", **keys)
    (feed_lines if lines else feed_stream)(feed, frames)
    wait_until(lambda: len(sink.lines) >= len(frames), f"{len(frames)} lines", 30)
    return sink.lines


def test_the_bytes_are_those_of_rsyslog_s_template(lab: Lab, sink: Sink, tmp_path: Path) -> None:
    port = free_port()
    lab.rsyslog(
        f"""
        {TEMPLATE % TOKEN}
        module(load="imtcp")
        input(type="imtcp" port="{port}" address="127.0.0.1")
        action(type="omfile" file="{lab.arrived}" template="sematext")
        """,
        tcp=[port],
    )
    feed_stream(port, [*EQUAL, *OTHER])
    golden = wait_for(lab.arrived, len(EQUAL) + len(OTHER))
    lines = sent(lab, sink, tmp_path, [*EQUAL, *OTHER])
    assert lines[: len(EQUAL)] == golden[: len(EQUAL)]
    for line, wanted in zip(lines, golden, strict=True):
        assert line == as_the_relay_writes(wanted)
        json.loads(line.partition(b"@cee: ")[2])
    assert not set(lines[len(EQUAL) :]) & set(golden)  # each of them shows a difference


OWN = "99999999-8888-7777-6666-555555555555"
CEE = f'@cee: {{"logsene-app-token": "{OWN}", "message": "hello world!"}}'
SEED = [f"my-host my-process:{CEE}".encode(), f"my-host {OWN}:hello world!".encode()]
"""The documented lines for netcat."""


@pytest.mark.parametrize("place", ["cee", "json", "tag", "app-name"])
def test_messages_with_a_token_keep_it(lab: Lab, sink: Sink, tmp_path: Path, place: str) -> None:
    by_cee, by_tag = sent(lab, sink, tmp_path, SEED, lines=True, token_in=place)
    assert CEE.partition(" ")[2].encode() in by_cee
    for line in (by_cee, by_tag):
        assert line.count(OWN.encode()) == 1
        assert TOKEN.encode() not in line
        assert b" my-host " in line
        assert b"hello world!" in line


def test_logger_with_an_object_passes_with_its_token(lab: Lab, sink: Sink, tmp_path: Path) -> None:
    path = tmp_path / "log"
    relay_to_sink(lab, sink, tmp_path, f"unixgram://{path}")
    subprocess.run(["logger", "--socket", str(path), "--tag", "app", CEE], check=True, timeout=20)
    wait_until(lambda: len(sink.lines) >= 1, "a line", 30)
    assert re.fullmatch(rb"<13>\S+ \S+ app:" + re.escape(CEE.encode()), sink.lines[0])
