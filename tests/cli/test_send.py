from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from relay.cli.main import main
from relay.cli.send import _message, _not_taken, read_pri
from relay.cli.sending import LineReader, Outcome
from relay.service.configuration.model import Url
from relay.wire.headers.rfc5424 import parse_rfc5424


@pytest.mark.parametrize(
    ("text", "pri"),
    [
        ("user.notice", 13),
        ("kern.emerg", 0),
        ("local7.debug", 191),
        ("MAIL.Warn", 20),
        ("auth.error", 35),
        ("0", 0),
        ("191", 191),
    ],
)
def test_pri(text: str, pri: int) -> None:
    assert read_pri(text) == pri


@pytest.mark.parametrize("text", ["", "user", "user.", ".notice", "192", "-1", "usr.notice", "²"])
def test_a_bad_pri(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a number from 0 to 191 or FACILITY\.SEV"):
        read_pri(text)


def test_a_line_becomes_a_message() -> None:
    message = _message(13, b"back up", b"all done: \xff", now=lambda: 1.5)
    parsed = parse_rfc5424(message, message)
    assert parsed is not None
    assert (parsed.pri, parsed.app_name, parsed.msg) == (13, b"back_up", b"all done: \xff")
    assert parsed.hostname == socket.gethostname().encode()
    assert parsed.procid == str(os.getpid()).encode()
    assert parsed.timestamp is not None
    assert b".5" in parsed.timestamp


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["send", *arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing option '--to'"),
        (("--to", "tcp://h:514"), "write relp://HOST:PORT, relp+tls://HOST:PORT or"),
        (("--to", "tls://h:6514"), "tls does not acknowledge messages"),
        (("--to", "relp://h"), "--to: the port is missing"),
        (("--to", "relp+tls://h"), "--to: the port is missing"),
        (
            ("--to", "relp://h:1", "--trusted-ca", "/a", "--server-name", "b"),
            "--trusted-ca, --server-name: has no meaning without TLS; write relp+tls://HOST:PORT",
        ),
        (
            ("--to", "relp+tls://h:1", "--trusted-ca", "/nowhere/ca.pem"),
            "--trusted-ca: cannot read /nowhere/ca.pem: No such file or directory",
        ),
        (
            ("--to", "relp+tls://h:1", "--certificate", "/nowhere/own.pem"),
            "--private-key: is missing; certificate does not work without it",
        ),
        (
            ("--to", "relp+tls://h:1", "--server-name", "a b"),
            "--server-name: expected a host name or an address, found 'a b'",
        ),
        (("--to", "unixgram:"), "--to: the path is missing"),
        (("--to", "relp://h:1", "--pri", "x.y"), "facilities are kern, user"),
        (("--to", "relp://h:1", "--timeout", "0"), "--timeout"),
    ],
)
def test_wrong_arguments(arguments: tuple[str, ...], words: str) -> None:
    status, output = run(*arguments)
    assert status == 2
    assert words in " ".join(output.split())


def test_files_are_named_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, output = run("--to", "relp+tls://h:1", "--trusted-ca", "ca.pem")
    assert status == 2
    assert f"cannot read {tmp_path}/ca.pem" in "".join(output.splitlines())


def test_nobody_is_there() -> None:
    status, output = run("--to", "unixgram:///nowhere/at/all")
    assert (status, output) == (
        1,
        "nothing was sent: cannot connect to unixgram:///nowhere/at/all: No such file or "
        "directory\n",
    )


@pytest.mark.parametrize(
    ("count", "ended", "outcome", "words"),
    [
        (
            0,
            False,
            Outcome(0, "closed"),
            "nothing was sent: closed; if it speaks TLS there, write relp+tls://h:1",
        ),
        (1, True, Outcome(0, "closed", True), "1 of 1 message was not taken: closed"),
        (
            *(1, True, Outcome(0, "no answer within 2 s", opened=True, timed_out=True)),
            "1 of 1 message was not taken: no answer within 2 s; the receiver has answered the "
            "open, but not the messages; look at `syslogrelay status` there",
        ),
        (
            *(0, False, Outcome(0, "no answer within 2 s", timed_out=True)),
            "nothing was sent: no answer within 2 s; the receiver took the connection, but did not "
            "answer the open: it may not be accepting messages, so look at `syslogrelay status` "
            "there; if it speaks TLS there, write relp+tls://h:1",
        ),
        (
            *(2000, False, Outcome(1, "refused", True)),
            "1,999 of 2,000 messages were not taken: refused; the rest of the input was not read",
        ),
    ],
)
def test_what_was_not_taken_is_said(count: int, ended: bool, outcome: Outcome, words: str) -> None:
    lines = LineReader(0, bytes, line_bytes_max=100)
    lines.count, lines.ended = count, ended
    assert _not_taken(Url("relp", host="h", port=1), lines, outcome) == words
