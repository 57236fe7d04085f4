"""Exit statuses of commands, JSON for `--json`, and output whose reader has gone.

0    success; a check found no problem
1    success; a check found problems, or a search found nothing
2    failure: wrong options, no relay, no room for the output
130  interrupted (SIGINT), as shells report it
141  the reader of the output has gone (SIGPIPE)
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, NoReturn, TextIO

import click

if TYPE_CHECKING:
    from _typeshed import HasFileno, ReadableBuffer

_CANNOT = 2
_INTERRUPTED = 130
_PIPE_CLOSED = 141


def give_up(text: str, status: int = _CANNOT) -> NoReturn:
    """End with `text`, one line for each problem, on standard error."""
    with suppress(OSError):  # standard error is closed
        for line in text.splitlines():
            click.echo(f"syslogrelay: {line}", err=True)
    raise SystemExit(status)


@contextmanager
def ending_quietly() -> Iterator[None]:
    """Turn an interruption, and output that cannot be written, into an exit status.

    SIGPIPE stays ignored, as Python has it: it would also end a command whose relay
    closes a connection.
    """
    output = _watch_output()
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(_INTERRUPTED) from None
    except OSError as error:
        if output is None or error is not output.failure:
            about = "" if error.filename is None else f"{error.filename}: "
            give_up(f"{about}{error.strerror or error}")
        _discard_output()
        if error.errno == errno.EPIPE:
            raise SystemExit(_PIPE_CLOSED) from None
        give_up(f"cannot write: {error.strerror}")


def print_document(document: object) -> None:
    """Print one JSON document, indented."""
    import msgspec  # not at the top: every command imports this module, and few write JSON

    click.echo(msgspec.json.format(msgspec.json.encode(document)))


def flush() -> None:
    """Flush standard output; raises OSError if that fails."""
    if sys.stdout is not None:
        sys.stdout.flush()


def binary_output() -> BinaryIO:
    """Standard output, for bytes."""
    if sys.stdout is None:
        give_up("cannot write: standard output is closed")
    return sys.stdout.buffer


def wait_while_read(seconds: float) -> None:
    """Wait; end the command at once if the reader of its output goes away meanwhile."""
    if _descriptor(sys.stdout) is None:
        time.sleep(seconds)
        return
    _poll(seconds * 1000)


def wait_for_input(source: HasFileno) -> None:
    """Wait until there is something to read; otherwise as `wait_while_read`."""
    _poll(None, source.fileno())


def _poll(milliseconds: float | None, *inputs: int) -> None:
    poll = select.poll()
    output = _descriptor(sys.stdout)
    if output is not None:
        poll.register(output, 0)  # POLLERR and POLLHUP are always reported
    for descriptor in inputs:
        poll.register(descriptor, select.POLLIN)
    if any(descriptor == output for descriptor, _ in poll.poll(milliseconds)):
        _discard_output()
        raise SystemExit(_PIPE_CLOSED)


class _Output(io.FileIO):
    """A descriptor that records why a write to it failed.

    Nothing else distinguishes an error of the output from one of another file.
    """

    failure: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = error
            raise


def _watch_output() -> _Output | None:
    """Put an `_Output` below standard output; None if that is not a file, as in tests."""
    stream = sys.stdout
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if isinstance(raw, _Output):
        return raw
    descriptor = _descriptor(stream)
    if descriptor is None or not isinstance(stream, io.TextIOWrapper):
        return None
    if stream is not sys.__stdout__:
        return None
    output = _Output(descriptor, "wb", closefd=False)
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
    )
    return output


def _discard_output() -> None:
    """Keep the interpreter from flushing the buffer once more at exit."""
    descriptor = _descriptor(sys.stdout)
    if descriptor is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _descriptor(stream: TextIO | None) -> int | None:
    """None if it is not a file, as in tests."""
    if stream is not None:
        with suppress(OSError, ValueError):
            return stream.fileno()
    return None
