"""Destinations of the relay while they are put together, and what all drivers have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.cli.moving.imported import ExtraFile, Imported
from relay.cli.moving.report import Report
from relay.cli.moving.syslog_ng.options import Option, Options
from relay.cli.moving.syslog_ng.templates import Form, read_template
from relay.cli.toml_writing import TomlValue
from relay.service.configuration.tables.format import TimeZone

__all__ = ["DestinationDraft", "Reading", "form_of"]

_QUEUE_BYTES_MIN = 1 << 20
_STAMPS = {"rfc3164": "bsd", "bsd": "bsd", "rfc3339": "iso", "iso": "iso"}
_STAMPS |= {"full": "full", "unix": "unix"}
_NEEDS_NONE = {
    **dict.fromkeys(
        ("log_fifo_size", "mem_buf_length"), "the queue is on disk and limited by queue_bytes_max"
    ),
    **dict.fromkeys(
        ("flush_lines", "flush_timeout", "flush_bytes"), "the relay sends what is there at once"
    ),
    "persist_name": "the queue hangs on the id of the destination",
    "keep_alive": "connections outlive a reload",
    "so_sndbuf": "the relay sends when there is room",
    "so_keepalive": "see keepalive_seconds",
    **dict.fromkeys(("tcp_keepalive_intvl", "tcp_keepalive_probes"), "see keepalive_seconds"),
    "close_on_input": "bytes from the receiver are counted, and the connection stays",
    "template_escape": "values are written as they are",
    "use_uniqid": "UNIQID is always there",
    "time_reap": "files are closed when others are needed",
    "ip_protocol": "the name says it",
    "optional": "a destination that cannot start does not stop the others",
    "retries": "messages are sent until they are taken",
    "on_error": "a value that does not fit its type stays a text",
    "use_time_recvd": "macros with R_ are the time of receipt",
}


@dataclass(slots=True)
class Reading:
    """Knowledge that statements share while they are read.

    Attributes:
        defaults: The options of the statement `options`, by name.
        templates: Texts of the templates that have a name.
    """

    imported: Imported
    defaults: dict[str, Option] = field(default_factory=dict)
    templates: dict[str, str] = field(default_factory=dict)

    @property
    def report(self) -> Report:
        return self.imported.report

    def secret_file(self, wanted: str, secret: str) -> str:
        """The name of a file with `secret` that is written beside the configuration."""
        self.report.hide(secret)
        return self.imported.add_file(wanted, ExtraFile(f"{secret}\n", is_secret=True))


@dataclass(slots=True)
class DestinationDraft:
    """A destination of the relay.

    Attributes:
        keys: Those of its table, but for `rewrite`.
        mode: The last entry of `rewrite`; empty = it has none.
        last_steps: Steps behind those of log paths.
    """

    keys: dict[str, TomlValue]
    mode: dict[str, TomlValue] = field(default_factory=dict)
    last_steps: list[dict[str, TomlValue]] = field(default_factory=list)

    @property
    def has_limit(self) -> bool:
        """Its queue has a limit of its own."""
        return "queue_bytes_max" in self.keys


def stamps_of(options: Options, *, is_sent: bool = True) -> dict[str, TomlValue]:
    """Keys for stamps: `ts_format`, `frac_digits`, `time_zone`."""
    stamps: dict[str, TomlValue] = {"frac_digits": 0}
    given = options.take("ts_format")
    if given is not None:
        word = _STAMPS.get(given.text.lower())
        if word is None:
            given.unsupported(f"there is no ts-format({given.text})")
        else:
            stamps["ts_format"] = word
            given.taken("is ts_format of formats")
    digits = options.take("frac_digits")
    if digits is not None and digits.whole is not None and digits.whole <= 6:
        stamps["frac_digits"] = digits.whole
        digits.taken("is frac_digits of formats")
    names = ("time_zone", "send_time_zone") if is_sent else ("time_zone", "local_time_zone")
    zone = options.take(*names)
    if zone is not None and zone.text:
        try:
            TimeZone().read(zone.text)
        except ValueError as error:
            zone.unsupported(str(error))
        else:
            stamps["time_zone"] = zone.text
            zone.taken("is time_zone of formats")
    return stamps


def template_text(option: Option, reading: Reading) -> str:
    """The text of a template, which may be a name."""
    if len(option.texts) == 1 and option.text in reading.templates:
        return reading.templates[option.text]
    return option.text


def form_of(
    options: Options,
    reading: Reading,
    draft: DestinationDraft,
    default: dict[str, TomlValue],
    *,
    default_option: str = "",
) -> Form:
    """Read what a destination sends into `draft`.

    Args:
        default: The format without a template; it gets the keys for stamps.
        default_option: The global option that names a template.
    """
    is_file = default.get("name") == "template"
    stamps = stamps_of(options, is_sent=not is_file)
    given = options.take("template", *([default_option] if default_option else []))
    form = Form()
    if given is not None:
        form = read_template(template_text(given, reading), stamps)
        given.taken("is the format of the destination")
        for doubt in form.doubts:
            given.approximated(doubt)
        for problem in form.unsupported:
            given.unsupported(problem)
    if form.mode:
        draft.mode = {"mode": form.mode}
    elif form.keys:
        draft.keys |= form.keys
    else:
        draft.keys["format"] = _default_format(default, stamps)
    return form


def _default_format(
    default: dict[str, TomlValue], stamps: dict[str, TomlValue]
) -> Mapping[str, TomlValue]:
    table = {**default, **stamps}
    name = default["name"]
    if name == "template":
        table.setdefault("ts_format", "bsd")
    else:  # syslog-ng writes the stamps of the protocol, whatever ts-format() says
        table.pop("ts_format", None)
    if table.get("ts_format", "bsd") == "bsd" and name != "rfc5424" and not table["frac_digits"]:
        del table["frac_digits"]  # such stamps have none anyhow
    return table


def queue_keys(options: Options, draft: DestinationDraft, report: Report) -> None:
    """Options for queues, which are on disk in any case, and for connecting again."""
    buffer = options.take_own("disk_buffer")
    if buffer is not None:
        inner = Options(buffer.call, report)
        buffer.taken("every queue of the relay is on disk")
        size = inner.take_own("capacity_bytes", "disk_buf_size")
        if size is not None and size.whole:
            draft.keys["queue_bytes_max"] = max(_QUEUE_BYTES_MIN, size.whole)
            size.taken("is queue_bytes_max")
        folder = inner.take_own("dir")
        if folder is not None:
            folder.approximated("the queues of all destinations are in relay.state_dir")
        inner.pass_over(
            {
                "reliable": "a message is on disk before the relay answers it",
                "mem_buf_size": "only a copy of the queue is in memory",
                "mem_buf_length": "only a copy of the queue is in memory",
                "qout_size": "only a copy of the queue is in memory",
                "front_cache_size": "only a copy of the queue is in memory",
                "flow_control_window_bytes": "only a copy of the queue is in memory",
                "flow_control_window_size": "only a copy of the queue is in memory",
                "truncate_size_ratio": "the queue's file is compacted by itself",
                "prealloc": "relay.min_free_bytes keeps room on the disk",
                "compaction": "only what is sent is queued",
            }
        )
        inner.finish()
    is_file = str(draft.keys["connect"]).startswith(("file:", "usertty:"))
    reopen = options.take_own("time_reopen") if is_file else options.take("time_reopen")
    if reopen is not None and reopen.whole:
        draft.keys["retry_seconds_max"] = max(1, min(reopen.whole, 86400))
        reopen.taken("is retry_seconds_max of destinations, which begin with a second")
    repeats = options.take("suppress")
    if repeats is not None and repeats.whole:
        draft.last_steps.append({"suppress_repeats": min(repeats.whole, 86400)})
        repeats.taken("is the step suppress_repeats")
    throttle = options.take_own("throttle")
    if throttle is not None and throttle.whole:
        throttle.unsupported("the relay limits bytes a second: write drain_rate")
    options.pass_over(_NEEDS_NONE)


def mark_options(options: Options) -> None:
    """Marks are not written."""
    for name in ("mark_mode", "mark_freq"):
        given = options.take_own(name)
        if given is None:
            continue
        if given.text.lower() in ("none", "0"):
            given.taken("the relay writes no marks")
        else:
            given.unsupported("the relay writes no marks: status and /healthz show that it runs")
