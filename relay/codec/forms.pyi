"""Types of `forms.pyx`, where the arguments are explained."""

from collections.abc import Callable, Collection, Iterable, Sequence

from relay.codec.lines import Lines
from relay.codec.objects import ObjectWriter
from relay.codec.stamps import Stamps
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Origin

class Form:
    def __init__(
        self,
        pieces: Iterable[tuple[str, object]],
        policy: str,
        stamps: Stamps,
        bind: Callable[[Origin], tuple[bytes, bytes, bytes]],
        ends: Callable[[Origin, tuple[bytes, ...]], tuple[bytes, bytes, bytes]],
        reference: Callable[[Sequence[SyslogMessage], Origin], list[bytes]],
        *,
        format_tag: Callable[[bytes | None, bytes | None], bytes],
        format_host: Callable[[bytes], bytes],
        format_hostname: Callable[[bytes], bytes],
        tokens: Collection[bytes] | None = None,
        token_key: bytes = b"",
        objects: ObjectWriter | None = None,
        before_text: bytes = b"",
    ) -> None: ...
    def write(
        self, lines: Lines, indexes: Sequence[int] | None, arrival: Arrival
    ) -> Sequence[bytes]: ...
