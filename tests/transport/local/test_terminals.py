from __future__ import annotations

import errno
import os
import pty
import termios
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred, execute

from relay.rewrite.forms.record_key import with_key
from relay.transport.local.terminals import Terminals, TerminalSession
from tests.connections import RecordingDrain

EMERG, ERR = b"0", b"3"


class Pty:
    """A terminal, and what a user would see on it."""

    def __init__(self, mode: int = 0o620) -> None:
        self._master, self._slave = pty.openpty()
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self.line = self.path.removeprefix("/dev/")
        self.set_mode(mode)

    def set_mode(self, mode: int) -> None:
        os.chmod(self.path, mode)

    def stop(self) -> None:
        """As Ctrl-S does."""
        termios.tcflow(self._slave, termios.TCOOFF)

    def go_on(self) -> None:
        termios.tcflow(self._slave, termios.TCOON)

    def read(self) -> bytes:
        data = b""
        try:
            while True:
                data += os.read(self._master, 65536)
        except BlockingIOError:
            return data

    def close(self) -> None:
        os.close(self._master)
        os.close(self._slave)


class Setup:
    def __init__(self) -> None:
        self.terminal = Pty()
        self.lines = [self.terminal.line]
        self.said: list[tuple[str, str]] = []

    def terminals(self, *users: str) -> Terminals:
        return Terminals(
            users, say=lambda *words: self.said.append(words), lines=lambda: self.lines
        )


@pytest.fixture
def setup() -> Iterator[Setup]:
    setup = Setup()
    yield setup
    setup.terminal.close()


def counts(terminals: Terminals) -> tuple[int, int, int, int]:
    return terminals.shown, terminals.missed, terminals.unwanted, terminals.unseen


def test_a_message_is_a_bell_and_a_line(setup: Setup) -> None:
    terminals = setup.terminals()
    terminals.show([with_key(ERR, b"Message from web: one"), with_key(ERR, b"two")])
    assert setup.terminal.read() == b"\r\r\n\aMessage from web: one\r\r\n\r\r\n\atwo\r\r\n"
    assert counts(terminals) == (2, 0, 0, 0)
    assert setup.said == []


def test_nothing_in_a_message_commands_the_terminal(setup: Setup) -> None:
    text = b"a\x1b]0;title\x07\x9b31m\r\n\x00\xff\xe2\x80\xae" + "é".encode()
    setup.terminals().show([with_key(ERR, text)])
    shown = setup.terminal.read().replace(b"\r", b"").strip(b"\n")
    assert shown.startswith(b"\a")
    assert shown[1:].decode() == r"a\x1b]0;title\x07\x9b31m\r\n\x00\xff\u202eé"


def test_a_long_message_is_cut(setup: Setup) -> None:
    setup.terminals().show([with_key(ERR, b"x" * 100_000)])
    assert len(setup.terminal.read()) < 2100


def test_a_record_without_a_key_is_shown_too(setup: Setup) -> None:
    setup.terminals().show([b"plain"])
    assert b"plain" in setup.terminal.read()


def test_who_wants_no_messages_sees_emergencies_only(setup: Setup) -> None:
    setup.terminal.set_mode(0o600)
    terminals = setup.terminals()
    terminals.show([with_key(ERR, b"error"), with_key(EMERG, b"emergency"), b"unknown"])
    assert setup.terminal.read().strip(b"\r\n\a") == b"emergency"
    assert counts(terminals) == (1, 0, 2, 2)
    assert setup.said == []


def test_a_terminal_that_is_stopped_misses_messages_and_holds_up_nobody(setup: Setup) -> None:
    other = Pty()
    setup.lines = [setup.terminal.line, other.line]
    setup.terminal.stop()
    terminals = setup.terminals()
    terminals.show([with_key(ERR, b"one"), with_key(ERR, b"two")])
    assert setup.terminal.read() == b""
    assert other.read().count(b"\a") == 2
    assert counts(terminals) == (2, 2, 0, 0)
    ((kind, words),) = setup.said
    assert kind == "missed"
    assert words.startswith(f"{setup.terminal.path}: 2 messages not shown: takes nothing: it is")
    setup.terminal.go_on()
    terminals.show([with_key(ERR, b"three")])
    assert setup.terminal.read().strip(b"\r\n\a") == b"three"
    other.close()


