from __future__ import annotations

import os
import socket

import pytest
from click.testing import CliRunner

from relay.cli.main import main
from relay.cli.send import _not_taken, new_message, read_pri, read_rate
from relay.cli.sending import Outcome
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
    message = new_message(13, b"back up", now=lambda: 1.5)(b"all done: \xff")
    parsed = parse_rfc5424(message, message)
    assert parsed is not None
    assert (parsed.pri, parsed.app_name, parsed.msg) == (13, b"back_up", b"all done: \xff")
    assert parsed.hostname == socket.gethostname().encode()
    assert parsed.procid == str(os.getpid()).encode()
    assert parsed.timestamp is not None
    assert b".5" in parsed.timestamp


@pytest.mark.parametrize(("text", "rate"), [("500/s", 500), ("0.5", 0.5), ("10000000/s", 1e7)])
def test_rate(text: str, rate: float) -> None:
    assert read_rate(text) == rate


@pytest.mark.parametrize("text", ["", "0", "-1/s", "fast", "nan", "5/min"])
def test_a_bad_rate(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected messages a second from 0\.01"):
        read_rate(text)


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["send", *arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "Missing option '--to'"),
        (("--to", "relp://h"), "--to: the port is missing"),
        (("--to", "relpp://h:1"), "--to: unknown scheme 'relpp', did you mean 'relp'?"),
        (
            ("--to", "relp://h:1", "--trusted-ca", "/a"),
            "--trusted-ca: has no meaning for relp, only for dtls and tls and relp+tls",
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
            ("--to", "tcp://h:1", "--set", "framing=no"),
            "--set framing: expected one of",
        ),
        (("--to", "tcp://h:1", "--set", "framing"), "expected KEY=VALUE"),
        (("--to", "unixgram:"), "the path is missing"),
        (("--to", "relp://h:1", "--pri", "x.y"), "facilities are kern, user"),
        (("--to", "relp://h:1", "--timeout", "0"), "--timeout"),
        (("--to", "relp://h:1", "--rate", "0"), "--rate: expected messages a second"),
        (("--to", "relp://h:1", "--traffic", "mixed"), "--traffic: needs --count"),
    ],
)
def test_wrong_arguments(arguments: tuple[str, ...], expected: str) -> None:
    status, output = run(*arguments)
    assert status == 2
    assert expected in " ".join(output.split())


@pytest.mark.parametrize(
    ("outcome", "is_whole", "expected"),
    [
        (Outcome(0, 0, "closed"), False, "nothing was sent: closed"),
        (Outcome(1, 0, "closed"), True, "1 of 1 message was not taken: closed"),
        (
            Outcome(2, 1, "no answer from h:1 within 2 s", is_silent=True),
            True,
            "1 of 2 messages was not taken: no answer from h:1 within 2 s; it may not be accepting "
            "messages, so look at `syslogrelay status` there",
        ),
        (
            Outcome(2000, 1, "refused"),
            False,
            "1,999 of 2,000 messages were not taken: refused; the rest of the input was not read",
        ),
        (
            Outcome(2, 1),
            True,
            "1 of 2 messages was not taken: dropped by the form of the destination",
        ),
    ],
)
def test_what_was_not_taken_is_said(outcome: Outcome, is_whole: bool, expected: str) -> None:
    assert _not_taken(outcome, is_whole=is_whole) == expected
