"""Where twistd does not do as an administrator needs: its log, and refusals as a daemon.

twistd lets an application bring its own observer of the log (`AppLogger.start`), but then
the options for the log file are the observer's business; so we let twistd make its own, and
give it other lines.

When twistd has daemonised, its first process waits to be told whether the start went well,
and shows the first hundred bytes of what is wrong in the form of Python.  Nothing but its
private methods decides about that.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping
from select import PIPE_BUF
from typing import Any

from twisted.logger import FileLogObserver
from twisted.scripts import _twistd_unix

from relay.observe.log_lines import file_line, is_journal, journal_line
from relay.service.refusal import StartRefused

_STANDARD_OUTPUT = 1


def new_observer(
    twistd_options: Mapping[str, object] | None, environment: Mapping[str, str]
) -> FileLogObserver | None:
    """What writes the log where twistd was told to; None = twistd's own does.

    Args:
        twistd_options: Those before the word syslogrelay; None = twistd does not run.
    """
    if twistd_options is None or twistd_options.get("syslog") or twistd_options.get("logger"):
        return None
    observer = _twistd_unix.UnixAppLogger(twistd_options)._getLogObserver()
    if not isinstance(observer, FileLogObserver):
        return None
    to_output = twistd_options.get("nodaemon") and twistd_options.get("logfile") in (None, "", "-")
    in_journal = to_output and is_journal(environment, _STANDARD_OUTPUT)
    observer.formatEvent = journal_line if in_journal else file_line
    return observer


def show_whole_refusals() -> None:
    """Have a daemon's first process say in plain text why there is no daemon."""
    runner: Any = _twistd_unix.UnixApplicationRunner
    runner._formatChildException = _told
    runner._waitForStart = _wait_for_start


def _told(self: object, error: BaseException) -> bytes:
    """What the daemon tells its first process; success is ``0``."""
    if isinstance(error, StartRefused):
        text = error.text
    else:
        text = "".join(traceback.format_exception_only(error)).strip() + "; the log has more"
    return b"1 " + text.encode(errors="replace")[: PIPE_BUF - 2]  # more may come in pieces


def _wait_for_start(self: object, pipe: int) -> int:
    """Wait for what the daemon tells; return the exit status."""
    told = os.read(pipe, PIPE_BUF)
    if told == b"0":
        return 0
    print(told[2:].decode(errors="replace"), file=sys.__stderr__, flush=True)
    return 1
