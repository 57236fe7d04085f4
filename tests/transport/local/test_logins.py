from __future__ import annotations

import ctypes
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.transport.local import logins
from relay.transport.local.logins import lines_of_utmp, terminal_lines

SESSION, DEAD = 7, 8
SIZE = logins._ENTRY_BYTES


def entry(kind: int, line: bytes) -> bytes:
    """An entry of utmp."""
    return struct.pack("=hxxi32s", kind, 1, line).ljust(SIZE, b"\xff")


@pytest.fixture
def utmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(logins, "_UTMP", str(tmp_path / "utmp"))
    monkeypatch.setattr(logins, "_login_library", lambda: None)
    return tmp_path / "utmp"


def test_sessions_that_have_not_ended(utmp: Path) -> None:
    utmp.write_bytes(entry(SESSION, b"pts/3") + entry(DEAD, b"pts/4") + entry(SESSION, b"tty1"))
    assert terminal_lines() == ["pts/3", "tty1"]


@pytest.mark.parametrize(
    "line",
    [
        *(
            b"",
            b"../pts/1",
            b"/dev/pts/1",
            b"pts/../sda",
            b"pts/1/",
            b"sda",
            b"watchdog",
            b"tty1\n",
        ),
        *(b"pts/\xff", b"x" * 32, b"ttyS0 ", b"input/event0", b":0"),
    ],
)
def test_a_line_that_is_no_terminal_is_left_out(utmp: Path, line: bytes) -> None:
    utmp.write_bytes(entry(SESSION, line) + entry(SESSION, b"ttyS0"))
    assert terminal_lines() == ["ttyS0"]


def test_a_file_that_ends_within_an_entry(utmp: Path) -> None:
    utmp.write_bytes(entry(SESSION, b"pts/1") + entry(SESSION, b"pts/2")[:-1])
    assert terminal_lines() == ["pts/1"]


def test_no_utmp_and_no_library(utmp: Path) -> None:
    assert terminal_lines() == []


@given(st.binary(max_size=2 * SIZE))
def test_any_bytes_can_be_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any-utmp"
    path.write_bytes(data)
    assert len([*lines_of_utmp(str(path))]) <= len(data) // SIZE


class Library:
    """Stands where libsystemd is; texts are allocated by the C library, as there."""

    def __init__(self, lines: dict[bytes, bytes]) -> None:
        self._lines = lines
        self._c = ctypes.CDLL(None)
        self._c.strdup.restype = ctypes.c_void_p
        self._c.calloc.restype = ctypes.c_void_p

    def sd_get_sessions(self, found: object) -> int:
        address = self._c.calloc(len(self._lines) + 1, ctypes.sizeof(ctypes.c_void_p))
        array = ctypes.cast(address, ctypes.POINTER(ctypes.c_void_p))
        for index, name in enumerate(self._lines):
            array[index] = self._c.strdup(name)
        pointer = ctypes.cast(found, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p)))  # type: ignore[arg-type]
        pointer[0] = array
        return len(self._lines)

    def sd_session_get_tty(self, session: bytes, found: object) -> int:
        line = self._lines[session]
        if not line:
            return -61  # ENODATA
        pointer = ctypes.cast(found, ctypes.POINTER(ctypes.c_void_p))  # type: ignore[arg-type]
        pointer[0] = self._c.strdup(line)
        return 0


def test_both_are_asked(utmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library({b"1": b"tty2", b"c3": b"", b"4": b"pts/3", b"5": b"../../x"})
    monkeypatch.setattr(logins, "_login_library", lambda: library)
    assert terminal_lines() == ["pts/3", "tty2"]
    utmp.write_bytes(entry(SESSION, b"pts/3") + entry(SESSION, b"pts/9"))
    assert terminal_lines() == ["pts/3", "pts/9", "tty2"]


def test_a_library_that_fails_has_no_sessions(utmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def sd_get_sessions(self, found: object) -> int:
            return -2

    monkeypatch.setattr(logins, "_login_library", Failing)
    assert terminal_lines() == []


def test_the_library_of_this_host() -> None:
    logins._login_library.cache_clear()
    assert isinstance(terminal_lines(), list)
