"""Messages on the terminals of users who are logged in, as wall(1) writes them.

A terminal that takes nothing, since its user has stopped it or its window hangs, must hold up
nobody: it is written to once, without waiting, and what it does not take is counted and said.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.flow.pump import SessionDrain
from relay.model.text import counted, printable
from relay.queue.committer import RunInThread
from relay.queue.files.ownership import user_name
from relay.rewrite.forms.record_key import split_key
from relay.transport.local.logins import terminal_lines

_BATCH_RECORDS = 64
_TEXT_MAX = 2000  # characters of a message
_DEVICES = "/dev"
_FLAGS = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC
EMERGENCY = b"0"
"""The key of records that users see although they want no messages (mesg(1))."""


class Terminals:
    """The terminals of some users.  Used by one thread at a time.

    Args:
        users: Their names or numbers; empty = all users.
        say: Logs a warning, given its kind and a line; called in that thread.
        lines: Finds the terminals, as names below /dev.

    Attributes:
        shown: Messages written to terminals: one at two terminals counts twice.
        missed: Those that a terminal did not take at once, or not at all.
        unwanted: Those that a user wants to have none of (``mesg n``).
        unseen: Messages that came to no terminal.
    """

    def __init__(
        self,
        users: Sequence[str],
        *,
        say: Callable[[str, str], None],
        lines: Callable[[], Sequence[str]] = terminal_lines,
    ) -> None:
        self.shown = self.missed = self.unwanted = self.unseen = 0
        self._users = users
        self._say = say
        self._lines = lines

    def show(self, records: Sequence[bytes]) -> None:
        """Write records, with keys, to each terminal that there is now.  Never waits for one."""
        wanted = self._user_ids()
        messages = [_message(record) for record in records]
        seen: set[int] = set()
        for line in self._lines():
            seen |= self._show_at(os.path.join(_DEVICES, line), messages, wanted)
        self.unseen += len(records) - len(seen)

    def details(self) -> list[str]:
        """For `status`."""
        return [
            f"{self.shown:,} written, {self.missed:,} missed by terminals that took nothing, "
            f"{self.unwanted:,} not wanted (mesg n); {counted(self.unseen, 'message')} came to no "
            "terminal"
        ]

    def _user_ids(self) -> set[int] | None:
        """None = all."""
        if not self._users:
            return None
        found = set()
        for user in self._users:
            try:
                found.add(int(user) if user.isdecimal() else pwd.getpwnam(user).pw_uid)
            except KeyError:
                self._say("users", f"there is no user {user!r}; make it, or change `users`")
        return found

    def _show_at(
        self, path: str, messages: Sequence[tuple[bool, bytes]], wanted: set[int] | None
    ) -> set[int]:
        """Write messages to one terminal; returns the indexes of those that it took."""
        try:
            fd = os.open(path, _FLAGS)
        except OSError as error:
            self._not_opened(path, error, len(messages), wanted)
            return set()
        try:
            status = os.fstat(fd)
            if not os.isatty(fd) or (wanted is not None and status.st_uid not in wanted):
                return set()
            return self._write(fd, path, messages, bool(status.st_mode & stat.S_IWGRP))
        finally:
            os.close(fd)

    def _write(
        self, fd: int, path: str, messages: Sequence[tuple[bool, bytes]], takes_all: bool
    ) -> set[int]:
        taken: set[int] = set()
        for index, (is_emergency, text) in enumerate(messages):
            if not (takes_all or is_emergency):
                self.unwanted += 1
                continue
            try:
                is_whole, why = os.write(fd, text) == len(text), "takes no more"
            except BlockingIOError:
                is_whole, why = False, "takes nothing: it is stopped (Ctrl-S), or its program hangs"
            except OSError as error:
                is_whole, why = False, error.strerror or str(error)
            if not is_whole:
                missed = len(messages) - index
                self._miss(path, missed, why)
                break
            self.shown += 1
            taken.add(index)
        return taken

    def _not_opened(
        self, path: str, error: OSError, messages: int, wanted: set[int] | None
    ) -> None:
        try:
            status = os.stat(path, follow_symlinks=False)
        except OSError:
            return  # the user has logged out
        if wanted is not None and status.st_uid not in wanted:
            return
        if isinstance(error, PermissionError) and not status.st_mode & stat.S_IWGRP:
            self.unwanted += messages
            return
        user = user_name(os.geteuid())
        help = f"; let {user} be in the group tty" if isinstance(error, PermissionError) else ""
        self._miss(path, messages, f"{error.strerror}{help}")

    def _miss(self, path: str, messages: int, why: str) -> None:
        self.missed += messages
        self._say("missed", f"{path}: {counted(messages, 'message')} not shown: {why}")


class TerminalSession:
    """Terminals as a session of the drain: delivered when each was written to once.

    Args:
        show: See `Terminals.show`.
        run_in_thread: Must run one call at a time.
        on_failure: Called once with the reason; the session is over then.
    """

    def __init__(
        self,
        show: Callable[[Sequence[bytes]], None],
        *,
        drain: SessionDrain,
        run_in_thread: RunInThread,
        on_failure: Callable[[str], None],
    ) -> None:
        self._show = show
        self._drain = drain
        self._run_in_thread = run_in_thread
        self._on_failure = on_failure
        self._writing = False
        self._closed = False

    @property
    def room(self) -> int:
        return 0 if self._writing or self._closed else _BATCH_RECORDS

    def send(self, payloads: Sequence[bytes]) -> None:
        self._writing = True
        shown: Deferred[None] = self._run_in_thread(lambda: self._show(payloads))
        shown.addCallbacks(self._shown, self._failed, callbackArgs=(len(payloads),))

    def close(self) -> None:
        """Stop writing; the write in progress does not count as delivered."""
        if not self._closed:
            self._closed = True
            self._drain.detach(self)

    def _shown(self, _: None, count: int) -> None:
        self._writing = False
        if not self._closed:
            self._drain.acknowledged(self, count)
            self._drain.pump()

    def _failed(self, failure: Failure) -> None:
        failure.trap(OSError)
        self._writing = False
        if not self._closed:
            self.close()
            self._on_failure(failure.getErrorMessage())


def _message(record: bytes) -> tuple[bool, bytes]:
    """Whether a record is an emergency, and what to write of it: a bell and one line."""
    key, payload = split_key(record)
    text = printable(payload, length_max=_TEXT_MAX)
    return key == EMERGENCY, f"\r\n\a{text}\r\n".encode()