def test_a_window_that_reads_nothing_fills_and_is_left_alone(setup: Setup) -> None:
    terminals = setup.terminals()
    for _ in range(100):
        terminals.show([with_key(ERR, b"x" * 2000)] * 64)
    assert terminals.missed > 0
    assert terminals.shown + terminals.missed == 6400
    assert "missed" in setup.said[0]


def test_only_terminals_of_the_users(setup: Setup) -> None:
    mine, unknown = str(os.geteuid()), "no-such-user"
    for users, seen in (((mine,), 1), (("4321",), 0), ((unknown,), 0), ((unknown, mine), 1)):
        terminals = setup.terminals(*users)
        terminals.show([with_key(ERR, b"text")])
        assert setup.terminal.read().count(b"\a") == seen, users
        assert counts(terminals) == (seen, 0, 0, 1 - seen)
    assert (
        setup.said == [("users", "there is no user 'no-such-user'; make it, or change `users`")] * 2
    )


def test_a_terminal_that_is_gone_is_no_loss(setup: Setup) -> None:
    setup.lines = ["pts/987654"]
    terminals = setup.terminals()
    terminals.show([with_key(ERR, b"text")])
    assert counts(terminals) == (0, 0, 0, 1)
    assert setup.said == []


@pytest.mark.parametrize(
    ("mode", "count", "said"), [(0o600, (0, 0, 1, 1), 0), (0o620, (0, 1, 0, 1), 1)]
)
def test_a_terminal_that_may_not_be_written(
    setup: Setup,
    monkeypatch: pytest.MonkeyPatch,
    mode: int,
    count: tuple[int, ...],
    said: int,
) -> None:
    def refuse(*_: Any, **__: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    setup.terminal.set_mode(mode)
    monkeypatch.setattr(os, "open", refuse)
    terminals = setup.terminals()
    terminals.show([with_key(EMERG, b"text")])
    assert counts(terminals) == count
    assert len(setup.said) == said
    assert all("Permission denied; let " in words for _, words in setup.said)


def test_what_is_no_terminal_is_not_written(
    setup: Setup, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.transport.local.terminals._DEVICES", str(tmp_path))
    (tmp_path / "tty1").write_bytes(b"")
    setup.lines = ["tty1"]
    setup.terminals().show([with_key(EMERG, b"text")])
    assert (tmp_path / "tty1").read_bytes() == b""


def new_session(show: Any, run_in_thread: Any) -> tuple[TerminalSession, Any, list[str]]:
    drain, failures = RecordingDrain(), []
    session = TerminalSession(
        show,
        drain=drain,  # type: ignore[arg-type]
        run_in_thread=run_in_thread,
        on_failure=failures.append,
    )
    return session, drain, failures


def test_delivered_means_written_once() -> None:
    shown: list[Any] = []
    session, drain, _ = new_session(shown.append, execute)
    assert session.room > 0
    session.send([b"one", b"two"])
    assert shown == [[b"one", b"two"]]
    assert drain.acknowledged_records == 2
    assert drain.events == ["pump"]
    assert session.room > 0


def test_one_batch_at_a_time_and_none_after_the_end() -> None:
    waiting: Deferred[Any] = Deferred()
    session, drain, failures = new_session(print, lambda call: waiting)
    session.send([b"one"])
    assert session.room == 0
    session.close()
    session.close()
    waiting.callback(None)
    assert (drain.acknowledged_records, drain.events, session.room) == (0, ["detach"], 0)
    assert failures == []


def test_an_error_ends_the_session() -> None:
    def fail(records: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    session, drain, failures = new_session(fail, execute)
    session.send([b"one"])
    assert drain.events == ["detach"]
    assert failures == ["[Errno 5] Input/output error"]
