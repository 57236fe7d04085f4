"""From the configuration of a destination to the route of its messages."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from datetime import tzinfo
from functools import partial
from itertools import count

from relay.flow.routing import GROUPS, Route
from relay.model.clock import Now
from relay.model.counters.samples import Samples
from relay.model.hops import NO_HOP, OwnHop
from relay.model.message import SyslogMessage
from relay.model.origin import Origin
from relay.model.template import constant_of
from relay.model.text import counted
from relay.model.token import HEADERS_OF, Token
from relay.rewrite.batch import Batch, MacroContext
from relay.rewrite.conditions import Condition, all_of, always, any_of, field_in, negated
from relay.rewrite.drops import Drops
from relay.rewrite.forms.form import Form, form_of, format_program, token_program
from relay.rewrite.forms.formats import bsd_stamps, new_format
from relay.rewrite.forms.record_key import Keyed, WithHops
from relay.rewrite.forms.sized import TOO_LONG, Sized
from relay.rewrite.forms.token import RFC5424, RSYSLOG, Header, Writer, app_name, cee, tag
from relay.rewrite.macros import compile_template
from relay.rewrite.steps.changes import Template, put_hops
from relay.rewrite.steps.pipeline import (
    Constant,
    FirstFitting,
    Pipeline,
    Stage,
    stage_of,
    without_empty,
)
from relay.service.configuration.model import (
    Configuration,
    DestinationConfiguration,
    RewriteConfiguration,
)
from relay.service.configuration.table import join_path
from relay.service.configuration.tables.filter import ALWAYS
from relay.service.routes.late_tokens import LateTokens
from relay.service.routes.stages import Conditions, OpenLookup, Stages

Warn = Callable[[str, str, str], None]
"""Logs a warning: the destination's id, the kind of trouble, and one line about it."""

_TOKEN_WRITERS: Mapping[str, Callable[..., Writer]] = {
    "cee": cee,
    "json": partial(cee, cookie=b""),
    "tag": tag,
    "app-name": app_name,
}
_TYPE_CAST = "type-cast"
_needs_rfc5424 = any_of([field_in("version", [1]), negated(field_in("structured_data", [None]))])
# The configuration asks for the others by name.
_WARNED_DROPS = ("rate-limit", _TYPE_CAST, TOO_LONG)


@dataclass(frozen=True, slots=True)
class RunNumbers:
    """Values of macros that stay the same for one run of the relay, through reloads."""

    hostid: int = field(default_factory=lambda: _random_number())
    runid: int = field(default_factory=lambda: _random_number())
    receipts: Iterator[int] = field(default_factory=partial(count, 1))


