"""The terminals at which somebody is logged in.

Two places know them, and neither knows all.  sd-login(3) has the sessions of systemd-logind, but
before systemd 257 not the terminals of those over ssh; these are in utmp, which Debian 13 and
others do not write any more, as its times end in 2038.  So both are asked.  There is no maintained
Python package for the two: the bindings of systemd leave out sessions, and others read utmp alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import re
import struct
from collections.abc import Iterator
from functools import lru_cache

_LIBRARIES = ("libsystemd.so.0", "libelogind.so.0")
_UTMP = "/run/utmp"
_UTMP_BYTES_MAX = 1024 * 1024
_ENTRY = struct.Struct("=hxxi32s")  # ut_type, ut_pid and ut_line, which is all that is needed
_ENTRY_BYTES = 400 if platform.machine() in ("aarch64", "riscv64", "loongarch64") else 384
_USER_PROCESS = 7
_LINE = re.compile(r"pts/[0-9]{1,10}|(?:tty|hvc|xvc)[A-Za-z0-9]{1,16}|console")


def terminal_lines() -> list[str]:
    """The terminals below ``/dev`` at which somebody is logged in, as ``pts/3``, in order."""
    found: set[str] = set()
    with contextlib.suppress(OSError):
        found.update(lines_of_utmp(_UTMP))
    library = _login_library()
    if library is not None:
        found.update(_lines_of_sessions(library))
    # Others than root may write utmp: no path that leads anywhere else.
    return sorted(line for line in found if _LINE.fullmatch(line))


def lines_of_utmp(path: str) -> Iterator[str]:
    """The terminals of sessions in a utmp file (utmp(5)), unverified.  OSError: there is none."""
    with open(path, "rb") as file:
        data = file.read(_UTMP_BYTES_MAX)
    for start in range(0, len(data) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
        kind, _, line = _ENTRY.unpack_from(data, start)
        if kind == _USER_PROCESS:
            yield os.fsdecode(line.split(b"\0", 1)[0])


@lru_cache(1)
def _login_library() -> ctypes.CDLL | None:
    for name in _LIBRARIES:
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(name)
            library.sd_session_get_tty.argtypes = (ctypes.c_char_p, ctypes.c_void_p)
            return library
    return None


def _lines_of_sessions(library: ctypes.CDLL) -> Iterator[str]:
    sessions = ctypes.POINTER(ctypes.c_void_p)()
    count = library.sd_get_sessions(ctypes.byref(sessions))  # below 0 = an error
    for index in range(max(0, count)):
        line = ctypes.c_void_p()
        session = _taken(sessions[index])
        if library.sd_session_get_tty(session, ctypes.byref(line)) >= 0:
            yield os.fsdecode(_taken(line.value))
    _free(ctypes.cast(sessions, ctypes.c_void_p).value)


def _taken(address: int | None) -> bytes:
    """A text that the library has allocated for us."""
    text = ctypes.string_at(address) if address else b""
    _free(address)
    return text


def _free(address: int | None) -> None:
    ctypes.CDLL(None).free(ctypes.c_void_p(address))
