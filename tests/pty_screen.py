"""A program on a terminal of its own, whose screen a test can read."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence

import pyte

__all__ = ["PtyScreen"]


class PtyScreen:
    """A program on a pseudo terminal of 80 columns and 24 lines, unless told otherwise.

    Attributes:
        written: All that the program has written.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 80,
        lines: int = 24,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.written = b""
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        known = {**os.environ, "TERM": "xterm-256color", **(environment or {})}
        known.pop("COLORTERM", None)
        self.process = subprocess.Popen(
            list(command),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=known,
            start_new_session=True,
        )
        os.close(slave)

    @property
    def lines(self) -> list[str]:
        """The screen as it is now, without blanks at the ends."""
        self.read(0.0)
        return [line.rstrip() for line in self.screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def read(self, seconds: float) -> None:
        """Take what the program writes, for so long."""
        until = time.monotonic() + seconds
        while select.select([self._master], [], [], max(0.0, until - time.monotonic()))[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # it has ended
                return
            self.written += data
            self._stream.feed(data)

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def wait(self, condition: Callable[[str], object], what: str, seconds_max: float = 20.0) -> str:
        """Wait until `condition` is true of the text on the screen, and return that."""
        until = time.monotonic() + seconds_max
        while not condition(text := self.text):
            assert time.monotonic() < until, f"not within {seconds_max:g} s: {what}\n{text}"
            self.read(0.05)
        return text

    def wait_for(self, sought: str, seconds_max: float = 20.0) -> str:
        """Wait until `sought` is on the screen."""
        return self.wait(lambda text: sought in text, sought, seconds_max)

    def end(self) -> int:
        """Wait for the program's end; returns its exit status."""
        until = time.monotonic() + 20.0
        while self.process.poll() is None:
            assert time.monotonic() < until, f"it does not end\n{self.text}"
            self.read(0.05)
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