@dataclass(eq=False, repr=False)
class Rewriting:
    """Makes the routes of all destinations, each of them once.

    Used twice: when a configuration is read, to find what is wrong with it, and when
    the relay is put together.

    Attributes:
        problems: One line for each thing that keeps a route from being made.
        tokens: Those of the forms, by destination.
        sized: The forms with a limit for their payloads, by destination.
        samples: The last messages that were dropped on the way into a queue, by destination.
    """

    configuration: Configuration
    _: KW_ONLY
    zone: tzinfo
    """Of stamps and clocks without one."""
    now: Now
    lookup: OpenLookup
    """Opens a table for the step `map`."""
    started_at: float = 0.0
    """When the relay started, in the unit of `Origin.monotonic_at`."""
    hop: OwnHop = NO_HOP
    """This relay, in the hops of messages."""
    warn: Warn = lambda destination, kind, text: None
    numbers: RunNumbers = field(default_factory=RunNumbers)

    def __post_init__(self) -> None:
        self.problems: list[str] = []
        self.tokens: dict[str, LateTokens] = {}
        self.sized: dict[str, Sized] = {}
        self.samples: dict[str, Samples] = {}
        self._relay_name = self.configuration.name.encode("ascii", "replace")
        self._app_tokens = [token for app in self.configuration.apps for token in app.tokens]
        self._conditions = Conditions(relay_name=self._relay_name, zone=self.zone)

    def secrets(self) -> set[bytes]:
        """All tokens that are known by now, to mask them."""
        late = (secret for each in self.tokens.values() for secret in each.secrets)
        return {*self.configuration.secrets, *late}

    def route(self, destination: DestinationConfiguration) -> Route:
        """The way into the queue of `destination`."""
        drops = Drops()
        drops.samples = self.samples[destination.id] = Samples(self.now)
        context = self._context(destination)
        stages = self._stages(destination, context, drops)
        self.tokens[destination.id] = LateTokens(
            destination.rewrite,
            lambda rewrite: _as_records(self._token_form(rewrite), destination, context),
        )
        form = self._form(destination, context, drops, changes=bool(stages))
        route = Route(
            destination.id,
            None,
            self._match(destination),
            final=destination.routing.final,
            fallback=destination.routing.fallback,
            carries_hops=destination.carries_hops,
            has_hops=destination.has_hops,
            samples=drops.samples,
        )
        if form is None:
            return route
        pipeline = Pipeline(stages, form, drops)
        take_drops = partial(self._take_drops, destination.id, pipeline)
        route = replace(route, rewrite=pipeline, take_drops=take_drops)
        if not pipeline.keeps:
            return route
        place = f"{GROUPS}/{destination.id}"
        return replace(route, take_positions=lambda: _positions_below(place, pipeline))

    def _match(self, destination: DestinationConfiguration) -> Condition | None:
        conditions = []
        if destination.apps:
            conditions.append(field_in("app", destination.apps))
        if destination.match is not None:
            conditions.append(self._conditions.of(destination.match))
        return all_of(conditions) if conditions else None

    def _stages(
        self, destination: DestinationConfiguration, context: MacroContext, drops: Drops
    ) -> list[Stage]:
        makes = Stages(
            conditions=self._conditions,
            counter=f"{self._relay_name.decode('ascii')}/{destination.id}",
            template=partial(_template, context=context),
            lookup=self.lookup,
            zone=self.zone,
            drops=drops,
        )
        stages = []
        path = f"{join_path('destinations', destination.id)}.rewrite"
        for index, step in enumerate(destination.rewrite.steps):
            try:
                stages.append(makes.of(step))
            except ValueError as error:
                self.problems.append(f"{path}[{index}].{step.verb}: {error}")
        if destination.format is not None and destination.format.hops:
            stages.append(stage_of(put_hops(self.hop)))
        return stages

    def _form(
        self,
        destination: DestinationConfiguration,
        context: MacroContext,
        drops: Drops,
        *,
        changes: bool,
    ) -> Form | None:
        """How messages are written; None if frames pass as they are."""
        if destination.rewrite.token is not None:
            return self._within_limit(self.tokens[destination.id].form, destination, drops)
        form = self._payload_form(destination, context, changes=changes)
        if form is not None or destination.record_key is not None:
            form = _as_records(form or form_of(_frames), destination, context)
        form = self._within_limit(form, destination, drops)
        if form is None or destination.format is None or destination.format.name != "json":
            return form
        return form_of(without_empty(form.write_messages, _TYPE_CAST, drops))

    def _within_limit(
        self, form: Form | None, destination: DestinationConfiguration, drops: Drops
    ) -> Form | None:
        limit = destination.size_limit
        # What goes into the quarantine has to be queued first: the drain sets it aside.
        if limit is None or limit.policy == "quarantine":
            return form
        report = partial(self.warn, destination.id, TOO_LONG)
        sized = Sized(form or form_of(_frames), limit, drops=drops, on_long=report)
        self.sized[destination.id] = sized
        return sized

    def _payload_form(
        self, destination: DestinationConfiguration, context: MacroContext, *, changes: bool
    ) -> Form | None:
        """How payloads without tokens are written; None if frames pass as they are."""
        form = destination.format
        if destination.rewrite.mode == "ewmm":
            return self._format("ewmm", context)
        if form is not None and form.name in ("json", "template"):
            report = partial(self._cast_failed, destination.id)
            writer = new_format(
                form.name, context, template=form.template, selection=form.selection, report=report
            )
            assert writer is not None, form
            return form_of(writer)
        if form is not None and form.name != "raw":
            return self._format(form.name, context)
        if not changes:
            return None
        # Changed messages in the format in which they came, if it can hold them.
        return FirstFitting(
            [
                (_needs_rfc5424, self._format("rfc5424", context)),
                (always, self._format("rfc3164", context)),
            ]
        )

    def _format(self, name: str, context: MacroContext) -> Form:
        """A format without options of its own: rfc5424, rfc3164 or ewmm."""
        writer = new_format(name, context)
        assert writer is not None, name
        return form_of(writer, format_program(name, context))

    def _token_form(self, rewrite: RewriteConfiguration) -> Form:
        """The form of a rewrite whose tokens are all known."""
        assert isinstance(rewrite.token, Token)
        form = partial(
            token_form,
            rewrite.mode,
            relay_name=self._relay_name,
            zone=self.zone,
            known=self._known_tokens(rewrite),
            structured_data=rewrite.structured_data,
            header=rewrite.header,
        )
        if not rewrite.tokens:
            return form(rewrite.token)
        choices = [
            (self._conditions.of(choice.match or ALWAYS), form(choice.token))
            for choice in rewrite.tokens
            if isinstance(choice.token, Token)
        ]
        return FirstFitting([*choices, (always, form(rewrite.token))])

    def _known_tokens(self, rewrite: RewriteConfiguration) -> list[bytes]:
        """Tokens that a message may carry, whatever their form."""
        return [token.reveal() for token in (*self._app_tokens, *rewrite.known_tokens)]

    def _context(self, destination: DestinationConfiguration) -> MacroContext:
        form = destination.format
        return MacroContext(
            relay_name=self._relay_name,
            now=self.now,
            zone=self.zone,
            time_zone=None if form is None else form.time_zone,
            frac_digits=None if form is None else form.frac_digits,
            ts_format=None if form is None else form.ts_format,
            started_at=self.started_at,
            hostid=self.numbers.hostid,
            runid=self.numbers.runid,
            receipts=self.numbers.receipts,
            hop=self.hop,
        )

    def _take_drops(self, destination: str, pipeline: Pipeline) -> dict[str, int]:
        drops = pipeline.take_drops()
        for reason in _WARNED_DROPS:
            if reason in drops:
                text = f"{counted(drops[reason], 'message')} dropped by its rewrite: {reason}"
                self.warn(destination, reason, text)
        return drops

    def _cast_failed(self, destination: str, pair: str, failed: int) -> None:
        text = f"{failed} values of {pair} do not fit its type; its on_error says what is done"
        self.warn(destination, "cast", text)


