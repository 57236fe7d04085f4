"""Stand between LMDB and the kernel: see every write and sync, and let some of them fail.

The calls of a shared library into libc go through a table of addresses (its GOT).  Here
addresses in the table of py-lmdb's library are replaced by functions of Python.  That
takes ctypes and nothing else: no compiler, no strace, no right to trace, so it works
wherever the tests do, in containers too.  It is for 64-bit ELF, and for child processes
that do nothing else: the table belongs to the whole process.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import lmdb

__all__ = ["Watcher", "interpose"]

_DYNAMIC_SEGMENT = 2
_STRTAB, _SYMTAB, _RELA, _RELASZ, _PLTRELSZ, _JMPREL = 5, 6, 7, 8, 2, 23
_RELA_ENTRY = struct.Struct("<QQq")
_SYMBOL = struct.Struct("<IBBHQQ")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.__errno_location.restype = ctypes.POINTER(ctypes.c_int)

_int, _size, _pointer, _ssize = ctypes.c_int, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_ssize_t
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "pwrite": (_ssize, _int, _pointer, _size, ctypes.c_int64),
    "write": (_ssize, _int, _pointer, _size),
    "writev": (_ssize, _int, _pointer, _int),
    "pwritev": (_ssize, _int, _pointer, _int, ctypes.c_int64),
    "fdatasync": (_int, _int),
    "fsync": (_int, _int),
    "msync": (_int, _pointer, _size, _int),
    "ftruncate": (_int, _int, ctypes.c_int64),
}


class Watcher(Protocol):
    """Is told of every call before it is made; an errno as the answer makes it fail."""

    def write(self, fd: int, offset: int, data: bytes) -> int: ...

    def sync(self, fd: int) -> int: ...

    def other(self, name: str) -> int: ...

    def done(self, fd: int) -> None:
        """The call that was told of last has come back."""


class _Vector(ctypes.Structure):
    _fields_ = [("base", _pointer), ("length", _size)]


def interpose(watcher: Watcher) -> list[Any]:
    """Have `watcher` told of what LMDB writes from now on.

    Returns:
        What has to stay alive until the end of the process.
    """
    library = Path(lmdb.cpython.__file__) if hasattr(lmdb, "cpython") else _mapped_library()
    replacements = {
        name: ctypes.CFUNCTYPE(*signature)(_call(name, signature, watcher))
        for name, signature in _SIGNATURES.items()
    }
    aliases = {"pwrite64": "pwrite", "pwritev64": "pwritev", "ftruncate64": "ftruncate"}
    patched = _patch(library, {**replacements, **{a: replacements[n] for a, n in aliases.items()}})
    assert patched & {"pwrite", "pwrite64"} and "fdatasync" in patched, patched
    return list(replacements.values())


def _mapped_library() -> Path:
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.split()[-1]
        if "lmdb" in path and ".so" in path:
            return Path(path)
    raise AssertionError("LMDB's library is not loaded")


def _call(name: str, signature: tuple[Any, ...], watcher: Watcher) -> Callable[..., int]:
    original = getattr(_libc, name)
    original.restype, original.argtypes = signature[0], signature[1:]

    def call(*arguments: Any) -> int:
        fd = arguments[0]
        if name in ("fdatasync", "fsync"):
            error = watcher.sync(fd)
        elif name in ("pwrite", "write"):
            offset = arguments[3] if name == "pwrite" else os.lseek(fd, 0, os.SEEK_CUR)
            error = watcher.write(fd, offset, ctypes.string_at(arguments[1], arguments[2]))
        elif name in ("writev", "pwritev"):
            vectors = ctypes.cast(arguments[1], ctypes.POINTER(_Vector))[: arguments[2]]
            data = b"".join(ctypes.string_at(v.base, v.length) for v in vectors)
            offset = arguments[3] if name == "pwritev" else os.lseek(fd, 0, os.SEEK_CUR)
            error = watcher.write(fd, offset, data)
        else:
            error = watcher.other(name)
        result = -1 if error else int(original(*arguments))
        error = error or (ctypes.get_errno() if result == -1 else 0)
        watcher.done(fd)
        if error:
            _libc.__errno_location()[0] = error
        return result

    return call


def _patch(library: Path, functions: dict[str, Any]) -> set[str]:
    base = _base_of(library)
    dynamic = _dynamic_section(library, base)
    tables = [
        (dynamic.get(_JMPREL), dynamic.get(_PLTRELSZ)),
        (dynamic.get(_RELA), dynamic.get(_RELASZ)),
    ]
    patched = set()
    for table, size in tables:
        for place in range(0, size or 0, _RELA_ENTRY.size):
            data = ctypes.string_at(base + table + place, _RELA_ENTRY.size)
            offset, info, _ = _RELA_ENTRY.unpack(data)
            if symbol := info >> 32:
                at = base + dynamic[_SYMTAB] + symbol * _SYMBOL.size
                (name_at, *_) = _SYMBOL.unpack(ctypes.string_at(at, _SYMBOL.size))
                name = ctypes.string_at(base + dynamic[_STRTAB] + name_at).decode()
                if name in functions:
                    _write_pointer(base + offset, functions[name])
                    patched.add(name)
    return patched


def _base_of(library: Path) -> int:
    for line in Path("/proc/self/maps").read_text().splitlines():
        fields = line.split()
        if len(fields) > 5 and os.path.realpath(fields[5]) == os.path.realpath(library):
            assert fields[2] == "00000000", line
            return int(fields[0].partition("-")[0], 16)
    raise AssertionError(f"{library} is not loaded")


def _dynamic_section(library: Path, base: int) -> dict[int, int]:
    data = library.read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01", f"{library} is no 64-bit little endian ELF"
    (headers_at,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for number in range(count):
        at = headers_at + number * size
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", data, at)
        if kind == _DYNAMIC_SEGMENT:
            pairs = struct.iter_unpack("<QQ", data[offset : offset + length])
            return dict(pairs)
    raise AssertionError(f"{library} has no dynamic section")


def _write_pointer(address: int, function: Any) -> None:
    page = os.sysconf("SC_PAGESIZE")
    start = address & ~(page - 1)
    failed = _libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(page), 3)  # read and write
    assert not failed, os.strerror(ctypes.get_errno())
    ctypes.c_void_p.from_address(address).value = ctypes.cast(function, ctypes.c_void_p).value
