"""The one exception that ends the start of a relay on purpose."""

from __future__ import annotations


class StartRefused(SystemExit, Exception):
    """The relay cannot start, for a reason that is the administrator's to change.

    Args:
        text: One or more lines for a person; all that is printed.

    Both bases have their work to do.  Of a SystemExit that nobody catches, the
    interpreter prints only the text, on standard error, and ends with status 1:
    no traceback.  And twistd guards the start of the services with ``except
    Exception``, which a plain SystemExit would pass by: because this is an
    Exception too, twistd removes its pid file and, when it has daemonised, tells
    the waiting parent process, which then shows the text (`twistd_hooks.py`) and ends
    with status 1 as well.  It is in the log, too, where twistd sends standard error
    from then on.

    Raise it from makeService (before the fork: the text goes to the terminal), or
    from privilegedStartService or startService.  Do not raise it once the reactor
    runs: Twisted would log it like any other failure.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
