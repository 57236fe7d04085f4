"""Types of `lines.pyx`, where the arguments are explained."""

from collections.abc import Callable, Sequence
from typing import Any

from relay.model.message import SyslogMessage

class Reader:
    def __init__(
        self,
        message_type: type[SyslogMessage],
        reference: Callable[[bytes], SyslogMessage],
        *,
        is_hostname: Callable[[bytes], bool],
        is_bare_hostname: Callable[[bytes], bool],
        tags: tuple[tuple[bytes, ...], ...],
        default_pri: int,
        expects_host: bool,
        reads_rfc5424: bool,
    ) -> None: ...
    def read(self, frames: Sequence[bytes]) -> Lines: ...

class Lines:
    @property
    def frames(self) -> Sequence[bytes]: ...
    def __len__(self) -> int: ...
    def edited(
        self,
        indexes: Sequence[int] | None,
        values: dict[str, bytes | None],
        tags: tuple[bytes, ...],
        change: Callable[[SyslogMessage], SyslogMessage],
    ) -> Lines: ...
    def message(self, index: int) -> SyslogMessage: ...
    def messages(self, indexes: Sequence[int] | None = None) -> list[SyslogMessage]: ...
    def column(self, name: str, indexes: Sequence[int] | None = None) -> list[Any]: ...
    def where(
        self, name: str, values: frozenset[Any], indexes: Sequence[int] | None = None
    ) -> list[int]: ...
    def odd(self) -> list[int]: ...
    def unread(self) -> list[int]: ...
