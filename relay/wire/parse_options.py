"""How the lines of one source are read, where that differs from `relay.wire.parse`.

What is not requested for costs nothing: `new_parser` puts together only the steps that its
options need, and with none of them it is `read_lines`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import tzinfo

from relay.codec import Lines
from relay.codec.messages import Messages
from relay.model.expression import Expression
from relay.model.message import SyslogMessage
from relay.model.origin import Arrival, Transport
from relay.model.parse_options import ParseOptions
from relay.wire.adapters.applications import adapt
from relay.wire.framing.charset import Charset
from relay.wire.message_steps import (
    Step,
    each,
    marked_if_utf8,
    marked_utf8,
    on_one_line,
    with_app_tag,
    with_chained_host,
    with_host,
    with_kernel_program,
    with_line_end,
    with_offsets,
    with_peer_host,
    with_program,
    with_receive_time,
    with_tags,
    with_valid_utf8,
    without_bad_program,
    without_legacy_header,
    without_tags,
)
from relay.wire.parse import Dialect, read_lines
from relay.wire.readers import (
    Read,
    cutting,
    reading,
    reading_nothing,
    reading_pri,
    storing_raw,
    telling_what_is_missing,
)

Parser = Callable[[Sequence[bytes], Arrival], Lines]
"""Reads the frames of a batch of one source, one line each, in order."""

_KERNEL_PRI = (0, 5)  # kern.notice
_HOSTNAME = re.compile(rb"[0-9A-Za-z\-_.:@/]+")


def utf8_of(options: ParseOptions, frame: bytes) -> bytes:
    """A frame as the parser receives it.  ValueError: unknown encoding."""
    return frame if options.encoding is None else Charset(options.encoding).to_utf8(frame)


def new_parser(options: ParseOptions, *, zone: tzinfo) -> Parser:
    """Make a parser for `options`.

    Like `read_lines` it never raises, returns one line a frame, and keeps the frame
    as it was received in `raw`.

    Args:
        zone: Local zone.

    Raises:
        ValueError: An option has an invalid value; the text names it.
    """
    if options.encoding is not None:
        Charset(options.encoding)  # or ValueError
    steps = _steps(options, zone)
    of_network = _batch_reader(options, expects_host=True)
    of_local = of_network if options.local_hostname else _batch_reader(options, expects_host=False)

    def parse_batch(frames: Sequence[bytes], arrival: Arrival) -> Lines:
        is_local = arrival.runs[0][1].transport == Transport.UNIX  # as the others of the source
        lines = (of_local if is_local else of_network)(frames)
        if not steps:
            return lines
        read: list[SyslogMessage] = []
        for start, stop, origin in arrival.each():
            messages = lines.messages(range(start, stop))
            for step in steps:
                messages = step(messages, origin)
            read += messages
        return Messages(read)

    return parse_batch


def _batch_reader(
    options: ParseOptions, *, expects_host: bool
) -> Callable[[Sequence[bytes]], Lines]:
    """How the frames of a batch are read.

    Args:
        expects_host: False = no line names its host, whatever `options` say.
    """
    dialect = _dialect(options)
    if not expects_host:
        dialect = dialect._replace(hosts=(dialect.hosts[0], False))
    read = _reader(options, dialect)
    if read is None:
        return lambda frames: read_lines(frames, dialect)
    return lambda frames: Messages([read(frame, frame) for frame in frames])


def _reader(options: ParseOptions, dialect: Dialect) -> Read | None:
    """How one frame is read, from its text and itself; None = by `dialect`, no more."""
    read: Read | None = None
    if options.no_parse:
        read = reading_nothing(dialect.default_pri)
    elif options.no_header:
        read = reading_pri(dialect.default_pri)
    if options.parse_tags == "all":
        read = telling_what_is_missing(read or reading(dialect))
    if options.store_raw:
        read = storing_raw(read or reading(dialect))
    if options.message_bytes_max:
        if options.message_bytes_max < 0:
            raise ValueError("message_bytes_max is an octet count, 0 or more")
        read = cutting(read or reading(dialect), options.message_bytes_max)
    return read


def _dialect(options: ParseOptions) -> Dialect:
    if options.mode not in ("auto", "rfc3164", "rfc5424"):
        raise ValueError(f"mode {options.mode!r} is none of auto, rfc3164, rfc5424")
    if options.parse_tags not in ("errors", "all", "none"):
        raise ValueError(f"parse_tags {options.parse_tags!r} is none of errors, all, none")
    facility, severity = options.default_facility, options.default_severity
    if not 0 <= facility <= 23 or not 0 <= severity <= 7:
        raise ValueError("default_facility is 0 to 23, default_severity 0 to 7")
    return Dialect(
        reads_rfc5424=options.mode != "rfc3164",
        reads_rfc3164=not options.no_rfc3164_fallback,
        default_pri=_KERNEL_PRI if options.kernel else (facility, severity),
        hosts=(_accepts_host(options), options.expect_hostname and not options.no_hostname),
        adapt=adapt if options.adapters and options.mode == "auto" else None,
        substitutes=options.piggyback_errors,
    )


def _accepts_host(options: ParseOptions) -> Callable[[bytes], bool] | None:
    if options.bad_hostname is None and not options.check_hostname:
        return None
    try:
        bad = None if options.bad_hostname is None else Expression(options.bad_hostname)
    except ValueError as error:
        raise ValueError(f"bad_hostname is {error}") from error

    def accepts_host(word: bytes) -> bool:
        if options.check_hostname and _HOSTNAME.fullmatch(word) is None:
            return False
        return bad is None or not bad.search(word)

    return accepts_host


def _steps(options: ParseOptions, zone: tzinfo) -> list[Step]:
    """What is done to the messages of a batch, in order."""
    requested: list[tuple[object, Step]] = [
        (options.keep_line_end, each(with_line_end)),
        (options.check_program, each(without_bad_program)),
        (options.kernel, each(with_kernel_program)),
        (options.parse_tags == "all", each(with_app_tag)),
        (
            options.guess_timezone or options.time_zone,
            with_offsets(options.time_zone, guess=options.guess_timezone),
        ),
        (not options.keep_timestamp, with_receive_time(zone)),
        (not options.keep_hostname and not options.chain_hostnames, with_peer_host),
        (options.chain_hostnames, with_chained_host),
        (options.host_override, with_host(options.host_override)),
        (options.program_override, with_program(options.program_override)),
        (options.sanitize_utf8, each(with_valid_utf8)),
        (options.validate_utf8, each(marked_if_utf8)),
        (options.assume_utf8, each(marked_utf8)),
        (options.no_multi_line, each(on_one_line)),
        (options.dont_store_legacy_msghdr, each(without_legacy_header)),
        (options.parse_tags == "none", each(without_tags)),
        (options.tags, with_tags(options.tags)),
    ]
    return [step for wanted, step in requested if wanted]
