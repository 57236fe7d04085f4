"""Types of `objects.pyx`, where the arguments are explained."""

from collections.abc import Callable

class ObjectWriter:
    def __init__(
        self, token_key: bytes, member: bytes, reference: Callable[[bytes], bytes | None]
    ) -> None: ...
    def write(self, msg: bytes) -> bytes | None: ...
