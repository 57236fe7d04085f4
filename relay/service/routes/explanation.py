"""What the relay would do with one message, and why: for `explain` and for tests of a
configuration.  Nothing is opened, bound, queued or sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from typing import Literal

from relay.model.message import FACILITY_NAMES, SEVERITY_NAMES, SyslogMessage
from relay.model.origin import Arrival, Origin
from relay.model.text import Document
from relay.model.token import Token
from relay.rewrite.conditions import holds
from relay.rewrite.fields import getter
from relay.rewrite.forms.record_key import split_key
from relay.rewrite.forms.token import redacted
from relay.rewrite.steps.pipeline import Pipeline
from relay.service.configuration.expectations import Expectation, bytes_of
from relay.service.configuration.model import (
    Configuration,
    DestinationConfiguration,
    SourceConfiguration,
    UnreadToken,
)
from relay.service.configuration.table import unknown_name
from relay.service.configuration.tables.filter import AllOf
from relay.service.routes.late_tokens import with_tokens
from relay.service.routes.lookup_file import LookupFile
from relay.service.routes.rewriting import Rewriting
from relay.service.routes.stages import Conditions
from relay.service.sources.authorising import new_authorise
from relay.wire.headers.structured_data import parse_structured_data
from relay.wire.headers.timestamp import to_rfc3339
from relay.wire.json.pairs import text_of
from relay.wire.parse_options import new_parser, utf8_of
from relay.wire.parse_tags import is_parse_failure

_PLACEHOLDER = Token(b"****")


@dataclass(slots=True)
class Outcome:
    """What becomes of a message on its way to one destination."""

    destination: str
    taken: bool
    why: str
    """The reason, one phrase."""
    message: SyslogMessage | None = None
    """As it is when it is written; None if it is not sent."""
    payload: bytes | None = None
    """What would be sent, tokens masked; None if nothing."""
    key: bytes | None = None
    """The key of its record; None if it has none."""


@dataclass(slots=True)
class Explanation:
    """What becomes of a message."""

    message: SyslogMessage
    refused: str = ""
    """Why it belongs to no app and reaches no destination; empty = it is taken."""
    outcomes: list[Outcome] = field(default_factory=list)
    """One for each destination, in their order."""


class _Quiet:
    """Discards warnings: an explanation logs nothing."""

    def warn(self, subject: str, kind: str, text: str, *, group: str | None = None) -> None:
        pass


class Explainer:
    """Explains messages by a configuration.

    Every message meets rewrites as they are at the start: a sample is its first, a rate
    has not been used.

    Args:
        now: Seconds since 1970-01-01 UTC; the time of receipt.
        zone: Of stamps that have none.

    Raises:
        ValueError: A file that the configuration names is no longer right.
    """

    def __init__(self, configuration: Configuration, *, now: float, zone: tzinfo) -> None:
        self._configuration = configuration
        self._now = now
        self._zone = zone
        self._sources = {source.id: source for source in configuration.sources}
        self._secrets = configuration.secrets

    def explain(
        self,
        frame: bytes,
        *,
        source: str = "",
        peer_host: str = "",
        tls_names: tuple[str, ...] = (),
        is_utf8: bool = False,
    ) -> Explanation:
        """What becomes of `frame`.

        Args:
            is_utf8: Whether the frame is written in UTF-8, whatever the source receives.
            source: Id of the source; empty = the first.
            peer_host: Address of the sender; empty = a local one.
            tls_names: Names in its verified certificate.

        Raises:
            ValueError: There is no such source.
        """
        known = self._sources.get(source) if source else self._configuration.sources[0]
        if known is None:
            raise ValueError(unknown_name("source", source, self._sources))
        origin = Origin(
            known.id,
            known.transport_from(peer_host),
            peer_host,
            tls_names=tls_names,
            received_at=self._now,
        )
        frame = frame if is_utf8 else utf8_of(known.parse, frame)
        messages = new_parser(known.parse, zone=self._zone)(
            [frame], Arrival.of_one(1, origin)
        ).messages()
        explanation = Explanation(messages[0])
        authorise = new_authorise(known, self._configuration.apps, notices=_Quiet())
        if authorise is not None:
            authorised = authorise(messages, origin)
            if not authorised.messages:
                explanation.refused = next(iter(authorised.refused))
                return explanation
            explanation.message = authorised.messages[0]
        explanation.outcomes = self._outcomes(known, explanation.message, origin)
        return explanation

    def _outcomes(
        self, source: SourceConfiguration, message: SyslogMessage, origin: Origin
    ) -> list[Outcome]:
        """One for each destination, decided in the order in which a relay asks them."""
        destinations = self._configuration.destinations
        outcomes: dict[str, Outcome] = {}
        taker = final = ""
        for destination in sorted(destinations, key=lambda each: each.routing.fallback):
            id, routing = destination.id, destination.routing
            if source.id not in destination.sources:
                outcomes[id] = Outcome(id, False, f"is not fed by the source {source.id}")
            elif destination.apps and message.app not in destination.apps:
                reason = f"takes the apps {', '.join(destination.apps)} only"
                outcomes[id] = Outcome(id, False, reason)
            elif final:
                outcomes[id] = Outcome(id, False, f"{final} comes before it, takes it and is final")
            elif routing.fallback and taker:
                outcomes[id] = Outcome(id, False, f"is a fallback, and {taker} takes it")
            else:
                outcomes[id], fits = self._outcome(destination, message, origin)
                if fits and routing.final:
                    final = id
                    outcomes[id].why += "; final: later destinations do not get it"
                if fits and not routing.fallback:
                    taker = taker or id
        return [outcomes[destination.id] for destination in destinations]

    def _outcome(
        self, destination: DestinationConfiguration, message: SyslogMessage, origin: Origin
    ) -> tuple[Outcome, bool]:
        """What becomes of a message that reaches a destination, and whether its match fits."""
        id = destination.id
        # A new one each time: steps may remember what they have seen.
        rewriting = Rewriting(
            self._configuration, zone=self._zone, now=lambda: self._now, lookup=LookupFile
        )
        route = rewriting.route(destination)
        if rewriting.problems:
            raise ValueError("; ".join(rewriting.problems))
        if route.match is not None and not holds(route.match, message, origin):
            return Outcome(id, False, self._misfit(destination, message, origin)), False
        taken = "takes everything" if destination.match is None else "match fits"
        if destination.routing.fallback:
            taken = f"{taken}, and is a fallback: no other destination takes it"
        outcome = Outcome(id, True, taken)
        if route.rewrite is None:
            outcome.message, outcome.payload = message, self._masked(message.raw)
            return outcome, True
        pipeline = route.rewrite
        assert isinstance(pipeline, Pipeline)
        changed = pipeline.changed([message], origin)
        if not changed and (changed := pipeline.flush(origin, everything=True)):
            outcome.why += "; waits for others of its group"
        payloads = pipeline.write_messages(changed, origin)
        if payloads:
            outcome.key, payload = split_key(payloads[-1])
            outcome.message, outcome.payload = changed[-1], self._masked(payload)
        else:
            reasons = ", ".join(pipeline.take_drops())
            outcome.taken, outcome.why = False, f"dropped by its rewrite: {reasons}"
        return outcome, True

    def _misfit(
        self, destination: DestinationConfiguration, message: SyslogMessage, origin: Origin
    ) -> str:
        """Which keys of the filter do not fit."""
        if not isinstance(destination.match, AllOf):
            return "no table of match fits"
        name = self._configuration.name.encode("ascii", "replace")
        conditions = Conditions(relay_name=name, zone=self._zone)
        keys = [
            key
            for key, part in destination.match.parts.items()
            if not holds(conditions.of(part), message, origin)
        ]
        return f"match does not fit: {', '.join(keys)}"

    def _masked(self, payload: bytes) -> bytes:
        return redacted(payload, self._secrets)


def with_placeholders(configuration: Configuration) -> Configuration:
    """`configuration` with ``****`` for each token that could not be read."""

    def known(key: bytes, token: Token | UnreadToken) -> Token:
        return _PLACEHOLDER if isinstance(token, UnreadToken) else token

    return replace(
        configuration,
        destinations=tuple(
            replace(each, rewrite=with_tokens(each.rewrite, known))
            for each in configuration.destinations
        ),
    )


def described(
    message: SyslogMessage,
    *,
    now: float,
    zone: tzinfo,
    text: Callable[[bytes], str] = lambda raw: raw.decode("latin-1"),
) -> Document:
    """The fields of a message, ready for JSON.

    Args:
        text: Decodes bytes; latin-1, one character a byte, loses none.
    """

    def optional(raw: bytes | None) -> str | None:
        return None if raw is None else text(raw)

    elements = parse_structured_data(message.structured_data)
    failures = [tag for tag in message.tags if is_parse_failure(message._replace(tags=(tag,)))]
    return {
        "facility": message.facility,
        "severity": message.severity,
        "timestamp": None
        if message.timestamp is None
        else to_rfc3339(message.timestamp, now, zone).decode("ascii"),
        "hostname": optional(message.hostname),
        "app_name": optional(message.app_name),
        "procid": optional(message.procid),
        "msgid": optional(message.msgid),
        "structured_data": {
            id: {name: [text(value) for value in values] for name, values in parameters.items()}
            for id, parameters in elements.items()
        },
        "msg": text(message.msg),
        "tags": [text(tag) for tag in message.tags],
        "pairs": {name: text(text_of(value)) for name, value in (message.pairs or {}).items()},
        "error": text(failures[0]) if failures else None,
    }


_FIELDS = ("hostname", "app_name", "procid", "msgid", "msg")


def failures_of(configuration: Configuration, *, now: float, zone: tzinfo) -> list[str]:
    """One line for each expectation that does not come true.

    Args:
        now: Seconds since 1970-01-01 UTC; the time of receipt.

    Raises:
        ValueError: A file that the configuration names is no longer right.
    """
    explainer = Explainer(configuration, now=now, zone=zone)
    failures: list[str] = []
    for index, test in enumerate(configuration.tests):
        explanation = explainer.explain(
            bytes_of(test.frame),
            source=test.source,
            peer_host=test.peer,
            tls_names=test.tls_names,
            is_utf8=True,
        )
        name = f" ({test.name})" if test.name else ""
        outcomes = {outcome.destination: outcome for outcome in explanation.outcomes}
        for id, expected in test.expect.items():
            outcome = outcomes.get(id) or Outcome(id, False, f"refused: {explanation.refused}")
            failures += [
                f"tests[{index}]{name}: {id}: {failure}" for failure in _failures(outcome, expected)
            ]
    return failures


def _failures(outcome: Outcome, expected: bool | Expectation) -> list[str]:
    if expected is False:
        return [f"gets it: {outcome.why}"] if outcome.taken else []
    if not outcome.taken:
        return [f"does not get it: {outcome.why}"]
    if expected is True:
        return []
    assert outcome.message is not None
    assert outcome.payload is not None
    return [
        *_differences(expected, outcome.message),
        *_payload_differences(expected, outcome.payload),
    ]


def _differences(expected: Expectation, message: SyslogMessage) -> Iterator[str]:
    for key, names, wanted, found in (
        ("facility", FACILITY_NAMES, expected.facility, message.facility),
        ("severity", SEVERITY_NAMES, expected.severity, message.severity),
    ):
        if wanted is not None and wanted != found:
            yield f"{key} is {names[found]!r}, expected {names[wanted]!r}"
    texts: Mapping[str, bytes | Literal[False] | None] = {
        **{name: getattr(expected, name) for name in _FIELDS},
        **(expected.pairs or {}),
    }
    for name, text in texts.items():
        if text is not None:
            yield from _difference(name, text, getter(name)(message))
    if expected.app is not None and expected.app != message.app:
        yield f"app is {message.app!r}, expected {expected.app!r}"
    missing = [tag for tag in expected.tags if bytes_of(tag) not in message.tags]
    if missing:
        yield f"has no tags {', '.join(missing)}"


def _difference(name: str, wanted: bytes | Literal[False], found: bytes | None) -> Iterator[str]:
    wish = repr(_text(wanted) if wanted is not False else False)
    if found is None and wanted is not False:
        yield f"{name} is missing, expected {wish}"
    elif found is not None and found != wanted:
        yield f"{name} is {_text(found)!r}, expected {wish}"


def _payload_differences(expected: Expectation, payload: bytes) -> Iterator[str]:
    if expected.payload is None:
        return
    wanted, is_all = expected.payload
    if is_all and wanted != payload:
        yield f"sends {_text(payload)!r}"
    elif wanted not in payload:
        yield f"{_text(wanted)!r} is not in what is sent, {_text(payload)!r}"


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
