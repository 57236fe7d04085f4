"""Where LMDB keeps a value, in Python: the reference of `blocks.node_of`."""

from __future__ import annotations

import ctypes
import struct

_NODE = struct.Struct("=HHHH")  # size of the value (two of them), flags, size of the key
_PAGE_NUMBER = struct.Struct("=Q")
_BIG = 1  # flag: the value has pages of its own


def node_of(key: memoryview) -> tuple[int, int]:
    """The size of the value that belongs to `key`, and its first page; 0 = it is in the leaf.

    Args:
        key: As a cursor of LMDB has given it: what lies around it in memory is read.
    """
    at = _address(key)
    low, high, flags, key_size = _NODE.unpack(ctypes.string_at(at - _NODE.size, _NODE.size))
    if key_size != len(key):
        raise ValueError(f"a key of {len(key)} bytes, its node says {key_size}")
    page = 0
    if flags & _BIG:
        (page,) = _PAGE_NUMBER.unpack(ctypes.string_at(at + key_size, _PAGE_NUMBER.size))
    return low | high << 16, page


# Py_buffer of Python's C API; its first member points to the bytes, no other one is looked at.
_Buffer = ctypes.c_void_p * 12

_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [ctypes.py_object, ctypes.POINTER(_Buffer), ctypes.c_int]
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = [ctypes.POINTER(_Buffer)]
_release_buffer.restype = None


def _address(view: memoryview) -> int:
    """The address of the bytes of `view`."""
    buffer = _Buffer()
    _get_buffer(view, ctypes.byref(buffer), 0)
    try:
        return int(buffer[0] or 0)
    finally:
        _release_buffer(ctypes.byref(buffer))