def token_form(
    mode: str,
    token: Token,
    *,
    relay_name: bytes,
    zone: tzinfo,
    known: Collection[bytes] = (),
    structured_data: bool = False,
    header: str = "",
) -> Form:
    """The form for `mode`: cee, json, tag or app-name.

    Args:
        known: Tokens that messages may carry in their headers, whatever their form.
        structured_data: Of cee and json: put STRUCTURED-DATA and MSGID into the object.
        header: One of `HEADERS_OF` the mode; empty = its first.

    Raises:
        ValueError: `token` cannot take the place that the mode gives it.
    """
    write = partial(_TOKEN_WRITERS[mode], token, zone, relay_name=relay_name, known=known)
    if mode == "app-name":  # which only RFC 5424 has
        return form_of(
            write(), token_program(mode, token, zone, relay_name=relay_name, known=known)
        )
    of_name = _header(header or HEADERS_OF[mode][0], relay_name, zone)
    if structured_data:
        return form_of(write(structured_data=True, header=of_name))
    program = token_program(mode, token, zone, relay_name=relay_name, known=known, header=of_name)
    return form_of(write(header=of_name), program)


def _header(name: str, relay_name: bytes, zone: tzinfo) -> Header:
    if name == "rfc3164":
        return Header(name, bsd_stamps(MacroContext(relay_name=relay_name, now=float, zone=zone)))
    return RFC5424 if name == "rfc5424" else RSYSLOG


def _as_records(form: Form, destination: DestinationConfiguration, context: MacroContext) -> Form:
    """`form` with the keys or hops of the destination's records, if they have some."""
    if destination.has_hops:
        return WithHops(form)
    template = destination.record_key
    return form if template is None else Keyed(form, template, context)


def _frames(messages: Sequence[SyslogMessage], origin: Origin) -> list[bytes]:
    return [message.raw for message in messages]


def _template(text: str, *, context: MacroContext) -> Template:
    column = compile_template(text, context)
    constant = constant_of(text)
    if constant is not None:
        return Constant(constant)
    return lambda messages, origin: column(Batch(messages, origin, context))


def _positions_below(place: str, pipeline: Pipeline) -> dict[str, bytes]:
    """What `pipeline` wants stored, by the names that it has in the queue."""
    taken = pipeline.take_positions()
    return {f"{place}/{name}": position for name, position in taken.items()}


def _random_number() -> int:
    return int.from_bytes(os.urandom(4), "big")
