"""Types of `compiled.pyx`, where the arguments are explained."""

from collections.abc import Callable, Mapping
from typing import Any

def write_cee(
    frames: list[bytes],
    expects_host: bool,
    starts: Mapping[bytes, bytes | None],
    stamps: Mapping[Any, bytes],
    string: Callable[[bytes], bytes],
    own_object: Callable[[bytes], bytes | None],
    before_text_bytes: int,
) -> tuple[list[bytes], list[int]]: ...
def write_ewmm(
    frames: list[bytes],
    expects_host: bool,
    header: bytes,
    halves: Mapping[bytes, tuple[bytes, bytes]],
    ends: Mapping[Any, bytes],
    stamps: Mapping[Any, bytes],
    parts: Callable[[bytes], list[bytes]],
    string: Callable[[bytes], bytes],
) -> tuple[list[bytes], list[int]]: ...
